//! A world in a box: several cores, links with delay and loss, scripted backends, virtual time.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its part")]

mod records;
mod script;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use teale_cluster::{
    AskError, AskId, BackendError, CloseReason, ClusterEvent, Core, CoreConfig, Input, JobId, LinkId,
    LinkPath, Now, Output, Way,
};
use teale_relay_client::Security;
use teale_wire::{
    ClusterMessage, Dialect, NodeId,
    chat::{ChatChunk, ChatRequest, Usage},
};

use self::script::{Job, scripted};
#[allow(unused_imports, reason = "each test file uses its part")]
pub use self::{
    records::{hardware, ready, record, record_of},
    script::{chunk, request, usage_chunk, whole},
    text::{ask_text, asked, chunk_text, hello_text, resume_text},
};

pub const MODEL: &str = "org/Model-1";
pub const SEALED: Security = Security::Sealed { verified: true, handshake_hash: [1; 32] };
const DELAY: Duration = Duration::from_millis(10);
const UNIX: Duration = Duration::from_secs(1_713_100_000);

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 32])
}

/// What an asker saw.
#[derive(Debug, Default, Clone)]
pub struct Answer {
    pub begun: Option<(Option<NodeId>, Duration)>,
    pub chunks: Vec<ChatChunk>,
    pub end: Option<Result<(), AskError>>,
    pub ends: usize,
    pub ended_at: Duration,
    pub cancelled: bool,
}

impl Answer {
    pub fn text(&self) -> String {
        let choices = self.chunks.iter().flat_map(|chunk| &chunk.choices);
        choices.filter_map(|choice| choice.delta.content.as_deref()).collect()
    }

    pub fn usage(&self) -> Option<&Usage> {
        self.chunks.iter().find_map(|chunk| chunk.usage.as_ref())
    }
}

pub struct Node {
    pub core: Core,
    pub id: NodeId,
    pub up: bool,
    pub token_time: Duration,
    pub answers: BTreeMap<AskId, Answer>,
    pub events: Vec<ClusterEvent>,
    pub closed: Vec<(LinkId, CloseReason)>,
    pub opened: Vec<NodeId>,
    /// Requests the backend was given, in order: the last message of each.
    pub started: Vec<String>,
    pub stopped: usize,
    pub most_running: usize,
    slots: usize,
    links: BTreeMap<LinkId, (usize, LinkId)>,
    paths: BTreeMap<LinkId, LinkPath>,
    /// Links that take no more messages for now.
    pub stuck: BTreeSet<LinkId>,
    jobs: BTreeMap<JobId, Job>,
    timer: Option<Duration>,
}

#[derive(Debug)]
enum Event {
    Deliver { node: usize, link: LinkId, bytes: Vec<u8> },
    Down { node: usize, link: LinkId },
    Open { node: usize, peer: NodeId, way: Way },
    Job { node: usize, job: JobId },
    Freed { node: usize, job: JobId },
    Timer { node: usize },
}

pub struct World {
    pub now: Duration,
    pub nodes: Vec<Node>,
    /// Node pairs between which messages vanish.
    pub mute: BTreeSet<(usize, usize)>,
    /// Node pairs that share a local network, the smaller first.
    pub lan: BTreeSet<(usize, usize)>,
    /// How much later than others new links deliver, each way.
    pub lag: Duration,
    lags: BTreeMap<LinkId, Duration>,
    /// Links that broke without a word: what is sent to them is lost.
    dead: BTreeSet<LinkId>,
    /// Whether the relay is there for new links.
    pub relay: bool,
    /// The protection of new links.
    pub security: Security,
    /// Every message, as sent: time, from, to, JSON.
    pub wire: Vec<(Duration, usize, usize, String)>,
    queue: BTreeMap<(Duration, u64), Event>,
    next: u64,
}

impl World {
    pub fn new() -> Self {
        Self {
            now: Duration::ZERO,
            nodes: Vec::new(),
            mute: BTreeSet::new(),
            lan: BTreeSet::new(),
            lag: Duration::ZERO,
            lags: BTreeMap::new(),
            dead: BTreeSet::new(),
            relay: true,
            security: SEALED,
            wire: Vec::new(),
            queue: BTreeMap::new(),
            next: 0,
        }
    }

    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn add(&mut self, slots: usize, change: impl FnOnce(&mut CoreConfig)) -> usize {
        let index = self.nodes.len();
        let id = node(index as u8 + 1);
        let mut config = CoreConfig::new(id, hardware());
        config.device_id = format!("device-{index}");
        config.name = format!("node {index}");
        change(&mut config);
        self.nodes.push(Node {
            core: Core::new(config, [index as u8; 32], self.clock()),
            id,
            up: true,
            token_time: ms(20),
            answers: BTreeMap::new(),
            events: Vec::new(),
            closed: Vec::new(),
            opened: Vec::new(),
            started: Vec::new(),
            stopped: 0,
            most_running: 0,
            slots,
            links: BTreeMap::new(),
            paths: BTreeMap::new(),
            stuck: BTreeSet::new(),
            jobs: BTreeMap::new(),
            timer: None,
        });
        let models = (slots > 0).then(|| ready(MODEL)).into_iter().collect();
        self.input(index, Input::Backend { models, slots });
        index
    }

