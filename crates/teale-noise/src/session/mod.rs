//! A finished handshake: two keys, two counters, a window and a lifetime.

mod draft;
mod opener;
mod replay_window;
mod sealer;

use std::{fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use ring::aead::{CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use teale_identity::{NodeId, X25519Public};
use teale_wire::limits::CLUSTER_MESSAGE;

pub use self::{draft::Draft, opener::Opener, sealer::Sealer};
use crate::{NoiseError, handshake::Peer};

/// How long a session may be used after its handshake, on either end: 24 hours.
pub const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// What sealing adds to a message, in bytes: the counter before it and the tag after it.
pub const PACKET_OVERHEAD: usize = COUNTER_LEN + TAG_LEN;

/// The counter, u64 little-endian.
const COUNTER_LEN: usize = 8;
/// The Poly1305 tag.
const TAG_LEN: usize = 16;
/// The longest packet, in bytes.
const PACKET_MAX: usize = CLUSTER_MESSAGE + PACKET_OVERHEAD;
/// The last counter, which is not used: Noise reserves it (revision 34, section 5.1).
const COUNTER_LIMIT: u64 = u64::MAX;

/// The two keys of the split, for one end.
pub(crate) struct SplitKeys<'a> {
    pub(crate) send: &'a [u8; 32],
    pub(crate) receive: &'a [u8; 32],
}

/// An encrypted session with one peer. Dropping it forgets the keys (the cipher's key schedule lies in memory that
/// is freed but not overwritten).
pub struct Session {
    sealer: Sealer,
    opener: Opener,
    peer: Peer,
    handshake_hash: [u8; 32],
}

impl Session {
    pub(crate) fn new(
        keys: &SplitKeys<'_>,
        peer: Peer,
        handshake_hash: [u8; 32],
        start: Duration,
    ) -> Result<Self, NoiseError> {
        let expires = start.saturating_add(LIFETIME);
        Ok(Self {
            sealer: Sealer::new(aead(keys.send)?, expires),
            opener: Opener::new(aead(keys.receive)?, expires),
            peer,
            handshake_hash,
        })
    }

    /// For a carrier that keeps packets in order: see [`Opener::in_order`].
    pub fn in_order(self) -> Self {
        Self { opener: self.opener.in_order(), ..self }
    }

    /// Seals one cluster message into one packet: see [`Sealer::seal`].
    ///
    /// # Errors
    /// As [`Sealer::seal`].
    pub fn seal(&mut self, plaintext: &[u8], now: Duration) -> Result<Bytes, NoiseError> {
        self.sealer.seal(plaintext, now)
    }

    /// Appends one packet to `out`: see [`Sealer::seal_into`].
    ///
    /// # Errors
    /// As [`Sealer::seal_into`].
    pub fn seal_into(
        &mut self,
        plaintext: &[u8],
        out: &mut BytesMut,
        now: Duration,
    ) -> Result<(), NoiseError> {
        self.sealer.seal_into(plaintext, out, now)
    }

    /// Seals a message where it lies: see [`Sealer::seal_draft`].
    ///
    /// # Errors
    /// As [`Sealer::seal_draft`].
    pub fn seal_draft(&mut self, draft: Draft, now: Duration) -> Result<Bytes, NoiseError> {
        self.sealer.seal_draft(draft, now)
    }

    /// Opens one packet: see [`Opener::open`].
    ///
    /// # Errors
    /// As [`Opener::open`].
    pub fn open(&mut self, packet: &[u8], now: Duration) -> Result<Bytes, NoiseError> {
        self.opener.open(packet, now)
    }

    /// Opens one packet in its own memory: see [`Opener::open_in_place`].
    ///
    /// # Errors
    /// As [`Opener::open_in_place`].
    pub fn open_in_place(&mut self, packet: BytesMut, now: Duration) -> Result<Bytes, NoiseError> {
        self.opener.open_in_place(packet, now)
    }

    /// The handshake hash, equal on both sides and different in every session: for channel binding.
    pub fn handshake_hash(&self) -> [u8; 32] {
        self.handshake_hash
    }

    /// The peer, and whether it proved its id inside the handshake. Where it did not, the id is only what the
    /// carrier said.
    pub fn peer(&self) -> (NodeId, bool) {
        (self.peer.node, self.peer.verified)
    }

    /// The peer's static key.
    pub fn peer_key(&self) -> X25519Public {
        self.peer.key
    }

    /// When the session expires, on the monotonic clock of the handshake.
    pub fn expires(&self) -> Duration {
        self.sealer.expires()
    }

    /// The two halves, for two tasks.
    pub fn split(self) -> (Sealer, Opener) {
        (self.sealer, self.opener)
    }

    #[cfg(test)]
    pub(crate) fn skip_to(&mut self, counter: u64) {
        self.sealer.skip_to(counter);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Session");
        shown.field("peer", &self.peer).field("sealer", &self.sealer).field("opener", &self.opener);
        shown.finish_non_exhaustive()
    }
}

fn aead(key: &[u8; 32]) -> Result<LessSafeKey, NoiseError> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key);
    Ok(LessSafeKey::new(key.map_err(|_| NoiseError::HandshakeFailed("the cipher refuses its key"))?))
}

/// Four zero bytes and the counter, little-endian (Noise revision 34, section 12.3).
fn nonce(counter: u64) -> Nonce {
    let [a, b, c, d, e, f, g, h] = counter.to_le_bytes();
    Nonce::assume_unique_for_key([0, 0, 0, 0, a, b, c, d, e, f, g, h])
}
