//! Requests and responses: the program's side of [`threads`](super::threads).

use std::time::Duration;

use bytes::Bytes;
use teale_wire::telehash::{Packet, Req, Res};

use super::{
    Switch,
    backlog::Outgoing,
    bounds,
    ports::{Event, RequestFailure, RequestId, RespondError, SessionId},
    session::{Phase, Session},
    starts,
    threads::{Room, Threads, Whole},
};
use crate::scope::Party;

impl Switch {
    /// Asks the peer of a session, which need not be open yet. [`Event::Response`] or [`Event::RequestFailed`] follows.
    pub fn request(&mut self, now: Duration, session: SessionId, req: Req, body: Bytes) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        if let Err(reason) = self.ask(now, session, id, req, body) {
            self.event(Event::RequestFailed { id, reason });
        }
        self.work(now);
        id
    }

    fn ask(
        &mut self,
        now: Duration,
        session: SessionId,
        id: RequestId,
        req: Req,
        body: Bytes,
    ) -> Result<(), RequestFailure> {
        let tid = starts::fresh_tid(&mut self.rng);
        let session = self.sessions.get_mut(session).ok_or(RequestFailure::NoSession)?;
        let head = Packet { tid: Some(tid.clone()), req: Some(req), ..Packet::default() };
        let outgoing = Outgoing::new(head, body).ok_or(RequestFailure::TooBig)?;
        if !session.threads.ask(now, tid, id) {
            return Err(RequestFailure::Busy);
        }
        session.backlog.push_body(outgoing);
        Ok(())
    }

    /// Answers an [`Event::Request`].
    ///
    /// # Errors
    /// See [`RespondError`]. A head or a body that is too big leaves the request to be answered otherwise.
    pub fn respond(
        &mut self,
        now: Duration,
        session: SessionId,
        tid: &str,
        res: Res,
        body: Bytes,
    ) -> Result<(), RespondError> {
        let fits = body.is_empty() || self.room_for_answers(session) >= body.len();
        let session = self.sessions.get_mut(session).ok_or(RespondError::NoRequest)?;
        if !session.threads.is_answering(tid) || session.backlog.bodies() >= 2 * bounds::THREADS {
            return Err(RespondError::NoRequest);
        }
        if !fits {
            return Err(RespondError::Full);
        }
        let head = Packet { tid: Some(tid.to_owned()), res: Some(res), ..Packet::default() };
        let outgoing = Outgoing::new(head, body).ok_or(RespondError::TooBig)?;
        session.threads.answer(tid);
        session.backlog.push_body(outgoing);
        self.work(now);
        Ok(())
    }

    /// A packet of a session that may belong to a thread.
    pub(super) fn threaded(&mut self, now: Duration, id: SessionId, packet: Packet) {
        let about_thread =
            packet.req.is_some() || packet.res.is_some() || packet.done || !packet.body.is_empty();
        if packet.tid.is_none() || !about_thread {
            self.counters.ignored += u64::from(about_thread);
            self.whole_threads(now, id);
            return;
        }
        // Without a number it has no place in an order; the draft numbers every packet of a session.
        let Some(seq) = packet.seq else {
            self.counters.ignored += 1;
            return;
        };
        let room = Room { body: self.config.body_limit, left: self.room_for_bodies(id) };
        self.with_threads(id, |threads| threads.add(now, seq, packet, room).into_iter().collect());
        self.whole_threads(now, id);
    }

    /// What a session's bodies may take beyond what they have: nobody gets all of it.
    fn room_for_bodies(&self, id: SessionId) -> usize {
        let Some(session) = self.sessions.get(id) else { return 0 };
        let here: usize =
            self.sessions.at(Party::of(session.peer)).map(|(_, session)| session.threads.cost()).sum();
        let share = bounds::BODIES_PER_HOST.saturating_sub(here);
        bounds::BODIES.saturating_sub(self.bodies).min(share)
    }

    /// What a response to this peer may take beyond what waits already: one that takes nothing must not make us keep more.
    fn room_for_answers(&self, id: SessionId) -> usize {
        let Some(session) = self.sessions.get(id) else { return 0 };
        let waiting = |(_, session): (SessionId, &Session)| session.backlog.bytes();
        let here: usize = self.sessions.at(Party::of(session.peer)).map(waiting).sum();
        let all: usize = self.sessions.iter().map(waiting).sum();
        bounds::ANSWERS.saturating_sub(all).min(bounds::ANSWERS_PER_HOST.saturating_sub(here))
    }

    /// Hands up what is whole now.
    pub(super) fn whole_threads(&mut self, now: Duration, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let before = session.threads.cost();
        let Phase::Met(channel, _) = &session.phase else { return };
        let whole = session.threads.whole(now, &channel.inbound);
        let after = session.threads.cost();
        self.bodies = (self.bodies + after).saturating_sub(before);
        self.ended_threads(id, whole);
    }

    /// Ends threads in which nothing happened for too long.
    pub(super) fn expire_threads(&mut self, now: Duration, id: SessionId) {
        let patience = self.config.patience;
        let threads = self.sessions.get(id).map(|session| &session.threads);
        let due = threads.and_then(|threads| threads.deadline(patience));
        if due.is_none_or(|due| now < due) {
            return;
        }
        self.with_threads(id, |threads| threads.expired(now, patience));
    }

    fn with_threads(&mut self, id: SessionId, act: impl FnOnce(&mut Threads) -> Vec<Whole>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let before = session.threads.cost();
        let ended = act(&mut session.threads);
        let after = session.threads.cost();
        self.bodies = (self.bodies + after).saturating_sub(before);
        self.ended_threads(id, ended);
    }

    fn ended_threads(&mut self, session: SessionId, ended: Vec<Whole>) {
        for whole in ended {
            match whole {
                Whole::Request { tid, req, bind, body } => {
                    self.event(Event::Request { session, tid, req, bind, body });
                }
                Whole::Response { id, res, bind, body } => {
                    self.event(Event::Response { id, session, res, bind, body });
                }
                Whole::Failed { id, tid, reason } => {
                    if let Some(session) = self.sessions.get_mut(session) {
                        session.backlog.forget(&tid);
                    }
                    self.event(Event::RequestFailed { id, reason });
                }
                Whole::Dropped => self.counters.threads_dropped += 1,
            }
        }
    }
}