    pub fn provider(&mut self, slots: usize) -> usize {
        self.add(slots, |_| {})
    }

    pub fn consumer(&mut self) -> usize {
        self.add(0, |_| {})
    }

    pub fn clock(&self) -> Now {
        Now { monotonic: self.now, unix: UNIX + self.now }
    }

    /// Everybody hears of everybody, as from a relay.
    pub fn discover(&mut self) {
        for index in 0..self.nodes.len() {
            let records = self.nodes.iter().filter(|node| node.up).map(record).collect();
            self.input(index, Input::Peers { path: LinkPath::Relay, records });
        }
    }

    pub fn input(&mut self, index: usize, input: Input) {
        let clock = self.clock();
        self.nodes[index].core.handle(clock, input);
        self.drain(index);
    }

    pub fn ask(&mut self, index: usize, request: ChatRequest) -> AskId {
        let ask = AskId(self.number());
        self.nodes[index].answers.insert(ask, Answer::default());
        self.input(index, Input::Ask { ask, request: Box::new(request) });
        ask
    }

    pub fn serve(&mut self, index: usize, guest: NodeId, request: ChatRequest) -> AskId {
        let ask = AskId(self.number());
        self.nodes[index].answers.insert(ask, Answer::default());
        self.input(index, Input::Serve { ask, guest, request: Box::new(request) });
        ask
    }

    pub fn cancel(&mut self, index: usize, ask: AskId) {
        self.nodes[index].answers.get_mut(&ask).unwrap().cancelled = true;
        self.input(index, Input::Cancel { ask });
    }

    pub fn answer(&self, index: usize, ask: AskId) -> &Answer {
        &self.nodes[index].answers[&ask]
    }

    pub fn links(&self, index: usize) -> Vec<LinkId> {
        self.nodes[index].links.keys().copied().collect()
    }

    /// The best way between two nodes at present.
    fn way(&self, from: usize, to: usize, way: Way) -> Option<LinkPath> {
        let lan = self.lan.contains(&(from.min(to), from.max(to))) && way.takes(LinkPath::Lan);
        let relay = self.relay && way.takes(LinkPath::Relay);
        if lan { Some(LinkPath::Lan) } else { relay.then_some(LinkPath::Relay) }
    }

    /// A relayed link that `from` opens; both sides see it now.
    pub fn link(&mut self, from: usize, to: usize) -> (LinkId, LinkId) {
        self.link_by(from, to, LinkPath::Relay)
    }

    /// A link that `from` opens; both sides see it now.
    pub fn link_by(&mut self, from: usize, to: usize, path: LinkPath) -> (LinkId, LinkId) {
        let (ours, theirs) = (LinkId(self.number()), LinkId(self.number()));
        self.nodes[from].links.insert(ours, (to, theirs));
        self.nodes[to].links.insert(theirs, (from, ours));
        for link in [ours, theirs] {
            self.lags.insert(link, self.lag);
        }
        self.nodes[from].paths.insert(ours, path);
        self.nodes[to].paths.insert(theirs, path);
        let security = self.security;
        let up = |link, peer, initiator| Input::LinkUp { link, peer, path, security, initiator };
        let (a, b) = (self.nodes[from].id, self.nodes[to].id);
        self.input(to, up(theirs, a, false));
        self.input(from, up(ours, b, true));
        (ours, theirs)
    }

    /// Two nodes find each other on the local network, at once or not.
    pub fn meet(&mut self, a: usize, b: usize) {
        self.lan.insert((a.min(b), a.max(b)));
        for (index, other) in [(a, b), (b, a)] {
            let mut record = record(&self.nodes[other]);
            record.capabilities.loaded_models.clear();
            self.input(index, Input::Peers { path: LinkPath::Lan, records: vec![record] });
        }
    }

    /// The cable between two nodes is pulled: links on it break for both.
    pub fn pull(&mut self, a: usize, b: usize) {
        self.lan.remove(&(a.min(b), a.max(b)));
        for link in self.links_by(a, LinkPath::Lan) {
            if self.nodes[a].links.get(&link).is_some_and(|(other, _)| *other == b) {
                self.cut(a, link);
            }
        }
    }

