//! What the connection task, the handles and the sessions share.

use std::sync::{Arc, Mutex, PoisonError};

use teale_wire::NodeCapabilities;
use tokio::{
    sync::{Notify, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{RelaySession, RelayStatus, events::EventQueue, inbox::Budget, outbox::Outbox};
use crate::{SessionError, SessionKey};

/// Where the answer to an open or an accept goes.
pub(super) type SessionReply = oneshot::Sender<Result<RelaySession, SessionError>>;

/// One client's common ground.
pub(super) struct Shared {
    /// The zero of monotonic time.
    pub(super) start: Instant,
    /// Wakes the connection task: look into the outbox and the mailbox.
    pub(super) wake: Notify,
    pub(super) outbox: Outbox,
    pub(super) events: EventQueue,
    pub(super) budget: Arc<Budget>,
    pub(super) status: watch::Sender<RelayStatus>,
    /// Cancelled when the connection task is gone.
    pub(super) done: CancellationToken,
    mailbox: Mutex<Mailbox>,
}

/// Requests made where nobody can wait (drops, mostly). At most three a session, one set of capabilities and one
/// shutdown: bounded by [`bounds::SESSIONS`](crate::bounds::SESSIONS).
#[derive(Default)]
pub(super) struct Mailbox {
    pub(super) notes: Vec<Note>,
    pub(super) capabilities: Option<NodeCapabilities>,
    pub(super) shutdown: bool,
    /// Somebody stopped waiting for an answer: look for those nobody waits for.
    pub(super) abandoned: bool,
}

/// A request about one session.
pub(super) enum Note {
    Accept(SessionKey, SessionReply),
    Decline(SessionKey),
    Fail(SessionKey, SessionError),
}

impl Shared {
    pub(super) fn new(status: RelayStatus) -> Self {
        Self {
            start: Instant::now(),
            wake: Notify::new(),
            outbox: Outbox::default(),
            events: EventQueue::default(),
            budget: Arc::default(),
            status: watch::Sender::new(status),
            done: CancellationToken::new(),
            mailbox: Mutex::default(),
        }
    }

    pub(super) fn post(&self, write: impl FnOnce(&mut Mailbox)) {
        write(&mut self.mailbox.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    pub(super) fn collect(&self) -> Mailbox {
        std::mem::take(&mut self.mailbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Held while an answer is awaited: a caller that stops waiting gives its place back, not only when its patience
/// would have ended. Make it before the channel of the answer, so that it is dropped after that.
pub(super) struct Asking {
    shared: Arc<Shared>,
    answered: bool,
}

impl Asking {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, answered: false }
    }

    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.post(|mailbox| mailbox.abandoned = true);
        }
    }
}
