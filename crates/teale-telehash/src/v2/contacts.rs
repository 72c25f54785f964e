//! First contacts: switches we sent something to and heard nothing from. A NAT may have dropped it.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use teale_wire::telehash::Ipp;

use super::bounds;

/// What was sent to each of them first.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    waiting: BTreeMap<Ipp, (Duration, Bytes)>,
}

impl Contacts {
    /// The first packet to a switch, in case its NAT drops it.
    pub(super) fn begin(&mut self, now: Duration, ipp: Ipp, original: Bytes) {
        self.waiting.retain(|_, (since, _)| now < *since + bounds::CONTACT_FOR);
        if self.waiting.len() < bounds::CONTACTS || self.waiting.contains_key(&ipp) {
            self.waiting.insert(ipp, (now, original));
        }
    }

    /// Something came from a switch. If it is the first packet, this is what we had sent.
    pub(super) fn heard(&mut self, now: Duration, ipp: Ipp) -> Option<Bytes> {
        let (since, original) = self.waiting.remove(&ipp)?;
        (now < since + bounds::CONTACT_FOR).then_some(original)
    }
}
