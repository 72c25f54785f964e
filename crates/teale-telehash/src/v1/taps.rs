//! What others tap with us: one tap per peer, replaced by the next.

use std::collections::BTreeMap;

use teale_wire::telehash::{Ipp, Signals, TapRule};

use super::bounds::TAPPERS;

/// The taps of all peers.
#[derive(Debug, Default)]
pub(super) struct Taps(BTreeMap<Ipp, Vec<TapRule>>);

impl Taps {
    /// Replaces a peer's tap; an empty one ends it. False if there are too many tappers already.
    pub(super) fn set(&mut self, peer: Ipp, rules: Vec<TapRule>) -> bool {
        if rules.is_empty() {
            self.0.remove(&peer);
            return true;
        }
        if self.0.len() >= TAPPERS && !self.0.contains_key(&peer) {
            return false;
        }
        self.0.insert(peer, rules);
        true
    }

    /// Its line is over.
    pub(super) fn remove(&mut self, peer: Ipp) {
        self.0.remove(&peer);
    }

    /// Who wants these signals, each once however many rules match.
    pub(super) fn matching(&self, signals: &Signals) -> Vec<Ipp> {
        let wants = |rules: &Vec<TapRule>| rules.iter().any(|rule| rule.matches(signals));
        self.0.iter().filter(|(_, rules)| wants(rules)).map(|(peer, _)| *peer).collect()
    }
}
