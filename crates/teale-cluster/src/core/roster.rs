//! Everybody we have heard of: what carriers say of them, what they say of themselves, what we measured.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use teale_wire::{Health, Hello, NodeId, PeerRecord, RequestId, ThermalLevel, limits, model_matches};

use super::bounds;
use crate::LinkPath;

/// When to try again what failed.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
    at: Duration,
}

impl Retry {
    /// No attempt makes sense yet.
    pub(super) fn waits(&self, now: Duration) -> bool {
        now < self.at
    }

    /// When the next attempt makes sense.
    pub(super) fn at(&self) -> Duration {
        self.at
    }

    /// It failed; `jitter` is 0 … 1.
    pub(super) fn failed(&mut self, now: Duration, jitter: f64, longest: Duration) {
        let wait = (bounds::BACKOFF_FIRST * 2u32.pow(self.failures.min(6))).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.at = now + wait.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0);
    }

    /// It went well, or something changed: the next attempt may come at this moment.
    pub(super) fn reset(&mut self, at: Duration) {
        *self = Self { failures: 0, at };
    }
}

/// A peer's own word on its state, from hello and heartbeats.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub(super) thermal: ThermalLevel,
    pub(super) throttle: u32,
    pub(super) queue_depth: u32,
    pub(super) tokens_per_second: Option<f64>,
}

impl Default for Condition {
    fn default() -> Self {
        Self { thermal: ThermalLevel::Nominal, throttle: 100, queue_depth: 0, tokens_per_second: None }
    }
}

#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) models: Vec<String>,
    pub(super) available: bool,
    /// Requests it serves at once, where it says so.
    pub(super) slots: Option<u32>,
    pub(super) condition: Condition,
    /// Tokens per second of its answers to us.
    pub(super) measured: Option<f64>,
    /// Requests of ours in flight there.
    pub(super) in_flight: usize,
    /// Whether a carrier ever named a key of it.
    pub(super) has_key: bool,
    /// Whether a link is being opened.
    pub(super) opening: bool,
    /// Whether a better link than the one in use is being opened.
    pub(super) bettering: bool,
    /// Whether its answers can go on over another link, by its own word.
    pub(super) resumable: Option<bool>,
    /// Requests given up while there was no link, and until when it may still run them.
    pub(super) cancels: VecDeque<(RequestId, Duration)>,
    /// When to try for a better link again.
    pub(super) better: Retry,
    /// Where it is known to be, and since when that was last said.
    paths: BTreeMap<LinkPath, Duration>,
    retry: Retry,
    seen_at: Duration,
}

impl Peer {
    /// The peer's own id of the model asked for.
    pub(super) fn model(&self, asked: &str) -> Option<&str> {
        let exact = self.models.iter().find(|have| *have == asked);
        exact.or_else(|| self.models.iter().find(|have| model_matches(asked, have))).map(String::as_str)
    }

    /// Why routing leaves it out, by its own word or its relay's.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        if !self.available {
            Some("unavailable")
        } else if self.condition.throttle == 0 {
            Some("paused")
        } else if self.condition.thermal == ThermalLevel::Critical {
            Some("too hot")
        } else {
            None
        }
    }

    pub(super) fn backing_off(&self, now: Duration) -> bool {
        self.retry.waits(now)
    }

    /// Where it is known to be, the best way first. What relays say is good for a time, other carriers say the end.
    pub(super) fn paths(&self, now: Duration) -> impl Iterator<Item = LinkPath> {
        let fresh = move |(path, said): &(&LinkPath, &Duration)| {
            **path < LinkPath::Relay || now.saturating_sub(**said) < bounds::PEER_TTL
        };
        self.paths.iter().filter(fresh).map(|(path, _)| *path)
    }

    /// It is not there any more.
    pub(super) fn lost(&mut self, path: LinkPath) {
        self.paths.remove(&path);
    }

    /// Tokens per second: measured, else by its own word, scaled by how far it holds itself back.
    pub(super) fn speed(&self) -> f64 {
        let speed = self.measured.or(self.condition.tokens_per_second).unwrap_or(0.0);
        speed * f64::from(self.condition.throttle.min(100)) / 100.0
    }

    /// A link could not be opened; `jitter` is 0 … 1.
    pub(super) fn failed(&mut self, now: Duration, jitter: f64) {
        self.retry.failed(now, jitter, bounds::BACKOFF_MAX);
    }

    /// A link is up and introduced.
    pub(super) fn reached(&mut self) {
        self.retry.reset(Duration::ZERO);
    }

    pub(super) fn measure(&mut self, tokens_per_second: f64) {
        self.measured = Some(average(self.measured, tokens_per_second));
    }

    fn set_models(&mut self, models: &[String]) {
        if self.models != models {
            let fits = |model: &&String| {
                !model.is_empty() && model.len() <= limits::MODEL_ID && !model.chars().any(char::is_control)
            };
            self.models = models.iter().filter(fits).take(limits::LOADED_MODELS).cloned().collect();
        }
    }

    pub(super) fn introduced(&mut self, hello: &Hello, now: Duration) {
        self.seen_at = now;
        self.name = short_name(&hello.device_info.name);
        self.available = true;
        self.resumable = Some(hello.resumable);
        self.set_models(&hello.loaded_models);
    }

    pub(super) fn reported(&mut self, health: &Health, now: Duration) {
        self.seen_at = now;
        self.set_models(&health.loaded_models);
        self.condition = Condition {
            thermal: health.thermal_level.clone(),
            throttle: health.throttle_level,
            queue_depth: health.queue_depth,
            tokens_per_second: health
                .ewma_tokens_per_second
                .filter(|speed| speed.is_finite() && *speed >= 0.0),
        };
    }
}

