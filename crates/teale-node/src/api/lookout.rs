//! A look around: the relays are asked who is there now, one look at a time however many requests want one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use teale_cluster::Cluster;
use tokio::sync::{Notify, futures::OwnedNotified};
use tokio_util::sync::CancellationToken;

/// Looks around for all requests of an API.
#[derive(Debug)]
pub(super) struct Lookout {
    cluster: Cluster,
    closed: CancellationToken,
    /// Told when the look in progress is over.
    current: Arc<Mutex<Option<Arc<Notify>>>>,
}

impl Lookout {
    /// Looks end when `closed` says so.
    pub(super) fn new(cluster: Cluster, closed: CancellationToken) -> Self {
        Self { cluster, closed, current: Arc::default() }
    }

    /// Begins a look, or joins the one in progress. It goes on when the returned future is dropped, which otherwise
    /// ends with it; a relay may let it wait for ten seconds.
    pub(super) fn look(&self) -> OwnedNotified {
        let mut current = lock(&self.current);
        if let Some(over) = &*current {
            return Arc::clone(over).notified_owned();
        }
        let over = Arc::new(Notify::new());
        *current = Some(Arc::clone(&over));
        // Made while the lock is held: the end of the look cannot come before it.
        let told = Arc::clone(&over).notified_owned();
        let (cluster, closed, current) =
            (self.cluster.clone(), self.closed.clone(), Arc::clone(&self.current));
        tokio::spawn(async move {
            tokio::select! {
                () = cluster.discover() => {}
                () = closed.cancelled() => {}
            }
            *lock(&current) = None;
            over.notify_waiters();
        });
        told
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
