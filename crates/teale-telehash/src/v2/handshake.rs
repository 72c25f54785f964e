//! Sessions' beginnings: `start`, its answer, and starts that cross. And their ends.

use std::time::Duration;

use serde_json::value::RawValue;
use teale_wire::telehash::{Ipp, Packet};

use super::{
    Switch, bounds,
    channel::Channel,
    ports::{CloseReason, Event, RequestFailure, SessionId},
    session::{Offer, Session},
    starts,
};
use crate::{
    hash::end_of_switch,
    reflection::{Asker, is_one_host},
    scope::{Party, plausible},
};

impl Switch {
    /// Opens a session. `via` is the switch that told of the peer: it is asked to make the peer open its NAT.
    ///
    /// [`Event::Opened`] or [`Event::Closed`] follows.
    pub fn open(&mut self, now: Duration, to: Ipp, via: Option<Ipp>) -> SessionId {
        let id = self.begin(now, to, via, None, None, false);
        self.work(now);
        id
    }

    /// Answers an [`Event::Heard`]: opens a session to its `source` with its `tid`, and says who we claim to be. As anybody can
    /// name a source, this is done once in ten seconds for each, and not for too many: otherwise the session is
    /// [`Closed`](Event::Closed) as [`Full`](CloseReason::Full) at once. If a session to the source is being opened already,
    /// that one is meant and returned, and says this as well, up to [`bounds::UNSAID`] times.
    pub fn accept(
        &mut self,
        now: Duration,
        source: Ipp,
        via: Option<SessionId>,
        tid: Option<String>,
        bind: Option<Box<RawValue>>,
    ) -> SessionId {
        let via_peer = via.and_then(|via| self.sessions.get(via)).map(|session| session.peer);
        let asker = via_peer.map_or(Asker::Unproven, Asker::Proven);
        let known = self.sessions.open_with(source).is_some();
        let id = if let Some(id) = self.opening_to(source) {
            // Somebody may have named the source before it said anything itself.
            if let Some(session) = self.sessions.get_mut(id) {
                session.say_later(Offer { tid, bind });
            }
            if let Some(via) = via {
                self.another_way(source, via);
            }
            id
        } else if self.sessions.has_share(source, false)
            && (known || self.accepts.admit(now, asker, source, self.own).is_ok())
        {
            let others = self.listens.told_by(source, tid.as_deref());
            let id = self.begin(now, source, via_peer, tid, bind, false);
            for other in others {
                self.another_way(source, other);
            }
            id
        } else {
            let id = self.sessions.fresh();
            self.event(Event::Closed { id, peer: source, reason: CloseReason::Full });
            id
        };
        self.work(now);
        id
    }

    fn opening_to(&self, peer: Ipp) -> Option<SessionId> {
        self.sessions.with(peer).find(|(_, session)| session.is_opening()).map(|(id, _)| id)
    }

    /// A session is being opened to a source of which this session's peer told as well: it, too, can make the source open its
    /// NAT. The first one that told may have done so for somebody else a moment ago, or the packet may be lost.
    pub(super) fn another_way(&mut self, source: Ipp, via: SessionId) {
        let elsewhere = self.sessions.get(via).is_some_and(|session| session.peer != source);
        if elsewhere && self.opening_to(source).is_some() {
            self.queue(via, Packet { pop: Some(source), ..Packet::default() });
        }
    }

    /// Closes a session. The draft has no word for it: the peer hears nothing more.
    pub fn close(&mut self, now: Duration, id: SessionId) {
        self.end(now, id, CloseReason::Closed);
        self.work(now);
    }

