//! Driving one pull: the receiver core, its storage, its workers.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use teale_wire::{ClusterMessage, NodeId};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::DropGuard;

use super::{
    Inner,
    folder::Partial,
    worker::{self, Work},
};
use crate::share::{Input, Output, Progress, PullError, Receiver, ReceiverConfig};

/// How often candidates are looked for, and progress is told.
const LOOK: Duration = Duration::from_millis(200);
/// Reports of the workers that wait.
const REPORTS: usize = 256;

/// How to pull.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Only from this node.
    pub from: Option<NodeId>,
    /// Also over relays.
    pub relay: bool,
    /// How long to look for somebody who offers the model.
    pub search: Duration,
    /// How long to go on, once it began, without any source.
    pub patience: Duration,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self { from: None, relay: false, search: Duration::from_secs(15), patience: Duration::from_secs(60) }
    }
}

/// What a running pull shows.
#[derive(Debug, Clone, Default)]
pub struct PullState {
    /// How far it is.
    pub progress: Progress,
    /// The end, with the model's folder.
    pub end: Option<Result<PathBuf, PullError>>,
}

/// A running pull. Dropping it stops it; what came is kept for the next one.
#[derive(Debug)]
pub struct Pull {
    pub(super) state: watch::Receiver<PullState>,
    pub(super) _stop: DropGuard,
}

impl Pull {
    /// How it stands.
    pub fn state(&self) -> PullState {
        self.state.borrow().clone()
    }

    /// Waits until something changed; false when it ended.
    pub async fn changed(&mut self) -> bool {
        self.state.borrow().end.is_none() && self.state.changed().await.is_ok()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Why the model could not be fetched.
    pub async fn finished(mut self) -> Result<PathBuf, PullError> {
        while self.changed().await {}
        let end = self.state.borrow().end.clone();
        end.unwrap_or(Err(PullError::ShuttingDown))
    }
}

/// One pull's task.
pub(super) struct PullTask {
    pub(super) inner: Arc<Inner>,
    pub(super) model: String,
    /// What the ids of its transfers begin with.
    pub(super) tag: u32,
    pub(super) options: PullOptions,
    pub(super) news: mpsc::Receiver<Input>,
    pub(super) state: watch::Sender<PullState>,
    pub(super) stop: tokio_util::sync::CancellationToken,
}

/// The folder in use, and who works on it.
struct Storage {
    partial: Arc<Partial>,
    workers: HashMap<NodeId, (mpsc::Sender<Work>, JoinHandle<()>)>,
    reports: mpsc::Sender<Input>,
}

impl PullTask {
    pub(super) async fn run(mut self) {
        let (stop, over) = (self.stop.clone(), self.inner.stop.clone());
        let end = tokio::select! {
            end = self.pull() => end,
            () = stop.cancelled() => Err(PullError::ShuttingDown),
            () = over.cancelled() => Err(PullError::ShuttingDown),
        };
        self.inner.pulls.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&self.tag);
        self.inner.library.forget_seen();
        self.state.send_modify(|state| state.end = Some(end));
    }

