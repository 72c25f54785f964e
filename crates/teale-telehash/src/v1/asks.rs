//! Questions that wait for an answer. v1 answers do not say what they answer: a `.see` is taken for the answer to the
//! oldest question to its sender.

use std::{collections::BTreeMap, time::Duration};

use teale_wire::telehash::{End, Ipp};

use super::bounds::{ASK_KEPT, ASKS};

/// What a question is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// One of our dials.
    Dial(u64),
    /// The learning of our address.
    Seed,
    /// A switch we were told of.
    Contact,
    /// A line that is kept.
    Ping,
}

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) purpose: For,
    /// Which end was asked for.
    pub(super) end: End,
    at: Duration,
    /// It was asked once more already.
    again: bool,
}

/// All of them, the oldest of each peer first.
#[derive(Debug, Default)]
pub(super) struct Asks {
    asks: BTreeMap<Ipp, Vec<Ask>>,
    len: usize,
}

impl Asks {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A question was sent; one that was sent before and is sent again is still one.
    pub(super) fn insert(&mut self, now: Duration, to: Ipp, end: End, purpose: For) {
        let same = |ask: &&mut Ask| ask.purpose == purpose && ask.end == end;
        if let Some(ask) = self.asks.get_mut(&to).and_then(|asks| asks.iter_mut().find(same)) {
            ask.again &= now < ask.at + ASK_KEPT;
            ask.at = now;
            return;
        }
        if self.len >= ASKS {
            self.expire(now);
        }
        // What is still too much goes unnoticed: its answer is then a `.see` that nobody asked for.
        if self.len < ASKS {
            self.len += 1;
            self.asks.entry(to).or_default().push(Ask { purpose, end, at: now, again: false });
        }
    }

    /// Whether a question to this peer is open.
    pub(super) fn waits(&self, now: Duration, from: Ipp) -> bool {
        self.asks.get(&from).is_some_and(|asks| asks.iter().any(|ask| now < ask.at + ASK_KEPT))
    }

    /// Makes the open question about a contact's neighbourhood one of a dial to the same end; false if there is none.
    pub(super) fn claim(&mut self, now: Duration, to: Ipp, end: End, dial: u64) -> bool {
        let open = |ask: &&mut Ask| ask.purpose == For::Contact && ask.end == end && now < ask.at + ASK_KEPT;
        let Some(ask) = self.asks.get_mut(&to).and_then(|asks| asks.iter_mut().find(open)) else {
            return false;
        };
        ask.purpose = For::Dial(dial);
        true
    }

    /// A `.see` came: the question it answers.
    pub(super) fn answered(&mut self, now: Duration, from: Ipp) -> Option<Ask> {
        let asks = self.asks.get_mut(&from)?;
        let before = asks.len();
        asks.retain(|ask| now < ask.at + ASK_KEPT);
        let answered = (!asks.is_empty()).then(|| asks.remove(0));
        self.len -= before - asks.len();
        if asks.is_empty() {
            self.asks.remove(&from);
        }
        answered
    }

    /// A telex came that says nothing: a way to the peer is open now. The questions to ask once more, now and never again.
    pub(super) fn again(&mut self, now: Duration, from: Ipp) -> Vec<Ask> {
        let Some(asks) = self.asks.get_mut(&from) else { return Vec::new() };
        let mut again = Vec::new();
        for ask in asks.iter_mut().filter(|ask| !ask.again && now < ask.at + ASK_KEPT) {
            ask.again = true;
            ask.at = now;
            again.push(*ask);
        }
        again
    }

    /// Forgets those too old to be answered.
    pub(super) fn expire(&mut self, now: Duration) {
        self.asks.retain(|_, asks| {
            asks.retain(|ask| now < ask.at + ASK_KEPT);
            !asks.is_empty()
        });
        self.len = self.asks.values().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::end_of;

    fn ipp(n: u16) -> Ipp {
        Ipp::new(([10, 0, 0, 1], n).into()).unwrap()
    }

    #[test]
    fn answers_come_in_the_order_of_the_questions() {
        let mut asks = Asks::default();
        asks.insert(Duration::ZERO, ipp(1), end_of("a"), For::Dial(1));
        asks.insert(Duration::ZERO, ipp(1), end_of("b"), For::Ping);
        asks.insert(Duration::ZERO, ipp(1), end_of("a"), For::Dial(1));
        asks.insert(Duration::ZERO, ipp(2), end_of("c"), For::Dial(2));
        assert_eq!(asks.again(Duration::ZERO, ipp(1)).len(), 2);
        assert!(asks.again(Duration::ZERO, ipp(1)).is_empty(), "once");
        let purposes = [1, 1, 1, 2].map(|n| asks.answered(Duration::ZERO, ipp(n)).map(|ask| ask.purpose));
        assert_eq!(purposes, [Some(For::Dial(1)), Some(For::Ping), None, Some(For::Dial(2))]);
        assert!(asks.is_empty() && asks.asks.is_empty());
    }

    #[test]
    fn old_and_too_many_questions_are_forgotten() {
        let mut asks = Asks::default();
        for n in 1..=4000 {
            asks.insert(Duration::ZERO, ipp(n), end_of("a"), For::Contact);
        }
        assert_eq!(asks.len, ASKS);
        assert!(asks.waits(Duration::ZERO, ipp(1)) && !asks.waits(ASK_KEPT, ipp(1)));
        asks.insert(ASK_KEPT, ipp(1), end_of("b"), For::Contact);
        assert_eq!((asks.len, asks.asks.len()), (1, 1));
    }
}
