//! The receiving half of a session.

use std::{fmt, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use ring::aead::{Aad, LessSafeKey};

use super::{
    COUNTER_LEN, COUNTER_LIMIT, PACKET_MAX, PACKET_OVERHEAD, TAG_LEN, nonce, replay_window::ReplayWindow,
};
use crate::NoiseError;

/// Opens packets, each at most once. A counter counts as seen only after its packet decrypted.
pub struct Opener {
    key: LessSafeKey,
    window: ReplayWindow,
    order: Order,
    expires: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Any counter in the window that was not seen.
    Window,
    /// The next counter and no other.
    Strict,
}

impl Opener {
    pub(super) fn new(key: LessSafeKey, expires: Duration) -> Self {
        Self { key, window: ReplayWindow::new(), order: Order::Window, expires }
    }

    /// For a carrier that keeps packets in order, such as a relay or a stream: from now on only the next counter
    /// opens. A packet that was dropped or moved then shows as [`NoiseError::OutOfOrder`] at the first packet after
    /// the gap.
    pub fn in_order(self) -> Self {
        Self { order: Order::Strict, ..self }
    }

    /// Opens one packet into memory of its own. `now` is monotonic, on the clock of the handshake.
    ///
    /// # Errors
    /// [`NoiseError::InvalidMessage`] when its length cannot be a packet's, [`NoiseError::SessionExpired`] after the
    /// lifetime, [`NoiseError::ReplayDetected`] when its counter was seen or is older than the latest 2048,
    /// [`NoiseError::OutOfOrder`] (after [`in_order`](Self::in_order) only), [`NoiseError::DecryptionFailed`]. After
    /// any of them the session is as it was.
    pub fn open(&mut self, packet: &[u8], now: Duration) -> Result<Bytes, NoiseError> {
        let counter = self.check(packet, now)?;
        let sealed = packet.get(COUNTER_LEN..).ok_or(NoiseError::InvalidMessage)?;
        self.decrypt(counter, BytesMut::from(sealed))
    }

    /// Opens one packet in the memory it came in: nothing is copied.
    ///
    /// # Errors
    /// As [`open`](Self::open); the packet is gone.
    pub fn open_in_place(&mut self, mut packet: BytesMut, now: Duration) -> Result<Bytes, NoiseError> {
        let counter = self.check(&packet, now)?;
        packet.advance(COUNTER_LEN);
        self.decrypt(counter, packet)
    }

    /// The counter after the highest one opened; without gaps also the number of packets opened.
    pub fn next_counter(&self) -> u64 {
        self.window.end()
    }

    /// When the session expires, on the clock of the handshake.
    pub fn expires(&self) -> Duration {
        self.expires
    }

    /// Everything that can be told without the key. Returns the counter.
    fn check(&self, packet: &[u8], now: Duration) -> Result<u64, NoiseError> {
        if !(PACKET_OVERHEAD..=PACKET_MAX).contains(&packet.len()) {
            return Err(NoiseError::InvalidMessage);
        }
        if now >= self.expires {
            return Err(NoiseError::SessionExpired);
        }
        let counter = u64::from_le_bytes(*packet.first_chunk().ok_or(NoiseError::InvalidMessage)?);
        if counter == COUNTER_LIMIT {
            return Err(NoiseError::InvalidMessage);
        }
        if !self.window.is_new(counter) {
            return Err(NoiseError::ReplayDetected);
        }
        match self.order {
            Order::Strict if counter < self.window.end() => Err(NoiseError::ReplayDetected),
            Order::Strict if counter > self.window.end() => Err(NoiseError::OutOfOrder),
            _ => Ok(counter),
        }
    }

    fn decrypt(&mut self, counter: u64, mut sealed: BytesMut) -> Result<Bytes, NoiseError> {
        self.key
            .open_in_place(nonce(counter), Aad::empty(), &mut sealed)
            .map_err(|_| NoiseError::DecryptionFailed)?;
        self.window.mark(counter);
        sealed.truncate(sealed.len() - TAG_LEN);
        Ok(sealed.freeze())
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Opener");
        shown.field("next", &self.window.end()).field("order", &self.order).finish_non_exhaustive()
    }
}
