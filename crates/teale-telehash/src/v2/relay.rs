//! `send`: relayed to whoever listens to its hash, and answered with switches that are closer.

use std::time::Duration;

use serde_json::value::RawValue;
use teale_wire::telehash::{End, Ipp, Packet};

use super::{Switch, bounds, ports::SessionId};
use crate::{hash::end_of_switch, scope::Party};

impl Switch {
    /// A `send` came. One that was relayed because this switch listens there is for this switch alone; any other one is
    /// looked at in full, whatever `source` it claims.
    pub(super) fn sent(
        &mut self,
        now: Duration,
        from: Ipp,
        session: Option<SessionId>,
        end: End,
        packet: &Packet,
    ) {
        let listens = session.and_then(|id| self.sessions.get(id)).is_some_and(|s| s.listens.contains(&end));
        if let (true, Some(source)) = (listens, packet.source) {
            self.heard(now, end, source, session, packet);
            return;
        }
        self.heard(now, end, from, None, packet);
        // In a session nothing is acted on twice; outside, the sender may have asked again for want of an answer.
        if session.is_some() || self.relayed.is_news(now, from, end, packet.tid.as_deref()) {
            self.relay(now, (from, session.is_some()), end, packet.tid.clone(), packet.bind.clone(), packet);
        }
        self.tell_closer(now, from, session, end, packet.tid.clone());
    }

    /// Copies a `send` into every session that listens to its hash, the sender's own included.
    pub(super) fn relay(
        &mut self,
        now: Duration,
        (source, proven): (Ipp, bool),
        end: End,
        tid: Option<String>,
        bind: Option<Box<RawValue>>,
        packet: &Packet,
    ) {
        for id in self.sessions.listening(end) {
            let copy = Packet {
                send: Some(end),
                tid: tid.clone(),
                bind: bind.clone(),
                source: Some(source),
                body: packet.body.clone(),
                ..Packet::default()
            };
            // What relaying adds, and the session's own keys, must fit beside it.
            let fits = copy.room().is_ok_and(|room| room >= bounds::SESSION_KEYS);
            let room = |session: &super::session::Session| session.backlog.has_room_for_relayed();
            let relays = if proven { &mut self.relays } else { &mut self.strangers_relays };
            let taken = fits
                && self.sessions.get(id).is_some_and(room)
                && relays.admit(now, Party::of(source))
                && self.sessions.get_mut(id).is_some_and(|session| session.backlog.push_relayed(copy));
            if taken {
                self.counters.relayed += 1;
            } else {
                self.counters.relays_dropped += 1;
            }
        }
    }

    /// Names the switches that are closer to the hash than this one, if there are any.
    fn tell_closer(
        &mut self,
        now: Duration,
        to: Ipp,
        session: Option<SessionId>,
        end: End,
        tid: Option<String>,
    ) {
        let Some(own) = self.own else { return };
        let own_distance = end_of_switch(own).distance(end);
        let closer = self.sessions.nearest_hosts(end, bounds::SEE, |session| {
            session.end.distance(end) < own_distance && session.peer.is_v4() == to.is_v4()
        });
        if closer.is_empty() {
            return;
        }
        let packet = Packet { see: Some(closer), tid, ..Packet::default() };
        match session {
            Some(id) => self.queue(id, packet),
            None if self.see_answers.admit(now, Party::of(to)) => _ = self.send_packet(to, packet),
            None => self.counters.sees_withheld += 1,
        }
    }
}
