//! The two tasks of a link: one reads messages to the core, one writes what the core has to say.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use teale_wire::{ClusterMessage, Dialect, NodeId, RequestId, WireError};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::host::ShareNews;
use super::shared::Shared;
use crate::{CarriedLink, Input, LinkError, LinkId, LinkReceiver, LinkSender, core::sharing::is_sharing};

/// How long the last words of a closing link may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

type Rest = Vec<(ClusterMessage, Dialect)>;

/// What the driver keeps of a link.
pub(super) struct LinkHandle {
    /// Something waits to be sent.
    pub(super) ready: Arc<Notify>,
    /// Room for bulk came, or the link is gone.
    pub(super) room: Arc<Notify>,
    /// Ends the reader, also where the peer keeps its end open.
    gone: CancellationToken,
    close: Option<oneshot::Sender<Rest>>,
}

impl LinkHandle {
    /// Sends the last words, then closes.
    pub(super) fn close(mut self, rest: Rest) {
        if let Some(close) = self.close.take() {
            let _ = close.send(rest); // The writer is gone already: so is the link.
        }
    }
}

impl Drop for LinkHandle {
    fn drop(&mut self) {
        self.room.notify_waiters();
        self.gone.cancel();
    }
}

/// Starts the tasks of a link that is open.
pub(super) fn spawn(shared: &Arc<Shared>, carried: CarriedLink) {
    let link = LinkId(shared.number());
    let CarriedLink { peer, path, security, initiator, sender, receiver } = carried;
    let (ready, room) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (close, closing) = oneshot::channel();
    let gone = CancellationToken::new();
    let handle = LinkHandle { ready: Arc::clone(&ready), room, gone: gone.clone(), close: Some(close) };
    shared.link_up(link, handle, Input::LinkUp { link, peer, path, security, initiator });
    shared.writers.spawn(write(Arc::clone(shared), link, sender, ready, closing));
    shared.tasks.spawn(read(Arc::clone(shared), link, peer, receiver, gone));
}

async fn read(
    shared: Arc<Shared>,
    link: LinkId,
    peer: NodeId,
    mut receiver: Box<dyn LinkReceiver>,
    gone: CancellationToken,
) {
    let mut shares = false;
    let error = loop {
        let received = tokio::select! {
            () = shared.stop.cancelled() => return,
            () = gone.cancelled() => break LinkError::Closed,
            received = receiver.recv() => received,
        };
        let bytes = match received {
            Ok(bytes) => bytes,
            Err(error) => break error,
        };
        match ClusterMessage::parse_shared(&bytes) {
            Ok((message, dialect)) if is_sharing(&message) => {
                shares = true;
                // Whoever sends more than is worked off waits here, alone.
                let Some(place) = shared.share_place().await else { continue };
                shared.handle_share(Input::Message { link, message, dialect }, place);
            }
            Ok((message, dialect)) => {
                let news = is_news(&message);
                shared.handle(Input::Message { link, message, dialect });
                if news {
                    shared.changed();
                }
            }
            Err(error) => shared.handle(Input::Malformed { link, error }),
        }
    };
    drop(receiver);
    shared.link_down(link, error.to_string());
    if shares && let Some(place) = shared.share_place().await {
        place.send(ShareNews::LinkDown { link, peer });
    }
}

/// Whether a message may change who can answer.
fn is_news(message: &ClusterMessage) -> bool {
    matches!(
        message,
        ClusterMessage::Hello(_)
            | ClusterMessage::HelloAck(_)
            | ClusterMessage::Heartbeat(_)
            | ClusterMessage::HeartbeatAck(_)
    )
}

async fn write(
    shared: Arc<Shared>,
    link: LinkId,
    mut sender: Box<dyn LinkSender>,
    ready: Arc<Notify>,
    mut closing: oneshot::Receiver<Rest>,
) {
    let rest = loop {
        let Some((message, dialect)) = shared.transmit(link) else {
            tokio::select! {
                biased;
                rest = &mut closing => break rest.unwrap_or_default(),
                () = ready.notified() => continue,
            }
        };
        let mut sending = pin!(transmit(&shared, link, &mut *sender, message, dialect));
        let sent = tokio::select! {
            biased;
            rest = &mut closing => {
                // What is on its way goes first: without it the last words would have a hole before them.
                match tokio::time::timeout(LAST_WORDS, sending).await {
                    Ok(Ok(())) => break rest.unwrap_or_default(),
                    Ok(Err(_)) | Err(_) => break Rest::new(),
                }
            }
            sent = &mut sending => sent,
        };
        if let Err(error) = sent {
            return shared.link_down(link, error.to_string());
        }
    };
    let last_words = async {
        for (message, dialect) in rest {
            if transmit(&shared, link, &mut *sender, message, dialect).await.is_err() {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
    sender.close();
}

/// Sends one message. One that is too big for the carrier costs its request, not the link.
async fn transmit(
    shared: &Shared,
    link: LinkId,
    sender: &mut dyn LinkSender,
    message: ClusterMessage,
    dialect: Dialect,
) -> Result<(), LinkError> {
    let sent = match message.encode(dialect) {
        Ok(bytes) => sender.send(Bytes::from(bytes)).await,
        Err(WireError::TooBig { got, limit, .. }) => {
            Err(LinkError::TooBig { got: got.unwrap_or(usize::MAX), limit })
        }
        Err(error) => {
            tracing::error!(%error, kind = message.kind(), "a message that cannot be written");
            return Ok(());
        }
    };
    match sent {
        Err(LinkError::TooBig { got, limit }) => {
            tracing::warn!(got, limit, kind = message.kind(), "a message does not fit the carrier");
            if let Some(request) = request_of(&message) {
                shared.handle(Input::Unsendable { link, request, got, limit });
            }
            Ok(())
        }
        other => other,
    }
}

fn request_of(message: &ClusterMessage) -> Option<RequestId> {
    match message {
        ClusterMessage::InferenceRequest(request) => Some(request.request_id.clone()),
        ClusterMessage::InferenceChunk(chunk) => Some(chunk.request_id.clone()),
        _ => None,
    }
}
