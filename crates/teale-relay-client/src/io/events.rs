//! News for the application, in a queue that cannot grow.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use teale_identity::NodeId;
use teale_wire::PeerRecord;
use tokio::sync::Notify;

use super::{IncomingSession, shared::Shared};
use crate::{SessionError, bounds};

/// What the client has to tell, in order. The queue is bounded, and nobody waits for its reader: an unread list of
/// peers is replaced by the next one; of unread [`Registered`](RelayEvent::Registered) and
/// [`Disconnected`](RelayEvent::Disconnected) the oldest go, of [`Rejected`](RelayEvent::Rejected) the newest; a
/// session nobody accepts in time is refused.
pub struct RelayEvents(pub(super) Arc<Shared>);

/// News of the client.
#[non_exhaustive]
pub enum RelayEvent {
    /// Registered (again after a loss).
    Registered,
    /// The connection was lost or could not be made; the next attempt follows.
    Disconnected {
        /// Why, for people.
        reason: String,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// The answer to the poll every 30 s (or to `discover`).
    Peers(Vec<PeerRecord>),
    /// A peer opened a session, handshake not done yet: accept it (a task of its own) or drop it.
    Incoming(IncomingSession),
    /// A peer's handshake or packet was refused (for counters).
    Rejected {
        /// Who it claimed to be.
        peer: NodeId,
        /// Why.
        error: SessionError,
    },
}

impl fmt::Debug for RelayEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered => f.write_str("Registered"),
            Self::Disconnected { reason, retry_in } => {
                f.debug_struct("Disconnected").field("reason", reason).field("retry_in", retry_in).finish()
            }
            Self::Peers(peers) => write!(f, "Peers({})", peers.len()),
            Self::Incoming(session) => write!(f, "Incoming({:?})", session.peer()),
            Self::Rejected { peer, error } => {
                f.debug_struct("Rejected").field("peer", peer).field("error", error).finish()
            }
        }
    }
}

impl RelayEvents {
    /// The next piece of news; `None` when the client is gone.
    pub async fn next(&mut self) -> Option<RelayEvent> {
        self.0.events.next().await
    }
}

impl Drop for RelayEvents {
    fn drop(&mut self) {
        self.0.events.close();
    }
}

/// The queue behind [`RelayEvents`].
#[derive(Default)]
pub(super) struct EventQueue {
    state: Mutex<State>,
    readable: Notify,
}

#[derive(Default)]
struct State {
    events: VecDeque<RelayEvent>,
    closed: bool,
}

impl EventQueue {
    /// Queues an event. One that is not wanted is dropped, and an incoming session with it declined.
    pub(super) fn push(&self, event: RelayEvent) {
        let unwanted = self.lock().push(event);
        drop(unwanted);
        self.readable.notify_one();
    }

    async fn next(&self) -> Option<RelayEvent> {
        loop {
            {
                let mut state = self.lock();
                if let Some(event) = state.events.pop_front() {
                    return Some(event);
                }
                if state.closed {
                    return None;
                }
            }
            self.readable.notified().await;
        }
    }

    /// No more news: what is queued may still be read.
    pub(super) fn finish(&self) {
        self.lock().closed = true;
        self.readable.notify_one();
    }

    /// Nobody reads any more.
    fn close(&self) {
        let events = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.events)
        };
        drop(events);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before the lock is given back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, event: RelayEvent) -> Option<RelayEvent> {
        if self.closed {
            return Some(event);
        }
        let mut gone = None;
        match &event {
            RelayEvent::Peers(_) => {
                let unread = self.events.iter().position(|event| matches!(event, RelayEvent::Peers(_)));
                gone = unread.and_then(|index| self.events.remove(index));
            }
            RelayEvent::Registered | RelayEvent::Disconnected { .. } => {
                if self.events.iter().filter(|event| event.is_state()).count() >= bounds::STATE_EVENTS {
                    let oldest = self.events.iter().position(RelayEvent::is_state);
                    gone = oldest.and_then(|index| self.events.remove(index));
                }
            }
            RelayEvent::Rejected { .. } => {
                let rejected = |event: &&RelayEvent| matches!(event, RelayEvent::Rejected { .. });
                if self.events.iter().filter(rejected).count() >= bounds::REJECTED_EVENTS {
                    return Some(event);
                }
            }
            // Their number is bounded by the half-open sessions: each ends by itself.
            RelayEvent::Incoming(_) => self.events.retain(|event| match event {
                RelayEvent::Incoming(session) => !session.over(),
                _ => true,
            }),
        }
        self.events.push_back(event);
        gone
    }
}

impl RelayEvent {
    fn is_state(&self) -> bool {
        matches!(self, Self::Registered | Self::Disconnected { .. })
    }
}
