//! Two cluster cores joined by a hostile schedule: messages lost, repeated and made up, links that die, engines that
//! stall, users that cancel. Each request ends at most once and never after its cancel, no more requests run than
//! there are slots, and nothing grows without bound. As long as nobody makes messages up, an answer is what the engine
//! said, from its beginning, in order, without a hole and without a piece twice, whatever links it came over.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use teale_cluster::{
    AskId, BackendError, Core, CoreConfig, Input, JobId, LinkId, LinkPath, LoadState, ModelInfo, Now, Output,
    Way,
};
use teale_relay_client::Security;
use teale_wire::{
    ClusterMessage, Dialect, Extra, HardwareCapability, NodeId,
    chat::{ChatChunk, ChatMessage, ChatRequest, ChunkChoice, Delta},
};

const SLOTS: usize = 2;
const MODEL: &str = "m";
/// Steps of one run; longer inputs are cut.
const STEPS: usize = 2000;
/// Messages under way per direction; beyond it the oldest is lost.
const UNDER_WAY: usize = 512;

struct Node {
    core: Core,
    id: NodeId,
    /// Whether a link is up, per number: the other side has the same.
    links: BTreeSet<LinkId>,
    jobs: BTreeMap<JobId, u32>,
    stopping: BTreeSet<JobId>,
    asks: BTreeSet<AskId>,
    begun: BTreeSet<AskId>,
    /// How far the numbers of each answer have come.
    heard: BTreeMap<AskId, u32>,
    /// Requests that ended or were cancelled.
    over: BTreeSet<AskId>,
    wanted: bool,
    inbox: VecDeque<(LinkId, Vec<u8>)>,
}

struct World {
    now: Duration,
    nodes: [Node; 2],
    next: u64,
    /// Whether nobody has made a message up so far.
    honest: bool,
}

/// Plays the schedule.
pub fn run(data: &[u8]) {
    let mut world = World { now: Duration::ZERO, nodes: [node(1), node(2)], next: 0, honest: true };
    for side in 0..2 {
        let info = ModelInfo { id: MODEL.into(), state: LoadState::Ready, context: None, size_bytes: None };
        world.input(side, Input::Backend { models: vec![info], slots: SLOTS });
    }
    let mut bytes = data;
    for _ in 0..STEPS {
        let Some((op, rest)) = bytes.split_first() else { break };
        bytes = rest;
        world.step(*op, &mut bytes);
    }
    world.finish();
}

fn node(n: u8) -> Node {
    let id = NodeId::from_bytes([n; 32]);
    let hardware = HardwareCapability {
        chip_family: "unknown".into(),
        chip_name: String::new(),
        total_ram_gb: 8.0,
        gpu_core_count: 0,
        memory_bandwidth_gbs: 1.0,
        tier: 2,
        gpu_backend: None,
        platform: None,
        gpu_vram_gb: None,
        extra: Extra::new(),
    };
    let config = CoreConfig { queue_limit: 3, ..CoreConfig::new(id, hardware) };
    Node {
        core: Core::new(config, [n; 32], Now::default()),
        id,
        links: BTreeSet::new(),
        jobs: BTreeMap::new(),
        stopping: BTreeSet::new(),
        asks: BTreeSet::new(),
        begun: BTreeSet::new(),
        heard: BTreeMap::new(),
        over: BTreeSet::new(),
        wanted: false,
        inbox: VecDeque::new(),
    }
}

fn chunk(n: u32) -> ChatChunk {
    let delta = Delta { role: None, content: Some(format!("{n} ")), extra: Extra::new() };
    ChatChunk {
        id: "c".into(),
        object: "chat.completion.chunk".into(),
        created: 1,
        model: MODEL.into(),
        choices: vec![ChunkChoice { index: 0, delta, finish_reason: None, extra: Extra::new() }],
        usage: None,
        extra: Extra::new(),
    }
}

