//! The core behind a lock, and what its outputs do.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use teale_wire::{ClusterMessage, Dialect, NodeId, chat::ChatRequest};
use tokio::{
    runtime::Handle,
    sync::{Notify, broadcast, mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    answer::{AnswerBuffer, Pending, Source},
    host::{LinkGone, ShareNews},
    job::{self, Job},
    link::LinkHandle,
};
use crate::{AskError, AskId, Backend, ClusterEvent, Core, Input, JobId, LinkId, Now, Output, Way};

/// News a slow reader may miss.
const EVENTS: usize = 256;
/// Links waiting to be opened; the core opens at most two per peer, and this many at once are served.
const OPENINGS: usize = 1024;

/// What a running request's task listens to.
pub(super) struct JobHandle {
    pub(super) stop: CancellationToken,
    pub(super) pull: Arc<Notify>,
}

struct State {
    core: Core,
    links: HashMap<LinkId, LinkHandle>,
    jobs: HashMap<JobId, JobHandle>,
    asks: HashMap<AskId, Arc<AnswerBuffer>>,
    wake_at: Option<Duration>,
    /// Where the message of model sharing goes that is being handled.
    share_place: Option<SharePlace>,
}

/// A place kept in the queue of whoever shares models.
pub(super) type SharePlace = mpsc::OwnedPermit<ShareNews>;

/// One lock around the core. Held only for as long as the core computes, never across an await: whoever has an
/// input brings it himself, and its outputs are wake-ups, so that a chunk needs no task of its own on its way.
pub(super) struct Shared {
    state: Mutex<State>,
    me: Weak<Shared>,
    start: Instant,
    next: AtomicU64,
    runtime: Handle,
    pub(super) backend: Option<Arc<dyn Backend>>,
    pub(super) tasks: TaskTracker,
    /// The writing halves of links.
    pub(super) writers: TaskTracker,
    /// Fires at the very end.
    pub(super) stop: CancellationToken,
    pub(super) events: broadcast::Sender<ClusterEvent>,
    /// Whoever shares models.
    share: Mutex<Option<mpsc::Sender<ShareNews>>>,
    /// Peers to which a link is wanted.
    openings: mpsc::Sender<(NodeId, Way)>,
    /// The next deadline came nearer.
    pub(super) timer: Notify,
    /// Counts whatever may have changed who can answer.
    pub(super) changed: watch::Sender<u64>,
    /// A request ended.
    pub(super) ended: Notify,
}

impl Shared {
    pub(super) fn new(
        make: impl FnOnce(Now) -> Core,
        backend: Option<Arc<dyn Backend>>,
    ) -> (Arc<Self>, mpsc::Receiver<(NodeId, Way)>) {
        let (openings, wanted) = mpsc::channel(OPENINGS);
        let start = Instant::now();
        let shared = Arc::new_cyclic(|me| Self {
            state: Mutex::new(State {
                core: make(now(start)),
                links: HashMap::new(),
                jobs: HashMap::new(),
                asks: HashMap::new(),
                wake_at: None,
                share_place: None,
            }),
            share: Mutex::new(None),
            me: me.clone(),
            start,
            next: AtomicU64::new(1),
            runtime: Handle::current(),
            backend,
            tasks: TaskTracker::new(),
            writers: TaskTracker::new(),
            stop: CancellationToken::new(),
            events: broadcast::channel(EVENTS).0,
            openings,
            timer: Notify::new(),
            changed: watch::channel(0).0,
            ended: Notify::new(),
        });
        (shared, wanted)
    }

    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the core.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Core) -> T) -> T {
        look(&self.lock().core)
    }

    pub(super) fn count_rejected(&self) {
        self.lock().core.count_rejected();
    }

    /// Brings an input to the core and does what it says.
    pub(super) fn handle(&self, input: Input) {
        let mut state = self.lock();
        state.core.handle(now(self.start), input);
        self.drain(&mut state);
    }

    /// Brings a chunk; false when the link has no room for another one.
    pub(super) fn chunk(&self, job: JobId, chunk: teale_wire::chat::ChatChunk) -> bool {
        let mut state = self.lock();
        state.core.handle(now(self.start), Input::Chunk { job, chunk });
        self.drain(&mut state);
        state.core.has_room(job)
    }

    pub(super) fn has_room(&self, job: JobId) -> bool {
        self.lock().core.has_room(job)
    }

    pub(super) fn job_done(&self, job: JobId, result: Result<(), crate::BackendError>) {
        let mut state = self.lock();
        state.jobs.remove(&job);
        state.core.handle(now(self.start), Input::Done { job, result });
        self.drain(&mut state);
        drop(state);
        self.ended.notify_waiters();
    }

    pub(super) fn transmit(&self, link: LinkId) -> Option<(ClusterMessage, Dialect)> {
        let mut state = self.lock();
        let message = state.core.transmit(link);
        self.drain(&mut state);
        let drained = message.is_none() && state.core.is_draining() && state.core.is_drained();
        drop(state);
        if drained {
            self.ended.notify_waiters();
        }
        message
    }

    /// Of this node's own user, or of a guest.
    pub(super) fn ask(&self, guest: Option<NodeId>, request: ChatRequest) -> Pending {
        let (ask, request) = (AskId(self.number()), Box::new(request));
        let buffer = Arc::new(AnswerBuffer::default());
        let mut state = self.lock();
        state.asks.insert(ask, Arc::clone(&buffer));
        let input = match guest {
            None => Input::Ask { ask, request },
            Some(guest) => Input::Serve { ask, guest, request },
        };
        state.core.handle(now(self.start), input);
        self.drain(&mut state);
        Pending { ask, buffer, shared: self.me.clone() }
    }

    /// Tells the core of a link, with its handle in place before the core speaks of it.
    pub(super) fn link_up(&self, link: LinkId, handle: LinkHandle, input: Input) {
        let mut state = self.lock();
        state.links.insert(link, handle);
        state.core.handle(now(self.start), input);
        self.drain(&mut state);
        drop(state);
        self.changed();
    }

    pub(super) fn link_down(&self, link: LinkId, reason: String) {
        let mut state = self.lock();
        state.links.remove(&link);
        state.core.handle(now(self.start), Input::LinkDown { link, reason });
        self.drain(&mut state);
        drop(state);
        self.changed();
    }

    pub(super) fn set_share(&self, share: mpsc::Sender<ShareNews>) {
        *self.share.lock().unwrap_or_else(PoisonError::into_inner) = Some(share);
    }

    /// Waits for a place in model sharing's queue; `None` when nobody shares models.
    pub(super) async fn share_place(&self) -> Option<SharePlace> {
        let share = self.share.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        tokio::select! {
            () = self.stop.cancelled() => None,
            place = share.reserve_owned() => place.ok(),
        }
    }

    /// Brings a message of model sharing to the core, and from there to its place.
    pub(super) fn handle_share(&self, input: Input, place: SharePlace) {
        let mut state = self.lock();
        state.share_place = Some(place);
        state.core.handle(now(self.start), input);
        self.drain(&mut state);
        state.share_place = None;
    }

    pub(super) fn share_send(&self, peer: NodeId, message: ClusterMessage) -> Result<LinkId, LinkGone> {
        let mut state = self.lock();
        let (link, ..) = state.core.link_of(peer).ok_or(LinkGone)?;
        state.core.handle(now(self.start), Input::ShareSend { peer, message });
        self.drain(&mut state);
        Ok(link)
    }

    /// Rings when there may be room for bulk, or the link is gone.
    pub(super) fn bulk_room(&self, link: LinkId) -> Option<Arc<Notify>> {
        self.lock().links.get(&link).map(|handle| Arc::clone(&handle.room))
    }

    /// Queues a bulk message; false when there is no room.
    pub(super) fn bulk(&self, link: LinkId, message: &mut Option<ClusterMessage>) -> Result<bool, LinkGone> {
        let mut state = self.lock();
        if !state.core.bulk_has_room(link).ok_or(LinkGone)? {
            return Ok(false);
        }
        if let Some(message) = message.take() {
            state.core.handle(now(self.start), Input::Bulk { link, message });
            self.drain(&mut state);
        }
        Ok(true)
    }

    pub(super) fn changed(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Waits for deadlines and brings them to the core, until the end.
    pub(super) async fn run_timer(&self) {
        loop {
            let wake_at = self.lock().wake_at;
            let sleep = async {
                match wake_at {
                    Some(at) => tokio::time::sleep(at.saturating_sub(self.start.elapsed())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.timer.notified() => {}
                () = sleep => {
                    self.handle(Input::Tick);
                    self.changed();
                }
            }
        }
    }

    fn drain(&self, state: &mut State) {
        loop {
            match state.core.poll() {
                Output::Wait(at) => {
                    if at < state.wake_at || state.wake_at.is_none() {
                        self.timer.notify_one();
                    }
                    state.wake_at = at;
                    return;
                }
                output => self.act(state, output),
            }
        }
    }

    fn act(&self, state: &mut State, output: Output) {
        match output {
            Output::Open { peer, way } => {
                if let Err(error) = self.openings.try_send((peer, way)) {
                    tracing::debug!(%error, "a link cannot be opened now");
                    let reason = "too many links are being opened".to_owned();
                    state.core.handle(now(self.start), Input::OpenFailed { peer, way, reason });
                }
            }
            Output::Close { link, reason, rest } => {
                if let Some(handle) = state.links.remove(&link) {
                    tracing::debug!(?link, %reason, "closing a link");
                    handle.close(rest);
                }
            }
            Output::Transmit(link) => {
                if let Some(handle) = state.links.get(&link) {
                    handle.ready.notify_one();
                }
            }
            Output::Start { job, request } => self.start(state, job, request),
            Output::Stop(job) => {
                if let Some(handle) = state.jobs.get(&job) {
                    handle.stop.cancel();
                }
            }
            Output::Pull(job) => {
                if let Some(handle) = state.jobs.get(&job) {
                    handle.pull.notify_one();
                }
            }
            Output::Begin { ask, node, path, security } => {
                if let Some(buffer) = state.asks.get(&ask) {
                    buffer.begin(Source { node, path, security });
                }
            }
            Output::Deliver { ask, chunk } => {
                if let Some(buffer) = state.asks.get(&ask)
                    && buffer.push(chunk).is_err()
                {
                    state.core.handle(now(self.start), Input::Overrun { ask });
                }
            }
            Output::End { ask, result } => self.end(state, ask, result),
            Output::Share { link, peer, path, security, beside_answers, message } => {
                if let Some(place) = state.share_place.take() {
                    place.send(ShareNews::Message { link, peer, path, security, beside_answers, message });
                }
            }
            // Whoever sends finds out by itself.
            Output::ShareUnsent { .. } => {}
            Output::BulkRoom(link) => {
                if let Some(handle) = state.links.get(&link) {
                    handle.room.notify_waiters();
                }
            }
            Output::Event(event) => {
                let _ = self.events.send(event); // Nobody listening is fine.
            }
            Output::Wait(_) => {}
        }
    }

    fn end(&self, state: &mut State, ask: AskId, result: Result<(), AskError>) {
        if let Some(buffer) = state.asks.remove(&ask) {
            buffer.end(result);
        }
        self.ended.notify_waiters();
    }

    /// The user lost interest: the core hears of it, the buffer is let go.
    pub(super) fn cancel(&self, ask: AskId) {
        let mut state = self.lock();
        state.asks.remove(&ask);
        state.core.handle(now(self.start), Input::Cancel { ask });
        self.drain(&mut state);
        drop(state);
        self.ended.notify_waiters();
    }

    fn start(&self, state: &mut State, job: JobId, request: Box<ChatRequest>) {
        let (Some(backend), Some(shared)) = (self.backend.clone(), self.me.upgrade()) else {
            return;
        };
        let reader = state.core.asker(job).and_then(|ask| state.asks.get(&ask)).map(Arc::clone);
        let (stop, pull) = (CancellationToken::new(), Arc::new(Notify::new()));
        state.jobs.insert(job, JobHandle { stop: stop.clone(), pull: Arc::clone(&pull) });
        let run = job::run(shared, backend, Job { id: job, request, reader, stop, pull });
        self.tasks.spawn_on(run, &self.runtime);
    }
}

fn now(start: Instant) -> Now {
    Now {
        monotonic: start.elapsed(),
        unix: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
    }
}
