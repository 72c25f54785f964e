//! The sending side of a socket, shared by all who send to it.

use std::{
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use tokio::net::{TcpStream, tcp::OwnedWriteHalf};

use super::hub::Hub;
use crate::{DropReason, Outbound, RelayLimits, SocketId, limits::OUTBOUND_SLACK};

/// Slices in one vectored write.
const SLICES: usize = 64;
/// A broken connection is an error, never a signal. Elsewhere Rust's start sees to that.
#[cfg(any(target_os = "linux", target_os = "android"))]
const SEND: rustix::net::SendFlags = rustix::net::SendFlags::NOSIGNAL;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const SEND: rustix::net::SendFlags = rustix::net::SendFlags::empty();

/// A socket to send to. Whoever has a frame for it writes it at once if nothing waits; what the system does not take
/// is left in the queue for the socket's own task.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: SocketId,
    stream: OwnedWriteHalf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    outbound: Outbound,
    /// The socket's own task.
    task: Option<Waker>,
    /// Nothing is added any more; since when.
    closing: Option<Duration>,
    /// Nothing can be sent any more.
    dead: bool,
}

/// How the sending side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// Frames may be sent; what waits has to have moved by then.
    Open { deadline: Option<Duration> },
    /// Closing since then; what was to be sent still waits.
    Closing { since: Duration },
    /// Closing since then, and everything was sent.
    Closed { since: Duration },
    /// The reader took too little for too long.
    Stalled,
    /// The connection is broken.
    Dead,
}

/// Frames to send, as slices; and what to keep of those that are not taken.
pub(super) trait Frames {
    /// How many pieces there are.
    fn count(&self) -> usize;
    /// A piece's bytes: one or more whole frames.
    fn slice(&self, index: usize) -> &[u8];
    /// Whether a piece is the relay's own, not forwarded.
    fn own(&self, index: usize) -> bool;
    /// A piece from `skip` on, to keep.
    fn keep(&mut self, index: usize, skip: usize) -> Bytes;
    /// A piece was not sent, and will not be.
    fn refused(&mut self, index: usize, reason: DropReason);
}

impl Conn {
    pub(super) fn new(id: SocketId, stream: OwnedWriteHalf) -> Arc<Self> {
        Arc::new(Self { id, stream, state: Mutex::default() })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        self.stream.as_ref()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends frames, in order, or queues them, or refuses them. Never waits. After a forwarded frame is refused, all
    /// further ones are, so that no session has a gap that is not told of. The relay's own frames have
    /// [`OUTBOUND_SLACK`] beside a full queue.
    pub(super) fn send(&self, hub: &Hub, now: Duration, frames: &mut impl Frames) {
        let mut state = self.state();
        if state.dead || state.closing.is_some() {
            return;
        }
        let (mut index, mut skip) = (0, 0);
        if state.outbound.is_empty() {
            match write_now(&self.stream, frames) {
                Ok(at) => (index, skip) = at,
                Err(_) => {
                    state.dead = true;
                    wake(&mut state);
                    return;
                }
            }
        }
        if index == frames.count() {
            return;
        }
        let was_empty = state.outbound.is_empty();
        let mut refusing = None;
        while index < frames.count() {
            let rest = frames.slice(index).len() - skip;
            let own = frames.own(index);
            let bound = hub.limits.outbound_bytes.saturating_add(if own { OUTBOUND_SLACK } else { 0 });
            let memory = hub.may_hold(rest);
            if skip > 0 && memory {
                state.outbound.push_rest(now, frames.keep(index, skip));
                hub.hold(rest);
            } else if skip > 0 {
                // Half a frame cannot be taken back: without it nothing that follows would mean anything.
                (index..frames.count()).for_each(|index| frames.refused(index, DropReason::MemoryFull));
                state.dead = true;
                break;
            } else if let Some(reason) = refusing.filter(|_| !own) {
                frames.refused(index, reason);
            } else if !memory {
                refusing = refusing.or(Some(DropReason::MemoryFull));
                frames.refused(index, DropReason::MemoryFull);
            } else if !state.outbound.is_empty() && state.outbound.bytes().saturating_add(rest) > bound {
                refusing = refusing.or(Some(DropReason::QueueFull));
                frames.refused(index, DropReason::QueueFull);
            } else if state.outbound.push(now, frames.keep(index, 0), bound).is_ok() {
                hub.hold(rest);
            }
            (index, skip) = (index + 1, 0);
        }
        if was_empty {
            wake(&mut state);
        }
    }

    /// Begins to close: what waits is still sent, nothing is added.
    pub(super) fn close(&self, now: Duration) {
        let mut state = self.state();
        state.closing.get_or_insert(now);
        wake(&mut state);
    }

    /// For the socket's own task: sends what waits, as far as the system takes it, and says how things are.
    pub(super) fn drive(&self, hub: &Hub, now: Duration, cx: &mut Context<'_>) -> Health {
        let mut state = self.state();
        if !state.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            state.task = Some(cx.waker().clone());
        }
        while !state.dead && !state.outbound.is_empty() {
            match self.stream().poll_write_ready(cx) {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => state.dead = true,
                Poll::Ready(Ok(())) => {
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    let count = state.outbound.slices(&mut slices);
                    match self.stream.try_write_vectored(slices.get(..count).unwrap_or_default()) {
                        Ok(0) => state.dead = true,
                        Ok(sent) => {
                            state.outbound.advance(sent);
                            hub.release(sent);
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(_) => state.dead = true,
                    }
                }
            }
        }
        if state.outbound.deadline(hub.limits.drain_time).is_some_and(|deadline| deadline <= now) {
            hub.release(state.press(self.stream()));
        }
        state.health(now, &hub.limits)
    }

    /// Drops what waits, but for the rest of a frame that has begun.
    pub(super) fn abandon(&self, hub: &Hub) {
        hub.release(self.state().outbound.abandon());
    }

    /// The socket's task ends: nothing is sent any more.
    pub(super) fn end(&self, hub: &Hub) {
        let mut state = self.state();
        state.dead = true;
        state.task = None;
        hub.release(state.outbound.clear());
    }
}

impl State {
    /// Writes whether or not the socket is said to be writable, before it is judged: the system says so only when a good
    /// part of its buffer is free, which takes a slow reader long. Returns how many bytes were taken.
    fn press(&mut self, stream: &TcpStream) -> usize {
        let before = self.outbound.bytes();
        while !self.dead {
            let mut slices = [IoSlice::new(&[])];
            if self.outbound.slices(&mut slices) == 0 {
                break;
            }
            // Tokio's sockets never block; its own `try_write` would not try.
            match rustix::net::send(stream, &slices[0], SEND) {
                Ok(0) => self.dead = true,
                Ok(sent) => self.outbound.advance(sent),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => break,
                Err(_) => self.dead = true,
            }
        }
        before - self.outbound.bytes()
    }

