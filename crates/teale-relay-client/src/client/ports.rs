//! What goes into the client and what comes out of it.

use std::time::Duration;

use bytes::Bytes;
use teale_identity::NodeId;
use teale_wire::{DiscoverFilter, PeerRecord};

use crate::{Channel, RelayError, SessionError};

/// What happened outside.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// The WebSocket asked for by [`Output::Connect`] is open.
    Connected,
    /// It could not be opened, or it closed.
    Lost {
        /// Why, for people; never the relay's own words.
        reason: String,
    },
    /// A text or binary frame came.
    Frame(Bytes),
    /// A pong came.
    Pong,
    /// The moment named by [`Output::Wait`] has come.
    Tick,
}

/// What the caller has to do next. Drain until [`Output::Wait`] after each call.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Open a WebSocket to the relay, then say [`Input::Connected`] or [`Input::Lost`].
    Connect,
    /// Give up the WebSocket, or the attempt to open one. No `Lost` is to follow.
    Disconnect,
    /// Send a text frame.
    Send(Bytes),
    /// Send a ping.
    Ping,
    /// Tell the application.
    Event(Event),
    /// Nothing more to do until this moment (monotonic time), or until something happens if there is none.
    Wait(Option<Duration>),
}

/// Names a session between the client and its caller. Never used twice by one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub(crate) u64);

/// Names a discover request between the client and its caller; chosen by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A request to know who is there.
#[derive(Debug, Clone)]
pub struct Inquiry {
    /// Which answer is this one's.
    pub ticket: Ticket,
    /// Which peers are wanted; it is applied to the answer too, for relays that ignore it.
    pub filter: Option<DiscoverFilter>,
    /// When to give up (monotonic time).
    pub deadline: Duration,
    /// How long that is from now, for the error.
    pub patience: Duration,
}

/// News for the application.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The relay acknowledged the first registration of a connection.
    Registered,
    /// The connection was lost or could not be made. All sessions have ended.
    Disconnected {
        /// Why, for people.
        reason: String,
        /// How long until the next attempt.
        retry_in: Duration,
    },
    /// Everybody the relay named, this node left out.
    Peers(Vec<PeerRecord>),
    /// An [`Inquiry`] ended.
    Discovered {
        /// Which.
        ticket: Ticket,
        /// Its answer.
        result: Result<Vec<PeerRecord>, RelayError>,
    },
    /// A peer wants a session: [`accept`](crate::Client::accept) or [`close`](crate::Client::close) it.
    Incoming {
        /// The session.
        key: SessionKey,
        /// Who, as the relay says.
        peer: NodeId,
    },
    /// A session can carry messages.
    Established {
        /// The session.
        key: SessionKey,
        /// Its two halves.
        channel: Box<Channel>,
    },
    /// A frame for the session's [`FrameReader`](crate::FrameReader).
    Frame {
        /// The session.
        key: SessionKey,
        /// The frame.
        frame: Bytes,
    },
    /// A session ended, or never came to be. Nothing more comes of it.
    Ended {
        /// The session.
        key: SessionKey,
        /// Why; [`SessionError::Closed`] for a normal end.
        error: SessionError,
    },
    /// A peer's session, handshake or packet was refused.
    Rejected {
        /// Who it claimed to be.
        peer: NodeId,
        /// Why.
        error: SessionError,
    },
}

/// What the client counts, from its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Sessions that were established sealed.
    pub sealed_sessions: u64,
    /// Sessions that were established in plaintext.
    pub plaintext_sessions: u64,
    /// Peers' sessions, handshakes and packets refused.
    pub rejected: u64,
    /// Frames of the relay that are not messages, or not messages for this node.
    pub bad_frames: u64,
    /// Session frames that fit no session in its present state.
    pub stray_frames: u64,
    /// Errors the relay sent that could not be traced to a request or session.
    pub relay_errors: u64,
}
