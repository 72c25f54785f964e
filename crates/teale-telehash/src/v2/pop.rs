//! Holes through NATs: `pop` asks a switch to send something, `popped` is what it sends.

use std::time::Duration;

use bytes::Bytes;
use teale_wire::telehash::{Ipp, Packet};

use super::{Switch, bounds, ports::SessionId};
use crate::{
    reflection::{Asker, GAP},
    scope::plausible,
};

impl Switch {
    /// The first packet to a switch has gone. The one that told of it is asked to make it open its NAT.
    pub(super) fn contact(&mut self, now: Duration, to: Ipp, via: Option<Ipp>, original: Bytes) {
        self.contacts.begin(now, to, original);
        let Some(via) = via.filter(|via| *via != to) else { return };
        let pop = Packet { pop: Some(to), ..Packet::default() };
        match self.sessions.open_with(via) {
            Some(id) => self.queue(id, pop),
            None => _ = self.send_packet(via, pop),
        }
    }

    /// Something came from a switch: if it is its first packet and it says `popped`, what we had sent goes again.
    pub(super) fn first_contact(&mut self, now: Duration, from: Ipp, popped: bool) {
        match self.contacts.heard(now, from) {
            Some(original) if popped => {
                self.counters.resent += 1;
                self.send(from, original);
            }
            None if popped => self.counters.ignored += 1,
            _ => {}
        }
    }

    /// A `pop`: for this switch, or to be relayed to one that was heard lately.
    pub(super) fn pop(
        &mut self,
        now: Duration,
        (from, asker): (Ipp, Asker),
        target: Ipp,
        source: Option<Ipp>,
    ) {
        if let Some(own) = self.own.filter(|own| *own == target) {
            self.pop_back(now, own, asker, source);
            return;
        }
        let heard = target != from && self.heard_lately(now, target);
        if !heard || self.reflection.admit(now, asker, target, self.own).is_err() {
            self.counters.pops_refused += 1;
            return;
        }
        self.counters.pops_relayed += 1;
        // Whatever source the sender gave: it is where the sender was seen.
        self.send_packet(target, Packet { pop: Some(target), source: Some(from), ..Packet::default() });
    }

    /// Whether a switch was heard within a minute. Who has a session cannot be crowded out by made-up addresses.
    fn heard_lately(&self, now: Duration, ipp: Ipp) -> bool {
        let in_session = self
            .sessions
            .with(ipp)
            .any(|(_, session)| session.is_open() && now < session.heard + bounds::IDLE);
        in_session || self.acquaintances.heard_within(now, bounds::IDLE, ipp)
    }

    fn pop_back(&mut self, now: Duration, own: Ipp, asker: Asker, source: Option<Ipp>) {
        let Some(source) = source.filter(|source| plausible(*source, Some(own))) else {
            self.counters.ignored += 1;
            return;
        };
        // Whoever is heard needs no way opened. Nor shall the one packet it may get be wasted: it may need a `pop` next.
        if self.acquaintances.heard_within(now, GAP, source) {
            self.counters.ignored += 1;
            return;
        }
        if self.reflection.admit(now, asker, source, Some(own)).is_err() {
            self.counters.pops_refused += 1;
            return;
        }
        self.counters.popped += 1;
        self.send_packet(source, Packet { popped: true, ..Packet::default() });
    }

    /// Puts a packet of our own into a session.
    pub(super) fn queue(&mut self, id: SessionId, packet: Packet) {
        let taken = self.sessions.get_mut(id).is_some_and(|session| session.backlog.push(packet));
        if !taken {
            self.counters.unsent += 1;
            tracing::debug!(limit = bounds::WAITING, "a session's packets wait too long to take another");
        }
    }
}
