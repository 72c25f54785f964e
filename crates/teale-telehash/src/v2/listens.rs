//! Hashes the program listens to: `recv` at the three closest switches, kept there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use teale_wire::telehash::{End, Ipp, Packet};

use super::{
    Switch, bounds,
    memo::Memo,
    ports::{Event, RecvId, SessionId},
    walks::{Found, Purpose},
};
use crate::{hash::end_of_switch, scope::plausible};

#[derive(Debug)]
struct Listen {
    end: End,
    /// Where it is listened to.
    at: BTreeMap<Ipp, SessionId>,
    /// Sessions being opened for it.
    opening: BTreeMap<Ipp, SessionId>,
    /// The last walk's result.
    closest: Found,
    /// Of these, those that could not be reached.
    dead: BTreeSet<Ipp>,
    /// The next walk.
    next: Duration,
}

impl Listen {
    /// Where it is listened to, nearest first.
    fn places(&self) -> Vec<Ipp> {
        let mut places: Vec<Ipp> = self.at.keys().copied().collect();
        places.sort_by_key(|ipp| end_of_switch(*ipp).distance(self.end));
        places
    }
}

/// Hashes the program listens to, and what it was told of them lately.
#[derive(Debug, Default)]
pub(super) struct Listens {
    last: u64,
    all: BTreeMap<RecvId, Listen>,
    heard: Memo,
}

impl Listens {
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.all.values().map(|listen| listen.next).min()
    }

    /// The sessions in which a send was told again.
    pub(super) fn told_by(&self, source: Ipp, tid: Option<&str>) -> Vec<SessionId> {
        tid.map_or_else(Vec::new, |tid| self.heard.told_by(source, tid))
    }

    /// There is somebody to ask now: those that are listened to nowhere do not wait.
    pub(super) fn hurry(&mut self, now: Duration) {
        for listen in self.all.values_mut().filter(|listen| listen.at.is_empty()) {
            listen.next = now;
        }
    }
}

impl Switch {
    /// Listens to a hash: walks there, and asks the three closest switches to relay what is sent to it. Kept so until
    /// [`stop`](Self::stop). [`Event::Listening`] says where, [`Event::Heard`] what comes of it. Beyond
    /// [`bounds::LISTENS`] hashes nothing does.
    pub fn recv(&mut self, now: Duration, end: End) -> RecvId {
        self.listens.last += 1;
        let id = RecvId(self.listens.last);
        if self.listens.all.len() < bounds::LISTENS {
            let listen = Listen {
                end,
                at: BTreeMap::new(),
                opening: BTreeMap::new(),
                closest: Found::new(),
                dead: BTreeSet::new(),
                next: now,
            };
            self.listens.all.insert(id, listen);
        }
        self.work(now);
        id
    }

    /// Ends a [`recv`](Self::recv).
    pub fn stop(&mut self, now: Duration, id: RecvId) {
        self.walks.cancel(Purpose::Listen(id));
        if let Some(listen) = self.listens.all.remove(&id) {
            for session in listen.at.into_values() {
                self.stop_at(session, listen.end);
            }
        }
        self.work(now);
    }

    fn stop_at(&mut self, session: SessionId, end: End) {
        let still = |listen: &Listen| listen.end == end && listen.at.values().any(|at| *at == session);
        if self.listens.all.values().any(still) {
            return;
        }
        if self.sessions.get_mut(session).is_some_and(|session| session.listens.remove(&end)) {
            self.queue(session, Packet { stop: Some(end), ..Packet::default() });
        }
    }

    /// Somebody sends to a hash.
    pub(super) fn heard(
        &mut self,
        now: Duration,
        end: End,
        source: Ipp,
        via: Option<SessionId>,
        packet: &Packet,
    ) {
        let listening = self.listens.all.values().any(|listen| listen.end == end);
        if !listening || Some(source) == self.own || !plausible(source, self.own) {
            return;
        }
        let tid = packet.tid.clone();
        if self.listens.heard.is_news(now, source, end, tid.as_deref()) {
            if !self.heard_rate.admit(now) {
                self.counters.unheard += 1;
                return;
            }
            let (bind, body) = (packet.bind.clone(), packet.body.clone());
            self.event(Event::Heard { end, source, via, tid, bind, body });
        } else if let (Some(via), Some(tid)) = (via, &tid)
            && self.listens.heard.told_again(source, end, tid, via)
        {
            self.another_way(source, via);
        }
    }

