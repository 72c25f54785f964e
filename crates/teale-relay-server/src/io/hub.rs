//! What all tasks of one relay share.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::BytesMut;
use teale_wire::NodeId;
use tokio::{net::tcp::OwnedWriteHalf, sync::Notify};
use tokio_util::sync::CancellationToken;

use super::{RelayMetrics, RelayServerConfig, batch::Batch, conn::Conn};
use crate::{
    Admission, DropReason, Input, Output, PeerSummary, Refusal, RelayLimits, SocketId, Switchboard,
    SwitchboardConfig,
    limits::PEERS_LISTED,
    websocket::{CloseCode, Inbox, Piece, close_frame, text_frame},
};

/// Read buffers kept for the next reader.
const POOLED: usize = 16;
/// A buffer larger than this is not kept, in bytes.
const POOLED_BYTES: usize = 1 << 20;
/// No deadline.
const NEVER: u64 = u64::MAX;

/// What all tasks share. Its locks are held for short steps, never across an await.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) limits: RelayLimits,
    start: Instant,
    board: Mutex<Board>,
    admission: Mutex<Admission>,
    buffers: Mutex<Vec<BytesMut>>,
    held: AtomicUsize,
    /// The switchboard's deadline, in nanoseconds since start.
    deadline: AtomicU64,
    /// The deadline came closer.
    pub(super) sooner: Notify,
    pub(super) shutdown: CancellationToken,
}

#[derive(Debug)]
struct Board {
    switchboard: Switchboard,
    /// By [`SocketId::index`].
    conns: Vec<Option<Arc<Conn>>>,
}

/// What the switchboard decided about the socket whose frame was handled.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Do not read before then.
    pub(super) pause: Option<Duration>,
    /// It has registered.
    pub(super) admitted: bool,
    /// It is being closed.
    pub(super) closed: bool,
}

impl Verdict {
    /// This one, and an earlier one.
    pub(super) fn after(self, earlier: Self) -> Self {
        Self {
            pause: self.pause.max(earlier.pause),
            admitted: self.admitted || earlier.admitted,
            closed: self.closed || earlier.closed,
        }
    }
}

/// A connection counted in; counted out when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    hub: Arc<Hub>,
    address: IpAddr,
}

