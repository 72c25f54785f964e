//! The cluster's news as log lines: why two nodes do or do not meet is never a secret.

use teale_cluster::ClusterEvent;
use teale_relay_client::Security;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::output::plain;

/// Logs until the cluster is gone.
pub(super) async fn log(mut events: Receiver<ClusterEvent>) {
    loop {
        match events.recv().await {
            Ok(event) => line(&event),
            Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "news were missed by the log"),
            Err(RecvError::Closed) => return,
        }
    }
}

fn line(event: &ClusterEvent) {
    match event {
        ClusterEvent::Registered { relay } => tracing::info!(%relay, "registered"),
        ClusterEvent::RelayLost { relay, reason, retry_in } => {
            tracing::warn!(%relay, reason = plain(reason), ?retry_in, "no connection to the relay");
        }
        ClusterEvent::Discovered { node, name, models } => {
            tracing::info!(%node, name = plain(name), models = plain(&models.join(", ")), "discovered");
        }
        ClusterEvent::LinkUp { node, path, security: Security::Sealed { verified, .. }, initiator } => {
            tracing::info!(%node, ?path, verified, initiator, "linked, sealed");
        }
        ClusterEvent::LinkUp { node, path, security: Security::Plaintext, initiator } => {
            tracing::warn!(%node, ?path, initiator, "linked in PLAINTEXT: the peer has no key, others can read along");
        }
        ClusterEvent::LinkDown { node, reason, .. } => {
            tracing::info!(%node, reason = plain(reason), "link down")
        }
        ClusterEvent::Refused { node, reason } => tracing::warn!(%node, reason = plain(reason), "refused"),
        ClusterEvent::Served { node, model, tokens, error: None } => {
            tracing::info!(%node, model = plain(model), tokens, "served");
        }
        ClusterEvent::Served { node, model, error: Some(error), .. } => {
            tracing::info!(%node, model = plain(model), error = plain(error), "a peer's request failed");
        }
        other => tracing::debug!(?other, "news"),
    }
}
