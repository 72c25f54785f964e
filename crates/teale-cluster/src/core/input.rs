//! What goes into the core and what comes out.

use std::{fmt, time::Duration};

use teale_relay_client::Security;
use teale_wire::{
    ClusterMessage, Dialect, NodeId, PeerRecord, RequestId, WireError,
    chat::{ChatChunk, ChatRequest},
};

use crate::{AskError, BackendError, ClusterEvent, LinkPath, ModelInfo};

/// Two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Since some fixed start; never goes back.
    pub monotonic: Duration,
    /// Since 1970, for what the wire dates.
    pub unix: Duration,
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);
    };
}
number!(
    /// A link; numbered by the driver, never used twice.
    LinkId
);
number!(
    /// A request of this node's own; numbered by the driver, never used twice.
    AskId
);
number!(
    /// A request at the own backend; numbered by the core, never used twice.
    JobId
);

/// Which ways to a peer will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// All, the best first.
    Any,
    /// Only those better than this one: there is a link, or a request does not need one.
    Better(LinkPath),
}

impl Way {
    /// Whether this way will do.
    pub fn takes(self, path: LinkPath) -> bool {
        match self {
            Self::Any => true,
            Self::Better(than) => path < than,
        }
    }
}

/// Something happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// Time went by; also implied by every other input.
    Tick,
    /// A carrier gave a link: ours ([`Output::Open`]) or a peer's.
    LinkUp {
        /// Its number.
        link: LinkId,
        /// With whom, as the carrier says.
        peer: NodeId,
        /// Which carrier.
        path: LinkPath,
        /// Its protection.
        security: Security,
        /// Whether we opened it.
        initiator: bool,
    },
    /// A link is gone.
    LinkDown {
        /// Which.
        link: LinkId,
        /// Why.
        reason: String,
    },
    /// [`Output::Open`] failed.
    OpenFailed {
        /// With whom.
        peer: NodeId,
        /// Which ways were tried, as the output said.
        way: Way,
        /// Why.
        reason: String,
    },
    /// A message arrived.
    Message {
        /// Where.
        link: LinkId,
        /// What.
        message: ClusterMessage,
        /// How it was written.
        dialect: Dialect,
    },
    /// Something that is not a message arrived.
    Malformed {
        /// Where.
        link: LinkId,
        /// What is wrong with it.
        error: WireError,
    },
    /// A message taken with [`Core::transmit`](super::Core::transmit) does not fit the carrier.
    Unsendable {
        /// Where.
        link: LinkId,
        /// The request it belongs to.
        request: RequestId,
        /// Its size in bytes.
        got: usize,
        /// The carrier's limit in bytes.
        limit: usize,
    },
    /// News of a discovery: who is there.
    Peers {
        /// On which way.
        path: LinkPath,
        /// Who.
        records: Vec<PeerRecord>,
    },
    /// A peer is not there any more on this way. A link that is up stays.
    PeerLost {
        /// Who.
        peer: NodeId,
        /// On which way.
        path: LinkPath,
    },
    /// Somebody above wants a link to this peer: opens one unless there is one, or one on its way.
    Reach {
        /// To whom.
        peer: NodeId,
    },
    /// Sends a message of model sharing to a peer, ahead of bulk, on the link in use; [`Output::ShareUnsent`] if there
    /// is none.
    ShareSend {
        /// To whom.
        peer: NodeId,
        /// What.
        message: ClusterMessage,
    },
    /// Sends a message on a link when nothing else waits there. At most [`bounds::BULK_QUEUE`](super::bounds) wait;
    /// look at [`Core::bulk_has_room`](super::Core::bulk_has_room) first: one too many is dropped.
    Bulk {
        /// Where.
        link: LinkId,
        /// What.
        message: ClusterMessage,
    },
    /// The backend's models and slots, at the start and whenever they change.
    Backend {
        /// Its models.
        models: Vec<ModelInfo>,
        /// Its slots.
        slots: usize,
    },
    /// The backend made a chunk.
    Chunk {
        /// For which request.
        job: JobId,
        /// The chunk.
        chunk: ChatChunk,
    },
    /// The backend's stream is gone (ended, failed, or dropped after [`Output::Stop`]): the slot is free.
    Done {
        /// For which request.
        job: JobId,
        /// How it ended.
        result: Result<(), BackendError>,
    },
    /// This node's own user asks.
    Ask {
        /// The request's number.
        ask: AskId,
        /// What.
        request: Box<ChatRequest>,
    },
    /// A node that came by a way of its own, and proved who it is, asks this one: for its own models only, in its turn.
    Serve {
        /// The request's number.
        ask: AskId,
        /// Who asks.
        guest: NodeId,
        /// What.
        request: Box<ChatRequest>,
    },
    /// The user lost interest.
    Cancel {
        /// In which request.
        ask: AskId,
    },
    /// The user does not read the answer, and it grew too long to keep.
    Overrun {
        /// Which request.
        ask: AskId,
    },
    /// No new work from now on.
    Drain,
    /// The end: whatever still runs fails, links close.
    Shutdown,
}

