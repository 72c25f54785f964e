//! One walk through the DHT to a hash: who is asked next, and when nobody is closer any more.

use std::{collections::BTreeMap, time::Duration};

use teale_wire::telehash::{Distance, End, Ipp};

use super::bounds;
use crate::hash::end_of_switch;

/// How far it has come with one switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Fresh,
    Asked { at: Duration, again: bool },
    Answered,
    Silent,
}

#[derive(Debug)]
struct Candidate {
    ipp: Ipp,
    /// The switch that told of it.
    via: Option<Ipp>,
    step: Step,
}

/// A switch to ask now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) to: Ipp,
    /// The switch that told of it, which gets the `pop`.
    pub(super) via: Option<Ipp>,
    /// Whether it was asked before and may not have heard.
    pub(super) again: bool,
}

/// A walk: the closest are asked, until those who are know nobody closer.
#[derive(Debug)]
pub(super) struct Walk {
    target: End,
    /// How many of the closest are asked.
    width: usize,
    candidates: BTreeMap<Distance, Candidate>,
    began: Duration,
    asks: usize,
}

impl Walk {
    pub(super) fn new(now: Duration, target: End, width: usize) -> Self {
        Self { target, width, candidates: BTreeMap::new(), began: now, asks: 0 }
    }

    /// There is this switch; `via` told of it.
    pub(super) fn tell(&mut self, ipp: Ipp, via: Option<Ipp>) {
        let distance = end_of_switch(ipp).distance(self.target);
        self.candidates.entry(distance).or_insert(Candidate { ipp, via, step: Step::Fresh });
        if self.candidates.len() > bounds::WALK_CANDIDATES {
            self.candidates.pop_last();
        }
    }

    /// A switch named others. Only the three closest of them count; false if it was not asked.
    pub(super) fn saw(&mut self, from: Ipp, see: impl IntoIterator<Item = Ipp>) -> bool {
        let distance = end_of_switch(from).distance(self.target);
        let Some(candidate) = self.candidates.get_mut(&distance) else { return false };
        if !matches!(candidate.step, Step::Asked { .. } | Step::Silent) {
            return false;
        }
        candidate.step = Step::Answered;
        let closest: BTreeMap<_, _> =
            see.into_iter().map(|ipp| (end_of_switch(ipp).distance(self.target), ipp)).collect();
        for ipp in closest.into_values().take(bounds::ASKED) {
            self.tell(ipp, Some(from));
        }
        true
    }

    /// Whom to ask now.
    pub(super) fn step(&mut self, now: Duration) -> Vec<Ask> {
        for candidate in self.candidates.values_mut() {
            if matches!(candidate.step, Step::Asked { at, .. } if now >= at + bounds::ASK_WITHIN) {
                candidate.step = Step::Silent;
            }
        }
        let mut asks = Vec::new();
        // Those who do not answer make room for the next: a few dead addresses near the target must not end the walk.
        let speaking = self.candidates.values_mut().filter(|candidate| candidate.step != Step::Silent);
        for candidate in speaking.take(self.width) {
            match candidate.step {
                Step::Asked { at, again: false } if now >= at + bounds::ASK_AGAIN => {
                    candidate.step = Step::Asked { at, again: true };
                    asks.push(Ask { to: candidate.ipp, via: candidate.via, again: true });
                }
                Step::Fresh if self.asks < bounds::WALK_ASKS => {
                    self.asks += 1;
                    candidate.step = Step::Asked { at: now, again: false };
                    asks.push(Ask { to: candidate.ipp, via: candidate.via, again: false });
                }
                _ => {}
            }
        }
        asks
    }

    /// Whether the closest have answered or fallen silent.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        let done = |step| match step {
            Step::Answered | Step::Silent => true,
            Step::Fresh => self.asks >= bounds::WALK_ASKS,
            Step::Asked { .. } => false,
        };
        now >= self.began + bounds::WALK_WITHIN || self.speaking().all(|candidate| done(candidate.step))
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Duration {
        let next = self.speaking().filter_map(|candidate| match candidate.step {
            Step::Asked { at, again: false } => Some(at + bounds::ASK_AGAIN),
            Step::Asked { at, again: true } => Some(at + bounds::ASK_WITHIN),
            _ => None,
        });
        next.fold(self.began + bounds::WALK_WITHIN, Duration::min)
    }

    /// The closest that are not known to be silent.
    fn speaking(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.values().filter(|candidate| candidate.step != Step::Silent).take(self.width)
    }

    /// Everybody met, nearest first, with who told of it.
    pub(super) fn closest(&self) -> impl Iterator<Item = (Ipp, Option<Ipp>)> {
        self.candidates.values().map(|candidate| (candidate.ipp, candidate.via))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::end_of;

    fn by_distance(target: End) -> Vec<Ipp> {
        let mut all: Vec<Ipp> = (1..=40).map(|n| Ipp::new(([10, 0, 0, n], 7).into()).unwrap()).collect();
        all.sort_by_key(|ipp| end_of_switch(*ipp).distance(target));
        all
    }

    #[test]
    fn s45_the_three_closest_of_a_see_are_asked() {
        let target = end_of("x");
        let near = by_distance(target);
        let mut walk = Walk::new(Duration::ZERO, target, bounds::ASKED);
        walk.tell(near[30], None);
        assert_eq!(walk.step(Duration::ZERO), [Ask { to: near[30], via: None, again: false }]);
        assert!(!walk.saw(near[0], []), "nobody asked that one");
        assert!(walk.saw(near[30], [near[9], near[5], near[7], near[8], near[6]]));
        let asked: Vec<Ipp> = walk.step(Duration::ZERO).iter().map(|ask| ask.to).collect();
        assert_eq!(asked, near[5..8]);
        assert!(!walk.is_over(Duration::ZERO));
    }

    #[test]
    fn it_ends_when_the_closest_are_silent() {
        let target = end_of("x");
        let near = by_distance(target);
        let mut walk = Walk::new(Duration::ZERO, target, bounds::ASKED);
        walk.tell(near[3], None);
        walk.step(Duration::ZERO);
        let again = walk.step(walk.deadline());
        assert_eq!(again, [Ask { to: near[3], via: None, again: true }]);
        assert!(!walk.is_over(walk.deadline()));
        assert_eq!(walk.deadline(), bounds::ASK_WITHIN);
        assert_eq!(walk.step(bounds::ASK_WITHIN), []);
        assert!(walk.is_over(bounds::ASK_WITHIN));
        assert!(Walk::new(Duration::ZERO, target, bounds::ASKED).is_over(Duration::ZERO), "nobody to ask");
    }

    #[test]
    fn liars_cannot_make_it_endless() {
        let target = end_of("x");
        let near = by_distance(target);
        let mut walk = Walk::new(Duration::ZERO, target, bounds::ASKED);
        walk.tell(near[39], None);
        let mut asked = 0;
        for round in 0..1000_u32 {
            let asks = walk.step(Duration::ZERO);
            asked += asks.len();
            for ask in asks {
                let see = (0..100).map(|n| {
                    Ipp::new(([11, round.to_be_bytes()[2], round.to_be_bytes()[3], n], 7).into()).unwrap()
                });
                walk.saw(ask.to, see);
            }
        }
        assert!(asked <= bounds::WALK_ASKS && walk.candidates.len() <= bounds::WALK_CANDIDATES);
        assert!(walk.is_over(bounds::WALK_WITHIN));
    }
}
