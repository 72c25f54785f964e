//! What a frame is to the switchboard, found out before it is asked.

use teale_wire::{NodeId, Peek, PeekedKind, SessionId, WireError, peek};

/// A frame as far as the relay looks into it. Made without the switchboard, so that a driver with several threads
/// looks into frames in parallel.
#[derive(Debug, Clone, PartialEq)]
pub enum Route<'a> {
    /// From node to node.
    Forward {
        /// Its type.
        kind: PeekedKind,
        /// The sender it names.
        from: NodeId,
        /// The target it names.
        to: NodeId,
        /// The session it names.
        session: SessionId,
        /// How many frames: several of one route that came together count as one input.
        frames: u32,
        /// Their length, in bytes.
        len: usize,
    },
    /// For the relay itself, or of a type it does not know: the frame's JSON text.
    Own(&'a [u8]),
    /// Not a message.
    Malformed {
        /// What is wrong.
        error: WireError,
        /// The frame's length, in bytes.
        len: usize,
    },
}

impl<'a> Route<'a> {
    /// Looks into a frame's JSON text.
    pub fn of(frame: &'a [u8]) -> Self {
        let len = frame.len();
        match peek(frame) {
            Ok(Peek::Forward { kind, from, to, session }) => {
                Self::Forward { kind, from, to, session, frames: 1, len }
            }
            Ok(Peek::Other) => Self::Own(frame),
            Err(error) => Self::Malformed { error, len },
        }
    }

    /// A route from node to node, on its own.
    #[cfg(feature = "io")]
    pub(crate) fn into_forward(self) -> Option<Route<'static>> {
        match self {
            Self::Forward { kind, from, to, session, frames, len } => {
                Some(Route::Forward { kind, from, to, session, frames, len })
            }
            _ => None,
        }
    }

    pub(super) fn frames(&self) -> u32 {
        match self {
            Self::Forward { frames, .. } => *frames,
            _ => 1,
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Forward { len, .. } | Self::Malformed { len, .. } => *len,
            Self::Own(frame) => frame.len(),
        }
    }
}
