//! An established session's two halves: whole messages to relay frames and back, in strict order.

use std::{fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use teale_identity::NodeId;
use teale_noise::{Opener, Sealer, Session};
use teale_wire::{RelayData, RelayMessage, SessionId};

use crate::{KnownPeers, Security, SessionError, bounds};

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
    half: Half<Sealer>,
}

/// What protects one direction.
enum Half<T> {
    Sealed(T),
    Plain(Plain),
}

/// Plaintext, as long as the peer is not known to have a key: it may become known during the session, also over
/// another relay.
#[derive(Clone)]
struct Plain {
    peer: NodeId,
    known: KnownPeers,
}

impl Plain {
    fn allowed(&self) -> Result<(), SessionError> {
        match self.known.get(self.peer) {
            None => Ok(()),
            Some(_) => Err(SessionError::PlaintextRefused("the peer is known to have a key")),
        }
    }
}

/// Makes messages of relay frames.
///
/// A relay keeps the order of one sender's frames, and a lost one is lost with the connection. So a sealed packet
/// that is not the very next one means that somebody in between dropped, repeated or moved it: the session ends
/// there, and every later call repeats that error.
pub struct FrameReader {
    half: Half<Opener>,
    failed: Option<SessionError>,
}

impl Channel {
    fn new(
        me: NodeId,
        peer: NodeId,
        id: SessionId,
        security: Security,
        (writes, reads): (Half<Sealer>, Half<Opener>),
    ) -> Self {
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
            writer: FrameWriter { frame, half: writes },
            reader: FrameReader { half: reads, failed: None },
        }
    }

    pub(crate) fn sealed(me: NodeId, peer: NodeId, id: SessionId, session: Session) -> Self {
        let (_, verified) = session.peer();
        let security = Security::Sealed { verified, handshake_hash: session.handshake_hash() };
        let (sealer, opener) = session.in_order().split();
        Self::new(me, peer, id, security, (Half::Sealed(sealer), Half::Sealed(opener)))
    }

    pub(crate) fn plaintext(me: NodeId, peer: NodeId, id: SessionId, known: KnownPeers) -> Self {
        let plain = Plain { peer, known };
        Self::new(me, peer, id, Security::Plaintext, (Half::Plain(plain.clone()), Half::Plain(plain)))
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
    /// plaintext from a handshake); [`SessionError::Noise`] when the session is too old;
    /// [`SessionError::PlaintextRefused`] once the peer of a plaintext session is known to have a key. The session
    /// can go on after the first two.
    pub fn write(&mut self, message: &[u8], now: Duration) -> Result<Bytes, SessionError> {
        let limit = match self.half {
            Half::Sealed(_) => bounds::SEALED_MESSAGE,
            Half::Plain(_) => bounds::PLAIN_MESSAGE,
        };
        if message.len() > limit {
            return Err(SessionError::TooBig { got: message.len(), limit });
        }
        let packet = match &mut self.half {
            Half::Sealed(sealer) => sealer.seal(message, now)?,
            Half::Plain(plain) if message.first() == Some(&b'{') => {
                plain.allowed()?;
                Bytes::copy_from_slice(message)
            }
            Half::Plain(_) => {
                return Err(SessionError::NotPossible("a plaintext message that is not a JSON object"));
            }
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
    /// that does not open, [`SessionError::PlaintextRefused`] once the peer of a plaintext session is known to have
    /// a key. Each is final.
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
        match &mut self.half {
            // Freshly decoded, the packet has no other owner: it is opened where it lies.
            Half::Sealed(opener) => Ok(opener.open_in_place(BytesMut::from(packet), now)?),
            Half::Plain(plain) if packet.first() == Some(&b'{') => plain.allowed().map(|()| packet),
            Half::Plain(_) => Err(SessionError::Protocol("something else than JSON in a plaintext session")),
        }
    }
}
