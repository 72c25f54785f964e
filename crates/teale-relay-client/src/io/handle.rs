//! The handle to a running client.

use std::{sync::Arc, time::Duration};

use teale_wire::{DiscoverFilter, NodeCapabilities, PeerRecord};
use tokio::sync::{mpsc, oneshot};

use super::{
    RelayConfig, RelayEvents, RelaySession,
    shared::{Asking, SessionReply, Shared},
    task::Task,
};
use crate::{Counters, RelayError, SessionError, bounds};

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
        reply: oneshot::Sender<Result<Vec<PeerRecord>, RelayError>>,
    },
    Open {
        peer: teale_identity::NodeId,
        advertised: Option<String>,
        patience: Duration,
        reply: SessionReply,
    },
}

/// The client's present state.
#[derive(Debug, Clone)]
pub struct RelayStatus {
    /// The relay.
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
            url: config.url.clone(),
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
        let ask = |reply| Command::Discover { filter, patience: timeout, reply };
        self.ask(ask).await.unwrap_or(Err(RelayError::Closed))
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
        let ask = |reply| Command::Open { peer, advertised, patience: timeout, reply };
        self.ask(ask).await.unwrap_or(Err(SessionError::Closed))
    }

    /// Asks the connection task; `None` when it is gone.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let asking = Asking::new(self.shared.clone());
        let (reply, answer) = oneshot::channel();
        tokio::select! {
            sent = self.commands.send(command(reply)) => sent.ok()?,
            () = self.shared.done.cancelled() => return None,
        }
        let answer = answer.await.ok();
        asking.answered();
        answer
    }

    /// The present state.
    pub fn status(&self) -> RelayStatus {
        self.shared.status.borrow().clone()
    }

    /// Sends what is queued, closes sessions and the connection, and waits for it.
    pub async fn shutdown(&self) {
        self.shared.post(|mailbox| mailbox.shutdown = true);
        self.shared.done.cancelled().await;
    }
}
