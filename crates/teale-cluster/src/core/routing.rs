//! Who answers a request.

use std::cmp::Reverse;

use rand::RngExt;
use teale_wire::{NodeId, model_matches};

use super::{Core, asking::Ask, bounds};
use crate::{LinkPath, LoadState};

/// A way to serve a request, with the provider's own name of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Candidate {
    /// The own backend.
    Own { model: String },
    /// A peer.
    Peer { node: NodeId, model: String },
}

impl Core {
    /// The best provider for a request that has not been tried: the own backend if it has a free slot, then
    /// peers, those that can be reached first, then those with a free slot, then the fewest requests in flight,
    /// then the fastest; ties fall by lot, so that many nodes do not choose the same one. Last, the own queue.
    pub(super) fn best_candidate(&mut self, ask: &Ask) -> Option<Candidate> {
        let asked = self.resolve(&ask.request.model).to_owned();
        let own = (!ask.tried_own).then(|| self.own_model(&asked)).flatten();
        if let Some(model) = &own
            && self.slots_busy < self.own.slots
            && self.queue.len() == 0
        {
            return Some(Candidate::Own { model: model.clone() });
        }
        if ask.guest.is_some() {
            return own.map(|model| Candidate::Own { model });
        }
        let now = self.now.monotonic;
        let mut best: Option<(_, Candidate)> = None;
        for (node, peer) in self.roster.iter() {
            let Some(model) = peer.model(&asked) else { continue };
            if node == self.config.node || peer.refusal().is_some() || ask.is_excluded(node) {
                continue;
            }
            let link = self.links.of(node).map(|(_, link)| link);
            if link.is_some_and(|link| !link.is_healthy() || link.asks.len() >= bounds::REQUESTS_PER_LINK) {
                continue;
            }
            let load = peer.in_flight + usize::try_from(peer.condition.queue_depth).unwrap_or(usize::MAX / 2);
            let key = (
                link.is_none() && peer.backing_off(now),
                ask.was_lost(node),
                peer.slots.is_some_and(|slots| load >= slots.max(1) as usize),
                load,
                Reverse((peer.speed() * 1000.0) as u64),
                link.map_or(LinkPath::Relay, |link| link.path),
                link.is_none(),
                self.rng.random::<u32>(),
            );
            if best.as_ref().is_none_or(|(other, _)| key < *other) {
                best = Some((key, Candidate::Peer { node, model: model.to_owned() }));
            }
        }
        best.map(|(_, candidate)| candidate).or_else(|| own.map(|model| Candidate::Own { model }))
    }

    /// The own backend's name of a model it can answer for.
    pub(super) fn own_model(&self, asked: &str) -> Option<String> {
        if self.own.slots == 0 {
            return None;
        }
        let ready = || self.own.models.iter().filter(|model| model.state == LoadState::Ready);
        let exact = ready().find(|model| model.id == asked);
        exact.or_else(|| ready().find(|model| model_matches(asked, &model.id))).map(|model| model.id.clone())
    }

    /// Whether anybody known, this node included, says it has the model, able to answer at present or not.
    pub(super) fn is_known(&self, asked: &str) -> bool {
        let asked = self.resolve(asked);
        self.own.models.iter().any(|model| model_matches(asked, &model.id))
            || self.roster.iter().any(|(_, peer)| peer.model(asked).is_some())
    }

    /// Whether a request for the model would find somebody now.
    pub fn can_answer(&self, asked: &str) -> bool {
        let asked = self.resolve(asked);
        self.own_model(asked).is_some()
            || self.roster.iter().any(|(node, peer)| {
                node != self.config.node
                    && peer.model(asked).is_some()
                    && peer.refusal().is_none()
                    && self.links.of(node).is_none_or(|(_, link)| link.is_healthy())
            })
    }

    /// Up to `count` of the peers, by lot.
    pub(super) fn sample(&mut self, mut peers: Vec<NodeId>, count: usize) -> Vec<NodeId> {
        let take = count.min(peers.len());
        for at in 0..take {
            let other = self.rng.random_range(at..peers.len());
            peers.swap(at, other);
        }
        peers.truncate(take);
        peers
    }
}