    /// Sends a `start`. `neighbour` says that it is for the DHT only.
    pub(super) fn begin(
        &mut self,
        now: Duration,
        to: Ipp,
        via: Option<Ipp>,
        tid: Option<String>,
        bind: Option<Box<RawValue>>,
        neighbour: bool,
    ) -> SessionId {
        let id = self.sessions.fresh();
        let reachable = is_one_host(to.ip()) && Some(to) != self.own;
        if !reachable || !self.sessions.has_room(to, true) {
            let reason = if reachable { CloseReason::Full } else { CloseReason::Unanswered };
            self.event(Event::Closed { id, peer: to, reason });
            return id;
        }
        let start = starts::fresh_start(&mut self.rng);
        let offer = Offer { tid: tid.clone(), bind: bind.clone() };
        let packet = Packet { start: Some(start.clone()), tid, bind, ..Packet::default() };
        let Some(bytes) = self.send_packet(to, packet) else {
            self.event(Event::Closed { id, peer: to, reason: CloseReason::Unanswered });
            return id;
        };
        let mut session = Session::opening(now, to, start, bytes.clone(), offer);
        session.neighbour = neighbour;
        self.sessions.insert(id, session);
        self.contact(now, to, via, bytes);
        id
    }

    /// A `start` without sid: the same again, one that crosses ours, or a new session.
    pub(super) fn started(&mut self, now: Duration, from: Ipp, packet: &Packet) {
        let Some(theirs) = packet.start.as_deref() else { return };
        if !is_one_host(from.ip()) {
            self.counters.refused_starts += 1;
            return;
        }
        if self.sessions.with(from).any(|(_, session)| session.own_start() == Some(theirs)) {
            self.counters.wrong_starts += 1;
            return;
        }
        let known = self.sessions.with(from).find_map(|(_, session)| {
            session.channel().filter(|channel| channel.peer_start() == theirs)?.reply().cloned()
        });
        if let Some(reply) = known {
            if self.start_replies.admit(now, Party::of(from)) {
                self.send(from, reply);
            } else {
                self.counters.refused_starts += 1;
            }
            return;
        }
        let offer = Offer { tid: packet.tid.clone(), bind: packet.bind.clone() };
        let id = match self.opening_to(from) {
            Some(id) => self.cross(now, id, theirs, offer),
            None => self.admit(now, from, theirs, offer),
        };
        if let Some(id) = id {
            self.answer_start(now, id, packet);
        }
    }

    fn cross(&mut self, now: Duration, id: SessionId, theirs: &str, offer: Offer) -> Option<SessionId> {
        let session = self.sessions.get_mut(id)?;
        let peer = session.peer;
        let sids = session.cross(now, theirs, offer)?;
        self.sessions.name(id, peer, sids);
        Some(id)
    }

    fn admit(&mut self, now: Duration, from: Ipp, theirs: &str, offer: Offer) -> Option<SessionId> {
        let party = Party::of(from);
        // A peer that is answered takes the session for open, and looks no further.
        let room =
            self.sessions.has_share(from, false) && (!self.is_full() || self.spare_session().is_some());
        if !room || !self.start_answers.admit(now, party) {
            self.counters.refused_starts += 1;
            return None;
        }
        if let Some(oldest) = self.sessions.half_open_in_excess(party) {
            self.end(now, oldest, CloseReason::Full);
        }
        let ours = starts::fresh_start(&mut self.rng);
        let sids = starts::sids(theirs, &ours);
        let channel = Channel::new(ours, theirs.to_owned(), sids);
        let id = self.sessions.fresh();
        self.sessions.insert(id, Session::answered(now, from, channel, offer));
        Some(id)
    }

    /// A session that can go for a newcomer's: one that nobody needs, else one of whoever has most.
    fn spare_session(&self) -> Option<SessionId> {
        let superfluous = self.own.and_then(|own| self.sessions.superfluous(end_of_switch(own)));
        superfluous.or_else(|| self.sessions.of_the_greediest())
    }

