//! The switchboard itself: inputs, outputs, the life of a socket.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use teale_wire::{AppleDate, Challenge, Extra, NodeId, RelayMessage};

use super::{
    Route, SocketId,
    complaint::Complaint,
    rate::Rates,
    sessions::Sessions,
    slots::{Slots, Socket},
};
use crate::{RelayLimits, limits::COMPLAINT_INTERVAL, meter::Meter, websocket::CloseCode};

/// What a [`Switchboard`] is made with.
#[derive(Debug, Clone)]
pub struct SwitchboardConfig {
    /// The bounds.
    pub limits: RelayLimits,
    /// Refuse registrations that do not answer the challenge.
    pub require_proof: bool,
    /// Wall time at `Duration::ZERO`, in seconds since 1970-01-01T00:00:00Z.
    pub unix_start: f64,
    /// From the operating system's randomness: nonces have to be unpredictable.
    pub seed: [u8; 32],
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A message came, or several of one route.
    Message {
        /// From this socket.
        socket: SocketId,
        /// What it is.
        route: Route<'a>,
    },
    /// A control frame came, of so many bytes.
    Control {
        /// From this socket.
        socket: SocketId,
        /// Its payload's length, in bytes.
        len: usize,
    },
    /// A frame that was to be forwarded did not fit the target's queue and was dropped.
    Undelivered {
        /// From this socket.
        socket: SocketId,
        /// To this one.
        target: SocketId,
        /// The frame.
        route: Route<'a>,
        /// Which bound was met.
        reason: DropReason,
    },
    /// The socket is gone. Nothing more is said about it.
    Closed(SocketId),
    /// The deadline may have come.
    Tick,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send the frame that was just handled (or all of them) to this socket, unchanged.
    Forward(SocketId),
    /// Send a text message of the relay's own.
    Send {
        /// To this socket.
        socket: SocketId,
        /// JSON.
        text: Bytes,
    },
    /// The socket has registered: its messages may have the full size from now on.
    Admitted(SocketId),
    /// Do not read from this socket before then.
    Pause {
        /// Which.
        socket: SocketId,
        /// When to go on, on the switchboard's clock.
        until: Duration,
    },
    /// Close this socket after what was sent before. The switchboard has forgotten it.
    Close {
        /// Which.
        socket: SocketId,
        /// With this code.
        code: CloseCode,
        /// And this reason, for people.
        reason: &'static str,
    },
    /// Nothing more. [`Input::Tick`] is wanted at this time, on the switchboard's clock.
    Wait(Option<Duration>),
}

/// Why a frame was not forwarded. Names of a bounded set, fit for a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// Not a message, or one that may not be sent now.
    Invalid,
    /// The target is not connected.
    PeerNotFound,
    /// The target's queue is full.
    QueueFull,
    /// The relay holds as many bytes as it may.
    MemoryFull,
    /// The target took too few bytes for too long; what waited for it is gone.
    SlowReader,
}

impl DropReason {
    /// Every reason, in the order of [`index`](Self::index).
    pub const ALL: [Self; 5] =
        [Self::Invalid, Self::PeerNotFound, Self::QueueFull, Self::MemoryFull, Self::SlowReader];

    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::PeerNotFound => "peer_not_found",
            Self::QueueFull => "queue_full",
            Self::MemoryFull => "memory_full",
            Self::SlowReader => "slow_reader",
        }
    }

    /// A small number, for an array of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What was passed on: handed over for a target, and not reported as [`Input::Undelivered`]. What a queue holds when its
/// socket ends stays counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Bytes of their JSON text.
    pub bytes: u64,
}

/// One registered node, as `/peers` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerSummary {
    /// Who.
    pub node_id: NodeId,
    /// For people.
    pub display_name: String,
    /// The last sign of life.
    pub last_seen: AppleDate,
}

/// Who is registered, who may say what, where a frame goes.
///
/// Pure: sockets are small ids, time is a `Duration` since start that never goes back. After each
/// [`handle`](Self::handle) and [`open`](Self::open), [`poll`](Self::poll) until [`Output::Wait`].
///
/// Held true, whatever comes in: a node is registered on one socket at most; no output concerns a socket that was closed;
/// a message is forwarded only from the socket registered as the sender it names to the socket registered as the target
/// it names; every table has a bound in [`RelayLimits`].
#[derive(Debug)]
pub struct Switchboard {
    pub(super) limits: RelayLimits,
    pub(super) require_proof: bool,
    unix_start: f64,
    pub(super) rng: StdRng,
    pub(super) sockets: Slots,
    pub(super) nodes: HashMap<NodeId, SocketId>,
    /// The registered sockets in no order, for sampling.
    pub(super) listed: Vec<SocketId>,
    /// One timer per socket; it may ring early, and is set again then.
    timers: BTreeSet<(Duration, SocketId)>,
    pub(super) outputs: VecDeque<Output>,
    pub(super) session_count: usize,
    pub(super) session_order: u64,
    drops: [u64; DropReason::ALL.len()],
    messages: Meter,
    pub(super) forwarded: Traffic,
}

