//! Requests of TeleHash v2 that nobody on the way can read or change.
//!
//! A session of v2 hides nothing and proves an address only. So a node that asks another one for an answer first carries
//! a Noise handshake through it (`teale:noise`: message 1 is the request's body, message 2 the answer's), which proves both
//! nodes' identities; what it asks then travels sealed (`teale:sealed`). A sealed body holds the request or answer that is
//! meant, framed as v2 frames a packet: two bytes of length, JSON (`uri`, `m`, `h`, or `s`, `h`), and its body. A question's header
//! `id` comes back in its answer, so that nobody can exchange the answers of two.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use teale_identity::{Identity, NodeId, X25519Public};
use teale_noise::{
    IdentityProof, NoiseError, Now, Opener, ReplayGuard, Sealer, Session, TimestampSource, initiate,
    respond_to_anyone,
};
use teale_telehash::{Endpoint, Ipp, v2};
use teale_wire::telehash::{HeaderValue, Req, Res};
use thiserror::Error;

use super::unix;

/// Where a handshake is asked for.
pub(crate) const NOISE_URI: &str = "teale:noise";
/// Where everything else is.
pub(crate) const SEALED_URI: &str = "teale:sealed";
/// Which header tells questions apart.
pub(super) const ID: &str = "id";

/// Why a sealed request came to nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum SealedError {
    /// There is no session.
    #[error("no session could be opened: {0}")]
    Closed(#[from] v2::CloseReason),
    /// There was no answer.
    #[error("no answer came: {0}")]
    Unanswered(#[from] v2::RequestFailure),
    /// The peer does not do this, or not now.
    #[error("the node refuses: status {0}")]
    Refused(u16),
    /// The peer is not who it should be, or somebody on the way meddles.
    #[error("the node at that address did not prove to be the one that is meant: {0}")]
    Noise(#[from] NoiseError),
    /// The peer's answer is none.
    #[error("what came under the seal is no answer")]
    Nonsense,
}

/// One end of a sealed conversation. Packets may overtake each other.
pub(super) struct Seal {
    sealer: Mutex<Sealer>,
    opener: Mutex<Opener>,
    clock: Clock,
}

impl Seal {
    fn new(session: Session, clock: Clock) -> Self {
        let (sealer, opener) = session.split();
        Self { sealer: Mutex::new(sealer), opener: Mutex::new(opener), clock }
    }

    pub(super) fn seal(&self, head: &impl Serialize, body: &[u8]) -> Result<Bytes, SealedError> {
        let framed = frame(head, body).ok_or(SealedError::Nonsense)?;
        Ok(lock(&self.sealer).seal(&framed, self.clock.monotonic())?)
    }

    pub(super) fn open<T: DeserializeOwned>(&self, packet: &[u8]) -> Result<(T, Bytes), SealedError> {
        let framed = lock(&self.opener).open(packet, self.clock.monotonic())?;
        unframe(framed).ok_or(SealedError::Nonsense)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn frame(head: &impl Serialize, body: &[u8]) -> Option<BytesMut> {
    let head = serde_json::to_vec(head).ok()?;
    let mut framed = BytesMut::with_capacity(2 + head.len() + body.len());
    framed.put_u16(u16::try_from(head.len()).ok()?);
    framed.put_slice(&head);
    framed.put_slice(body);
    Some(framed)
}

fn unframe<T: DeserializeOwned>(mut framed: Bytes) -> Option<(T, Bytes)> {
    let length = framed.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)))?;
    let body = framed.split_off((2 + length <= framed.len()).then_some(2 + length)?);
    let head = serde_json::from_slice(framed.get(2..)?).ok()?;
    Some((head, body))
}

/// The time as handshakes want it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    fn monotonic(self) -> Duration {
        self.0.elapsed()
    }

    fn now(self) -> Now {
        Now { unix: unix(), monotonic: self.monotonic() }
    }
}

/// Answers a handshake: who asks, the seal, and what to answer.
pub(super) fn greet(
    me: &Identity,
    guard: &mut ReplayGuard,
    clock: Clock,
    packet: &[u8],
) -> Result<(NodeId, Seal, Bytes), NoiseError> {
    let incoming = respond_to_anyone(me, packet)?;
    let (node, proved) = incoming.peer();
    if !proved {
        return Err(NoiseError::HandshakeFailed("the initiator did not prove who it is"));
    }
    let (session, answer) = incoming.accept(guard, clock.now())?;
    Ok((node, Seal::new(session, clock), answer))
}

/// A node that is asked over a session of v2.
pub(crate) struct SealedPeer {
    asked: AtomicU64,
    endpoint: Endpoint,
    session: v2::SessionId,
    seal: Seal,
}

