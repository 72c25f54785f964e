//! The cluster layer as a machine: inputs and time in, outputs and one deadline out.

mod answering;
mod asking;
pub mod bounds;
mod fair_queue;
mod greeting;
mod input;
mod link;
mod linking;
pub(crate) mod merge;
mod moving;
mod outbox;
mod overview;
mod pulse;
mod reaching;
mod resuming;
mod roster;
mod routing;
mod serving;
pub(crate) mod sharing;
mod stopping;
mod stream;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use teale_wire::{AppleDate, ClusterMessage, Dialect, HardwareCapability, NodeId, RequestId};

use self::{
    asking::Ask, fair_queue::FairQueue, greeting::Introduction, link::Links, outbox::Room, roster::Roster,
    serving::Job,
};
pub use self::{
    greeting::{PROTOCOL_VERSION, passcode_hash},
    input::{AskId, CloseReason, Input, JobId, LinkId, Now, Output, Way},
};
use crate::{ClusterEvent, LoadState, ModelInfo};

/// How the core behaves.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// This node.
    pub node: NodeId,
    /// A UUID, stable per data directory.
    pub device_id: String,
    /// For people.
    pub name: String,
    /// The machine.
    pub hardware: HardwareCapability,
    /// Names of our own for models: alias → model id.
    pub aliases: BTreeMap<String, String>,
    /// Requests that may wait for a slot.
    pub queue_limit: usize,
    /// How long the first token may take, all attempts together.
    pub first_token_timeout: Duration,
    /// How long the next token may take.
    pub next_token_timeout: Duration,
    /// The cluster's passcode. With one, requests are served and sent only after a hello that knew it.
    pub passcode: Option<String>,
    /// Whether links to providers are opened before the first request.
    pub eager_links: bool,
}

impl CoreConfig {
    /// The defaults: no aliases, no passcode, 32 may wait, 120 s for the first token, 60 s for each next one.
    pub fn new(node: NodeId, hardware: HardwareCapability) -> Self {
        Self {
            node,
            device_id: String::new(),
            name: String::new(),
            hardware,
            aliases: BTreeMap::new(),
            queue_limit: 32,
            first_token_timeout: Duration::from_secs(120),
            next_token_timeout: Duration::from_secs(60),
            passcode: None,
            eager_links: false,
        }
    }
}

/// The own backend, as it last was.
#[derive(Debug, Default)]
struct Own {
    models: Vec<ModelInfo>,
    slots: usize,
    /// Tokens per second of its answers.
    speed: Option<f64>,
}

#[derive(Debug, Default)]
struct Counters {
    rejected: u64,
    served: u64,
    asked: u64,
    strays: u64,
}

/// The machine. After each [`Core::handle`], and after each [`Core::transmit`], drain [`Core::poll`] until
/// [`Output::Wait`].
#[derive(Debug)]
pub struct Core {
    config: CoreConfig,
    introduction: Introduction,
    now: Now,
    rng: StdRng,
    links: Links,
    roster: Roster,
    own: Own,
    jobs: BTreeMap<JobId, Job>,
    /// Those of peers that can go on over another link.
    resumables: BTreeMap<(NodeId, RequestId), JobId>,
    queue: FairQueue,
    asks: BTreeMap<AskId, Ask>,
    counters: Counters,
    next_job: u64,
    /// Jobs that hold a slot.
    slots_busy: usize,
    /// Whether links to providers are kept.
    eager: bool,
    draining: bool,
    /// Whether [`Input::Shutdown`] came: links that still arrive are closed.
    over: bool,
    /// No deadline lies before this moment.
    wake_at: Duration,
    out: VecDeque<Output>,
}

impl Core {
    /// A machine at rest. `seed` feeds request ids, jitter and ties.
    pub fn new(config: CoreConfig, seed: [u8; 32], now: Now) -> Self {
        let introduction = Introduction {
            device_id: config.device_id.clone(),
            name: config.name.clone(),
            hardware: config.hardware.clone(),
            passcode_hash: config.passcode.as_deref().map(passcode_hash),
            since: AppleDate::from_unix_seconds(now.unix.as_secs_f64()),
        };
        Self {
            introduction,
            now,
            rng: StdRng::from_seed(seed),
            links: Links::default(),
            roster: Roster::default(),
            own: Own::default(),
            jobs: BTreeMap::new(),
            resumables: BTreeMap::new(),
            queue: FairQueue::new(config.queue_limit),
            asks: BTreeMap::new(),
            counters: Counters::default(),
            next_job: 0,
            slots_busy: 0,
            eager: config.eager_links,
            draining: false,
            over: false,
            wake_at: now.monotonic + bounds::BEAT_CALM,
            out: VecDeque::new(),
            config,
        }
    }

