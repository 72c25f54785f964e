//! All sessions, and how a packet finds its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use teale_wire::telehash::{End, Ipp, Sid};

use super::{bounds, ports::SessionId, session::Session};
use crate::{buckets::BUCKET, scope::Party};

/// Peers at one IP address that are told of in one `see`, or kept for one distance.
pub(super) const NEAR_PER_PARTY: usize = 2;

/// Sessions by name, by peer and sid, and by what the peers listen to.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    last: u64,
    all: BTreeMap<SessionId, Session>,
    by_sid: BTreeMap<(Ipp, Sid), SessionId>,
    by_peer: BTreeMap<Ipp, BTreeSet<SessionId>>,
    by_host: BTreeMap<Party, BTreeSet<SessionId>>,
    by_recv: BTreeMap<End, BTreeSet<SessionId>>,
    recvs: usize,
    /// Those that were touched since they were looked at.
    touched: BTreeSet<SessionId>,
    /// When each of the others wants to be looked at.
    timers: BTreeSet<(Duration, SessionId)>,
    timer_of: BTreeMap<SessionId, Duration>,
}

impl Sessions {
    /// One that has to be looked at now: it was touched, or its time has come.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<SessionId> {
        if let Some(id) = self.touched.pop_first() {
            return Some(id);
        }
        let (_, id) = *self.timers.first().filter(|(at, _)| *at <= now)?;
        self.unset_timer(id);
        Some(id)
    }

    /// It was looked at, and wants to be looked at again then.
    pub(super) fn looked_at(&mut self, id: SessionId, next: Duration) {
        self.touched.remove(&id);
        self.unset_timer(id);
        self.timers.insert((next, id));
        self.timer_of.insert(id, next);
    }

    fn unset_timer(&mut self, id: SessionId) {
        if let Some(at) = self.timer_of.remove(&id) {
            self.timers.remove(&(at, id));
        }
    }

    /// When the first one wants to be looked at.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// A name nobody had.
    pub(super) fn fresh(&mut self) -> SessionId {
        self.last += 1;
        SessionId(self.last)
    }

    /// Whether a session with this peer still finds room.
    pub(super) fn has_room(&self, peer: Ipp, ours: bool) -> bool {
        let limit = if ours { bounds::SESSIONS } else { bounds::SESSIONS - bounds::SESSIONS_OURS };
        self.established() < limit && self.has_share(peer, ours)
    }

    /// How many there are beside those that a stranger began and may have begun in another's name.
    pub(super) fn established(&self) -> usize {
        self.all.values().filter(|session| !session.is_half_open()).count()
    }

    /// Whether a peer, and everybody at its address, has not too many already. What strangers began in their names does not
    /// count.
    pub(super) fn has_share(&self, peer: Ipp, ours: bool) -> bool {
        let with_peer = self.with(peer).filter(|(_, session)| !session.is_half_open()).count();
        let with_host = self.at(Party::of(peer)).filter(|(_, session)| !session.is_half_open()).count();
        with_peer < bounds::SESSIONS_PER_PEER && (ours || with_host < bounds::SESSIONS_PER_HOST)
    }

    /// All sessions with the peers at one address.
    pub(super) fn at(&self, party: Party) -> impl Iterator<Item = (SessionId, &Session)> {
        let ids = self.by_host.get(&party).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.all.get(id)?)))
    }

    /// Of those that the address with the most of them began, the one heard longest ago that we do not need ourselves; if it
    /// has more than its share.
    pub(super) fn of_the_greediest(&self) -> Option<SessionId> {
        let theirs = |session: &Session| !session.ours && session.is_open() && session.listens.is_empty();
        let mut counts = BTreeMap::<Party, usize>::new();
        for session in self.all.values().filter(|session| theirs(session)) {
            *counts.entry(Party::of(session.peer)).or_default() += 1;
        }
        let greediest = counts.into_iter().max_by_key(|(_, count)| *count);
        let (party, _) = greediest.filter(|(_, count)| *count > bounds::SESSIONS_FAIR)?;
        let sessions = self.at(party).filter(|(_, session)| theirs(session));
        sessions.min_by_key(|(_, session)| session.heard).map(|(id, _)| id)
    }

    /// Of those that strangers began, the one that has waited longest for its peer's next packet, if there are too many at
    /// this address, or in all.
    pub(super) fn half_open_in_excess(&self, party: Party) -> Option<SessionId> {
        let oldest = |of: &mut dyn Iterator<Item = (SessionId, &Session)>, most: usize| {
            let half_open: Vec<_> = of.filter(|(_, session)| session.is_half_open()).collect();
            let oldest = half_open.iter().min_by_key(|(id, session)| (session.met, *id));
            oldest.map(|(id, _)| *id).filter(|_| half_open.len() >= most)
        };
        oldest(&mut self.at(party), bounds::HALF_OPEN_PER_HOST)
            .or_else(|| oldest(&mut self.iter(), bounds::HALF_OPEN))
    }

    /// One that nobody needs, if there is one: the peer began it, asks and listens to nothing, and at its distance from us
    /// there are more peers than the DHT wants. Of these, the one heard longest ago. A seed has one with everybody who joins.
    pub(super) fn superfluous(&self, own: End) -> Option<SessionId> {
        let mut at_distance = BTreeMap::<Option<u8>, usize>::new();
        for session in self.all.values() {
            *at_distance.entry(own.bucket(session.end)).or_default() += 1;
        }
        let crowded = |session: &Session| {
            at_distance.get(&own.bucket(session.end)).is_some_and(|count| *count > BUCKET)
        };
        let spare = self.all.iter().filter(|(_, session)| session.is_spare() && crowded(session));
        spare.min_by_key(|(_, session)| session.heard).map(|(id, _)| *id)
    }

    pub(super) fn insert(&mut self, id: SessionId, session: Session) {
        self.by_peer.entry(session.peer).or_default().insert(id);
        self.by_host.entry(Party::of(session.peer)).or_default().insert(id);
        if let Some(channel) = session.channel() {
            let sids = channel.sids();
            self.name(id, session.peer, sids);
        }
        self.all.insert(id, session);
        self.touched.insert(id);
    }

    /// From now on its packets have one of these sids.
    pub(super) fn name(&mut self, id: SessionId, peer: Ipp, sids: [Sid; 2]) {
        self.by_sid.extend(sids.map(|sid| ((peer, sid), id)));
    }

    /// Its packets have these sids no more.
    pub(super) fn unname(&mut self, peer: Ipp, sids: [Sid; 2]) {
        for sid in sids {
            self.by_sid.remove(&(peer, sid));
        }
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.all.remove(&id)?;
        self.touched.remove(&id);
        self.unset_timer(id);
        if let Some(channel) = session.channel() {
            self.unname(session.peer, channel.sids());
        }
        remove_from(&mut self.by_peer, session.peer, id);
        remove_from(&mut self.by_host, Party::of(session.peer), id);
        for end in &session.recvs {
            remove_from(&mut self.by_recv, *end, id);
        }
        self.recvs -= session.recvs.len();
        Some(session)
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.all.get(&id)
    }

    /// The same to change it: it will be looked at.
    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        let session = self.all.get_mut(&id)?;
        self.touched.insert(id);
        Some(session)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.all.iter().map(|(id, session)| (*id, session))
    }

    /// The session of a packet: its sid counts only together with its sender.
    pub(super) fn of(&self, peer: Ipp, sid: Sid) -> Option<SessionId> {
        self.by_sid.get(&(peer, sid)).copied()
    }

    /// All sessions with a peer, the oldest first.
    pub(super) fn with(&self, peer: Ipp) -> impl Iterator<Item = (SessionId, &Session)> {
        let ids = self.by_peer.get(&peer).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.all.get(id)?)))
    }

    /// An open session with a peer.
    pub(super) fn open_with(&self, peer: Ipp) -> Option<SessionId> {
        self.with(peer).find(|(_, session)| session.is_open()).map(|(id, _)| id)
    }

    /// Whether any session is open.
    pub(super) fn any_open(&self) -> bool {
        self.all.values().any(Session::is_open)
    }

    /// The peers of open sessions nearest to an end, nearest first, each once.
    pub(super) fn nearest(&self, end: End, count: usize, fits: impl Fn(&Session) -> bool) -> Vec<Ipp> {
        let open = self.all.values().filter(|session| session.is_open() && fits(session));
        let by_distance: BTreeMap<_, _> =
            open.map(|session| (session.end.distance(end), session.peer)).collect();
        by_distance.into_values().take(count).collect()
    }

    /// The same, but few with the same address: one host has as many ends as it has ports.
    pub(super) fn nearest_hosts(&self, end: End, count: usize, fits: impl Fn(&Session) -> bool) -> Vec<Ipp> {
        let mut of_party = BTreeMap::<Party, usize>::new();
        let mut nearest = self.nearest(end, usize::MAX, fits);
        nearest.retain(|ipp| {
            let known = of_party.entry(Party::of(*ipp)).or_default();
            *known += 1;
            *known <= NEAR_PER_PARTY
        });
        nearest.truncate(count);
        nearest
    }

    /// A session listens to a hash; false if it, or all together, listen to too many.
    pub(super) fn recv(&mut self, id: SessionId, end: End) -> bool {
        let Some(session) = self.all.get_mut(&id) else { return false };
        if session.recvs.contains(&end) {
            return true;
        }
        if session.recvs.len() >= bounds::RECVS_PER_SESSION || self.recvs >= bounds::RECVS {
            return false;
        }
        session.recvs.insert(end);
        self.recvs += 1;
        self.by_recv.entry(end).or_default().insert(id);
        true
    }

    /// A session listens to a hash no more.
    pub(super) fn stop(&mut self, id: SessionId, end: End) {
        if self.all.get_mut(&id).is_some_and(|session| session.recvs.remove(&end)) {
            self.recvs -= 1;
            remove_from(&mut self.by_recv, end, id);
        }
    }

    /// The open sessions that listen to a hash.
    pub(super) fn listening(&self, end: End) -> Vec<SessionId> {
        let ids = self.by_recv.get(&end).into_iter().flatten().copied();
        ids.filter(|id| self.get(*id).is_some_and(Session::is_open)).take(bounds::RELAY_FANOUT).collect()
    }
}

fn remove_from<K: Ord>(map: &mut BTreeMap<K, BTreeSet<SessionId>>, key: K, id: SessionId) {
    if let Some(ids) = map.get_mut(&key) {
        ids.remove(&id);
        if ids.is_empty() {
            map.remove(&key);
        }
    }
}
