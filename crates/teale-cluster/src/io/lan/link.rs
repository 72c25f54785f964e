//! An open connection as a link.

use std::{io, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use teale_relay_client::Security;
use teale_wire::{NodeId, limits};
use tokio::{io::AsyncWriteExt, net::tcp::OwnedWriteHalf, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    broke,
    inner::{Inner, Place},
    is_refusal,
    stream::{FrameReader, set_patient},
};
use crate::{
    CarriedLink, LinkError, LinkPath, LinkReceiver, LinkSender,
    lan::{FrameOpener, FrameSealer, Opened, bounds},
};

/// What both halves hold: as long as one lives, the link counts.
struct Lease {
    inner: Arc<Inner>,
    peer: NodeId,
    address: SocketAddr,
    closed: CancellationToken,
    _place: Option<Place>,
}

impl Lease {
    fn refuse(&self, error: &LinkError) {
        if is_refusal(error) {
            self.inner.refused(self.peer, self.address, &error.to_string());
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        if let Some(count) = state.live.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                state.live.remove(&self.peer);
            }
        }
        drop(state);
        self.inner.links_changed.notify_waiters();
    }
}

/// Makes a link of a connection whose greeting went well.
pub(super) fn carried(
    inner: &Arc<Inner>,
    opened: Opened,
    (reader, writer): (FrameReader, OwnedWriteHalf),
    address: SocketAddr,
    place: Option<Place>,
) -> CarriedLink {
    let initiator = place.is_none();
    let Opened { peer, security, sealer, opener, first, .. } = opened;
    if security == Security::Plaintext {
        tracing::warn!(%peer, %address, "a LAN link in plaintext: the peer has no key, anybody on the network can read it");
    }
    *inner.state().live.entry(peer).or_default() += 1;
    inner.links_changed.notify_waiters();
    let closed = CancellationToken::new();
    let lease =
        Arc::new(Lease { inner: Arc::clone(inner), peer, address, closed: closed.clone(), _place: place });
    CarriedLink {
        peer,
        path: LinkPath::Lan,
        security,
        initiator,
        sender: Box::new(Sender {
            sealer,
            writer: Some(writer),
            pending: Bytes::new(),
            lease: Arc::clone(&lease),
        }),
        receiver: Box::new(Receiver { opener, reader: Some(reader), first, lease }),
    }
}

/// Writes to the socket itself: no queue in between, so what is sent next waits for nothing but the kernel's few
/// bytes.
struct Sender {
    sealer: FrameSealer,
    writer: Option<OwnedWriteHalf>,
    /// What is left of the frame that was begun last.
    pending: Bytes,
    lease: Arc<Lease>,
}

impl Sender {
    async fn flush(&mut self) -> Result<(), LinkError> {
        let Some(writer) = &mut self.writer else { return Err(LinkError::Closed) };
        flush(writer, &mut self.pending).await
    }

    fn fail(&mut self, error: LinkError) -> LinkError {
        self.writer = None;
        self.lease.closed.cancel();
        self.lease.refuse(&error);
        error
    }
}

async fn flush(writer: &mut OwnedWriteHalf, pending: &mut Bytes) -> Result<(), LinkError> {
    while !pending.is_empty() {
        let written = match timeout(bounds::PATIENT_AFTER, writer.write(pending)).await {
            Ok(written) => written,
            Err(_) => {
                set_patient(writer.as_ref(), true);
                let rest = bounds::WRITE_WITHIN.saturating_sub(bounds::PATIENT_AFTER);
                let Ok(written) = timeout(rest, writer.write(pending)).await else {
                    return Err(LinkError::Lost("the peer does not read what it is sent".into()));
                };
                set_patient(writer.as_ref(), false);
                written
            }
        };
        match written {
            Ok(0) => return Err(broke(&io::ErrorKind::WriteZero.into())),
            Ok(written) => pending.advance(written),
            Err(error) => return Err(broke(&error)),
        }
    }
    Ok(())
}

#[async_trait]
impl LinkSender for Sender {
    async fn send(&mut self, message: Bytes) -> Result<(), LinkError> {
        if self.writer.is_none() || self.lease.closed.is_cancelled() {
            return Err(LinkError::Closed);
        }
        if let Err(error) = self.flush().await {
            return Err(self.fail(error));
        }
        let now = self.lease.inner.now().monotonic;
        self.pending = match self.sealer.seal(&message, now) {
            Ok(frame) => frame,
            Err(error @ LinkError::TooBig { .. }) => return Err(error),
            Err(error) => return Err(self.fail(error)),
        };
        match self.flush().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn limit(&self) -> usize {
        self.sealer.limit()
    }

    fn close(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        let (mut pending, lease) = (std::mem::take(&mut self.pending), Arc::clone(&self.lease));
        let runtime = tokio::runtime::Handle::try_current();
        match runtime {
            // A frame that was begun is finished, so that the stream ends between two frames.
            Ok(runtime) if !pending.is_empty() => {
                runtime.spawn(async move {
                    let _ = timeout(bounds::LINGER, flush(&mut writer, &mut pending)).await;
                    drop(writer);
                    lease.closed.cancel();
                });
            }
            _ => {
                drop(writer);
                lease.closed.cancel();
            }
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.close();
    }
}

struct Receiver {
    opener: FrameOpener,
    reader: Option<FrameReader>,
    /// A message that came with the greeting.
    first: Option<Bytes>,
    lease: Arc<Lease>,
}

#[async_trait]
impl LinkReceiver for Receiver {
    async fn recv(&mut self) -> Result<Bytes, LinkError> {
        let frame = match self.first.take() {
            Some(first) => first,
            None => {
                let Some(reader) = &mut self.reader else { return Err(LinkError::Closed) };
                tokio::select! {
                    biased;
                    () = self.lease.closed.cancelled() => return Err(LinkError::Closed),
                    frame = reader.next(limits::CLUSTER_MESSAGE) => match frame {
                        Ok(Some(frame)) => frame,
                        Ok(None) => return Err(self.fail(LinkError::Closed)),
                        Err(error) => return Err(self.fail(broke(&error))),
                    },
                }
            }
        };
        let now = self.lease.inner.now().monotonic;
        match self.opener.open(frame, now) {
            Ok(message) => Ok(message),
            Err(error) => Err(self.fail(error)),
        }
    }
}

impl Receiver {
    /// The connection is of no use any more.
    fn fail(&mut self, error: LinkError) -> LinkError {
        self.reader = None;
        self.lease.refuse(&error);
        error
    }
}

impl Drop for Receiver {
    /// A socket closed with something unread in it is reset, and the peer may lose our last words: so read on a while.
    fn drop(&mut self) {
        if let (Some(reader), Ok(runtime)) = (self.reader.take(), tokio::runtime::Handle::try_current()) {
            let lease = Arc::clone(&self.lease);
            runtime.spawn(async move {
                let _ = timeout(bounds::LINGER, reader.discard()).await;
                drop(lease);
            });
        }
    }
}
