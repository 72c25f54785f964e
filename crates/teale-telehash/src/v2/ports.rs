//! What goes into the switch and what comes out of it.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::value::RawValue;
use teale_wire::telehash::{End, Ipp, Req, Res};

use super::bounds;

/// What a switch is told once.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The own public IP:PORT, where it is known for sure; nobody can change it then. Else peers tell it.
    pub own: Option<Ipp>,
    /// Switches to begin with. None is hard-coded.
    pub seeds: Vec<Ipp>,
    /// Whether it looks for its neighbours in the DHT and keeps sessions with them. A switch that does not is of use to
    /// those it has sessions with, and to nobody else.
    pub joins: bool,
    /// The largest body of a request or response that is taken, in bytes.
    pub body_limit: usize,
    /// How long a request waits while nothing happens.
    pub patience: Duration,
    /// Who says which base URIs a `bind` proves. Without one, binds are only handed up.
    pub binds: Option<Arc<dyn BindValidator>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            own: None,
            seeds: Vec::new(),
            joins: true,
            body_limit: bounds::BODY,
            patience: bounds::THREAD_IDLE,
            binds: None,
        }
    }
}

/// Judges `bind` objects, whose contents the draft leaves open ("TBD").
pub trait BindValidator: fmt::Debug + Send + Sync {
    /// The base URIs that this bind proves to belong to the switch it came from.
    fn proven(&self, from: Ipp, bind: &RawValue) -> Vec<String>;
}

/// What happened outside.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// A datagram came.
    Datagram {
        /// Where from.
        from: SocketAddr,
        /// All of it.
        bytes: &'a [u8],
    },
    /// The moment named by [`Output::Wait`] has come.
    Tick,
}

/// What the caller has to do next. Drain until [`Output::Wait`] after each call.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Send a datagram.
    Send {
        /// Where to.
        to: Ipp,
        /// All of it.
        bytes: Bytes,
    },
    /// Tell the program.
    Event(Event),
    /// Nothing more to do until this moment (monotonic time), or until something happens if there is none.
    Wait(Option<Duration>),
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        ///
        /// Never used twice by one switch.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(super) u64);
    )*};
}

ids! {
    /// Names a session between the switch and its program.
    SessionId
    /// Names a hash that the program listens to.
    RecvId
    /// Names a search for whoever listens to a hash.
    SeekId
    /// Names a request.
    RequestId
}

/// News for the program.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The switch knows its public address and has a session.
    Online {
        /// The address.
        own: Ipp,
    },
    /// The last session is gone.
    Offline,
    /// A session can carry packets: the peer showed that it receives what is sent to its address.
    Opened {
        /// The session.
        id: SessionId,
        /// Whom with.
        peer: Ipp,
        /// Whether the peer began.
        incoming: bool,
        /// The tid the peer's `start` had: it answers something of ours, if that is ours.
        tid: Option<String>,
        /// The search it answers.
        seek: Option<SeekId>,
        /// Who the peer claims to be, as it wrote it.
        bind: Option<Box<RawValue>>,
    },
    /// A session ended, or never came to be. Nothing more comes of it.
    Closed {
        /// The session.
        id: SessionId,
        /// Whom it was with.
        peer: Ipp,
        /// Why.
        reason: CloseReason,
    },
    /// Somebody sends to a hash that this switch listens to. [`Switch::accept`](super::Switch::accept) answers.
    Heard {
        /// The hash.
        end: End,
        /// Who sent it, as the switch that relays it says.
        source: Ipp,
        /// The session it was relayed in; `None` if the sender asked this very switch.
        via: Option<SessionId>,
        /// The sender's name for it.
        tid: Option<String>,
        /// Who the sender claims to be, as it wrote it.
        bind: Option<Box<RawValue>>,
        /// What comes with it.
        body: Bytes,
    },
    /// A hash is listened to at these switches now.
    Listening {
        /// Which.
        id: RecvId,
        /// Where, nearest first.
        at: Vec<Ipp>,
    },
    /// A search ended.
    Sought {
        /// Which.
        id: SeekId,
        /// The session in which the one looked for came back; `None` if nobody did.
        found: Option<SessionId>,
    },
    /// A peer asks; [`Switch::respond`](super::Switch::respond) answers.
    Request {
        /// The session.
        session: SessionId,
        /// The peer's name for it.
        tid: String,
        /// What it asks.
        req: Req,
        /// Who the peer claims to be, as it wrote it.
        bind: Option<Box<RawValue>>,
        /// The body.
        body: Bytes,
    },
    /// A request was answered.
    Response {
        /// Which.
        id: RequestId,
        /// The session.
        session: SessionId,
        /// The answer.
        res: Res,
        /// Who the peer claims to be, as it wrote it.
        bind: Option<Box<RawValue>>,
        /// The body.
        body: Bytes,
    },
    /// A request will not be answered.
    RequestFailed {
        /// Which.
        id: RequestId,
        /// Why.
        reason: RequestFailure,
    },
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The program closed it.
    #[error("closed by this side")]
    Closed,
    /// There are too many sessions, with this peer or at all.
    #[error("too many sessions")]
    Full,
    /// The peer did not answer `start`, or did not use the answer to its own.
    #[error("the peer did not answer")]
    Unanswered,
    /// Nothing was heard for a minute.
    #[error("the peer fell silent")]
    Idle,
    /// A packet did not arrive however often it was sent.
    #[error("a packet was missed three times")]
    MissedTooOften,
    /// The peer skipped, or misses, more packets than a session may lack.
    #[error("more than 100 packets are missing")]
    TooManyMissing,
    /// The session has no numbers left.
    #[error("the session has carried all packets it can number")]
    Exhausted,
}

