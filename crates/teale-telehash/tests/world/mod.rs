//! Worlds of switches in virtual time: they join one after the other over seeds, some behind NAT boxes, some leave and
//! others come, and now and then one looks another one up. Nothing is put into a routing table from outside.

pub mod record;
pub mod v1;
pub mod v2;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use teale_sim::{Context, Crash, Event, Link, Machine, NatConfig, NetId, NodeId, Random, World};
use teale_telehash::Ipp;

/// Where every switch listens.
const PORT: u16 = 42424;
/// Switches that all others know from the start; they never leave.
const SEEDS: usize = 3;
/// How long a lookup is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// In a world of v2 everybody's name is at the right switches after so long: they are looked for each 50 s.
pub const LISTENING: Duration = Duration::from_secs(80);
/// Members younger than this neither look up nor are looked up.
const NEWCOMER: Duration = Duration::from_secs(30);

/// What a switch does next.
pub enum Act {
    Send {
        to: Ipp,
        bytes: Bytes,
    },
    /// A lookup is over: whom it found, nearest first, and how many it asked.
    Found {
        lookup: u64,
        closest: Vec<Ipp>,
        asked: usize,
    },
    Wait(Option<Duration>),
}

/// A switch of either version, as these worlds see it.
pub trait Core: Sized {
    /// `own` is its address where it is known beforehand.
    fn start(own: Option<Ipp>, seeds: &[Ipp], now: Duration, seed: [u8; 32]) -> Self;
    fn tick(&mut self, now: Duration);
    fn datagram(&mut self, now: Duration, from: SocketAddr, bytes: &[u8]);
    fn poll(&mut self) -> Act;
    fn look_up(&mut self, now: Duration, lookup: u64, target: Ipp);
    fn online(&self) -> bool;
    /// Switches it keeps a relation with.
    fn peers(&self) -> usize;
}

/// What a world is like.
#[derive(Debug, Clone)]
pub struct Plan {
    pub switches: usize,
    /// How many join in a second.
    pub joins: usize,
    /// From the last join to the first lookup.
    pub settle: Duration,
    pub loss: f64,
    /// Share of switches behind a NAT box each.
    pub behind_nat: f64,
    /// Share that leaves in a minute; as many join.
    pub churn: f64,
    pub lookups: usize,
    /// Lookups begun in a second.
    pub rate: usize,
    pub seed: u64,
}

