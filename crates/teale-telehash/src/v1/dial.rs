//! One dial: nearer and nearer to an end (Kademlia's node lookup).

use std::{collections::BTreeMap, time::Duration};

use teale_wire::telehash::{Distance, End, Ipp};

use super::bounds::{DIAL_ALPHA, DIAL_ANSWER_WITHIN, DIAL_CANDIDATES, DIAL_TRIES, DIAL_WITHIN, SEE};
use crate::end_of_switch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Asked(Duration),
    Answered,
    Silent,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    ipp: Ipp,
    /// Who told of it.
    via: Option<Ipp>,
    state: State,
    /// How often it was asked.
    tries: u8,
}

/// A dial under way.
#[derive(Debug)]
pub(super) struct Dial {
    end: End,
    started: Duration,
    /// It is done once so many of the nearest have answered.
    nearest: usize,
    candidates: BTreeMap<Distance, Candidate>,
    asked: usize,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask this switch, of which the second one told.
    Ask(Ipp, Option<Ipp>),
    /// Wait until then at most.
    Wait(Duration),
    /// It is done.
    Done,
}

impl Dial {
    pub(super) fn new(now: Duration, end: End, nearest: usize) -> Self {
        Self { end, started: now, nearest, candidates: BTreeMap::new(), asked: 0 }
    }

    pub(super) fn end(&self) -> End {
        self.end
    }

    /// How many were asked.
    pub(super) fn asked(&self) -> usize {
        self.asked
    }

    /// A switch that may be near.
    pub(super) fn offer(&mut self, ipp: Ipp, via: Option<Ipp>) {
        let distance = end_of_switch(ipp).distance(self.end);
        let full = self.candidates.len() >= DIAL_CANDIDATES;
        if full && self.candidates.last_key_value().is_some_and(|(last, _)| *last <= distance) {
            return;
        }
        self.candidates.entry(distance).or_insert(Candidate { ipp, via, state: State::New, tries: 0 });
        if self.candidates.len() > DIAL_CANDIDATES {
            self.candidates.pop_last();
        }
    }

    fn mark(&mut self, ipp: Ipp, state: State) {
        if let Some(candidate) = self.candidates.get_mut(&end_of_switch(ipp).distance(self.end)) {
            candidate.state = state;
        }
    }

    /// It has answered, in time or late.
    pub(super) fn answered(&mut self, ipp: Ipp) {
        self.mark(ipp, State::Answered);
    }

    /// It was asked once more.
    pub(super) fn asked_again(&mut self, now: Duration, ipp: Ipp) {
        self.mark(ipp, State::Asked(now));
    }

    /// It cannot be asked.
    pub(super) fn unreachable(&mut self, ipp: Ipp) {
        self.mark(ipp, State::Silent);
    }

    /// What to do now; after `Ask` the question counts as sent, and there may be more to do.
    pub(super) fn step(&mut self, now: Duration) -> Step {
        let end = self.started + DIAL_WITHIN;
        if now >= end {
            return Step::Done;
        }
        self.time_out(now);
        let waiting = || self.candidates.values().filter_map(|candidate| candidate.waits_until());
        let (in_flight, wake) = (waiting().count(), waiting().min().unwrap_or(end).min(end));
        let hopeful = self.candidates.values_mut().filter(|candidate| candidate.state != State::Silent);
        let mut nearest = hopeful.take(self.nearest).peekable();
        if nearest.peek().is_none() {
            return Step::Done;
        }
        let mut all_answered = true;
        for candidate in nearest {
            if candidate.state == State::New && in_flight < DIAL_ALPHA {
                candidate.state = State::Asked(now);
                self.asked += usize::from(candidate.tries == 0);
                candidate.tries += 1;
                return Step::Ask(candidate.ipp, candidate.via);
            }
            all_answered &= candidate.state == State::Answered;
        }
        if all_answered { Step::Done } else { Step::Wait(wake) }
    }