/// An exponentially weighted average; the first measurement counts alone.
pub(super) fn average(old: Option<f64>, new: f64) -> f64 {
    old.map_or(new, |old| old + bounds::SPEED_WEIGHT * (new - old))
}

fn short_name(name: &str) -> String {
    let clean = name.chars().filter(|c| !c.is_control());
    let mut out = String::new();
    for c in clean {
        if out.len() + c.len_utf8() > limits::DISPLAY_NAME {
            break;
        }
        out.push(c);
    }
    out
}

/// All peers.
#[derive(Debug, Default)]
pub(super) struct Roster(BTreeMap<NodeId, Peer>);

impl Roster {
    pub(super) fn get(&self, peer: NodeId) -> Option<&Peer> {
        self.0.get(&peer)
    }

    pub(super) fn get_mut(&mut self, peer: NodeId) -> Option<&mut Peer> {
        self.0.get_mut(&peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &Peer)> {
        self.0.iter().map(|(id, peer)| (*id, peer))
    }

    /// The peer, remembered from now on. Room is made where `is_linked` says that nothing is lost.
    pub(super) fn entry(
        &mut self,
        id: NodeId,
        now: Duration,
        is_linked: impl Fn(NodeId) -> bool,
    ) -> &mut Peer {
        if !self.0.contains_key(&id) && self.0.len() >= bounds::PEERS {
            let idle =
                self.0.iter().filter(|(id, peer)| !peer.opening && peer.in_flight == 0 && !is_linked(**id));
            let oldest = idle.min_by_key(|(_, peer)| peer.seen_at).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.0.remove(&oldest);
            }
        }
        let peer = self.0.entry(id).or_default();
        peer.seen_at = now;
        peer
    }

    /// A carrier's word on a peer; a peer with a link knows better which models it has. Only relays say what a peer
    /// can do. True when it is new.
    pub(super) fn discovered(
        &mut self,
        record: &PeerRecord,
        path: LinkPath,
        now: Duration,
        is_linked: impl Fn(NodeId) -> bool,
    ) -> bool {
        let is_new = !self.0.contains_key(&record.node_id);
        let linked = is_linked(record.node_id);
        let peer = self.entry(record.node_id, now, is_linked);
        peer.paths.insert(path, now);
        peer.has_key |= record.wg_public_key.is_some();
        if path == LinkPath::Relay || is_new {
            peer.name = short_name(&record.display_name);
            peer.available = record.capabilities.is_available || path != LinkPath::Relay;
        }
        if path == LinkPath::Relay {
            peer.slots = record.capabilities.max_concurrent_requests;
        }
        if !linked && (path == LinkPath::Relay || !record.capabilities.loaded_models.is_empty()) {
            peer.set_models(&record.capabilities.loaded_models);
            peer.condition = Condition::default();
        }
        is_new
    }

    /// Forgets peers nobody names any more.
    pub(super) fn expire(&mut self, now: Duration, is_linked: impl Fn(NodeId) -> bool) {
        self.0.retain(|id, peer| {
            peer.opening
                || peer.in_flight > 0
                || peer.paths.keys().any(|path| *path < LinkPath::Relay)
                || now.saturating_sub(peer.seen_at) < bounds::PEER_TTL
                || is_linked(*id)
        });
    }
}
