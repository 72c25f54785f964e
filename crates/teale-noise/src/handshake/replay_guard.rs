//! Which message-1 timestamps were accepted, per static key.

use std::collections::{BTreeMap, HashMap};

use teale_identity::X25519Public;

use crate::clock::{Now, Timestamp};

/// Refuses a first message whose timestamp is not newer than the last one accepted from the same static key.
///
/// It remembers a bounded number of keys. To make room it forgets the key that was accepted longest ago, and from
/// then on takes a key it does not know only with a timestamp after that acceptance (by its own wall clock, or after
/// the forgotten timestamp where that is earlier). So a recorded message stays refused after its key was forgotten,
/// except when its sender's clock was ahead of ours. A stranger who floods the guard with keys can at worst keep out
/// nodes that are unknown here and whose clocks are behind by more than the time the flood took; no timestamp a
/// stranger chooses moves the limit into the future.
///
/// The guard lives in memory: after a restart one recorded message per key passes. Passing wins little, since
/// whoever replays it can neither read the answer nor seal a packet. Clocks are never compared with each other, so
/// nodes with wrong clocks can talk.
#[derive(Debug)]
pub struct ReplayGuard {
    capacity: usize,
    /// The last acceptance of each key.
    accepted: HashMap<X25519Public, Accepted>,
    /// Its keys by the order of acceptance.
    order: BTreeMap<u64, X25519Public>,
    /// The number of the next acceptance.
    next: u64,
    /// A key that is not in `accepted` needs a later timestamp.
    floor: Option<Timestamp>,
}

#[derive(Debug)]
struct Accepted {
    timestamp: Timestamp,
    at: Timestamp,
    number: u64,
}

impl ReplayGuard {
    /// How many static keys are remembered by default: about 2 MiB.
    pub const DEFAULT_CAPACITY: usize = 16_384;

    /// Remembers at most `capacity` static keys, but at least one.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            accepted: HashMap::new(),
            order: BTreeMap::new(),
            next: 0,
            floor: None,
        }
    }

    /// Whether a message from `key` with this timestamp is new.
    pub(super) fn is_new(&self, key: &X25519Public, timestamp: Timestamp) -> bool {
        let last = self.accepted.get(key).map(|accepted| accepted.timestamp);
        last.or(self.floor).is_none_or(|last| timestamp > last)
    }

    /// Remembers that it was accepted.
    pub(super) fn record(&mut self, key: X25519Public, timestamp: Timestamp, now: Now) {
        let accepted = Accepted { timestamp, at: now.unix.into(), number: self.next };
        self.order.insert(self.next, key);
        self.next += 1;
        if let Some(before) = self.accepted.insert(key, accepted) {
            self.order.remove(&before.number);
        }
        while self.accepted.len() > self.capacity {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, key)) = self.order.pop_first() else { return };
        if let Some(oldest) = self.accepted.remove(&key) {
            let limit = oldest.timestamp.min(oldest.at);
            self.floor = Some(self.floor.map_or(limit, |floor| floor.max(limit)));
        }
    }
}

impl Default for ReplayGuard {
    fn default() -> Self {
        Self::new(Self::DEFAULT_CAPACITY)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Duration::from_secs(seconds).into()
    }

    fn now(seconds: u64) -> Now {
        Now { unix: Duration::from_secs(seconds), monotonic: Duration::ZERO }
    }

    const A: X25519Public = X25519Public([1; 32]);
    const B: X25519Public = X25519Public([2; 32]);
    const C: X25519Public = X25519Public([3; 32]);

    #[test]
    fn a_timestamp_must_be_newer_than_the_last_of_its_key() {
        let mut guard = ReplayGuard::new(2);
        assert!(guard.is_new(&A, Timestamp::ZERO));
        guard.record(A, at(100), now(100));
        assert!(!guard.is_new(&A, at(99)));
        assert!(!guard.is_new(&A, at(100)));
        assert!(guard.is_new(&A, Duration::new(100, 1).into()));
        assert!(guard.is_new(&B, at(1)), "another key has its own clock");
    }

    #[test]
    fn a_forgotten_key_stays_refused_up_to_its_last_acceptance() {
        let mut guard = ReplayGuard::new(2);
        guard.record(A, at(100), now(101));
        guard.record(B, at(110), now(110));
        guard.record(A, at(120), now(120));
        guard.record(C, at(130), now(130));
        assert_eq!(guard.accepted.len(), 2, "B was accepted longest ago and made room");
        assert_eq!(guard.order.len(), 2);
        assert!(!guard.is_new(&B, at(110)));
        assert!(guard.is_new(&B, at(111)));
        assert!(!guard.is_new(&A, at(120)), "A is still known");
    }

    #[test]
    fn a_clock_ahead_does_not_lock_others_out() {
        let mut guard = ReplayGuard::new(1);
        guard.record(A, at(1_000_000), now(100));
        guard.record(B, at(101), now(101));
        assert!(guard.is_new(&C, at(102)), "the floor is our own clock's, not A's");
        assert!(!guard.is_new(&C, at(100)));
    }

    #[test]
    fn the_guard_is_bounded() {
        let mut guard = ReplayGuard::new(0);
        for number in 0..100_u8 {
            guard.record(X25519Public([number; 32]), at(u64::from(number)), now(u64::from(number)));
        }
        assert_eq!((guard.accepted.len(), guard.order.len()), (1, 1));
    }
}