    async fn pull(&mut self) -> Result<PathBuf, PullError> {
        let start = Instant::now();
        let library = Arc::clone(&self.inner.library);
        let model = self.model.clone();
        let begun = tokio::task::spawn_blocking(move || library.folder.begun(&model)).await.ok().flatten();
        let config = ReceiverConfig {
            model: self.model.clone(),
            begun,
            search: self.options.search,
            patience: self.options.patience,
        };
        let mut receiver = Receiver::new(config, rand::random(), self.tag, start.elapsed());
        let (reports, mut reported) = mpsc::channel(REPORTS);
        let mut storage: Option<Storage> = None;
        let mut path = PathBuf::new();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut fetched = 0;
        loop {
            loop {
                match receiver.poll() {
                    Output::Send(peer, message) => self.send(&mut receiver, start.elapsed(), peer, message),
                    Output::Begin(manifest) => {
                        close(storage.take(), &mut reported).await;
                        let library = Arc::clone(&self.inner.library);
                        let id = self.model.clone();
                        let prepare =
                            tokio::task::spawn_blocking(move || library.folder.prepare(&manifest, &id)).await;
                        let input = match prepare {
                            Ok(Ok((partial, found))) => {
                                let (partial, reports) = (Arc::new(partial), reports.clone());
                                storage = Some(Storage { partial, workers: HashMap::new(), reports });
                                Input::Begun(found)
                            }
                            Ok(Err(reason)) => Input::StorageFailed(reason),
                            Err(_) => Input::StorageFailed("the disk's task crashed".into()),
                        };
                        receiver.handle(start.elapsed(), input);
                    }
                    Output::Write(piece) => {
                        let peer = piece.peer;
                        give(&mut storage, peer, Work::Piece(piece));
                    }
                    Output::Forget(peer, at) => give(&mut storage, peer, Work::Forget(at)),
                    Output::Dropped(peer, fault) => {
                        tracing::warn!(%peer, model = self.model, %fault, "a source is dropped");
                        self.inner.host.refused(peer, format!("as a source of a model: {fault}"));
                    }
                    Output::Finish => {
                        let finished = self.finish(storage.take(), &mut reported).await;
                        let input = match finished {
                            Ok(folder) => {
                                path = folder;
                                Input::Finished
                            }
                            Err(error) => {
                                Input::StorageFailed(format!("the files cannot be moved into place: {error}"))
                            }
                        };
                        receiver.handle(start.elapsed(), input);
                    }
                    Output::End(result) => {
                        self.tell(&mut receiver, &mut fetched);
                        close(storage.take(), &mut reported).await;
                        return result.map(|()| path);
                    }
                    Output::Wait(until) => {
                        let sleep = until.map(|until| start + until);
                        let input = tokio::select! {
                            Some(input) = reported.recv() => input,
                            Some(input) = self.news.recv() => input,
                            _ = look.tick() => {
                                self.look_for_sources(&mut receiver, start.elapsed());
                                self.tell(&mut receiver, &mut fetched);
                                Input::Tick
                            }
                            () = sleep_until(sleep) => Input::Tick,
                        };
                        receiver.handle(start.elapsed(), input);
                        break;
                    }
                }
            }
        }
    }

    fn send(&self, receiver: &mut Receiver, now: Duration, peer: NodeId, message: ClusterMessage) {
        if self.inner.host.share_send(peer, message).is_err() {
            receiver.handle(now, Input::Lost(peer));
        }
    }

    /// Tells the core of everybody who can be reached on a way that is allowed.
    fn look_for_sources(&self, receiver: &mut Receiver, now: Duration) {
        for peer in self.inner.host.peers() {
            if self.options.from.is_some_and(|from| from != peer.node) {
                continue;
            }
            match peer.path {
                Some(path) if path == crate::LinkPath::Relay && !self.options.relay => {}
                Some(_) if peer.healthy => receiver.handle(now, Input::Found(peer.node)),
                Some(_) => {}
                None => self.inner.host.reach(peer.node),
            }
        }
    }

    fn tell(&self, receiver: &mut Receiver, fetched: &mut u64) {
        let progress = receiver.progress();
        self.inner.received.fetch_add(progress.fetched.saturating_sub(*fetched), Ordering::Relaxed);
        *fetched = progress.fetched;
        self.state.send_modify(|state| state.progress = progress);
    }

    async fn finish(
        &self,
        storage: Option<Storage>,
        reported: &mut mpsc::Receiver<Input>,
    ) -> std::io::Result<PathBuf> {
        let partial =
            close(storage, reported).await.ok_or_else(|| std::io::Error::other("there is no folder"))?;
        let library = Arc::clone(&self.inner.library);
        let work = tokio::task::spawn_blocking(move || {
            let manifest = partial.manifest.clone();
            let folder = partial.finish()?;
            for file in manifest.files() {
                // Our own blocks are kept as hashes; of other sizes, they are computed again when they are asked for.
                if file.has_our_blocks() {
                    library.hashes.put(&folder.join(&file.name), file);
                }
            }
            Ok(folder)
        });
        work.await.map_err(std::io::Error::other)?
    }
}

/// Gives a worker something to do; each source has one.
fn give(storage: &mut Option<Storage>, peer: NodeId, work: Work) {
    let Some(storage) = storage else { return };
    let (worker, _) = storage
        .workers
        .entry(peer)
        .or_insert_with(|| worker::spawn(Arc::clone(&storage.partial), peer, storage.reports.clone()));
    if worker.try_send(work).is_err() {
        // The core bounds what is under way by less than the queue holds.
        tracing::error!(%peer, "a worker's queue is full");
    }
}

/// Waits until the workers have done what they were given; what they report is void.
async fn close(storage: Option<Storage>, reported: &mut mpsc::Receiver<Input>) -> Option<Partial> {
    let Storage { partial, workers, reports } = storage?;
    drop(reports);
    for (_, (give, task)) in workers {
        drop(give);
        let mut task = task;
        loop {
            tokio::select! {
                _ = &mut task => break,
                _ = reported.recv() => {}
            }
        }
    }
    while reported.try_recv().is_ok() {}
    Arc::into_inner(partial)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