    /// Begins the walks that are due.
    pub(super) fn listen_on(&mut self, now: Duration) {
        let due: Vec<(RecvId, End)> = self
            .listens
            .all
            .iter()
            .filter(|(_, listen)| listen.next <= now)
            .map(|(id, listen)| (*id, listen.end))
            .collect();
        for (id, end) in due {
            let walks = self.walks.has_room() && !self.walks.any(Purpose::Listen(id));
            if let Some(listen) = self.listens.all.get_mut(&id) {
                listen.next = now + if walks { bounds::LISTEN_AGAIN } else { bounds::ASK_AGAIN };
            }
            if walks {
                let question = self.quiet_question(end);
                self.walk(now, Purpose::Listen(id), question);
            }
        }
    }

    /// A walk ended: these are the closest.
    pub(super) fn listen_at(&mut self, now: Duration, id: RecvId, found: Found) {
        let Some(listen) = self.listens.all.get_mut(&id) else { return };
        if found.is_empty() {
            listen.next = listen.next.min(now + bounds::SEED_AGAIN);
        }
        listen.closest = found;
        listen.dead.clear();
        self.settle(now, id);
    }

    /// Listens at the three closest that can be reached, and nowhere else.
    fn settle(&mut self, now: Duration, id: RecvId) {
        let before = self.listens.all.get(&id).map(Listen::places).unwrap_or_default();
        let mut chosen = Found::new();
        while let Some(listen) = self.listens.all.get(&id) {
            let (closest, dead) = (listen.closest.iter(), listen.dead.len());
            let living = closest.filter(|(ipp, _)| !listen.dead.contains(ipp));
            chosen = living.take(bounds::LISTEN_AT).copied().collect();
            for (ipp, via) in &chosen {
                self.listen_there(now, id, *ipp, *via);
            }
            if self.listens.all.get(&id).is_some_and(|listen| listen.dead.len() == dead) {
                break;
            }
        }
        let Some(listen) = self.listens.all.get_mut(&id) else { return };
        if listen.opening.is_empty() {
            let end = listen.end;
            let left = listen.at.extract_if(.., |at, _| !chosen.iter().any(|(ipp, _)| ipp == at));
            for session in left.map(|(_, session)| session).collect::<Vec<_>>() {
                self.stop_at(session, end);
            }
        }
        self.tell_where(id, &before);
    }

    fn tell_where(&mut self, id: RecvId, before: &[Ipp]) {
        let Some(listen) = self.listens.all.get(&id) else { return };
        let at = listen.places();
        if at != before {
            self.event(Event::Listening { id, at });
        }
    }

    fn listen_there(&mut self, now: Duration, id: RecvId, ipp: Ipp, via: Option<Ipp>) {
        let Some(listen) = self.listens.all.get(&id) else { return };
        if listen.at.contains_key(&ipp) || listen.opening.contains_key(&ipp) {
            return;
        }
        let end = listen.end;
        if let Some(session) = self.sessions.open_with(ipp) {
            let fresh = self.sessions.get_mut(session).is_some_and(|session| session.listens.insert(end));
            if fresh {
                self.queue(session, Packet { recv: Some(end), ..Packet::default() });
            }
            if let Some(listen) = self.listens.all.get_mut(&id) {
                listen.at.insert(ipp, session);
            }
            return;
        }
        let under_way = self.sessions.with(ipp).find(|(_, session)| session.ours).map(|(id, _)| id);
        let session = under_way.unwrap_or_else(|| self.begin(now, ipp, via, None, None, true));
        if let Some(listen) = self.listens.all.get_mut(&id) {
            if self.sessions.get(session).is_some() {
                listen.opening.insert(ipp, session);
            } else {
                listen.dead.insert(ipp);
            }
        }
    }

    /// A session opened: it may be one to listen in.
    pub(super) fn listen_opened(&mut self, now: Duration, session: SessionId) {
        let waiting: Vec<RecvId> = self
            .listens
            .all
            .iter_mut()
            .filter_map(|(id, listen)| {
                let before = listen.opening.len();
                listen.opening.retain(|_, opening| *opening != session);
                (listen.opening.len() < before).then_some(*id)
            })
            .collect();
        for id in waiting {
            self.settle(now, id);
        }
    }

    /// A session ended, or did not come to be: listen elsewhere.
    pub(super) fn listen_closed(&mut self, now: Duration, session: SessionId, peer: Ipp) {
        let mut hit: Vec<(RecvId, Vec<Ipp>)> = Vec::new();
        for (id, listen) in &mut self.listens.all {
            let before = listen.at.len() + listen.opening.len();
            let was = listen.places();
            listen.at.retain(|_, at| *at != session);
            listen.opening.retain(|_, opening| *opening != session);
            if listen.at.len() + listen.opening.len() < before {
                listen.dead.insert(peer);
                listen.next = listen.next.min(now + bounds::ASK_AGAIN);
                hit.push((*id, was));
            }
        }
        for (id, was) in hit {
            self.settle(now, id);
            self.tell_where(id, &was);
        }
    }
}
