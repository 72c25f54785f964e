//! What binds have proven: base URIs and the switches they belong to.

use std::collections::{BTreeMap, VecDeque};

use serde_json::value::RawValue;
use teale_wire::telehash::Ipp;

use super::{Switch, bounds};

/// Base URIs, the oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct Binds {
    proven: BTreeMap<String, Ipp>,
    order: VecDeque<String>,
}

impl Binds {
    fn insert(&mut self, base: String, ipp: Ipp) {
        if self.proven.insert(base.clone(), ipp).is_none() {
            self.order.push_back(base);
        }
        if self.order.len() > bounds::BINDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.proven.remove(&oldest);
        }
    }
}

impl Switch {
    /// The switch that proved that this base URI is its own.
    pub fn bound(&self, base: &str) -> Option<Ipp> {
        self.binds.proven.get(base).copied()
    }

    /// A bind came in an open session, so that its address is proven. Nothing is believed without a validator.
    pub(super) fn bind(&mut self, from: Ipp, bind: Option<&RawValue>) {
        if let (Some(bind), Some(validator)) = (bind, self.config.binds.clone()) {
            for base in validator.proven(from, bind) {
                self.binds.insert(base, from);
            }
        }
    }
}
