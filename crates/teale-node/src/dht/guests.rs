//! Nodes that ask this one over a session of TeleHash v2: known by a handshake, answered from this node's own models.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use teale_identity::NodeId;
use teale_noise::{Packet, Phase, ReplayGuard};
use teale_telehash::{Asked, Party, v2::SessionId};
use teale_wire::telehash::{HeaderValue, Req, Res};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    ANSWERS, Inner,
    sealed::{Clock, ID, Seal, greet},
};
use crate::api::guests;

/// Sessions whose peer has proved who it is. One more takes the place of one at the address that has most.
const GUESTS: usize = 128;
/// Questions of one session at once.
const AT_ONCE: usize = 8;
/// Questions of all of them at once: less than may be answered, so that the rest is not held up by models.
const ALL_AT_ONCE: usize = ANSWERS - 16;
/// Handshakes per second, each of which costs some ten thousand times what it costs to ask for one …
const HANDSHAKES_PER_SECOND: u32 = 50;
/// … and those from one IP address.
const HANDSHAKES_EACH: u32 = 8;

/// A node that proved who it is.
struct Guest {
    node: NodeId,
    seal: Seal,
    party: Party,
    since: Instant,
    places: Arc<Semaphore>,
}

/// All of them.
pub(super) struct Guests {
    state: Mutex<State>,
    places: Arc<Semaphore>,
    clock: Clock,
}

struct State {
    known: HashMap<SessionId, Arc<Guest>>,
    replays: ReplayGuard,
    handshakes: Handshakes,
}