/// Something to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Find a way to this peer; answered by [`Input::LinkUp`] or [`Input::OpenFailed`].
    Open {
        /// To whom.
        peer: NodeId,
        /// Which ways will do.
        way: Way,
    },
    /// Send `rest`, then close the link. The core has forgotten it.
    Close {
        /// Which.
        link: LinkId,
        /// Why, for the log.
        reason: CloseReason,
        /// Last words.
        rest: Vec<(ClusterMessage, Dialect)>,
    },
    /// [`Core::transmit`](super::Core::transmit) has something for this link.
    Transmit(LinkId),
    /// Start this request at the backend.
    Start {
        /// Its number.
        job: JobId,
        /// The request, with the backend's own name of the model.
        request: Box<ChatRequest>,
    },
    /// Drop this request's stream, then say [`Input::Done`].
    Stop(JobId),
    /// This request's stream may be read again.
    Pull(JobId),
    /// The answer begins.
    Begin {
        /// Of which request.
        ask: AskId,
        /// Who answers; `None` for the own backend.
        node: Option<NodeId>,
        /// How it travels.
        path: LinkPath,
        /// How it is protected.
        security: Option<Security>,
    },
    /// A piece of the answer.
    Deliver {
        /// Of which request.
        ask: AskId,
        /// The piece.
        chunk: ChatChunk,
    },
    /// The request is over; said exactly once per [`Input::Ask`] that was not cancelled.
    End {
        /// Which.
        ask: AskId,
        /// How.
        result: Result<(), AskError>,
    },
    /// A message of model sharing arrived.
    Share {
        /// Where.
        link: LinkId,
        /// From whom.
        peer: NodeId,
        /// How it came.
        path: LinkPath,
        /// How it was protected.
        security: Security,
        /// Whether answers to this node's own requests come on the same link.
        beside_answers: bool,
        /// What.
        message: ClusterMessage,
    },
    /// There is no link for an [`Input::ShareSend`].
    ShareUnsent {
        /// To whom.
        peer: NodeId,
    },
    /// Another [`Input::Bulk`] may be given for this link.
    BulkRoom(LinkId),
    /// News.
    Event(ClusterEvent),
    /// Nothing more to do until the next input, or until this moment.
    Wait(Option<Duration>),
}

/// Why the core closes a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer's passcode is not ours.
    Passcode,
    /// The peer speaks another version.
    Version,
    /// The peer never answered our hello.
    NoHello,
    /// Another link to the same peer is in use.
    Duplicate,
    /// The peer left out a piece of an answer.
    Gap,
    /// Not used for a long time.
    Idle,
    /// The peer has not been heard of for a long time.
    Dead,
    /// Too many links.
    TooMany,
    /// The peer lets our messages pile up.
    NotReading,
    /// Too many messages that are none.
    Malformed,
    /// The link is in plaintext, and the peer has a key.
    Plaintext,
    /// A link of the node to itself.
    Own,
    /// This node is shutting down.
    Shutdown,
}

impl CloseReason {
    /// Whether work that ran on the link may go on over another one: the peer is as trusted as before.
    pub(super) fn keeps_work(self) -> bool {
        !matches!(
            self,
            Self::Passcode | Self::Version | Self::Malformed | Self::Plaintext | Self::Own | Self::Shutdown
        )
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passcode => "the cluster passcodes differ",
            Self::Version => "the peer speaks another protocol version",
            Self::NoHello => "the peer did not answer hello",
            Self::Duplicate => "another link to the same peer is in use",
            Self::Gap => "the peer left out a piece of an answer",
            Self::Idle => "not used for a long time",
            Self::Dead => "no sign of life from the peer",
            Self::TooMany => "too many links",
            Self::NotReading => "the peer does not read what it is sent",
            Self::Malformed => "too many malformed messages",
            Self::Plaintext => "the link is in plaintext, but the peer has a key",
            Self::Own => "a link of the node to itself",
            Self::Shutdown => "this node is shutting down",
        })
    }
}
