//! How often something may be done for those who ask: in all, and for each of them.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::scope::Party;

/// So many at once, and then so many per second.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Duration,
}

impl Bucket {
    /// Whether there is one left now.
    fn fill(&mut self, now: Duration, burst: u32, per_second: u32) -> bool {
        let gained = now.saturating_sub(self.at).as_secs_f64() * f64::from(per_second);
        self.left = (self.left + gained).min(f64::from(burst));
        self.at = now;
        self.left >= 1.0
    }
}

/// A rate for all together.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: u32,
    bucket: Bucket,
}

impl Rate {
    pub(crate) fn new(now: Duration, per_second: u32) -> Self {
        Self { per_second, bucket: Bucket { left: f64::from(per_second), at: now } }
    }

    /// Whether it could be done once more.
    pub(crate) fn has_room(&mut self, now: Duration) -> bool {
        self.bucket.fill(now, self.per_second, self.per_second)
    }

    /// Whether it may be done once more; then it counts.
    pub(crate) fn admit(&mut self, now: Duration) -> bool {
        let admitted = self.has_room(now);
        if admitted {
            self.bucket.left -= 1.0;
        }
        admitted
    }
}

/// A rate for all together and one for each party.
#[derive(Debug)]
pub(crate) struct Rates {
    all: Rate,
    burst: u32,
    per_second: u32,
    /// Parties remembered: twice as many as can have used some of their share and not have it back.
    most: usize,
    parties: BTreeMap<Party, Bucket>,
    order: VecDeque<Party>,
}

impl Rates {
    /// Each party may `burst` at once and then `per_second`, all together `all` per second.
    pub(crate) fn new(now: Duration, burst: u32, per_second: u32, all: u32) -> Self {
        Self {
            all: Rate::new(now, all),
            burst,
            per_second,
            most: 2 * all as usize * (burst.div_ceil(per_second) as usize + 1),
            parties: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Whether it may be done once more for this party; then it counts.
    pub(crate) fn admit(&mut self, now: Duration, party: Party) -> bool {
        // Nobody is remembered for what is refused to everybody: made-up addresses would drive out the real ones.
        if !self.all.has_room(now) {
            return false;
        }
        let (burst, per_second) = (self.burst, self.per_second);
        let bucket = self.bucket(now, party);
        let admitted = bucket.fill(now, burst, per_second);
        if admitted {
            bucket.left -= 1.0;
            self.all.admit(now);
        }
        admitted
    }

    /// Looks at the two that were not looked at for longest: one that may do as much as those nobody knows is forgotten.
    fn forget_full(&mut self, now: Duration) {
        for _ in 0..2 {
            let Some(oldest) = self.order.pop_front() else { return };
            let Some(bucket) = self.parties.get_mut(&oldest) else { continue };
            bucket.fill(now, self.burst, self.per_second);
            if bucket.left >= f64::from(self.burst) {
                self.parties.remove(&oldest);
            } else {
                self.order.push_back(oldest);
            }
        }
    }

    fn bucket(&mut self, now: Duration, party: Party) -> &mut Bucket {
        if !self.parties.contains_key(&party) {
            self.forget_full(now);
            if self.order.len() >= self.most
                && let Some(oldest) = self.order.pop_front()
            {
                self.parties.remove(&oldest);
            }
            self.order.push_back(party);
        }
        self.parties.entry(party).or_insert(Bucket { left: f64::from(self.burst), at: now })
    }
}

#[cfg(test)]
mod tests {
    use teale_wire::telehash::Ipp;

    use super::*;

    fn party(n: u32, port: u16) -> Party {
        Party::of(Ipp::new((n.to_be_bytes(), port).into()).unwrap())
    }

    #[test]
    fn a_burst_and_then_some_per_second() {
        let mut rates = Rates::new(Duration::ZERO, 3, 1, 100);
        let admitted = |rates: &mut Rates, millis| {
            (1..=10).filter(|port| rates.admit(Duration::from_millis(millis), party(1, *port))).count()
        };
        assert_eq!(admitted(&mut rates, 0), 3);
        assert_eq!(admitted(&mut rates, 2500), 2);
        assert_eq!(admitted(&mut rates, 60_000), 3);
    }

    #[test]
    fn all_together_are_bounded_and_so_is_the_memory() {
        let mut rates = Rates::new(Duration::ZERO, 3, 1, 100);
        assert_eq!((0..10_000).filter(|n| rates.admit(Duration::ZERO, party(*n, 7))).count(), 100);
        for seconds in 1..100 {
            let now = Duration::from_secs(seconds);
            (0..200).for_each(|n| _ = rates.admit(now, party(seconds as u32 * 1000 + n, 7)));
            assert!(rates.parties.len() <= 800 && rates.order.len() == rates.parties.len());
        }
        let before = rates.parties.len();
        (0..before as u32)
            .for_each(|n| _ = rates.admit(Duration::from_secs(1000 + u64::from(n)), party(n, 7)));
        assert!(rates.parties.len() <= 3, "{} of {before}", rates.parties.len());
    }

    #[test]
    fn a_flood_does_not_make_a_share_new() {
        let mut rates = Rates::new(Duration::ZERO, 64, 8, 1000);
        // Half of what all may have goes to ever new names, while one party wants more than its share.
        let mut admitted = 0;
        for millis in 0..60_000 {
            let now = Duration::from_millis(millis);
            rates.admit(now, party(1000 + millis as u32, 7));
            admitted += usize::from(rates.admit(now, party(1, 7)));
            assert!(rates.parties.len() <= rates.most);
        }
        assert!((64 + 8 * 59..=64 + 8 * 60).contains(&admitted), "{admitted}");
    }
}