impl Guests {
    pub(super) fn new() -> Self {
        let (known, replays, handshakes) = (HashMap::new(), ReplayGuard::default(), Handshakes::new());
        let places = Arc::new(Semaphore::new(ALL_AT_ONCE));
        Self { state: Mutex::new(State { known, replays, handshakes }), places, clock: Clock::start() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no question is being answered.
    pub(super) fn are_quiet(&self) -> bool {
        self.places.available_permits() == ALL_AT_ONCE
    }

    fn of(&self, session: SessionId) -> Option<Arc<Guest>> {
        self.state().known.get(&session).cloned()
    }

    /// A place for a question: of the session, and of all.
    fn place(&self, guest: &Guest) -> Option<[OwnedSemaphorePermit; 2]> {
        let own = Arc::clone(&guest.places).try_acquire_owned().ok()?;
        Some([own, Arc::clone(&self.places).try_acquire_owned().ok()?])
    }
}

/// The handshakes of the second that is running.
struct Handshakes {
    since: Instant,
    all: u32,
    of: HashMap<Party, u32>,
}

impl Handshakes {
    fn new() -> Self {
        Self { since: Instant::now(), all: 0, of: HashMap::new() }
    }

    fn admit(&mut self, now: Instant, party: Party) -> bool {
        if now.duration_since(self.since).as_secs() >= 1 {
            *self = Self { since: now, all: 0, of: HashMap::new() };
        }
        if self.all >= HANDSHAKES_PER_SECOND {
            return false;
        }
        let of = self.of.entry(party).or_default();
        *of += 1;
        let admitted = *of <= HANDSHAKES_EACH;
        self.all += u32::from(admitted);
        admitted
    }
}

impl State {
    /// Room for one more: those whose session is over go, else the oldest at the address that has most.
    fn make_room(&mut self, is_open: impl Fn(SessionId) -> bool) {
        if self.known.len() < GUESTS {
            return;
        }
        self.known.retain(|session, _| is_open(*session));
        if self.known.len() < GUESTS {
            return;
        }
        let mut counts: HashMap<Party, usize> = HashMap::new();
        for guest in self.known.values() {
            *counts.entry(guest.party).or_default() += 1;
        }
        let key = |guest: &Guest| (counts.get(&guest.party).copied(), std::cmp::Reverse(guest.since));
        let gone = self.known.iter().max_by_key(|(_, guest)| key(guest)).map(|(session, _)| *session);
        if let Some(session) = gone {
            self.known.remove(&session);
        }
    }
}

/// A handshake: afterwards the session's peer is a guest.
pub(super) fn shake(inner: &Inner, asked: &Asked) -> (Res, Bytes) {
    let refuse = |status| (Res::new(status), Bytes::new());
    if Packet::classify(&asked.body, Phase::Open) != Ok(Packet::Initiation) {
        return refuse(400);
    }
    let (now, party) = (Instant::now(), Party::of(asked.peer));
    let mut state = inner.guests.state();
    if !state.handshakes.admit(now, party) {
        return refuse(503);
    }
    match greet(&inner.member.identity, &mut state.replays, inner.guests.clock, &asked.body) {
        Ok((node, seal, answer)) => {
            // Who shakes hands again has no more places than before.
            let before = state.known.remove(&asked.session).map(|guest| Arc::clone(&guest.places));
            let places = before.unwrap_or_else(|| Arc::new(Semaphore::new(AT_ONCE)));
            state.make_room(|session| inner.endpoint.peer(session).is_some());
            let guest = Guest { node, seal, party, since: now, places };
            state.known.insert(asked.session, Arc::new(guest));
            (Res::new(200), answer)
        }
        Err(error) => {
            tracing::debug!(%error, "a handshake in the DHT failed");
            refuse(403)
        }
    }
}

/// A sealed question.
pub(super) async fn answer(inner: &Inner, session: SessionId, packet: &[u8]) -> (Res, Bytes) {
    let Some(guest) = inner.guests.of(session) else { return (Res::new(401), Bytes::new()) };
    let Ok((req, body)) = guest.seal.open::<Req>(packet) else { return (Res::new(400), Bytes::new()) };
    let (status, answer) = match inner.guests.place(&guest) {
        Some(_places) => {
            let method = req.m.as_deref().unwrap_or("GET");
            guests::answer(&inner.member.cluster, guest.node, (method, path(&req.uri)), &body).await
        }
        None => guests::too_many(),
    };
    let mut res = Res::new(status);
    res.h.insert("content-type".into(), HeaderValue::from("application/json"));
    res.h.extend(req.h.get(ID).map(|id| (ID.into(), id.clone())));
    match guest.seal.seal(&res, answer.as_bytes()) {
        Ok(sealed) => (Res::new(200), sealed),
        Err(error) => {
            tracing::debug!(%error, "an answer could not be sealed");
            (Res::new(500), Bytes::new())
        }
    }
}

/// The path of an HTTP URI, whatever host it names: it is this node that is asked.
fn path(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let path = rest.find('/').map_or("/", |slash| &rest[slash..]);
    path.split(['?', '#']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_host_does_not_matter() {
        for uri in
            ["http://node/v1/models", "https://[::1]:80/v1/models?x=1", "/v1/models", "http:///v1/models#a"]
        {
            assert_eq!(path(uri), "/v1/models", "{uri}");
        }
        assert_eq!(path("http://node"), "/");
    }

    #[test]
    fn one_address_does_not_use_up_the_handshakes() {
        let (mut handshakes, now) = (Handshakes::new(), Instant::now());
        // Ports are free.
        let at =
            |n: u8, port: u16| Party::of(teale_telehash::Ipp::new(([10, 0, 0, n], port).into()).unwrap());
        let mut admitted =
            |now, from| (1..=100).filter(|port| handshakes.admit(now, at(from, *port))).count();
        assert_eq!(admitted(now, 1), HANDSHAKES_EACH as usize);
        assert_eq!(admitted(now, 2), HANDSHAKES_EACH as usize);
        assert_eq!(admitted(now + Duration::from_secs(1), 1), HANDSHAKES_EACH as usize);
        let others: usize = (3..=20).map(|from| admitted(now + Duration::from_secs(1), from)).sum();
        assert_eq!(others, (HANDSHAKES_PER_SECOND - HANDSHAKES_EACH) as usize);
    }
}
