//! Questions that wait for an answer. v1 answers do not say what they answer: a `.see` is taken for the answer to the
//! oldest question to its sender that it can be an answer to. Two questions to one switch are nothing rare (a switch just
//! heard of is asked for our own end, and by the dial that found it), and their answers may overtake each other.

use std::{collections::BTreeMap, time::Duration};

use teale_wire::telehash::{End, Ipp};

use super::bounds::{ASK_KEPT, ASKS};
use crate::end_of_switch;

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

    /// A `.see` with these switches came: the question it answers.
    pub(super) fn answered(&mut self, now: Duration, from: Ipp, see: &[Ipp]) -> Option<Ask> {
        let asks = self.asks.get_mut(&from)?;
        let before = asks.len();
        asks.retain(|ask| now < ask.at + ASK_KEPT);
        let fits = |ask: &Ask| can_answer(from, see, ask.end);
        let which = if asks.len() > 1 { asks.iter().position(fits).unwrap_or(0) } else { 0 };
        let answered = (which < asks.len()).then(|| asks.remove(which));
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

/// Whether these switches can be a switch's answer to a dial of this end: each is nearer to it than the switch is, or the
/// switch itself (the page's rule). Some implementations answer others; with them the order has to do.
fn can_answer(from: Ipp, see: &[Ipp], end: End) -> bool {
    let own = end_of_switch(from).distance(end);
    see.iter().all(|ipp| *ipp == from || end_of_switch(*ipp).distance(end) < own)
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
        let purposes =
            [1, 1, 1, 2].map(|n| asks.answered(Duration::ZERO, ipp(n), &[]).map(|ask| ask.purpose));
        assert_eq!(purposes, [Some(For::Dial(1)), Some(For::Ping), None, Some(For::Dial(2))]);
        assert!(asks.is_empty() && asks.asks.is_empty());
    }

    #[test]
    fn an_answer_finds_its_question_whichever_came_first() {
        let (from, near) = (ipp(1), ipp(2));
        let far = end_of_switch(near).far();
        for first in [end_of_switch(near), far] {
            let mut asks = Asks::default();
            for (n, end) in [first, first.far()].into_iter().enumerate() {
                asks.insert(Duration::ZERO, from, end, For::Dial(n as u64));
            }
            assert_eq!(asks.answered(Duration::ZERO, from, &[near]).unwrap().end, end_of_switch(near));
            assert_eq!(asks.answered(Duration::ZERO, from, &[from]).unwrap().end, far);
        }
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
