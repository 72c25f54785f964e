//! One node: a core, its links, its backend, its news.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use teale_cluster::{
    AskId, CloseReason, ClusterEvent, Core, CoreConfig, Input, JobId, LinkId, LinkPath, Now, Output, Way,
};
use teale_sim::{Context, Event, Machine, StreamEvent, StreamId};
use teale_wire::{
    ClusterMessage, NodeId,
    chat::{ChatChunk, ChatRequest},
};

use super::{
    shares::Shares,
    wire::{self, Wire},
};
use crate::world::{Answer, MODEL, SEALED, chunk, hardware, ms, node, ready, record_of, secs, usage_chunk};

const PORT: u16 = 11_436;
const UNIX: Duration = Duration::from_secs(1_713_100_000);
/// How often a node says that it is there.
const NEWS: Duration = Duration::from_secs(5);
/// How long that is believed.
const NEWS_TTL: Duration = Duration::from_secs(16);
/// How long a way gets before the next one is tried beside it.
const STAGGER: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub slots: usize,
    pub token_time: Duration,
    /// Whether it is on the relay too.
    pub relay: bool,
}

#[derive(Debug)]
struct Job {
    script: VecDeque<ChatChunk>,
    waiting: bool,
}

#[derive(Debug)]
struct Opening {
    number: u64,
    peer: NodeId,
    way: Way,
    trying: Vec<StreamId>,
    untried: VecDeque<LinkPath>,
}

#[derive(Debug)]
enum Alarm {
    News,
    Token(JobId),
    Freed(JobId),
    /// The next way of an attempt.
    Stagger(u64),
}

#[derive(Debug)]
pub struct Peer {
    pub core: Core,
    pub id: NodeId,
    pub answers: BTreeMap<AskId, Answer>,
    pub events: Vec<ClusterEvent>,
    pub closed: Vec<CloseReason>,
    /// When each piece of an answer came.
    pub arrivals: BTreeMap<AskId, Vec<Duration>>,
    /// Requests its backend was given.
    pub started: usize,
    /// The models it shares.
    pub shares: Shares,
    n: u8,
    setup: Setup,
    wires: BTreeMap<StreamId, Wire>,
    links: BTreeMap<LinkId, StreamId>,
    /// Links with something to send.
    dirty: BTreeSet<LinkId>,
    openings: Vec<Opening>,
    jobs: BTreeMap<JobId, Job>,
    /// Who said when on which way that it is there.
    news: BTreeMap<(LinkPath, u8), Duration>,
    alarms: BTreeMap<(Duration, u64), Alarm>,
    deadline: Option<Duration>,
    next: u64,
}

impl Machine for Peer {
    fn handle(&mut self, event: Event, context: &mut Context<'_>) {
        match event {
            Event::Start => self.start(context),
            Event::Wake => self.wake(context),
            Event::Datagram { from, payload, .. } => {
                self.hear(from.ip(), payload[0], payload[1] > 0, context)
            }
            Event::Stream(stream, event) => self.stream(stream, event, context),
            _ => {}
        }
        self.settle(context);
    }
}

fn clock(now: Duration) -> Now {
    Now { monotonic: now, unix: UNIX + now }
}

fn address(path: LinkPath, n: u8) -> SocketAddr {
    let ip = if path == LinkPath::Lan { [10, 0, 0, n] } else { [172, 16, 0, n] };
    SocketAddr::new(IpAddr::from(ip), PORT)
}

/// Which way an address of ours is on.
fn path_of(ip: IpAddr) -> LinkPath {
    if ip.to_string().starts_with("10.") { LinkPath::Lan } else { LinkPath::Relay }
}

impl Peer {
    pub fn new(n: u8, setup: Setup, seed: [u8; 32], now: Duration) -> Self {
        let mut config = CoreConfig::new(node(n), hardware());
        config.device_id = format!("device-{n}");
        config.name = format!("node {n}");
        config.first_token_timeout = secs(60);
        config.next_token_timeout = secs(30);
        Self {
            core: Core::new(config, seed, clock(now)),
            id: node(n),
            answers: BTreeMap::new(),
            events: Vec::new(),
            closed: Vec::new(),
            arrivals: BTreeMap::new(),
            started: 0,
            shares: Shares::new(now),
            n,
            setup,
            wires: BTreeMap::new(),
            links: BTreeMap::new(),
            dirty: BTreeSet::new(),
            openings: Vec::new(),
            jobs: BTreeMap::new(),
            news: BTreeMap::new(),
            alarms: BTreeMap::new(),
            deadline: None,
            next: 0,
        }
    }

