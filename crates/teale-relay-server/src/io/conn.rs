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
use crate::{DropReason, Outbound, RelayLimits, SocketId};

/// Slices in one vectored write.
const SLICES: usize = 64;

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

    /// Sends frames, in order, or queues them, or refuses them. Never waits. `slack` is what may be added to a full
    /// queue, in bytes.
    pub(super) fn send(&self, hub: &Hub, now: Duration, frames: &mut impl Frames, slack: usize) {
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
        while index < frames.count() {
            let rest = frames.slice(index).len() - skip;
            let bound = hub.limits.outbound_bytes.saturating_add(slack);
            if skip > 0 {
                state.outbound.push_rest(now, frames.keep(index, skip));
                hub.hold(rest);
            } else if !hub.may_hold(rest) {
                frames.refused(index, DropReason::MemoryFull);
            } else if !state.outbound.is_empty() && state.outbound.bytes().saturating_add(rest) > bound {
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