    /// The answer: our own start, the sid, who the peer is to us, and its tid.
    fn answer_start(&mut self, now: Duration, id: SessionId, packet: &Packet) {
        let own = self.own;
        let Some(session) = self.sessions.get_mut(id) else { return };
        let peer = session.peer;
        session.claimed = packet.to.filter(|to| is_claim(*to, peer));
        session.behind_nat = packet.from.is_some_and(|from| from != peer);
        let answer = Packet { to: Some(peer), from: own, tid: packet.tid.clone(), ..Packet::default() };
        let answer = session.channel_mut().map(|channel| channel.answer(now, answer));
        if let Some(Ok(Some(bytes))) = answer {
            self.send(peer, bytes);
        }
    }

    /// A packet with a `start` and a sid that no session has: it may answer ours.
    pub(super) fn start_answered(&mut self, now: Duration, from: Ipp, packet: &Packet) -> Option<SessionId> {
        let (theirs, sid) = (packet.start.as_deref()?, packet.sid?);
        let ids: Vec<SessionId> = self.sessions.with(from).map(|(id, _)| id).collect();
        let answered = ids.into_iter().find_map(|id| {
            let session = self.sessions.get_mut(id)?;
            let sids = session.answer(theirs, sid)?;
            session.claimed = packet.to.filter(|to| is_claim(*to, from));
            session.behind_nat = packet.from.is_some_and(|its| its != from);
            // What it learns from this packet, the peer has to acknowledge: so it is surely told that we have its answer.
            session.backlog.push(Packet { to: Some(from), ..Packet::default() });
            Some((id, sids))
        });
        let Some((id, (sids, before))) = answered else {
            self.counters.wrong_starts += 1;
            return None;
        };
        if let Some(before) = before {
            self.sessions.unname(from, before);
        }
        self.sessions.name(id, from, sids);
        self.opened(now, id, Offer { tid: None, bind: packet.bind.clone() });
        Some(id)
    }

    /// A packet of a session came: if it is the first one, the session is open now.
    pub(super) fn confirmed(&mut self, now: Duration, id: SessionId) {
        if self.sessions.get(id).is_some_and(Session::is_half_open) && !self.make_room(now) {
            self.counters.refused_starts += 1;
            self.end(now, id, CloseReason::Full);
            return;
        }
        if let Some(offer) = self.sessions.get_mut(id).and_then(Session::confirm) {
            self.opened(now, id, offer);
        }
    }

    /// Makes room for one more session that a peer began, whose address is proven now.
    fn make_room(&mut self, now: Duration) -> bool {
        if self.is_full()
            && let Some(spare) = self.spare_session()
        {
            self.end(now, spare, CloseReason::Full);
        }
        !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.sessions.established() >= bounds::SESSIONS - bounds::SESSIONS_OURS
    }

    fn opened(&mut self, now: Duration, id: SessionId, offer: Offer) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        (session.heard, session.opened) = (now, Some(now));
        let (peer, incoming) = (session.peer, !session.ours);
        self.learn_own(now);
        self.bind(peer, offer.bind.as_deref());
        let seek = offer.tid.as_deref().and_then(|tid| self.seeks.with_tid(tid));
        self.event(Event::Opened { id, peer, incoming, tid: offer.tid, seek, bind: offer.bind });
        self.come_online(now);
        if let Some(seek) = seek {
            self.found(seek, id);
        }
        self.listen_opened(now, id);
    }

    /// The session is over. Everything of it ends: what the peer listens to here, and requests.
    pub(super) fn end(&mut self, now: Duration, id: SessionId, reason: CloseReason) {
        let Some(mut session) = self.sessions.remove(id) else { return };
        self.bodies = self.bodies.saturating_sub(session.threads.cost());
        for request in session.threads.abandoned() {
            let reason = RequestFailure::Closed(reason);
            self.event(Event::RequestFailed { id: request, reason });
        }
        let known = session.ours || session.is_open();
        if known {
            self.event(Event::Closed { id, peer: session.peer, reason });
        }
        self.listen_closed(now, id, session.peer);
        self.go_offline(now);
    }
}

/// Whether this can be our own address as a peer sees it.
fn is_claim(to: Ipp, peer: Ipp) -> bool {
    plausible(to, Some(peer))
}
