//! What a node is: the caller's machine.

use std::{fmt, net::SocketAddr};

use bytes::Bytes;

use crate::{Context, StreamId};

/// A node's program. Worlds with several kinds of nodes have an enum of them.
///
/// A machine acts only while it is called, and only through its [`Context`]; a core with `handle` and `poll` is
/// driven here as a driver drives it: handle, drain until it waits, then [`Context::wake_at`].
pub trait Machine {
    /// Something happened.
    fn handle(&mut self, event: Event, context: &mut Context<'_>);
}

/// Something happened to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It starts: first of all, and again after [`World::restart`](crate::World::restart).
    Start,
    /// The moment of [`Context::wake_at`] has come.
    Wake,
    /// A datagram arrived.
    Datagram {
        /// Who sent it, as seen from here: a NAT box's address where one is between.
        from: SocketAddr,
        /// Which of the node's addresses, or which group, it was sent to.
        to: SocketAddr,
        /// What it holds.
        payload: Bytes,
    },
    /// Something about a stream.
    Stream(StreamId, StreamEvent),
}

/// Something happened to one end of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEvent {
    /// Somebody connected to a port of [`Context::listen`]; the stream is open.
    Incoming {
        /// Who, as seen from here.
        from: SocketAddr,
        /// Which address of the node.
        to: SocketAddr,
    },
    /// The stream of [`Context::connect`] is open.
    Opened,
    /// Bytes, in order. Pieces come as they were written unless [`StreamRules::segment`](crate::StreamRules) cuts them.
    Data(Bytes),
    /// A write that was refused as [`WriteError::Full`] would now be taken.
    Room,
    /// The stream is over; its number is never seen again.
    Closed(StreamEnd),
}

/// Why a stream is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamEnd {
    /// The other end closed it, after everything it wrote.
    Finished,
    /// Broken: the other end's process died or does not know the stream, or the test broke it.
    Reset,
    /// The other end does not answer.
    TimedOut,
    /// Nobody listens there.
    Refused,
    /// There is no way there.
    Unreachable,
}

/// Why a write was not taken; nothing of it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteError {
    /// As much as [`StreamRules::window`](crate::StreamRules) is under way; [`StreamEvent::Room`] says when to go on.
    Full,
    /// The stream is not open, or not this node's.
    NotOpen,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the stream takes no more for now",
            Self::NotOpen => "the stream is not open",
        })
    }
}

impl std::error::Error for WriteError {}