impl Switchboard {
    /// A switchboard nobody is connected to.
    pub fn new(config: SwitchboardConfig) -> Self {
        Self {
            limits: config.limits,
            require_proof: config.require_proof,
            unix_start: config.unix_start,
            rng: StdRng::from_seed(config.seed),
            sockets: Slots::default(),
            nodes: HashMap::new(),
            listed: Vec::new(),
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
            session_count: 0,
            session_order: 0,
            drops: [0; DropReason::ALL.len()],
            messages: Meter::default(),
            forwarded: Traffic::default(),
        }
    }

    /// A socket was opened, with this `node` query parameter. It is challenged. `None` when there are
    /// [`RelayLimits::sockets`] already.
    pub fn open(&mut self, now: Duration, claimed: Option<NodeId>) -> Option<SocketId> {
        let mut nonce = [0; 16];
        self.rng.fill_bytes(&mut nonce);
        let nonce = hex::encode(nonce);
        let timer = now + self.limits.unregistered_life;
        let socket = Socket {
            claimed,
            nonce: nonce.clone(),
            unregistered_since: now,
            heard: now,
            timer,
            rates: Rates::new(now, &self.limits),
            last_discover: None,
            registration: None,
            sessions: Sessions::default(),
            last_route: None,
        };
        let id = self.sockets.insert(socket, self.limits.sockets)?;
        self.timers.insert((timer, id));
        self.send(id, RelayMessage::Challenge(Challenge { nonce, extra: Extra::new() }));
        Some(id)
    }

    /// Takes note of what happened. An id of a socket that is gone is ignored.
    pub fn handle(&mut self, now: Duration, input: Input<'_>) {
        match input {
            Input::Message { socket, route } => {
                if self.count(now, socket, route.frames(), route.len()) {
                    self.message(now, socket, route);
                }
            }
            Input::Control { socket, len } => {
                self.count(now, socket, 1, len);
            }
            Input::Undelivered { socket, target, route, reason } => {
                self.count_drops(reason, route.frames());
                // It was counted when it was handed over.
                self.forwarded.frames = self.forwarded.frames.saturating_sub(u64::from(route.frames()));
                self.forwarded.bytes = self.forwarded.bytes.saturating_sub(route.len() as u64);
                self.undelivered(now, socket, target, &route);
            }
            Input::Closed(socket) => self.forget(socket),
            Input::Tick => self.tick(now),
        }
    }

    /// What to do now. Call until it says [`Output::Wait`].
    pub fn poll(&mut self) -> Output {
        match self.outputs.pop_front() {
            Some(output) => output,
            None => Output::Wait(self.timers.first().map(|(deadline, _)| *deadline)),
        }
    }

    /// Sockets, registered or not.
    pub fn socket_count(&self) -> usize {
        self.sockets.len()
    }

    /// Registered nodes.
    pub fn peer_count(&self) -> usize {
        self.nodes.len()
    }

    /// Relayed sessions that are open.
    pub fn session_count(&self) -> usize {
        self.session_count
    }

    /// Frames not forwarded, in the order of [`DropReason::ALL`].
    pub fn drops(&self) -> [u64; DropReason::ALL.len()] {
        self.drops
    }

    /// What was forwarded since start.
    pub fn forwarded(&self) -> Traffic {
        self.forwarded
    }

    /// Frames received since start, of any kind.
    pub fn message_count(&self) -> u64 {
        self.messages.total()
    }

    /// Frames received in the last minute.
    pub fn messages_per_minute(&self, now: Duration) -> u64 {
        self.messages.per_minute(now)
    }

    /// The node registered on this socket.
    pub fn node_of(&self, socket: SocketId) -> Option<NodeId> {
        self.sockets.get(socket)?.registration.as_ref().map(|registration| registration.node())
    }