    /// A link breaks without a word; the two sides notice when they do.
    pub fn die(&mut self, index: usize, link: LinkId, mine: Duration, theirs: Duration) {
        if let Some((other, far)) = self.nodes[index].links.get(&link).copied() {
            self.dead.extend([link, far]);
            self.schedule(mine, Event::Down { node: index, link });
            self.schedule(theirs, Event::Down { node: other, link: far });
        }
    }

    /// The cable between two nodes is pulled; the two sides notice when they do.
    pub fn pull_silently(&mut self, a: usize, b: usize, mine: Duration, theirs: Duration) {
        self.lan.remove(&(a.min(b), a.max(b)));
        for link in self.links_by(a, LinkPath::Lan) {
            if self.nodes[a].links.get(&link).is_some_and(|(other, _)| *other == b) {
                self.die(a, link, mine, theirs);
            }
        }
    }

    /// The links of a node on one way.
    pub fn links_by(&self, index: usize, path: LinkPath) -> Vec<LinkId> {
        let node = &self.nodes[index];
        node.links.keys().filter(|link| node.paths.get(link) == Some(&path)).copied().collect()
    }

    /// A link of somebody who is no core: what it hears ends up in `wire` only.
    pub fn stranger(&mut self, to: usize, who: NodeId) -> LinkId {
        let link = LinkId(self.number());
        let path = LinkPath::Relay;
        self.input(
            to,
            Input::LinkUp { link, peer: who, path, security: Security::Plaintext, initiator: false },
        );
        link
    }

    pub fn say(&mut self, to: usize, link: LinkId, text: &str) {
        let input = match ClusterMessage::parse(text.as_bytes()) {
            Ok((message, dialect)) => Input::Message { link, message, dialect },
            Err(error) => Input::Malformed { link, error },
        };
        self.input(to, input);
    }

    /// What a core would send on a link, taken without delivering it.
    pub fn take(&mut self, index: usize, link: LinkId) -> Vec<String> {
        let mut out = Vec::new();
        while let Some((message, dialect)) = self.nodes[index].core.transmit(link) {
            out.push(String::from_utf8(message.encode(dialect).unwrap()).unwrap());
            self.drain(index);
        }
        out
    }

    pub fn unstick(&mut self, index: usize, link: LinkId) {
        self.nodes[index].stuck.remove(&link);
        self.transmit(index, link);
    }