impl Plan {
    pub fn new(switches: usize) -> Self {
        Self {
            switches,
            joins: (switches / 50).max(20),
            settle: Duration::from_secs(40),
            loss: 0.01,
            behind_nat: 0.0,
            churn: 0.0,
            lookups: 1_000,
            rate: 50,
            seed: 1,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub lookups: usize,
    /// Of them, those that named the switch they looked for.
    pub found: usize,
    /// Switches asked in each lookup, sorted.
    pub asked: Vec<usize>,
    /// Virtual time each took, sorted.
    pub took: Vec<Duration>,
    pub offline: usize,
    pub peers: f64,
    /// Datagrams each switch sent in a second, on average while lookups ran.
    pub per_second: f64,
    /// Bytes of memory each switch cost, where the system tells.
    pub memory: f64,
    /// Seconds of the processor, where the system tells.
    pub cpu: f64,
}

impl Report {
    pub fn share(&self) -> f64 {
        self.found as f64 / self.lookups.max(1) as f64
    }

    pub fn mean_asked(&self) -> f64 {
        self.asked.iter().sum::<usize>() as f64 / self.asked.len().max(1) as f64
    }

    pub fn asked_at(&self, share: f64) -> usize {
        at(&self.asked, share)
    }

    pub fn took_at(&self, share: f64) -> Duration {
        at(&self.took, share)
    }
}

fn at<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// A node: one switch.
pub struct Host<C> {
    core: Option<C>,
    own: Option<Ipp>,
    seeds: Vec<Ipp>,
    done: Vec<(u64, Vec<Ipp>, usize, Duration)>,
}

impl<C: Core> Host<C> {
    fn drain(&mut self, context: &mut Context<'_>) {
        let Some(core) = &mut self.core else { return };
        loop {
            match core.poll() {
                Act::Send { to, bytes } => context.send(PORT, to.socket_addr(), bytes),
                Act::Found { lookup, closest, asked } => {
                    self.done.push((lookup, closest, asked, context.now()));
                }
                Act::Wait(at) => return context.wake_at(at),
            }
        }
    }
}

impl<C: Core> Machine for Host<C> {
    fn handle(&mut self, event: Event, context: &mut Context<'_>) {
        let now = context.now();
        match (event, &mut self.core) {
            (Event::Start, core) => {
                let seed = context.random().seed();
                core.insert(C::start(self.own, &self.seeds, now, seed)).tick(now);
            }
            (Event::Wake, Some(core)) => core.tick(now),
            (Event::Datagram { from, payload, .. }, Some(core)) => core.datagram(now, from, &payload),
            _ => return,
        }
        self.drain(context);
    }
}

/// A member of the world, while it is there.
#[derive(Clone, Copy)]
struct Member {
    node: NodeId,
    ipp: Ipp,
    since: Duration,
}

struct Asked {
    from: NodeId,
    target: Ipp,
    begun: Duration,
}

struct Run<C> {
    plan: Plan,
    world: World<Host<C>>,
    internet: NetId,
    random: Random,
    seeds: Vec<Ipp>,
    members: Vec<Member>,
    made: u32,
    asked: BTreeMap<u64, Asked>,
    report: Report,
}

/// Lets a world live; what came of it.
pub fn run<C: Core>(plan: &Plan) -> Report {
    let (begun, before) = (processor(), resident());
    let mut world = World::new(plan.seed);
    let internet = world.add_net(Link::WAN.loss(plan.loss));
    let mut run = Run::<C> {
        plan: plan.clone(),
        world,
        internet,
        random: Random::new(plan.seed ^ 0x5eed),
        seeds: (0..SEEDS as u32).map(address).collect(),
        members: Vec::new(),
        made: 0,
        asked: BTreeMap::new(),
        report: Report::default(),
    };
    run.join();
    run.world.run_for(plan.settle);
    run.churn_for(if plan.churn > 0.0 { 2 * NEWCOMER } else { Duration::ZERO });
    run.look_up_all();
    run.judge();
    let mut report = run.report;
    report.memory = (resident() - before) / plan.switches as f64;
    report.cpu = processor() - begun;
    report
}

impl<C: Core> Run<C> {
    fn join(&mut self) {
        while self.members.len() < self.plan.switches {
            for _ in 0..self.plan.joins.min(self.plan.switches - self.members.len()) {
                self.add();
                let gap = Duration::from_secs(1) / self.plan.joins as u32;
                self.world.run_for(gap);
            }
        }
    }

    fn add(&mut self) {
        let ipp = address(self.made);
        let is_seed = (self.made as usize) < SEEDS;
        // The first one is told who it is; the other seeds join over it, and everybody else over all seeds.
        let seeds = match self.made as usize {
            0 => Vec::new(),
            made if made < SEEDS => self.seeds[..1].to_vec(),
            _ => self.seeds.clone(),
        };
        let own = (self.made == 0).then_some(ipp);
        let machine = Host { core: None, own, seeds, done: Vec::new() };
        let node = if !is_seed && self.random.chance(self.plan.behind_nat) {
            let home = self.world.add_net(Link::LAN);
            self.world.add_nat(home, self.internet, ipp.ip(), NatConfig::PORT_RESTRICTED);
            self.world.add_node(machine, home, IpAddr::from([192, 168, 0, 2]))
        } else {
            self.world.add_node(machine, self.internet, ipp.ip())
        };
        self.made += 1;
        self.members.push(Member { node, ipp, since: self.world.now() });
    }

    /// Lets some leave and as many join, for a time.
    fn churn_for(&mut self, time: Duration) {
        let end = self.world.now() + time;
        while self.world.now() < end {
            self.churn(Duration::from_secs(1));
            self.world.run_for(Duration::from_secs(1));
        }
    }

    fn churn(&mut self, time: Duration) {
        let share = self.plan.churn * time.as_secs_f64() / 60.0;
        let expected = share * self.members.len() as f64;
        let count = expected as usize + usize::from(self.random.chance(expected.fract()));
        for _ in 0..count {
            let index = SEEDS + self.random.below((self.members.len() - SEEDS) as u64) as usize;
            let gone = self.members.swap_remove(index);
            self.world.crash(gone.node, Crash::Power);
            self.world.machine_mut(gone.node).core = None;
            self.add();
        }
    }

    fn look_up_all(&mut self) {
        let sent = self.world.counters().sent;
        let begun = self.world.now();
        let gap = Duration::from_secs(1) / self.plan.rate as u32;
        for lookup in 0..self.plan.lookups as u64 {
            self.look_up(lookup);
            if self.plan.churn > 0.0 {
                self.churn(gap);
            }
            self.world.run_for(gap);
        }
        let time = (self.world.now() - begun).as_secs_f64();
        self.report.per_second =
            (self.world.counters().sent - sent) as f64 / time / self.plan.switches as f64;
        self.churn_for(PATIENCE);
    }

    fn look_up(&mut self, lookup: u64) {
        let now = self.world.now();
        let grown: Vec<Member> = self.members.iter().filter(|m| m.since + NEWCOMER <= now).copied().collect();
        let from = self.random.below(grown.len() as u64) as usize;
        let other = (from + 1 + self.random.below(grown.len() as u64 - 1) as usize) % grown.len();
        let (from, target) = (grown[from], grown[other]);
        self.asked.insert(lookup, Asked { from: from.node, target: target.ipp, begun: now });
        self.world.with(from.node, |host, context| {
            if let Some(core) = &mut host.core {
                core.look_up(now, lookup, target.ipp);
            }
            host.drain(context);
        });
    }

    /// Counts the lookups whose ends were both still there afterwards.
    fn judge(&mut self) {
        let alive: BTreeMap<Ipp, NodeId> = self.members.iter().map(|m| (m.ipp, m.node)).collect();
        for (lookup, asked) in std::mem::take(&mut self.asked) {
            if !alive.contains_key(&asked.target) || !self.world.is_up(asked.from) {
                continue;
            }
            self.report.lookups += 1;
            let done = &self.world.machine(asked.from).done;
            let Some((_, closest, count, at)) = done.iter().find(|done| done.0 == lookup) else { continue };
            self.report.found += usize::from(closest.contains(&asked.target));
            self.report.asked.push(*count);
            self.report.took.push(*at - asked.begun);
        }
        self.report.asked.sort_unstable();
        self.report.took.sort_unstable();
        let cores = self.members.iter().filter_map(|m| self.world.machine(m.node).core.as_ref());
        let (mut peers, mut offline) = (0, 0);
        for core in cores {
            peers += core.peers();
            offline += usize::from(!core.online());
        }
        self.report.peers = peers as f64 / self.members.len() as f64;
        self.report.offline = offline;
    }
}

fn address(n: u32) -> Ipp {
    let ip = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0001 + n));
    Ipp::new(SocketAddr::new(ip, PORT)).unwrap()
}

/// Memory of this process in bytes, where the system tells.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.map_or(f64::NAN, |pages| pages * 4096.0)
}

/// Seconds of the processor this process has used, where the system tells.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in brackets; the times are in hundredths.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let times: Vec<f64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    if times.len() == 2 { times.iter().sum::<f64>() / 100.0 } else { f64::NAN }
}