    fn time_out(&mut self, now: Duration) {
        for candidate in self.candidates.values_mut() {
            if candidate.waits_until().is_some_and(|until| until <= now) {
                candidate.state = if candidate.tries < DIAL_TRIES { State::New } else { State::Silent };
            }
        }
    }

    /// The nearest that answered, the nearest first.
    pub(super) fn closest(&self) -> Vec<Ipp> {
        let answered = self.candidates.values().filter(|candidate| candidate.state == State::Answered);
        answered.map(|candidate| candidate.ipp).take(SEE).collect()
    }
}

impl Candidate {
    fn waits_until(&self) -> Option<Duration> {
        match self.state {
            State::Asked(at) => Some(at + DIAL_ANSWER_WITHIN),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{end_of, v1::bounds::DIAL_NEAREST};

    fn ipp(n: u16) -> Ipp {
        Ipp::new(([10, 0, 0, 1], n + 1).into()).unwrap()
    }

    fn asks(dial: &mut Dial, now: Duration) -> Vec<Ipp> {
        std::iter::from_fn(|| match dial.step(now) {
            Step::Ask(ipp, _) => Some(ipp),
            _ => None,
        })
        .collect()
    }

    /// Everybody knows everybody: the nearest three are asked last, and found.
    #[test]
    fn it_ends_at_the_nearest() {
        let end = end_of("target");
        let mut all: Vec<Ipp> = (0..300).map(ipp).collect();
        all.sort_by_key(|ipp| end_of_switch(*ipp).distance(end));
        let mut dial = Dial::new(Duration::ZERO, end, DIAL_NEAREST);
        dial.offer(all[299], None);
        loop {
            let asked = asks(&mut dial, Duration::ZERO);
            assert!(asked.len() <= DIAL_ALPHA);
            if asked.is_empty() {
                break;
            }
            for ipp in asked {
                let at = all.iter().position(|other| *other == ipp).unwrap();
                for seen in all.iter().take(at).skip(at.saturating_sub(40)).take(SEE) {
                    dial.offer(*seen, Some(ipp));
                }
                dial.answered(ipp);
            }
        }
        assert_eq!(dial.step(Duration::ZERO), Step::Done);
        assert_eq!(dial.closest()[..DIAL_NEAREST], all[..DIAL_NEAREST]);
    }

    #[test]
    fn the_silent_are_given_up_after_three_questions() {
        let mut dial = Dial::new(Duration::ZERO, end_of("target"), DIAL_NEAREST);
        for n in 0..4 {
            dial.offer(ipp(n), None);
        }
        assert_eq!(asks(&mut dial, Duration::ZERO).len(), 3);
        assert_eq!(dial.step(Duration::ZERO), Step::Wait(DIAL_ANSWER_WITHIN));
        assert_eq!(asks(&mut dial, DIAL_ANSWER_WITHIN).len(), 3);
        assert_eq!(asks(&mut dial, DIAL_ANSWER_WITHIN * 2).len(), 3);
        for n in 3..6 {
            assert_eq!(asks(&mut dial, DIAL_ANSWER_WITHIN * n).len(), 1);
        }
        assert_eq!(dial.step(DIAL_ANSWER_WITHIN * 6), Step::Done);
        assert!(dial.closest().is_empty());
        assert_eq!(dial.asked(), 4);
    }

    #[test]
    fn it_ends_after_ten_seconds() {
        let mut dial = Dial::new(Duration::ZERO, end_of("target"), DIAL_NEAREST);
        for n in 0..1000 {
            dial.offer(ipp(n), None);
        }
        assert_eq!(dial.candidates.len(), DIAL_CANDIDATES);
        let mut now = Duration::ZERO;
        while let step = dial.step(now)
            && step != Step::Done
        {
            if let Step::Wait(until) = step {
                assert!(until > now);
                now = until;
            }
        }
        assert_eq!(now, DIAL_WITHIN);
    }

    #[test]
    fn nobody_to_ask_is_done_at_once() {
        assert_eq!(
            Dial::new(Duration::ZERO, end_of("target"), DIAL_NEAREST).step(Duration::ZERO),
            Step::Done
        );
    }
}