impl SealedPeer {
    /// Opens a session with a node whose id and key are known, and proves to be `me`.
    ///
    /// # Errors
    /// [`SealedError`].
    pub(crate) async fn open(
        endpoint: &Endpoint,
        me: &Identity,
        to: Ipp,
        (node, key): (NodeId, X25519Public),
    ) -> Result<Self, SealedError> {
        let open = Open { endpoint, session: Some(endpoint.open(to, None).await?) };
        let session = open.session.ok_or(v2::CloseReason::Closed)?;
        let clock = Clock::start();
        let stamps = TimestampSource::new();
        let (waiting, packet) = initiate(me, node, key, IdentityProof::Required, &stamps, clock.now())?;
        let (res, answer) = endpoint.request(session, Req::new("POST", NOISE_URI), packet).await?;
        if res.s != 200 {
            return Err(SealedError::Refused(res.s));
        }
        let seal = Seal::new(waiting.finish(&answer, clock.now())?, clock);
        open.keep();
        Ok(Self { asked: AtomicU64::new(0), endpoint: endpoint.clone(), session, seal })
    }

    /// Asks under the seal.
    ///
    /// # Errors
    /// [`SealedError`].
    pub(crate) async fn ask(&self, mut req: Req, body: &[u8]) -> Result<(Res, Bytes), SealedError> {
        let id = HeaderValue::from(self.asked.fetch_add(1, Ordering::Relaxed));
        req.h.insert(ID.into(), id.clone());
        let sealed = self.seal.seal(&req, body)?;
        let outer = Req::new("POST", SEALED_URI);
        let (res, answer) = self.endpoint.request(self.session, outer, sealed).await?;
        if res.s != 200 {
            return Err(SealedError::Refused(res.s));
        }
        let (res, body): (Res, Bytes) = self.seal.open(&answer)?;
        if res.h.get(ID) == Some(&id) { Ok((res, body)) } else { Err(SealedError::Nonsense) }
    }
}

/// A session that is closed unless it is kept.
struct Open<'a> {
    endpoint: &'a Endpoint,
    session: Option<v2::SessionId>,
}

impl Open<'_> {
    fn keep(mut self) {
        self.session = None;
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            self.endpoint.v2(|switch, now| switch.close(now, session));
        }
    }
}

impl Drop for SealedPeer {
    fn drop(&mut self) {
        self.endpoint.v2(|switch, now| switch.close(now, self.session));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Seal, Seal) {
        let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
        let (clock, mut guard) = (Clock::start(), ReplayGuard::default());
        let required = IdentityProof::Required;
        let stamps = TimestampSource::new();
        let (waiting, packet) =
            initiate(&alice, bob.node_id(), bob.x25519_public(), required, &stamps, clock.now()).unwrap();
        let (node, bobs, answer) = greet(&bob, &mut guard, clock, &packet).unwrap();
        assert_eq!(node, alice.node_id());
        assert!(greet(&bob, &mut guard, clock, &packet).is_err(), "a handshake passes once");
        (Seal::new(waiting.finish(&answer, clock.now()).unwrap(), clock), bobs)
    }

    #[test]
    fn what_is_sealed_opens_once_whatever_overtakes_it() {
        let (alice, bob) = pair();
        let ask = |n: u8| alice.seal(&Req::new("GET", format!("http://x/{n}")), &[n]).unwrap();
        let (one, two) = (ask(1), ask(2));
        for (packet, n) in [(&two, 2), (&one, 1)] {
            let (req, body): (Req, _) = bob.open(packet).unwrap();
            assert_eq!((req.uri, &body[..]), (format!("http://x/{n}"), &[n][..]));
            assert!(bob.open::<Req>(packet).is_err(), "a second time");
        }
        let mut bad = ask(3).to_vec();
        *bad.last_mut().unwrap() ^= 1;
        assert!(matches!(bob.open::<Req>(&bad), Err(SealedError::Noise(_))));
        assert!(bob.open::<Req>(b"").is_err() && bob.open::<Req>(&[0; 40]).is_err());
    }

    #[test]
    fn nonsense_under_the_seal_is_no_request() {
        assert!(unframe::<Req>(Bytes::new()).is_none());
        for framed in [&b"\0"[..], b"\0\x01", b"\0\x02{}", b"\xff\xff{}", b"\0\x03[1]", b"\0\0"] {
            assert!(unframe::<Req>(Bytes::copy_from_slice(framed)).is_none(), "{framed:?}");
        }
        let long = Req::new("GET", "x".repeat(70_000));
        assert!(frame(&long, b"").is_none());
        let (req, body): (Req, _) =
            unframe(frame(&Req::new("GET", "x:"), b"body").unwrap().freeze()).unwrap();
        assert_eq!((req.uri.as_str(), &body[..]), ("x:", &b"body"[..]));
    }
}