    /// The registered nodes, in no order.
    pub fn peers(&self) -> impl Iterator<Item = PeerSummary> + '_ {
        self.listed.iter().filter_map(|id| {
            let socket = self.sockets.get(*id)?;
            let registration = socket.registration.as_ref()?;
            Some(PeerSummary {
                node_id: registration.node(),
                display_name: registration.display_name().to_owned(),
                last_seen: self.date(socket.heard),
            })
        })
    }

    pub(super) fn date(&self, now: Duration) -> AppleDate {
        AppleDate::from_unix_seconds(self.unix_start + now.as_secs_f64())
    }

    /// A frame came from this socket: a sign of life, and a debit. False when the socket is gone.
    fn count(&mut self, now: Duration, id: SocketId, frames: u32, len: usize) -> bool {
        let Some(socket) = self.sockets.get_mut(id) else { return false };
        self.messages.count(now, frames);
        socket.heard = now;
        let Some(rest) = socket.rates.count(now, frames, len, &self.limits) else { return true };
        let notice = socket.rates.notice_due(now, COMPLAINT_INTERVAL);
        self.outputs.push_back(Output::Pause { socket: id, until: now + rest });
        if notice {
            self.complain(id, Complaint::too_fast(rest));
        }
        true
    }

    fn message(&mut self, now: Duration, id: SocketId, route: Route<'_>) {
        match route {
            Route::Forward { .. } => self.forward(id, route),
            Route::Malformed { error, .. } => self.reject(id, Complaint::malformed(&error)),
            Route::Own(text) => match RelayMessage::parse(text) {
                Ok(RelayMessage::Register(register)) => self.register(now, id, *register, text.len()),
                Ok(_) if self.node_of(id).is_none() => self.reject(id, Complaint::register_first()),
                Ok(RelayMessage::Discover(discover)) => self.discover(now, id, &discover),
                Ok(_) => self.reject(id, Complaint::unsupported()),
                Err(error) => self.reject(id, Complaint::malformed(&error)),
            },
        }
    }

    fn tick(&mut self, now: Duration) {
        while let Some(&(timer, id)) = self.timers.first()
            && timer <= now
        {
            self.timers.pop_first();
            let Some(socket) = self.sockets.get(id) else { continue };
            if socket.registration.as_ref().is_some_and(|registration| registration.expires() <= now) {
                self.leave(id);
                if let Some(socket) = self.sockets.get_mut(id) {
                    socket.unregistered_since = now;
                }
            }
            let Some(socket) = self.sockets.get_mut(id) else { continue };
            let idle = socket.heard + self.limits.idle;
            let (due, code, reason) = match &socket.registration {
                _ if idle <= now => (idle, CloseCode::AWAY, "silent for too long"),
                Some(registration) => (idle.min(registration.expires()), CloseCode::AWAY, ""),
                None => {
                    let end = socket.unregistered_since + self.limits.unregistered_life;
                    (idle.min(end), CloseCode::POLICY, "not registered in time")
                }
            };
            if due <= now {
                self.close(id, code, reason);
            } else {
                socket.timer = due;
                self.timers.insert((due, id));
            }
        }
    }

    pub(super) fn send(&mut self, socket: SocketId, message: RelayMessage) {
        // The relay writes nothing that could be too long: discover answers are cut to fit.
        match message.encode() {
            Ok(text) => self.outputs.push_back(Output::Send { socket, text: text.into() }),
            Err(error) => tracing::error!(%error, "the relay's own message does not fit a frame"),
        }
    }

    pub(super) fn complain(&mut self, socket: SocketId, complaint: Complaint) {
        self.send(socket, complaint.into_message());
    }

    /// Complains about a message and counts it as not forwarded.
    pub(super) fn reject(&mut self, socket: SocketId, complaint: Complaint) {
        self.count_drop(DropReason::Invalid);
        self.complain(socket, complaint);
    }

    /// Counts a frame that was not forwarded, also for a reason that only the caller sees.
    pub fn count_drop(&mut self, reason: DropReason) {
        self.count_drops(reason, 1);
    }

    pub(super) fn count_drops(&mut self, reason: DropReason, frames: u32) {
        if let Some(count) = self.drops.get_mut(reason.index()) {
            *count += u64::from(frames);
        }
    }

    /// Closes a socket and forgets it.
    pub(super) fn close(&mut self, id: SocketId, code: CloseCode, reason: &'static str) {
        self.outputs.push_back(Output::Close { socket: id, code, reason });
        self.forget(id);
    }

    fn forget(&mut self, id: SocketId) {
        self.leave(id);
        if let Some(socket) = self.sockets.remove(id) {
            self.timers.remove(&(socket.timer, id));
        }
    }
}
