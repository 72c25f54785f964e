//! How often something may be done for those who ask: in all, and for each of them.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use teale_wire::telehash::Ipp;

use super::bounds;

/// So many at once, and then so many per second.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Duration,
}

impl Bucket {
    fn take(&mut self, now: Duration, burst: u32, per_second: u32) -> bool {
        let gained = now.saturating_sub(self.at).as_secs_f64() * f64::from(per_second);
        self.left = (self.left + gained).min(f64::from(burst));
        self.at = now;
        let some = self.left >= 1.0;
        if some {
            self.left -= 1.0;
        }
        some
    }
}

/// A rate for all together.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: u32,
    bucket: Bucket,
}

impl Rate {
    pub(super) fn new(now: Duration, per_second: u32) -> Self {
        Self { per_second, bucket: Bucket { left: f64::from(per_second), at: now } }
    }

    /// Whether it may be done once more.
    pub(super) fn admit(&mut self, now: Duration) -> bool {
        self.bucket.take(now, self.per_second, self.per_second)
    }
}

/// A rate for all together and one for each target.
#[derive(Debug)]
pub(super) struct Rates {
    all: Rate,
    burst: u32,
    per_second: u32,
    targets: BTreeMap<Ipp, Bucket>,
    order: VecDeque<Ipp>,
}

impl Rates {
    pub(super) fn new(now: Duration, burst: u32, per_second: u32, all: u32) -> Self {
        Self { all: Rate::new(now, all), burst, per_second, targets: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Whether it may be done once more for this target.
    pub(super) fn admit(&mut self, now: Duration, target: Ipp) -> bool {
        let (burst, per_second) = (self.burst, self.per_second);
        if !self.targets.contains_key(&target) {
            if self.order.len() >= bounds::RATED_TARGETS
                && let Some(oldest) = self.order.pop_front()
            {
                self.targets.remove(&oldest);
            }
            self.order.push_back(target);
            self.targets.insert(target, Bucket { left: f64::from(burst), at: now });
        }
        let admitted =
            self.targets.get_mut(&target).is_some_and(|bucket| bucket.take(now, burst, per_second));
        admitted && self.all.admit(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipp(n: u32) -> Ipp {
        Ipp::new((n.to_be_bytes(), 7).into()).unwrap()
    }

    #[test]
    fn a_burst_and_then_some_per_second() {
        let mut rates = Rates::new(Duration::ZERO, 3, 1, 100);
        let admitted = |rates: &mut Rates, millis| {
            (0..10).filter(|_| rates.admit(Duration::from_millis(millis), ipp(1))).count()
        };
        assert_eq!(admitted(&mut rates, 0), 3);
        assert_eq!(admitted(&mut rates, 2500), 2);
        assert_eq!(admitted(&mut rates, 60_000), 3);
    }

    #[test]
    fn all_targets_together_are_bounded_and_so_is_the_memory() {
        let mut rates = Rates::new(Duration::ZERO, 3, 1, 100);
        assert_eq!((0..10_000).filter(|n| rates.admit(Duration::ZERO, ipp(*n))).count(), 100);
        assert!(rates.targets.len() <= bounds::RATED_TARGETS && rates.order.len() <= bounds::RATED_TARGETS);
    }
}
