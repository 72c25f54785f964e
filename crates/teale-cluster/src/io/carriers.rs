//! All carriers of a node, and how a link is opened over the best that leads to a peer.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use teale_wire::NodeId;
use tokio::sync::mpsc;

use super::{link, shared::Shared};
use crate::{CarriedLink, Carrier, Input, LinkError, Way};

/// How long one carrier has the field to itself before the next one is tried beside it.
const STAGGER: Duration = Duration::from_millis(300);

/// The longest any carrier may take to open a link; they have shorter limits of their own.
const OPENING: Duration = Duration::from_secs(15);

/// The carriers, the best way first.
#[derive(Default)]
pub(super) struct Carriers(RwLock<Vec<Arc<dyn Carrier>>>);

impl Carriers {
    pub(super) fn add(&self, carrier: Arc<dyn Carrier>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.push(carrier);
        all.sort_by_key(|carrier| carrier.path());
    }

    fn ways(&self, peer: NodeId, way: Way) -> Vec<Arc<dyn Carrier>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let fit = all.iter().filter(|carrier| way.takes(carrier.path()) && carrier.reaches(peer));
        fit.map(Arc::clone).collect()
    }

    /// Opens the links the core wants, each in a task of its own.
    pub(super) async fn open_wanted(
        self: Arc<Self>,
        shared: Arc<Shared>,
        mut wanted: mpsc::Receiver<(NodeId, Way)>,
    ) {
        loop {
            let next = tokio::select! {
                () = shared.stop.cancelled() => return,
                next = wanted.recv() => next,
            };
            let Some((peer, way)) = next else { return };
            let (carriers, opener) = (Arc::clone(&self), Arc::clone(&shared));
            shared.tasks.spawn(async move {
                let opened = tokio::select! {
                    () = opener.stop.cancelled() => return,
                    opened = carriers.open(peer, way) => opened,
                };
                match opened {
                    Ok(carried) => link::spawn(&opener, carried),
                    Err(error) => {
                        let reason = error.to_string();
                        opener.handle(Input::OpenFailed { peer, way, reason });
                    }
                }
            });
        }
    }

    /// The best way first; the next one when it fails, or beside it when it takes its time. The first link wins.
    async fn open(&self, peer: NodeId, way: Way) -> Result<CarriedLink, LinkError> {
        let mut waiting = self.ways(peer, way).into_iter();
        let mut running = FuturesUnordered::new();
        let mut last = LinkError::Unreachable("no carrier knows the peer".into());
        loop {
            match waiting.next() {
                Some(carrier) => running.push(async move {
                    let opened = tokio::time::timeout(OPENING, carrier.open(peer)).await;
                    opened.unwrap_or(Err(LinkError::Timeout))
                }),
                None if running.is_empty() => return Err(last),
                None => {}
            }
            let pause = async {
                if waiting.len() == 0 {
                    return std::future::pending().await;
                }
                tokio::time::sleep(STAGGER).await;
            };
            tokio::select! {
                opened = running.next() => match opened {
                    Some(Ok(carried)) => return Ok(carried),
                    Some(Err(error)) => last = error,
                    None => {}
                },
                () = pause => {}
            }
        }
    }

    pub(super) async fn shutdown(&self) {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        futures_util::future::join_all(all.iter().map(|carrier| carrier.shutdown())).await;
    }
}