    pub fn ask(&mut self, request: ChatRequest, context: &mut Context<'_>) -> AskId {
        let ask = AskId(self.number());
        self.answers.insert(ask, Answer::default());
        self.input(Input::Ask { ask, request: Box::new(request) }, context);
        self.settle(context);
        ask
    }

    pub fn cancel(&mut self, ask: AskId, context: &mut Context<'_>) {
        self.answers.get_mut(&ask).unwrap().cancelled = true;
        self.input(Input::Cancel { ask }, context);
        self.settle(context);
    }

    /// Begins to fetch the model that another node offers.
    pub fn pull(&mut self, from: NodeId, context: &mut Context<'_>) {
        let inputs = self.shares.pull(from, context.now());
        self.inputs(inputs, context);
        self.settle(context);
    }

    /// Requests at its backend.
    pub fn running(&self) -> usize {
        self.jobs.len()
    }

    /// The streams of its links, by way.
    pub fn streams(&self, path: LinkPath) -> Vec<StreamId> {
        self.wires.values().filter(|wire| wire.path == path).map(|wire| wire.stream).collect()
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn alarm(&mut self, at: Duration, alarm: Alarm) {
        let number = self.number();
        self.alarms.insert((at, number), alarm);
    }

    fn start(&mut self, context: &mut Context<'_>) {
        context.listen(PORT);
        let models = (self.setup.slots > 0).then(|| ready(MODEL)).into_iter().collect();
        self.input(Input::Backend { models, slots: self.setup.slots }, context);
        let first = context.now() + ms(context.random().below(500));
        self.alarm(first, Alarm::News);
    }

    fn wake(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        while let Some(entry) = self.alarms.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Alarm::News => self.tell_news(context),
                Alarm::Token(job) => self.token(job, context),
                Alarm::Freed(job) => self.input(Input::Done { job, result: Ok(()) }, context),
                Alarm::Stagger(number) => self.try_next(number, context),
            }
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.input(Input::Tick, context);
        }
    }

    /// Says on every network that it is there, and forgets who did not for long.
    fn tell_news(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        let everybody = SocketAddr::new(IpAddr::from([255; 4]), PORT);
        let payload = vec![self.n, u8::from(self.setup.slots > 0)];
        context.send_from(address(LinkPath::Lan, self.n), everybody, payload.clone());
        if self.setup.relay {
            context.send_from(address(LinkPath::Relay, self.n), everybody, payload);
        }
        self.alarm(now + NEWS, Alarm::News);
        let old: Vec<(LinkPath, u8)> =
            self.news.iter().filter(|(_, heard)| now - **heard > NEWS_TTL).map(|(key, _)| *key).collect();
        for (path, n) in old {
            self.news.remove(&(path, n));
            self.input(Input::PeerLost { peer: node(n), path }, context);
        }
    }

    fn hear(&mut self, from: IpAddr, n: u8, has_model: bool, context: &mut Context<'_>) {
        let path = path_of(from);
        self.news.insert((path, n), context.now());
        let models: &[&str] = if has_model { &[MODEL] } else { &[] };
        let records = vec![record_of(node(n), models, 4)];
        self.input(Input::Peers { path, records }, context);
    }

    /// One piece of the answer; the next one comes when its time is up and there is room for it.
    fn token(&mut self, id: JobId, context: &mut Context<'_>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if !self.core.has_room(id) {
            job.waiting = true;
            return;
        }
        let Some(chunk) = job.script.pop_front() else {
            self.jobs.remove(&id);
            return self.input(Input::Done { job: id, result: Ok(()) }, context);
        };
        self.alarm(context.now() + self.setup.token_time, Alarm::Token(id));
        self.input(Input::Chunk { job: id, chunk }, context);
    }

    fn input(&mut self, input: Input, context: &mut Context<'_>) {
        self.core.handle(clock(context.now()), input);
        self.drain(context);
        let late = self.deadline.is_some_and(|at| at <= context.now());
        assert!(!late, "the core waits for a moment that has passed");
    }

    /// What model sharing says, and what it sends where there is room for bulk.
    fn inputs(&mut self, inputs: Vec<Input>, context: &mut Context<'_>) {
        inputs.into_iter().for_each(|input| self.input(input, context));
        for link in self.shares.waiting() {
            if self.core.bulk_has_room(link) == Some(true) {
                let inputs = self.shares.room(context.now(), link);
                self.inputs(inputs, context);
            }
        }
    }

    /// Does what the core says until it waits.
    fn drain(&mut self, context: &mut Context<'_>) {
        loop {
            match self.core.poll() {
                Output::Wait(at) => {
                    self.deadline = at;
                    return;
                }
                output => self.act(output, context),
            }
        }
    }

    /// Sends what the links have room for, and says when to go on.
    fn settle(&mut self, context: &mut Context<'_>) {
        while let Some(link) = self.dirty.pop_first() {
            self.transmit(link, context);
        }
        let alarm = self.alarms.first_key_value().map(|((at, _), _)| *at);
        let next = alarm.into_iter().chain(self.deadline).min();
        context.wake_at(next);
    }

    fn transmit(&mut self, link: LinkId, context: &mut Context<'_>) {
        loop {
            let wire = self.links.get(&link).and_then(|stream| self.wires.get_mut(stream));
            let Some(wire) = wire.filter(|wire| !wire.closing) else { return };
            if !wire.flush(context) {
                return; // Goes on when there is room.
            }
            let Some((message, dialect)) = self.core.transmit(link) else { return };
            wire.put(wire::message(&message, dialect), context);
            self.drain(context);
        }
    }

    fn stream(&mut self, stream: StreamId, event: StreamEvent, context: &mut Context<'_>) {
        match event {
            StreamEvent::Incoming { to, .. } => {
                self.wires.insert(stream, Wire::new(stream, path_of(to.ip()), false));
            }
            StreamEvent::Opened => self.opened(stream, context),
            StreamEvent::Data(data) => self.read(stream, &data, context),
            StreamEvent::Room => {
                let Some(wire) = self.wires.get_mut(&stream) else { return };
                if wire.closing && wire.flush(context) {
                    self.wires.remove(&stream);
                    context.close(stream);
                } else {
                    self.dirty.extend(wire.link);
                }
            }
            StreamEvent::Closed(_) => {
                let wire = self.wires.remove(&stream);
                if let Some(link) = wire.and_then(|wire| wire.link) {
                    self.links.remove(&link);
                    self.input(Input::LinkDown { link, reason: "the stream ended".into() }, context);
                }
                self.attempt_failed(stream, context);
            }
            _ => {}
        }
    }

    fn read(&mut self, stream: StreamId, data: &[u8], context: &mut Context<'_>) {
        if let Some(wire) = self.wires.get_mut(&stream) {
            wire.read(data);
        }
        while let Some(wire) = self.wires.get_mut(&stream).filter(|wire| !wire.closing)
            && let Some(payload) = wire.next()
        {
            let path = wire.path;
            match wire.link {
                None => self.link_up(stream, wire::preface(&payload), path, false, context),
                Some(link) => {
                    let (message, dialect) = ClusterMessage::parse(&payload).unwrap();
                    self.input(Input::Message { link, message, dialect }, context);
                }
            }
        }
    }

    fn link_up(
        &mut self,
        stream: StreamId,
        peer: NodeId,
        path: LinkPath,
        initiator: bool,
        context: &mut Context<'_>,
    ) {
        let link = LinkId(self.number());
        self.wires.get_mut(&stream).unwrap().link = Some(link);
        self.links.insert(link, stream);
        self.input(Input::LinkUp { link, peer, path, security: SEALED, initiator }, context);
    }

    fn open(&mut self, peer: NodeId, way: Way, context: &mut Context<'_>) {
        let n = peer.as_bytes()[0];
        let known = |path: &LinkPath| way.takes(*path) && self.news.contains_key(&(*path, n));
        let untried = [LinkPath::Lan, LinkPath::Relay].into_iter().filter(known).collect();
        let number = self.number();
        self.openings.push(Opening { number, peer, way, trying: Vec::new(), untried });
        self.try_next(number, context);
    }

    /// Tries the next way beside those that are tried already.
    fn try_next(&mut self, number: u64, context: &mut Context<'_>) {
        let Some(index) = self.openings.iter().position(|opening| opening.number == number) else { return };
        let opening = &mut self.openings[index];
        if let Some(path) = opening.untried.pop_front() {
            let stream = context.connect(40_000, address(path, opening.peer.as_bytes()[0]));
            opening.trying.push(stream);
            self.wires.insert(stream, Wire::new(stream, path, true));
            self.alarm(context.now() + STAGGER, Alarm::Stagger(number));
        } else if opening.trying.is_empty() {
            let Opening { peer, way, .. } = self.openings.remove(index);
            self.input(Input::OpenFailed { peer, way, reason: "no way".into() }, context);
        }
    }

    /// The first way that opens wins.
    fn opened(&mut self, stream: StreamId, context: &mut Context<'_>) {
        let Some(index) = self.openings.iter().position(|opening| opening.trying.contains(&stream)) else {
            return;
        };
        let opening = self.openings.remove(index);
        for other in opening.trying.into_iter().filter(|other| *other != stream) {
            self.wires.remove(&other);
            context.reset(other);
        }
        let wire = self.wires.get_mut(&stream).unwrap();
        wire.put(wire::frame(self.id.as_bytes()), context);
        let path = wire.path;
        self.link_up(stream, opening.peer, path, true, context);
    }

    fn attempt_failed(&mut self, stream: StreamId, context: &mut Context<'_>) {
        if let Some(opening) = self.openings.iter_mut().find(|opening| opening.trying.contains(&stream)) {
            opening.trying.retain(|trying| *trying != stream);
            let number = opening.number;
            self.try_next(number, context);
        }
    }

    fn act(&mut self, output: Output, context: &mut Context<'_>) {
        let now = context.now();
        match output {
            Output::Open { peer, way } => self.open(peer, way, context),
            Output::Close { link, reason, rest } => {
                self.closed.push(reason);
                let Some(stream) = self.links.remove(&link) else { return };
                let wire = self.wires.get_mut(&stream).unwrap();
                (wire.link, wire.closing) = (None, true);
                for (message, dialect) in rest {
                    wire.put(wire::message(&message, dialect), context);
                }
                if wire.flush(context) {
                    self.wires.remove(&stream);
                    context.close(stream);
                }
            }
            Output::Transmit(link) => drop(self.dirty.insert(link)),
            Output::Start { job, request } => {
                self.started += 1;
                self.jobs.insert(job, Job { script: script(&request), waiting: false });
                assert!(self.jobs.len() <= self.setup.slots, "more requests than slots");
                self.alarm(now + self.setup.token_time, Alarm::Token(job));
            }
            Output::Stop(job) => {
                assert!(self.jobs.remove(&job).is_some(), "stops what does not run");
                self.alarm(now + ms(1), Alarm::Freed(job));
            }
            Output::Pull(id) => {
                let waited = self.jobs.get_mut(&id).is_some_and(|job| std::mem::take(&mut job.waiting));
                waited.then(|| self.alarm(now, Alarm::Token(id)));
            }
            Output::Begin { ask, node, .. } => {
                let answer = self.answers.get_mut(&ask).unwrap();
                assert!(answer.begun.is_none(), "begins twice");
                answer.begun = Some((node, now));
            }
            Output::Deliver { ask, chunk } => {
                let answer = self.answers.get_mut(&ask).unwrap();
                assert!(!answer.cancelled && answer.ends == 0 && answer.begun.is_some());
                answer.chunks.push(chunk);
                self.arrivals.entry(ask).or_default().push(now);
            }
            Output::End { ask, result } => {
                let answer = self.answers.get_mut(&ask).unwrap();
                assert!(!answer.cancelled, "an end after cancel");
                answer.end = Some(result);
                answer.ends += 1;
                answer.ended_at = now;
            }
            Output::Event(event) => self.events.push(event),
            Output::Share { link, peer, beside_answers, message, .. } => {
                let inputs = self.shares.heard(now, (link, peer), beside_answers, message);
                self.inputs(inputs, context);
            }
            Output::BulkRoom(_) => self.inputs(Vec::new(), context),
            _ => {}
        }
    }
}

/// The answer that a request asks for: its last message is the number of tokens.
fn script(request: &ChatRequest) -> VecDeque<ChatChunk> {
    assert_eq!(request.model, MODEL, "the backend is asked by its own name for the model");
    let count: u64 =
        request.messages.last().unwrap().content.as_ref().unwrap().to_text().unwrap().parse().unwrap();
    let mut script = VecDeque::from([chunk(None, Some("assistant"), None)]);
    script.extend((0..count).map(|n| chunk(Some(&format!("t{n} ")), None, None)));
    script.push_back(chunk(None, None, Some("stop")));
    script.push_back(usage_chunk(7, count));
    script
}