/// Why a request will not be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestFailure {
    /// There is no such session.
    #[error("there is no such session")]
    NoSession,
    /// Its URI and headers do not fit into a packet.
    #[error("the request's head does not fit into a packet")]
    TooBig,
    /// Too many requests are open in this session.
    #[error("too many requests are open in this session")]
    Busy,
    /// The answer's body is larger than this switch takes.
    #[error("the answer is too big")]
    AnswerTooBig,
    /// Nothing came for too long.
    #[error("the answer did not come in time")]
    TimedOut,
    /// The session ended.
    #[error("the session ended: {0}")]
    Closed(CloseReason),
}

/// Why a response cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RespondError {
    /// No such request waits for an answer: its session ended, it was answered, or too much time passed.
    #[error("no such request waits for an answer")]
    NoRequest,
    /// Its headers do not fit into a packet.
    #[error("the response's head does not fit into a packet")]
    TooBig,
    /// This peer, or all together, take too little of what waits for them. A response without a body is still taken.
    #[error("too much waits for the peer already")]
    Full,
}

/// A session as a status page shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The session.
    pub id: SessionId,
    /// Whom with.
    pub peer: Ipp,
    /// Whether it can carry packets.
    pub open: bool,
    /// Whether the peer began.
    pub incoming: bool,
    /// Whether the peer's own view of its address is not what is seen here.
    pub behind_nat: bool,
    /// When it was heard last (monotonic time).
    pub heard: Duration,
    /// Packets sent and not confirmed.
    pub unconfirmed: usize,
    /// Hashes the peer listens to here.
    pub recvs: usize,
}

/// What the switch counts, from its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Datagrams that are no packets.
    pub malformed: u64,
    /// Packets with a sid that is none of their sender's.
    pub strays: u64,
    /// Answers to `start` whose sid is wrong, and `start`s that mirror our own.
    pub wrong_starts: u64,
    /// `start`s not answered for want of room or because of their rate.
    pub refused_starts: u64,
    /// Keys that mean nothing where they came: reliability without a session, answers nobody waits for.
    pub ignored: u64,
    /// Packets of a session that came twice.
    pub duplicates: u64,
    /// Receipts for packets that were never sent.
    pub nonsense_receipts: u64,
    /// Packets sent again.
    pub resent: u64,
    /// `send`s relayed to sessions.
    pub relayed: u64,
    /// `send`s not relayed: too big with what relaying adds, or too many.
    pub relays_dropped: u64,
    /// `send`s for the program that it was not told, because there were too many.
    pub unheard: u64,
    /// `pop`s relayed.
    pub pops_relayed: u64,
    /// `popped`s sent.
    pub popped: u64,
    /// `pop`s not acted on: not heard of the target, or the rate.
    pub pops_refused: u64,
    /// `see` answers outside sessions withheld because of their rate.
    pub sees_withheld: u64,
    /// `recv`s beyond a bound.
    pub recvs_refused: u64,
    /// Threads of peers that were given up: too big, too many, or nothing came.
    pub threads_dropped: u64,
    /// Packets of our own that were not sent: too big, or nobody took them in time.
    pub unsent: u64,
}