impl World {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn step(&mut self, op: u8, bytes: &mut &[u8]) {
        let side = usize::from(op >> 7);
        let arg = |bytes: &mut &[u8]| {
            let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
            *bytes = rest;
            usize::from(*first)
        };
        match op & 0x0f {
            0..=2 => self.deliver(side, false),
            3 => self.deliver(side, true),
            4 => drop(self.nodes[side].inbox.pop_front()),
            5 => {
                let ask = AskId(self.number());
                let request = ChatRequest {
                    model: MODEL.into(),
                    messages: vec![ChatMessage::text("user", "?")],
                    ..ChatRequest::default()
                };
                self.nodes[side].asks.insert(ask);
                let request = Box::new(request);
                let input = if op & 0x10 == 0 {
                    Input::Ask { ask, request }
                } else {
                    Input::Serve { ask, guest: NodeId::from_bytes([op >> 5; 32]), request }
                };
                self.input(side, input);
            }
            6 => {
                let nth = arg(bytes);
                if let Some(ask) = self.nodes[side].asks.iter().nth(nth % 8).copied() {
                    self.nodes[side].asks.remove(&ask);
                    if nth % 2 == 0 {
                        self.nodes[side].over.insert(ask);
                        self.input(side, Input::Cancel { ask });
                    } else {
                        self.input(side, Input::Overrun { ask });
                        assert!(self.nodes[side].over.contains(&ask), "an overrun without an end");
                    }
                }
            }
            7 => self.link(side, if op & 0x10 == 0 { LinkPath::Relay } else { LinkPath::Lan }),
            8 => {
                let nth = arg(bytes);
                if let Some(link) = self.nodes[side].links.iter().nth(nth % 8).copied() {
                    self.cut(link);
                }
            }
            9 | 10 => {
                let nth = arg(bytes);
                if let Some(job) = self.nodes[side].jobs.keys().nth(nth % SLOTS).copied()
                    && self.nodes[side].core.has_room(job)
                    && let Some(count) = self.nodes[side].jobs.get_mut(&job)
                {
                    *count += 1;
                    let chunk = chunk(*count);
                    self.input(side, Input::Chunk { job, chunk });
                }
            }
            11 => {
                let nth = arg(bytes);
                if let Some(job) = self.nodes[side].jobs.keys().nth(nth % SLOTS).copied() {
                    let failed = nth % 3 == 2;
                    self.done(
                        side,
                        job,
                        if failed { Err(BackendError::Internal("x".into())) } else { Ok(()) },
                    );
                }
            }
            12 => {
                self.now += Duration::from_millis(1 << (arg(bytes) % 18));
                self.input(0, Input::Tick);
                self.input(1, Input::Tick);
            }
            13 => {
                let len = arg(bytes).min(bytes.len());
                let (text, rest) = bytes.split_at(len);
                *bytes = rest;
                self.made_up(side, text);
            }
            14 => {
                let peer = self.nodes[1 - side].id;
                if std::mem::take(&mut self.nodes[side].wanted) {
                    self.input(side, Input::OpenFailed { peer, way: Way::Any, reason: "no".into() });
                }
            }
            _ => self.free(side),
        }
    }

    /// A peer may say anything at all.
    fn made_up(&mut self, side: usize, text: &[u8]) {
        let Some(link) = self.nodes[side].links.first().copied() else { return };
        self.honest = false;
        match ClusterMessage::parse(text) {
            Ok((message, dialect)) => self.input(side, Input::Message { link, message, dialect }),
            Err(error) => self.input(side, Input::Malformed { link, error }),
        }
    }

    fn link(&mut self, side: usize, path: LinkPath) {
        if self.nodes[side].links.len() >= 4 {
            return;
        }
        let link = LinkId(self.number());
        self.nodes[side].wanted = false;
        let security = Security::Sealed { verified: true, handshake_hash: [0; 32] };
        for to in [1 - side, side] {
            self.nodes[to].links.insert(link);
            let peer = self.nodes[1 - to].id;
            let up = Input::LinkUp { link, peer, path, security, initiator: to == side };
            self.input(to, up);
        }
    }

    fn cut(&mut self, link: LinkId) {
        for side in 0..2 {
            if self.nodes[side].links.remove(&link) {
                self.input(side, Input::LinkDown { link, reason: "cut".into() });
            }
        }
    }

    fn deliver(&mut self, side: usize, twice: bool) {
        let Some((link, bytes)) = self.nodes[side].inbox.pop_front() else { return };
        if bytes.is_empty() {
            if self.nodes[side].links.remove(&link) {
                self.input(side, Input::LinkDown { link, reason: "closed".into() });
            }
            return;
        }
        for _ in 0..=usize::from(twice) {
            if let (true, Ok((message, dialect))) =
                (self.nodes[side].links.contains(&link), ClusterMessage::parse(&bytes))
            {
                self.input(side, Input::Message { link, message, dialect });
            }
        }
    }

