//! A link's two halves after its greeting: messages to frames and back, in strict order.

use std::{fmt, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use teale_identity::NodeId;
use teale_noise::{Opener, PACKET_OVERHEAD, Sealer, Session};
use teale_relay_client::{KnownPeers, SessionError};
use teale_wire::limits;

use crate::LinkError;

/// The length in front of a frame, in bytes (spec §6).
const HEADER: usize = 4;

/// A peer without a key: allowed only as long as it is not known to have one.
#[derive(Clone)]
struct Plain {
    peer: NodeId,
    known: KnownPeers,
}

impl Plain {
    fn allowed(&self) -> Result<(), LinkError> {
        match self.known.get(self.peer) {
            None => Ok(()),
            Some(_) => Err(SessionError::PlaintextRefused("the peer is known to have a key").into()),
        }
    }
}

enum Half<T> {
    Sealed(T),
    Plain(Plain),
}

/// Makes frames of messages.
pub struct FrameSealer {
    half: Half<Sealer>,
}

/// Makes messages of frames. TCP keeps the order and loses nothing: a sealed packet that is not the very next one
/// ends the link.
pub struct FrameOpener {
    half: Half<Opener>,
}

/// The halves of a sealed link.
pub(super) fn sealed(session: Session) -> (FrameSealer, FrameOpener) {
    let (sealer, opener) = session.in_order().split();
    (FrameSealer { half: Half::Sealed(sealer) }, FrameOpener { half: Half::Sealed(opener) })
}

/// The halves of a link in plaintext.
pub(super) fn plain(peer: NodeId, known: KnownPeers) -> (FrameSealer, FrameOpener) {
    let plain = Plain { peer, known };
    (FrameSealer { half: Half::Plain(plain.clone()) }, FrameOpener { half: Half::Plain(plain) })
}

/// A frame of a payload that needs no sealing.
pub(super) fn frame(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER + payload.len());
    out.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    out.put_slice(payload);
    out.freeze()
}

impl FrameSealer {
    /// The longest message, in bytes: sealed, it has to fit a frame of [`limits::CLUSTER_MESSAGE`].
    pub fn limit(&self) -> usize {
        match self.half {
            Half::Sealed(_) => limits::CLUSTER_MESSAGE - PACKET_OVERHEAD,
            Half::Plain(_) => limits::CLUSTER_MESSAGE,
        }
    }

    /// The frame of a message, its length in front. Frames must be sent in the order they were made. `now` is
    /// monotonic, on the clock of the greeting.
    ///
    /// # Errors
    /// [`LinkError::TooBig`] (the link goes on); [`LinkError::Session`] when the session is too old, or the peer of a
    /// plaintext link is known to have a key by now.
    pub fn seal(&mut self, message: &[u8], now: Duration) -> Result<Bytes, LinkError> {
        let limit = self.limit();
        if message.len() > limit {
            return Err(LinkError::TooBig { got: message.len(), limit });
        }
        match &mut self.half {
            Half::Sealed(sealer) => {
                let size = message.len() + PACKET_OVERHEAD;
                let mut out = BytesMut::with_capacity(HEADER + size);
                out.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
                sealer.seal_into(message, &mut out, now).map_err(SessionError::Noise)?;
                Ok(out.freeze())
            }
            Half::Plain(plain) => {
                plain.allowed()?;
                Ok(frame(message))
            }
        }
    }
}

impl FrameOpener {
    /// The message of a frame (without its length). Frames must be given in the order they came.
    ///
    /// # Errors
    /// [`LinkError::Session`], final.
    pub fn open(&mut self, frame: Bytes, now: Duration) -> Result<Bytes, LinkError> {
        match &mut self.half {
            Half::Sealed(opener) => {
                Ok(opener.open_in_place(BytesMut::from(frame), now).map_err(SessionError::Noise)?)
            }
            Half::Plain(plain) if frame.first() == Some(&b'{') => plain.allowed().map(|()| frame),
            Half::Plain(_) => {
                Err(SessionError::Protocol("something else than JSON on a plaintext link").into())
            }
        }
    }
}

impl fmt::Debug for FrameSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sealed = matches!(self.half, Half::Sealed(_));
        f.debug_struct("FrameSealer").field("sealed", &sealed).finish_non_exhaustive()
    }
}

impl fmt::Debug for FrameOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sealed = matches!(self.half, Half::Sealed(_));
        f.debug_struct("FrameOpener").field("sealed", &sealed).finish_non_exhaustive()
    }
}
