//! An established session's two halves: whole messages to relay frames and back, in strict order.

use std::{fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use teale_identity::NodeId;
use teale_noise::{Opener, Sealer, Session};
use teale_wire::{RelayData, RelayMessage, SessionId};

use crate::{Security, SessionError, bounds};

/// What a `relayData` frame spends on names, node ids and a UUID, in bytes.
#[cfg(feature = "io")]
const FRAME_FIXED: usize = 256;

/// A session as it was agreed, before it is taken apart for its writer and its reader. No socket, no clock.
pub struct Channel {
    peer: NodeId,
    id: SessionId,
    security: Security,
    writer: FrameWriter,
    reader: FrameReader,
}

/// Makes relay frames of messages.
pub struct FrameWriter {
    /// The frame of every message, but for its data.
    frame: RelayMessage,
    sealer: Option<Sealer>,
}

/// Makes messages of relay frames.
///
/// A relay keeps the order of one sender's frames, and a lost one is lost with the connection. So a sealed packet
/// that is not the very next one means that somebody in between dropped, repeated or moved it: the session ends
/// there, and every later call repeats that error.
pub struct FrameReader {
    opener: Option<Opener>,
    failed: Option<SessionError>,
}

impl Channel {
    fn new(
        me: NodeId,
        peer: NodeId,
        id: SessionId,
        security: Security,
        halves: Option<(Sealer, Opener)>,
    ) -> Self {
        let (sealer, opener) = halves.unzip();
        let frame = RelayMessage::RelayData(RelayData {
            from: me,
            to: peer,
            session: id.clone(),
            data: Bytes::new(),
            extra: Default::default(),
        });
        Self {
            peer,
            id,
            security,
            writer: FrameWriter { frame, sealer },
            reader: FrameReader { opener, failed: None },
        }
    }

    pub(crate) fn sealed(me: NodeId, peer: NodeId, id: SessionId, session: Session) -> Self {
        let (_, verified) = session.peer();
        let security = Security::Sealed { verified, handshake_hash: session.handshake_hash() };
        Self::new(me, peer, id, security, Some(session.in_order().split()))
    }

    pub(crate) fn plaintext(me: NodeId, peer: NodeId, id: SessionId) -> Self {
        Self::new(me, peer, id, Security::Plaintext, None)
    }

    /// The peer.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// The session's id.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// How it is protected.
    pub fn security(&self) -> Security {
        self.security
    }

    /// Takes it apart for two tasks.
    pub fn split(self) -> (FrameWriter, FrameReader) {
        (self.writer, self.reader)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("peer", &self.peer)
            .field("id", &self.id)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

impl FrameWriter {
    /// About the size of the frame that carries a message of this size, in bytes.
    #[cfg(feature = "io")]
    pub(crate) fn frame_size(message: usize) -> usize {
        message.saturating_add(teale_noise::PACKET_OVERHEAD).div_ceil(3).saturating_mul(4) + FRAME_FIXED
    }

    /// The frame (JSON text) that carries one message. Frames must be sent in the order they were made.
    /// `now` is monotonic time, on the clock the handshake was told.
    ///
    /// # Errors
    /// [`SessionError::TooBig`] above [`bounds::SEALED_MESSAGE`] or [`bounds::PLAIN_MESSAGE`];
    /// [`SessionError::NotPossible`] for a plaintext message that is not a JSON object (its first byte tells
    /// plaintext from a handshake); [`SessionError::Noise`] when the session is too old. The session can go on
    /// after the first two.
    pub fn write(&mut self, message: &[u8], now: Duration) -> Result<Bytes, SessionError> {
        let limit = if self.sealer.is_some() { bounds::SEALED_MESSAGE } else { bounds::PLAIN_MESSAGE };
        if message.len() > limit {
            return Err(SessionError::TooBig { got: message.len(), limit });
        }
        let packet = match &mut self.sealer {
            Some(sealer) => sealer.seal(message, now)?,
            None if message.first() == Some(&b'{') => Bytes::copy_from_slice(message),
            None => return Err(SessionError::NotPossible("a plaintext message that is not a JSON object")),
        };
        if let RelayMessage::RelayData(data) = &mut self.frame {
            data.data = packet;
        }
        let frame = self.frame.encode().map_err(|_| SessionError::TooBig { got: message.len(), limit });
        if let RelayMessage::RelayData(data) = &mut self.frame {
            data.data = Bytes::new();
        }
        frame.map(Bytes::from)
    }
}

impl FrameReader {
    /// The message of one `relayData` frame. Frames must be given in the order they came.
    ///
    /// # Errors
    /// [`SessionError::Protocol`] for a frame or packet that is not the next one, [`SessionError::Noise`] for one
    /// that does not open. Either is final.
    pub fn read(&mut self, frame: &[u8], now: Duration) -> Result<Bytes, SessionError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let message = match RelayMessage::parse(frame) {
            Ok(RelayMessage::RelayData(data)) => self.open(data.data, now),
            Ok(_) => Err(SessionError::Protocol("not a relayData frame")),
            Err(_) => Err(SessionError::Protocol("a malformed relayData frame")),
        };
        if let Err(error) = &message {
            self.failed = Some(error.clone());
        }
        message
    }

    fn open(&mut self, packet: Bytes, now: Duration) -> Result<Bytes, SessionError> {
        let Some(opener) = &mut self.opener else {
            return match packet.first() {
                Some(b'{') => Ok(packet),
                _ => Err(SessionError::Protocol("something else than JSON in a plaintext session")),
            };
        };
        // Freshly decoded, the packet has no other owner: it is opened where it lies.
        Ok(opener.open_in_place(BytesMut::from(packet), now)?)
    }
}