    /// The node's process dies: all its links go down at once for its peers.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].up = false;
        for link in self.links(index) {
            self.cut(index, link);
        }
    }

    pub fn cut(&mut self, index: usize, link: LinkId) {
        if let Some((other, theirs)) = self.nodes[index].links.remove(&link) {
            let delay = DELAY + self.lags.get(&theirs).copied().unwrap_or_default();
            self.schedule(delay, Event::Down { node: other, link: theirs });
            self.input(index, Input::LinkDown { link, reason: "cut".into() });
        }
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        let key = (self.now + after, self.number());
        self.queue.insert(key, event);
    }

    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.happen(event);
        }
        self.now = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { node, link, bytes } => {
                let arrives = self.nodes[node].links.contains_key(&link) && !self.dead.contains(&link);
                if arrives && self.nodes[node].up {
                    let (message, dialect) = ClusterMessage::parse(&bytes).unwrap();
                    self.input(node, Input::Message { link, message, dialect });
                }
            }
            Event::Down { node, link } => {
                if self.nodes[node].links.remove(&link).is_some() {
                    self.input(node, Input::LinkDown { link, reason: "cut".into() });
                }
            }
            Event::Open { node, peer, way } => {
                let to = self.nodes.iter().position(|other| other.id == peer && other.up);
                let path = to.filter(|_| self.nodes[node].up).and_then(|to| self.way(node, to, way));
                match to.zip(path) {
                    Some((to, path)) => drop(self.link_by(node, to, path)),
                    None => self.input(node, Input::OpenFailed { peer, way, reason: "not connected".into() }),
                }
            }
            Event::Job { node, job } => self.step(node, job),
            Event::Freed { node, job } => self.input(node, Input::Done { job, result: Ok(()) }),
            Event::Timer { node } => {
                if self.nodes[node].timer == Some(self.now) {
                    self.nodes[node].timer = None;
                    self.input(node, Input::Tick);
                }
            }
        }
    }

    fn step(&mut self, index: usize, id: JobId) {
        let token_time = self.nodes[index].token_time;
        let Some(job) = self.nodes[index].jobs.get_mut(&id) else { return };
        match job.script.get(job.at).cloned() {
            Some(Ok(chunk)) => {
                job.at += 1;
                self.input(index, Input::Chunk { job: id, chunk });
                if self.nodes[index].core.has_room(id) {
                    self.schedule(token_time, Event::Job { node: index, job: id });
                } else if let Some(job) = self.nodes[index].jobs.get_mut(&id) {
                    job.waiting = true;
                }
            }
            Some(Err(error)) => self.done(index, id, Err(error)),
            None if job.hang => {}
            None => self.done(index, id, Ok(())),
        }
    }

    fn done(&mut self, index: usize, job: JobId, result: Result<(), BackendError>) {
        self.nodes[index].jobs.remove(&job);
        self.input(index, Input::Done { job, result });
    }

    fn drain(&mut self, index: usize) {
        loop {
            match self.nodes[index].core.poll() {
                Output::Wait(at) => {
                    if let Some(at) = at
                        && self.nodes[index].timer.is_none_or(|set| at < set || set <= self.now)
                    {
                        let at = at.max(self.now);
                        self.nodes[index].timer = Some(at);
                        self.schedule(at - self.now, Event::Timer { node: index });
                    }
                    return;
                }
                output => self.act(index, output),
            }
        }
    }

    fn act(&mut self, index: usize, output: Output) {
        let now = self.now;
        let node = &mut self.nodes[index];
        match output {
            Output::Open { peer, way } => {
                node.opened.push(peer);
                self.schedule(DELAY, Event::Open { node: index, peer, way });
            }
            Output::Close { link, reason, rest } => {
                node.closed.push((link, reason));
                if let Some((other, theirs)) = node.links.remove(&link) {
                    for (message, dialect) in rest {
                        self.send(index, other, theirs, &message, dialect);
                    }
                    self.schedule(DELAY, Event::Down { node: other, link: theirs });
                }
            }
            Output::Transmit(link) => self.transmit(index, link),
            Output::Start { job, request } => {
                let script = request.messages.last().and_then(|m| m.content.as_ref()?.to_text()).unwrap();
                assert_eq!(request.model, MODEL, "the backend is asked by its own name for the model");
                node.started.push(script.clone());
                node.jobs.insert(job, scripted(&script));
                node.most_running = node.most_running.max(node.jobs.len());
                assert!(node.jobs.len() <= node.slots, "more requests than slots");
                let wait = node.token_time;
                self.schedule(wait, Event::Job { node: index, job });
            }
            Output::Stop(job) => {
                node.stopped += 1;
                assert!(node.jobs.remove(&job).is_some(), "stops what does not run");
                self.schedule(ms(1), Event::Freed { node: index, job });
            }
            Output::Pull(job) => {
                if let Some(state) = node.jobs.get_mut(&job)
                    && std::mem::take(&mut state.waiting)
                {
                    self.schedule(Duration::ZERO, Event::Job { node: index, job });
                }
            }
            Output::Begin { ask, node: from, .. } => {
                if let Some(answer) = node.answers.get_mut(&ask) {
                    assert!(answer.begun.is_none(), "begins twice");
                    answer.begun = Some((from, now));
                }
            }
            Output::Deliver { ask, chunk } => {
                if let Some(answer) = node.answers.get_mut(&ask) {
                    assert!(!answer.cancelled && answer.ends == 0 && answer.begun.is_some());
                    answer.chunks.push(chunk);
                }
            }
            Output::End { ask, result } => {
                if let Some(answer) = node.answers.get_mut(&ask) {
                    assert!(!answer.cancelled, "an end after cancel");
                    answer.end = Some(result);
                    answer.ends += 1;
                    answer.ended_at = now;
                }
            }
            Output::Event(event) => node.events.push(event),
            _ => {}
        }
    }

    fn transmit(&mut self, index: usize, link: LinkId) {
        let Some((other, theirs)) = self.nodes[index].links.get(&link).copied() else { return };
        while !self.nodes[index].stuck.contains(&link) {
            let Some((message, dialect)) = self.nodes[index].core.transmit(link) else { return };
            self.send(index, other, theirs, &message, dialect);
            self.drain(index);
        }
    }

    fn send(&mut self, from: usize, to: usize, link: LinkId, message: &ClusterMessage, dialect: Dialect) {
        let bytes = message.encode(dialect).unwrap();
        self.wire.push((self.now, from, to, String::from_utf8(bytes.clone()).unwrap()));
        if !self.mute.contains(&(from, to)) {
            let delay = DELAY + self.lags.get(&link).copied().unwrap_or_default();
            self.schedule(delay, Event::Deliver { node: to, link, bytes });
        }
    }
}