    fn done(&mut self, side: usize, job: JobId, result: Result<(), BackendError>) {
        self.nodes[side].jobs.remove(&job);
        self.input(side, Input::Done { job, result });
    }

    fn free(&mut self, side: usize) {
        while let Some(job) = self.nodes[side].stopping.pop_first() {
            self.input(side, Input::Done { job, result: Ok(()) });
        }
    }

    fn input(&mut self, side: usize, input: Input) {
        let now = Now { monotonic: self.now, unix: self.now };
        self.nodes[side].core.handle(now, input);
        for outputs in 0.. {
            assert!(outputs < 100_000, "the core never rests");
            let output = self.nodes[side].core.poll();
            if let Output::Wait(at) = output {
                assert!(at.is_none_or(|at| at > self.now), "a deadline in the past");
                break;
            }
            self.act(side, output);
        }
        let status = self.nodes[side].core.status();
        let node = &self.nodes[side];
        assert_eq!(status.slots_busy, node.jobs.len() + node.stopping.len());
        assert!(status.slots_busy <= SLOTS && status.queued <= 3);
    }

    fn act(&mut self, side: usize, output: Output) {
        let node = &mut self.nodes[side];
        match output {
            Output::Open { .. } => node.wanted = true,
            Output::Close { link, rest, .. } => {
                node.links.remove(&link);
                for (message, dialect) in rest {
                    self.send(side, link, &message, dialect);
                }
                if self.nodes[1 - side].links.contains(&link) {
                    // The other side hears of it like of anything else: when the schedule says so.
                    let other = &mut self.nodes[1 - side];
                    other.inbox.push_back((link, Vec::new()));
                }
            }
            Output::Transmit(link) => {
                while let Some((message, dialect)) = self.nodes[side].core.transmit(link) {
                    self.send(side, link, &message, dialect);
                }
            }
            Output::Start { job, .. } => assert!(node.jobs.insert(job, 0).is_none(), "starts twice"),
            Output::Stop(job) => {
                assert!(node.jobs.remove(&job).is_some(), "stops what does not run");
                node.stopping.insert(job);
            }
            Output::Begin { ask, .. } => assert!(node.begun.insert(ask), "begins twice"),
            Output::Deliver { ask, chunk } => {
                assert!(node.asks.contains(&ask) && node.begun.contains(&ask), "a chunk for nobody");
                let texts = chunk.choices.iter().filter_map(|choice| choice.delta.content.as_deref());
                let heard = node.heard.entry(ask).or_default();
                for number in texts.flat_map(str::split_whitespace).filter(|_| self.honest) {
                    *heard += 1;
                    assert_eq!(number.parse(), Ok(*heard), "a piece is missing, or came twice");
                }
            }
            Output::End { ask, result } => {
                node.asks.remove(&ask);
                assert!(node.over.insert(ask), "ends twice");
                assert!(result.is_err() || node.begun.contains(&ask), "ends well without a beginning");
            }
            _ => {}
        }
    }

    fn send(&mut self, side: usize, link: LinkId, message: &ClusterMessage, dialect: Dialect) {
        let Ok(bytes) = message.encode(dialect) else { return };
        let inbox = &mut self.nodes[1 - side].inbox;
        if inbox.len() >= UNDER_WAY {
            inbox.pop_front();
        }
        inbox.push_back((link, bytes));
    }

    /// When all links are gone, every engine has let go and time has run out, nothing is left.
    fn finish(&mut self) {
        let links: Vec<LinkId> = self.nodes.iter().flat_map(|node| node.links.iter().copied()).collect();
        links.into_iter().for_each(|link| self.cut(link));
        for side in 0..2 {
            let peer = self.nodes[1 - side].id;
            self.input(side, Input::Shutdown);
            self.input(side, Input::OpenFailed { peer, way: Way::Any, reason: "the end".into() });
            self.free(side);
            assert!(self.nodes[side].jobs.is_empty() && self.nodes[side].asks.is_empty());
            assert!(self.nodes[side].core.is_idle());
            assert!(self.nodes[side].core.peers().iter().all(|peer| peer.in_flight == 0));
        }
    }
}