impl Seat {
    pub(super) fn take(hub: &Arc<Hub>, address: IpAddr) -> Result<Self, Refusal> {
        lock(&hub.admission).enter(address)?;
        Ok(Self { hub: hub.clone(), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.hub.admission).leave(self.address);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(super) fn new(config: &RelayServerConfig, seed: [u8; 32]) -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let switchboard = Switchboard::new(SwitchboardConfig {
            limits: config.limits.clone(),
            require_proof: config.require_proof,
            unix_start: unix.as_secs_f64(),
            seed,
        });
        Self {
            limits: config.limits.clone(),
            start: Instant::now(),
            board: Mutex::new(Board { switchboard, conns: Vec::new() }),
            admission: Mutex::new(Admission::new(&config.limits)),
            buffers: Mutex::default(),
            held: AtomicUsize::new(0),
            deadline: AtomicU64::new(NEVER),
            sooner: Notify::new(),
            shutdown: CancellationToken::new(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// When [`Input::Tick`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let nanos = self.deadline.load(Ordering::Acquire);
        (nanos != NEVER).then(|| self.start + Duration::from_nanos(nanos))
    }

    /// Takes a socket in; `None` when there are too many.
    pub(super) fn open(&self, claimed: Option<NodeId>, stream: OwnedWriteHalf) -> Option<Arc<Conn>> {
        let mut batch = Batch::default();
        let now = self.now();
        let conn = {
            let mut board = lock(&self.board);
            // Under the lock: what is opened before the end, `close_all` finds.
            if self.shutdown.is_cancelled() {
                return None;
            }
            let id = board.switchboard.open(now, claimed)?;
            let conn = Conn::new(id, stream);
            if board.conns.len() <= id.index() {
                board.conns.resize(id.index() + 1, None);
            }
            if let Some(slot) = board.conns.get_mut(id.index()) {
                *slot = Some(conn.clone());
            }
            self.drain(&mut board, None, None, &mut batch);
            conn
        };
        batch.flush(self, now, None, &mut Inbox::new(0));
        Some(conn)
    }

    /// Tells the switchboard what happened and puts what it answers into the batch. `frame` is the message's frame.
    pub(super) fn handle(
        &self,
        now: Duration,
        input: Input<'_>,
        frame: Option<&Piece>,
        batch: &mut Batch,
    ) -> Verdict {
        let mut board = lock(&self.board);
        let socket = match &input {
            Input::Message { socket, .. } | Input::Control { socket, .. } => Some(*socket),
            Input::Closed(socket) => {
                if let Some(conn) = board.conns.get_mut(socket.index())
                    && conn.as_ref().is_some_and(|conn| conn.id == *socket)
                {
                    *conn = None;
                }
                None
            }
            _ => None,
        };
        board.switchboard.handle(now, input);
        self.drain(&mut board, socket, frame, batch)
    }

    /// As [`handle`](Self::handle) for what concerns no frame, and sends at once.
    pub(super) fn tell(&self, input: Input<'_>) {
        let mut batch = Batch::default();
        let now = self.now();
        self.handle(now, input, None, &mut batch);
        batch.flush(self, now, None, &mut Inbox::new(0));
    }

    fn drain(
        &self,
        board: &mut Board,
        asking: Option<SocketId>,
        frame: Option<&Piece>,
        batch: &mut Batch,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        loop {
            match board.switchboard.poll() {
                Output::Forward(target) => {
                    if let (Some(conn), Some(frame)) = (board.conn(target), frame) {
                        batch.forward(conn, frame.clone());
                    }
                }
                Output::Send { socket, text } => {
                    if let Some(conn) = board.conn(socket) {
                        batch.send(conn, text_frame(&text));
                    }
                }
                Output::Admitted(socket) => verdict.admitted |= asking == Some(socket),
                Output::Pause { socket, until } => {
                    if asking == Some(socket) {
                        verdict.pause = Some(until);
                    }
                }
                Output::Close { socket, code, reason } => {
                    verdict.closed |= asking == Some(socket);
                    if let Some(conn) = board.conns.get_mut(socket.index()).and_then(Option::take) {
                        batch.send(&conn, close_frame(Some(code), reason));
                        batch.close(conn);
                    }
                }
                Output::Wait(deadline) => {
                    self.arm(deadline);
                    return verdict;
                }
            }
        }
    }

    fn arm(&self, deadline: Option<Duration>) {
        let nanos = deadline.map_or(NEVER, |deadline| u64::try_from(deadline.as_nanos()).unwrap_or(NEVER));
        // Under the board's lock, so no other thread changes it meanwhile.
        let before = self.deadline.load(Ordering::Acquire);
        if before != nanos {
            self.deadline.store(nanos, Ordering::Release);
            if nanos < before {
                self.sooner.notify_one();
            }
        }
    }

    /// Closes every socket.
    pub(super) fn close_all(&self) {
        let now = self.now();
        let mut batch = Batch::default();
        {
            let mut board = lock(&self.board);
            let conns: Vec<_> = board.conns.iter_mut().filter_map(Option::take).collect();
            for conn in conns {
                board.switchboard.handle(now, Input::Closed(conn.id));
                batch.send(&conn, close_frame(Some(CloseCode::AWAY), "the relay shuts down"));
                batch.close(conn);
            }
            while !matches!(board.switchboard.poll(), Output::Wait(_)) {}
        }
        batch.flush(self, now, None, &mut Inbox::new(0));
    }

    pub(super) fn count_drop(&self, reason: DropReason) {
        lock(&self.board).switchboard.count_drop(reason);
    }

    /// Whether so many more bytes may be held.
    pub(super) fn may_hold(&self, bytes: usize) -> bool {
        self.held.load(Ordering::Relaxed).saturating_add(bytes) <= self.limits.buffered_bytes
    }

    pub(super) fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// An empty read buffer, perhaps with room.
    pub(super) fn take_buffer(&self) -> BytesMut {
        lock(&self.buffers).pop().unwrap_or_default()
    }

    /// Gives an empty buffer back.
    pub(super) fn give_buffer(&self, buffer: BytesMut) {
        if buffer.capacity() == 0 || buffer.capacity() > POOLED_BYTES {
            return;
        }
        let mut buffers = lock(&self.buffers);
        if buffers.len() < POOLED {
            buffers.push(buffer);
        }
    }

    pub(super) fn peers(&self) -> Vec<PeerSummary> {
        lock(&self.board).switchboard.peers().take(PEERS_LISTED).collect()
    }

    pub(super) fn peer_count(&self) -> usize {
        lock(&self.board).switchboard.peer_count()
    }

    pub(super) fn metrics(&self) -> RelayMetrics {
        let connections = lock(&self.admission).total();
        let now = self.now();
        let board = lock(&self.board);
        let switchboard = &board.switchboard;
        let mut dropped = DropReason::ALL.map(|reason| (reason, 0));
        for (entry, count) in dropped.iter_mut().zip(switchboard.drops()) {
            entry.1 = count;
        }
        RelayMetrics {
            peers: switchboard.peer_count(),
            sockets: switchboard.socket_count(),
            connections,
            sessions: switchboard.session_count(),
            messages_per_minute: switchboard.messages_per_minute(now),
            messages: switchboard.message_count(),
            frames_forwarded: switchboard.forwarded().frames,
            bytes_forwarded: switchboard.forwarded().bytes,
            dropped,
            buffered_bytes: self.held.load(Ordering::Relaxed),
            uptime: now,
        }
    }
}

impl Board {
    fn conn(&self, id: SocketId) -> Option<&Arc<Conn>> {
        self.conns.get(id.index())?.as_ref().filter(|conn| conn.id == id)
    }
}
