//! Nodes that ask this one over a session of TeleHash v2: known by a handshake, answered from this node's own models.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use teale_identity::NodeId;
use teale_noise::ReplayGuard;
use teale_telehash::v2::SessionId;
use teale_wire::telehash::{HeaderValue, Req, Res};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Inner,
    sealed::{Clock, Seal, greet},
};
use crate::api::guests;

/// Sessions whose peer has proved who it is.
const GUESTS: usize = 128;
/// Requests of one of them at once.
const AT_ONCE: usize = 8;
/// Handshakes per second: each costs some ten thousand times what it costs to ask for one.
const HANDSHAKES_PER_SECOND: u32 = 50;

/// A node that proved who it is.
struct Guest {
    node: NodeId,
    seal: Seal,
    places: Semaphore,
}

/// All of them.
pub(super) struct Guests {
    state: Mutex<State>,
    clock: Clock,
}

struct State {
    known: HashMap<SessionId, Arc<Guest>>,
    replays: ReplayGuard,
    /// The second that is running, and the handshakes in it.
    second: (Instant, u32),
}

impl Guests {
    pub(super) fn new() -> Self {
        let state =
            State { known: HashMap::new(), replays: ReplayGuard::default(), second: (Instant::now(), 0) };
        Self { state: Mutex::new(state), clock: Clock::start() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, session: SessionId) -> Option<Arc<Guest>> {
        self.state().known.get(&session).cloned()
    }
}

impl State {
    fn may_shake(&mut self) -> bool {
        let now = Instant::now();
        if now.duration_since(self.second.0).as_secs() >= 1 {
            self.second = (now, 0);
        }
        self.second.1 += 1;
        self.second.1 <= HANDSHAKES_PER_SECOND
    }
}

/// A handshake: afterwards the session's peer is a guest.
pub(super) fn shake(inner: &Inner, session: SessionId, packet: &[u8]) -> (Res, Bytes) {
    let alive =
        inner.endpoint.v2(|switch, _| switch.sessions().map(|known| known.id).collect::<HashSet<_>>());
    let mut state = inner.guests.state();
    state.known.retain(|known, _| alive.as_ref().is_some_and(|alive| alive.contains(known)));
    if !state.may_shake() || state.known.len() >= GUESTS {
        return (Res::new(503), Bytes::new());
    }
    match greet(&inner.member.identity, &mut state.replays, inner.guests.clock, packet) {
        Ok((node, seal, answer)) => {
            let places = Semaphore::new(AT_ONCE);
            state.known.insert(session, Arc::new(Guest { node, seal, places }));
            (Res::new(200), answer)
        }
        Err(error) => {
            tracing::debug!(%error, "a handshake in the DHT failed");
            (Res::new(403), Bytes::new())
        }
    }
}

/// A sealed request.
pub(super) async fn answer(inner: &Inner, session: SessionId, packet: &[u8]) -> (Res, Bytes) {
    let Some(guest) = inner.guests.of(session) else { return (Res::new(401), Bytes::new()) };
    let Ok((req, body)) = guest.seal.open::<Req>(packet) else { return (Res::new(400), Bytes::new()) };
    let (status, answer) = match guest.places.try_acquire() {
        Ok(_place) => {
            let method = req.m.as_deref().unwrap_or("GET");
            guests::answer(&inner.member.cluster, guest.node, (method, path(&req.uri)), &body).await
        }
        Err(_) => guests::too_many(),
    };
    let mut res = Res::new(status);
    res.h.insert("content-type".into(), HeaderValue::from("application/json"));
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
}