    /// Takes one input. Time that goes backwards counts as standing still.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = Now { monotonic: now.monotonic.max(self.now.monotonic), unix: now.unix };
        match input {
            Input::Tick => {}
            Input::LinkUp { link, peer, path, security, initiator } => {
                self.link_up(link, peer, path, security, initiator);
            }
            Input::LinkDown { link, reason } => self.link_gone(link, reason),
            Input::OpenFailed { peer, way, reason } => self.open_failed(peer, way, &reason),
            Input::Message { link, message, dialect } => self.message(link, message, dialect),
            Input::Malformed { link, error } => self.malformed(link, &error),
            Input::Unsendable { link, request, got, limit } => self.unsendable(link, &request, got, limit),
            Input::Peers { path, records } => self.peers_seen(path, &records),
            Input::PeerLost { peer, path } => self.peer_lost(peer, path),
            Input::Reach { peer } => self.reach(peer),
            Input::ShareSend { peer, message } => self.share_send(peer, message),
            Input::Bulk { link, message } => self.bulk(link, message),
            Input::Backend { models, slots } => self.backend_changed(models, slots),
            Input::Chunk { job, chunk } => self.job_chunk(job, chunk),
            Input::Done { job, result } => self.job_done(job, result),
            Input::Ask { ask, request } => self.ask(ask, None, request),
            Input::Serve { ask, guest, request } => self.ask(ask, Some(guest), request),
            Input::Cancel { ask } => self.ask_cancelled(ask),
            Input::Overrun { ask } => self.ask_overrun(ask),
            Input::Drain => self.drain(),
            Input::Shutdown => self.shutdown(),
        }
        if self.now.monotonic >= self.wake_at {
            self.run_timers();
        }
    }

    /// The next thing to do; [`Output::Wait`] when there is nothing more.
    pub fn poll(&mut self) -> Output {
        let wait = || Output::Wait((self.wake_at < Duration::MAX).then_some(self.wake_at));
        self.out.pop_front().unwrap_or_else(wait)
    }

    /// Takes the next message to send on a link, control messages before chunks, requests in turn.
    pub fn transmit(&mut self, link: LinkId) -> Option<(ClusterMessage, Dialect)> {
        let entry = self.links.get_mut(link)?;
        let taken = entry.outbox.pop()?;
        let dialect = entry.dialect;
        match taken.room {
            Some(Room::Stream(job)) => self.out.push_back(Output::Pull(job)),
            Some(Room::Bulk) => self.out.push_back(Output::BulkRoom(link)),
            None => {}
        }
        if let Some(job) = taken.stalled {
            self.expect_acknowledgement(job);
        }
        Some((taken.message, dialect))
    }

    /// Whether a request's stream may be read: its link has room for another chunk.
    pub fn has_room(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_none_or(|job_state| self.job_has_room(job, job_state))
    }

    /// Whether no request is left, own or a peer's. Ends of answers may be kept until their askers have them.
    pub fn is_idle(&self) -> bool {
        self.asks.is_empty() && !self.jobs.values().any(Job::is_alive)
    }

    /// Whether no request is left, and every answer's end was taken by its link.
    pub fn is_drained(&self) -> bool {
        self.is_idle() && !self.links.iter().any(|(_, link)| link.outbox.owes_answers())
    }

    /// Whether new work is refused.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// How long the driver lets the backend take for the next chunk of an answer that began.
    pub fn next_token_timeout(&self) -> Duration {
        self.config.next_token_timeout
    }

    /// The request of this node's own that a job answers, if it is one.
    pub fn asker(&self, job: JobId) -> Option<AskId> {
        self.jobs.get(&job).and_then(Job::asker)
    }

    fn mono(&self) -> Duration {
        self.now.monotonic
    }

    fn date(&self) -> AppleDate {
        AppleDate::from_unix_seconds(self.now.unix.as_secs_f64())
    }

    fn event(&mut self, event: ClusterEvent) {
        self.out.push_back(Output::Event(event));
    }

    fn wake_by(&mut self, at: Duration) {
        self.wake_at = self.wake_at.min(at);
    }

    fn jitter(&mut self) -> f64 {
        self.rng.random()
    }

    /// The models that answer at once.
    fn loaded_models(&self) -> Vec<String> {
        let ready = self.own.models.iter().filter(|model| model.state == LoadState::Ready);
        ready.map(|model| model.id.clone()).collect()
    }

    /// The name behind an alias of ours.
    pub fn resolve<'a>(&'a self, asked: &'a str) -> &'a str {
        self.config.aliases.get(asked).map_or(asked, String::as_str)
    }

    fn backend_changed(&mut self, models: Vec<ModelInfo>, slots: usize) {
        self.own.models = models;
        self.own.slots = slots;
        self.pump_jobs();
    }

    fn drain(&mut self) {
        if !std::mem::replace(&mut self.draining, true) {
            self.refuse_queued();
        }
    }

    fn shutdown(&mut self) {
        (self.draining, self.over) = (true, true);
        self.fail_all_asks();
        self.stop_all_jobs();
        for link in self.links.ids() {
            self.close_link(link, CloseReason::Shutdown);
        }
    }

    /// Does everything that is due and finds the next deadline. Deadlines only ever move later without a word,
    /// so waking too early is harmless and waking too late impossible.
    fn run_timers(&mut self) {
        let now = self.mono();
        let links = self.links.ids();
        for link in links {
            if self.links.get(link).is_some_and(|entry| entry.deadline() <= now) {
                self.link_due(link);
            }
        }
        self.time_out_asks();
        self.time_out_jobs();
        let (links, roster) = (&self.links, &mut self.roster);
        roster.expire(now, |peer| links.has(peer));
        self.open_eager_links();
        let eager = self.eager.then(|| now + bounds::BEAT_FAST);
        let deadlines = self.links.iter().map(|(_, link)| link.deadline());
        let deadlines = deadlines.chain(self.asks.values().map(|ask| self.ask_deadline(ask))).chain(eager);
        let deadlines = deadlines.chain(self.jobs_deadline());
        let floor = now + Duration::from_millis(1);
        self.wake_at = deadlines.min().unwrap_or(now + bounds::BEAT_CALM).max(floor);
        self.open_better_links();
    }
}
