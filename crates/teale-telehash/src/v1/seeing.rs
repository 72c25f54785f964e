//! `.see`: who is told of whom. What we answer to a dial, and what we do with what we are told.

use std::time::Duration;

use teale_wire::telehash::{End, Ipp, Telex};

use super::{Level, Switch, asks::For, bounds};
use crate::{
    buckets::Entry,
    end_of_switch,
    reflection::Asker,
    scope::{Party, plausible},
};

impl Switch {
    /// Whether a switch may be told of: it has told of itself on a line, is alive, and keeps up with what it is sent.
    pub(super) fn listed(&self, now: Duration, ipp: Ipp) -> bool {
        self.peers.get(ipp).is_some_and(|peer| peer.visible && peer.healthy(now))
    }

    /// Answers a dial: the nearest switches that are nearer to the end than we are, or ourselves. The asker may be one of
    /// them, and so knows.
    pub(super) fn answer_dial(&mut self, now: Duration, from: Ipp, end: End, (proven, bytes): (bool, usize)) {
        if self.config.level != Level::Full {
            return;
        }
        // An answer is longer than the question, and only a line shows that somebody there has asked.
        if !proven && !self.see_answers.admit(now, Party::of(from)) {
            self.counters.dials_unanswered += 1;
            // Whoever is there has our ring then, and asks again on a line. It is never longer than the question.
            if bytes >= bounds::RING_TELEX && self.rings_told.admit(now) {
                _ = self.send(now, from, Telex::default());
            }
            return;
        }
        let see = self.nearer(now, from, end);
        if see.is_empty() {
            self.counters.dials_unanswered += 1;
            return;
        }
        if self.send(now, from, Telex { see: Some(see), ..Telex::default() }).is_ok() {
            self.counters.dials_answered += 1;
        }
    }

    fn nearer(&mut self, now: Duration, from: Ipp, end: End) -> Vec<Ipp> {
        let Some(own) = self.own else { return Vec::new() };
        if self.config.dampen_popular && self.popular.count(now, end) {
            return vec![own.ipp];
        }
        let ours = own.end.distance(end);
        let listed = |entry: &Entry| entry.end.distance(end) < ours && self.listed(now, entry.ipp);
        let mut see: Vec<Ipp> =
            self.buckets.nearest(end, bounds::SEE, listed).iter().map(|entry| entry.ipp).collect();
        if see.is_empty() || self.hint(from) {
            see.push(own.ipp);
        }
        see
    }

    /// Whether a peer gets our address though others are nearer, once.
    fn hint(&mut self, to: Ipp) -> bool {
        let Some(peer) = self.peers.get_mut(to).filter(|_| self.config.hint_self) else { return false };
        !std::mem::replace(&mut peer.hinted, true)
    }

    /// Others tell of switches. On a line only; an announcer has none and takes answers to what it asked.
    pub(super) fn command_see(
        &mut self,
        now: Duration,
        from: Ipp,
        see: Vec<Ipp>,
        (to, answer): (Option<Ipp>, bool),
        proven: bool,
    ) {
        let announcer = self.config.level == Level::Announcer;
        let asked = announcer && self.asks.waits(now, from);
        if !(proven || asked) {
            self.counters.see_refused += 1;
            return;
        }
        if answer {
            self.seed_answered(now, from, to);
        }
        let answered = if answer { self.asks.answered(now, from, &see) } else { None };
        let dial = match answered.map(|ask| ask.purpose) {
            Some(For::Dial(id)) => Some(id),
            Some(For::Ping) => {
                self.told_enough(from);
                None
            }
            _ => None,
        };
        if let Some(id) = dial {
            self.dials.answered(id, from);
        }
        for ipp in see.into_iter().take(bounds::SEE_TAKEN) {
            self.told_of(now, from, ipp, dial);
        }
        if let Some(id) = dial {
            self.run_dial(now, id);
        }
    }

    /// A peer answers what told it of us: it need not be told again.
    fn told_enough(&mut self, peer: Ipp) {
        if let Some(peer) = self.peers.get_mut(peer).filter(|peer| peer.told_self > 0) {
            peer.told_self = bounds::TELL_SELF;
        }
    }

    fn told_of(&mut self, now: Duration, from: Ipp, ipp: Ipp, dial: Option<u64>) {
        if Some(ipp) == self.own() {
            return;
        }
        if ipp == from {
            return self.told_of_itself(now, from);
        }
        if !plausible(ipp, self.own()) {
            self.counters.see_skipped += 1;
            return;
        }
        self.contact(now, ipp, from);
        if let Some(id) = dial {
            self.dials.offer(id, ipp, from);
        }
    }

    fn told_of_itself(&mut self, now: Duration, peer: Ipp) {
        if let Some(known) = self.peers.get_mut(peer).filter(|peer| peer.handshake.confirmed()) {
            known.visible = true;
            self.place(now, peer);
        }
    }

    /// Dials a switch that nobody here knows, and has the one who told of it open the way.
    fn contact(&mut self, now: Duration, ipp: Ipp, via: Ipp) {
        let Some(own) = self.own else { return };
        let end = end_of_switch(ipp);
        if self.config.level == Level::Announcer || self.peers.contains(ipp) || !self.buckets.wants(end) {
            return;
        }
        if self.contacts.admit(now, Asker::Proven(via), ipp, Some(own.ipp)).is_err() {
            self.counters.contacts_refused += 1;
            return;
        }
        self.ask(now, ipp, own.end, For::Contact);
        self.ask_to_pop(now, via, end);
    }
}
