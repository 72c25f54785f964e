//! The handle to a running client.

use std::{sync::Arc, time::Duration};

use teale_wire::{DiscoverFilter, NodeCapabilities, PeerRecord};
use tokio::sync::{mpsc, oneshot};

use super::{
    RelayConfig, RelayEvents, RelaySession,
    shared::{Asking, SessionReply, Shared},
    task::Task,
};
use crate::{Counters, RelayError, SessionError, bounds, url_without_credentials};

/// A handle to the running client. Clones share one connection; the last one dropped closes it.
#[derive(Clone)]
pub struct RelayClient {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// What a handle asks of the connection task.
pub(super) enum Command {
    Discover {
        filter: Option<DiscoverFilter>,
        patience: Duration,
        /// When the patience ends; it began when the caller asked, not when the task hears of it.
        deadline: Duration,
        reply: oneshot::Sender<Result<Vec<PeerRecord>, RelayError>>,
    },
    Open {
        peer: teale_identity::NodeId,
        advertised: Option<String>,
        /// As for [`Command::Discover`].
        deadline: Duration,
        reply: SessionReply,
    },
}

/// Why the connection task did not answer.
enum Unanswered {
    /// It is gone.
    Closed,
    /// It did not even hear of the question in time, or not in time to answer.
    Late,
}

/// The client's present state.
#[derive(Debug, Clone)]
pub struct RelayStatus {
    /// The relay, without name and password.
    pub url: String,
    /// Whether registered.
    pub registered: bool,
    /// Why not.
    pub last_error: Option<String>,
    /// Sessions open.
    pub sessions: usize,
    /// Round trip of the last ping.
    pub ping: Option<Duration>,
    /// What was counted since the start.
    pub counters: Counters,
}

impl RelayClient {
    /// Starts the client in the background of the current tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(config: RelayConfig) -> (Self, RelayEvents) {
        let shared = Arc::new(Shared::new(RelayStatus {
            url: url_without_credentials(&config.url).into_owned(),
            registered: false,
            last_error: None,
            sessions: 0,
            ping: None,
            counters: Counters::default(),
        }));
        let (commands, requests) = mpsc::channel(bounds::COMMANDS);
        let task = Task::new(config, shared.clone(), requests);
        tokio::spawn(task.run());
        (Self { commands, shared: shared.clone() }, RelayEvents(shared))
    }

    /// New capabilities: registered at once if they differ.
    pub fn set_capabilities(&self, capabilities: NodeCapabilities) {
        self.shared.post(|mailbox| mailbox.capabilities = Some(capabilities));
    }

    /// Asks who is there. Waits for the connection, and for the relay's rate limit, up to `timeout`. Dropping the
    /// future withdraws the request.
    ///
    /// # Errors
    /// [`RelayError::NotConnected`], [`RelayError::Timeout`] or [`RelayError::Refused`] when the time is over,
    /// [`RelayError::Busy`] when too many wait, [`RelayError::Closed`].
    pub async fn discover(
        &self,
        filter: Option<DiscoverFilter>,
        timeout: Duration,
    ) -> Result<Vec<PeerRecord>, RelayError> {
        let ask = |deadline, reply| Command::Discover { filter, patience: timeout, deadline, reply };
        match self.ask(timeout, ask).await {
            Ok(answer) => answer,
            Err(Unanswered::Closed) => Err(RelayError::Closed),
            Err(Unanswered::Late) => Err(RelayError::Timeout(timeout)),
        }
    }

    /// Waits until registered, up to `timeout`.
    ///
    /// # Errors
    /// [`RelayError::NotConnected`] with the last reason when the time is over, [`RelayError::Closed`].
    pub async fn registered(&self, timeout: Duration) -> Result<(), RelayError> {
        let mut status = self.shared.status.subscribe();
        let registered = status.wait_for(|status| status.registered);
        tokio::select! {
            () = self.shared.done.cancelled() => Err(RelayError::Closed),
            waited = tokio::time::timeout(timeout, registered) => match waited {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) => Err(RelayError::Closed),
                Err(_) => Err(RelayError::NotConnected(
                    self.status().last_error.unwrap_or_else(|| "still connecting".into()),
                )),
            },
        }
    }

    /// Opens a session with a peer: relayOpen, relayReady, handshake. Fails at once without a registered
    /// connection. Dropping the future gives the session up.
    ///
    /// # Errors
    /// [`SessionError::PeerNotFound`], [`SessionError::Timeout`], [`SessionError::Noise`],
    /// [`SessionError::PlaintextRefused`], [`SessionError::RelayLost`], [`SessionError::Closed`] when the peer
    /// declined.
    pub async fn open(&self, peer: &PeerRecord, timeout: Duration) -> Result<RelaySession, SessionError> {
        let (peer, advertised) = (peer.node_id, peer.wg_public_key.clone());
        let ask = |deadline, reply| Command::Open { peer, advertised, deadline, reply };
        match self.ask(timeout, ask).await {
            // What was left of the time when the task heard of it is nobody's business.
            Ok(Err(SessionError::Timeout(_))) | Err(Unanswered::Late) => Err(SessionError::Timeout(timeout)),
            Ok(answer) => answer,
            Err(Unanswered::Closed) => Err(SessionError::Closed),
        }
    }

    /// Asks the connection task. The time counts from here, the wait for a place in its queue included; a task that
    /// hears of the question in time answers by the deadline, and says more than that it passed.
    async fn ask<T>(
        &self,
        patience: Duration,
        command: impl FnOnce(Duration, oneshot::Sender<T>) -> Command,
    ) -> Result<T, Unanswered> {
        let deadline = self.shared.start.elapsed().saturating_add(patience);
        let asking = Asking::new(self.shared.clone());
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            tokio::select! {
                sent = self.commands.send(command(deadline, reply)) => sent.ok()?,
                () = self.shared.done.cancelled() => return None,
            }
            answer.await.ok()
        };
        let limit = patience.saturating_add(bounds::ANSWER_GRACE);
        match tokio::time::timeout(limit, exchange).await {
            Ok(answer) => {
                asking.answered();
                answer.ok_or(Unanswered::Closed)
            }
            Err(_) => Err(Unanswered::Late),
        }
    }

    /// The present state.
    pub fn status(&self) -> RelayStatus {
        self.shared.status.borrow().clone()
    }

    /// Sends what was handed over before ([`bounds::FLUSH_WITHIN`] for a relay that reads slowly), closes sessions and
    /// the connection, and waits for it.
    pub async fn shutdown(&self) {
        self.shared.post(|mailbox| mailbox.shutdown = true);
        self.shared.done.cancelled().await;
    }
}
