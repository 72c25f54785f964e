//! Searches: a walk that says `send` to the closest switches, and then a wait for the one who is meant to come back.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde_json::value::RawValue;
use teale_wire::telehash::{End, Packet};

use super::{
    Switch, bounds,
    ports::{Event, SeekId, SessionId},
    starts,
    walks::{Purpose, Question},
};

#[derive(Debug)]
struct Seek {
    tid: String,
    began: Duration,
    /// When it fails; `None` once it has ended.
    until: Option<Duration>,
    /// When its tid is forgotten.
    known_until: Duration,
}

/// Searches, and those that ended not long ago.
#[derive(Debug, Default)]
pub(super) struct Seeks {
    last: u64,
    all: BTreeMap<SeekId, Seek>,
    by_tid: BTreeMap<String, SeekId>,
}

impl Seeks {
    pub(super) fn with_tid(&self, tid: &str) -> Option<SeekId> {
        self.by_tid.get(tid).copied()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.all.values().map(|seek| seek.until.unwrap_or(seek.known_until)).min()
    }

    /// Forgets those that ended longest ago, if there are too many.
    fn make_room(&mut self) {
        while self.all.len() >= bounds::SEEKS {
            let ended = self.all.iter().filter(|(_, seek)| seek.until.is_none());
            let Some((id, _)) = ended.min_by_key(|(_, seek)| seek.known_until) else { return };
            let id = *id;
            if let Some(seek) = self.all.remove(&id) {
                self.by_tid.remove(&seek.tid);
            }
        }
    }

    /// Ends it; false if it had ended already.
    fn end(&mut self, id: SeekId) -> bool {
        self.all.get_mut(&id).is_some_and(|seek| seek.until.take().is_some())
    }
}

impl Switch {
    /// Looks for whoever listens to a hash. The bind and the body reach them with the hash. [`Event::Sought`] follows.
    pub fn seek(&mut self, now: Duration, end: End, bind: Option<Box<RawValue>>, body: Bytes) -> SeekId {
        self.seeks.last += 1;
        let id = SeekId(self.seeks.last);
        let tid = starts::fresh_tid(&mut self.rng);
        let packet = Packet {
            send: Some(end),
            tid: Some(tid.clone()),
            bind: bind.clone(),
            body: body.clone(),
            source: self.own,
            ..Packet::default()
        };
        let fits = packet.room().is_ok_and(|room| room >= bounds::TRANSPORT_ROOM);
        self.seeks.make_room();
        if !fits || self.seeks.all.len() >= bounds::SEEKS || !self.walks.has_room() {
            self.counters.unsent += u64::from(!fits);
            self.event(Event::Sought { id, found: None });
            return id;
        }
        let until = Some(now + bounds::WALK_WITHIN + bounds::SEEK_WAITS);
        let known_until = now + bounds::SEEK_KNOWN;
        self.seeks.by_tid.insert(tid.clone(), id);
        self.seeks.all.insert(id, Seek { tid: tid.clone(), began: now, until, known_until });
        if let Some(own) = self.own {
            // Whoever listens here is asked without a walk.
            self.relay(now, (own, true), end, Some(tid.clone()), bind.clone(), &packet);
        }
        self.walk(now, Purpose::Seek(id), Question { end, tid, bind, body });
        self.work(now);
        id
    }

    /// Nobody is closer: whoever is meant has been told, and may come back.
    pub(super) fn nobody_closer(&mut self, now: Duration, id: SeekId) {
        if let Some(seek) = self.seeks.all.get_mut(&id)
            && let Some(until) = &mut seek.until
        {
            *until = (*until).min(now + bounds::SEEK_WAITS);
        }
    }

    /// A packet of a session has a tid, and asks for nothing: it may be that of a search, if the session opened later.
    pub(super) fn came_back(&mut self, session: SessionId, tid: Option<&str>) {
        let Some(id) = tid.and_then(|tid| self.seeks.with_tid(tid)) else { return };
        let began = self.seeks.all.get(&id).map(|seek| seek.began);
        let opened = self.sessions.get(session).and_then(|session| session.opened);
        if began < opened {
            self.found(id, session);
        }
    }

    /// The tid came back in a session.
    pub(super) fn found(&mut self, id: SeekId, session: SessionId) {
        if self.seeks.end(id) {
            self.walks.cancel(Purpose::Seek(id));
            self.event(Event::Sought { id, found: Some(session) });
        }
    }

    pub(super) fn seek_on(&mut self, now: Duration) {
        let late = |seek: &Seek| seek.until.is_some_and(|until| until <= now);
        let failed: Vec<SeekId> =
            self.seeks.all.iter().filter(|(_, seek)| late(seek)).map(|(id, _)| *id).collect();
        for id in failed {
            self.seeks.end(id);
            self.walks.cancel(Purpose::Seek(id));
            self.event(Event::Sought { id, found: None });
        }
        let seeks = &mut self.seeks;
        for (_, seek) in seeks.all.extract_if(.., |_, seek| seek.until.is_none() && seek.known_until <= now) {
            seeks.by_tid.remove(&seek.tid);
        }
    }
}