    fn health(&mut self, now: Duration, limits: &RelayLimits) -> Health {
        if self.dead {
            Health::Dead
        } else if let Some(since) = self.closing {
            if self.outbound.is_empty() { Health::Closed { since } } else { Health::Closing { since } }
        } else if self.outbound.stalled(now, limits.drain_time, limits.drain_bytes) {
            Health::Stalled
        } else {
            Health::Open { deadline: self.outbound.deadline(limits.drain_time) }
        }
    }
}

fn wake(state: &mut State) {
    if let Some(task) = &state.task {
        task.wake_by_ref();
    }
}

/// Writes as much as the system takes; the first piece not taken whole, and how much of it was.
fn write_now(stream: &OwnedWriteHalf, frames: &impl Frames) -> io::Result<(usize, usize)> {
    let (mut index, mut skip) = (0, 0);
    while index < frames.count() {
        let left = frames.count() - index;
        let written = if left == 1 {
            stream.try_write(frames.slice(index).get(skip..).unwrap_or_default())
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (offset, slot) in slices.iter_mut().enumerate().take(left) {
                let skip = if offset == 0 { skip } else { 0 };
                *slot = IoSlice::new(frames.slice(index + offset).get(skip..).unwrap_or_default());
            }
            stream.try_write_vectored(slices.get(..left).unwrap_or(&slices))
        };
        let mut written = match written {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        };
        while index < frames.count() {
            let rest = frames.slice(index).len() - skip;
            if written < rest {
                skip += written;
                break;
            }
            written -= rest;
            (index, skip) = (index + 1, 0);
        }
    }
    Ok((index, skip))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{RelayServerConfig, Switchboard, SwitchboardConfig};

    /// Frames of these sizes; those refused.
    struct Given(Vec<Bytes>, Vec<(usize, DropReason)>);

    impl Given {
        fn of(sizes: &[usize]) -> Self {
            Self(sizes.iter().map(|size| BytesMut::zeroed(*size).freeze()).collect(), Vec::new())
        }
    }

    impl Frames for Given {
        fn count(&self) -> usize {
            self.0.len()
        }
        fn slice(&self, index: usize) -> &[u8] {
            &self.0[index]
        }
        fn own(&self, index: usize) -> bool {
            self.0[index].len() == 7
        }
        fn keep(&mut self, index: usize, skip: usize) -> Bytes {
            self.0[index].slice(skip..)
        }
        fn refused(&mut self, index: usize, reason: DropReason) {
            self.1.push((index, reason));
        }
    }

    /// A socket whose other end reads nothing, and that end.
    async fn unread() -> (Hub, Arc<Conn>, TcpStream) {
        let limits = RelayLimits::default();
        let relay = RelayServerConfig::new(([127, 0, 0, 1], 0).into());
        let listener = TcpListener::bind(relay.listen).await.unwrap();
        let reader = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, write) = listener.accept().await.unwrap().0.into_split();
        write.writable().await.unwrap();
        let config = SwitchboardConfig { limits, require_proof: false, unix_start: 0.0, seed: [0; 32] };
        let id = Switchboard::new(config).open(Duration::ZERO, None).unwrap();
        (Hub::new(&relay, [0; 32]), Conn::new(id, write), reader)
    }

    /// More than the system takes for a reader that does not read, in bytes.
    const TOO_MUCH: usize = 64 << 20;

    #[tokio::test]
    async fn after_a_frame_that_does_not_fit_no_later_one_is_forwarded() {
        let (mut hub, conn, _reader) = unread().await;
        hub.limits.outbound_bytes = TOO_MUCH + 1000;
        hub.limits.buffered_bytes = TOO_MUCH * 2;
        let mut frames = Given::of(&[TOO_MUCH, TOO_MUCH, 10, 7, 10]);
        conn.send(&hub, Duration::ZERO, &mut frames);
        let full = DropReason::QueueFull;
        assert_eq!(frames.1, [(1, full), (2, full), (4, full)]);
    }

    #[tokio::test]
    async fn the_rest_of_a_frame_is_not_held_beyond_the_relays_memory() {
        let (mut hub, conn, _reader) = unread().await;
        hub.limits.buffered_bytes = 1 << 20;
        let mut frames = Given::of(&[TOO_MUCH, 10]);
        conn.send(&hub, Duration::ZERO, &mut frames);
        assert_eq!(frames.1, [(0, DropReason::MemoryFull), (1, DropReason::MemoryFull)]);
        assert_eq!(hub.metrics().buffered_bytes, 0);
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(conn.drive(&hub, Duration::ZERO, &mut cx), Health::Dead);
    }
}
