//! The sending half of a session.

use std::{fmt, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use ring::aead::{Aad, LessSafeKey};
use teale_wire::limits::CLUSTER_MESSAGE;

use super::{COUNTER_LEN, COUNTER_LIMIT, Draft, PACKET_OVERHEAD, nonce};
use crate::NoiseError;

/// Seals cluster messages, each into one packet: counter, ciphertext, tag. No counter is ever used twice.
pub struct Sealer {
    key: LessSafeKey,
    next: u64,
    expires: Duration,
}

impl Sealer {
    pub(super) fn new(key: LessSafeKey, expires: Duration) -> Self {
        Self { key, next: 0, expires }
    }

    /// Seals one message into a packet of its own. `now` is monotonic, on the clock of the handshake.
    ///
    /// # Errors
    /// [`NoiseError::TooBig`] beyond [`CLUSTER_MESSAGE`], [`NoiseError::SessionExpired`] after its lifetime.
    pub fn seal(&mut self, plaintext: &[u8], now: Duration) -> Result<Bytes, NoiseError> {
        let mut packet = BytesMut::new();
        self.seal_into(plaintext, &mut packet, now)?;
        Ok(packet.freeze())
    }

    /// Appends the packet to `out`, which a caller may use again and again. On error `out` is as it was.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn seal_into(
        &mut self,
        plaintext: &[u8],
        out: &mut BytesMut,
        now: Duration,
    ) -> Result<(), NoiseError> {
        self.check(plaintext.len(), now)?;
        out.reserve(plaintext.len() + PACKET_OVERHEAD);
        let start = out.len();
        out.put_bytes(0, COUNTER_LEN);
        out.put_slice(plaintext);
        let sealed = self.seal_tail(out, start);
        if sealed.is_err() {
            // What was not sealed must not stay behind.
            out.truncate(start);
        }
        sealed
    }

    /// Seals a message where it lies: nothing is copied.
    ///
    /// # Errors
    /// As [`seal`](Self::seal); the draft is gone.
    pub fn seal_draft(&mut self, draft: Draft, now: Duration) -> Result<Bytes, NoiseError> {
        self.check(draft.message().len(), now)?;
        let mut packet = draft.into_packet();
        self.seal_tail(&mut packet, 0)?;
        Ok(packet.freeze())
    }

    /// Turns what lies in `out` from `start`, the counter's place and a checked message, into a packet.
    fn seal_tail(&mut self, out: &mut BytesMut, start: usize) -> Result<(), NoiseError> {
        let counter = self.next;
        self.next += 1;
        let tail = out.get_mut(start..).and_then(|tail| tail.split_first_chunk_mut());
        let Some((head, text)) = tail else { return Err(NoiseError::InvalidMessage) };
        *head = counter.to_le_bytes();
        // The cipher's own limit of 256 GiB is far beyond ours.
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(counter), Aad::empty(), text)
            .map_err(|_| NoiseError::InvalidMessage)?;
        out.put_slice(tag.as_ref());
        Ok(())
    }

    /// When the session expires, on the clock of the handshake.
    pub fn expires(&self) -> Duration {
        self.expires
    }

    fn check(&self, len: usize, now: Duration) -> Result<(), NoiseError> {
        if len > CLUSTER_MESSAGE {
            return Err(NoiseError::TooBig { got: len, limit: CLUSTER_MESSAGE });
        }
        if now >= self.expires || self.next == COUNTER_LIMIT {
            return Err(NoiseError::SessionExpired);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn skip_to(&mut self, counter: u64) {
        self.next = counter;
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("next", &self.next).finish_non_exhaustive()
    }
}
