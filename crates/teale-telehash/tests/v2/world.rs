//! Several of our switches and a bad network between them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use teale_telehash::{
    Ipp,
    v2::{Config, Event, Input, Output, SessionId, Switch},
};

/// What the network does to a datagram.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub loss: f64,
    pub twice: f64,
    /// How much longer than others a datagram may take.
    pub jitter: Duration,
}

pub const FAIR: Weather = Weather { loss: 0.0, twice: 0.0, jitter: Duration::ZERO };
const DELAY: Duration = Duration::from_millis(20);

pub struct World {
    pub now: Duration,
    pub switches: Vec<Switch>,
    pub events: Vec<Vec<Event>>,
    pub sent: usize,
    pub weather: Weather,
    /// Everything that is sent, as text, if anybody wants to see it.
    pub trace: Option<String>,
    /// Those that are cut off.
    pub dead: Vec<bool>,
    rng: StdRng,
    wakes: Vec<Option<Duration>>,
    under_way: BinaryHeap<Reverse<(Duration, usize, usize, usize)>>,
    datagrams: BTreeMap<usize, Vec<u8>>,
}

pub fn address(n: usize) -> Ipp {
    format!("10.20.{}.{}:4242", n / 250, n % 250 + 1).parse().unwrap()
}

impl World {
    /// So many switches that know the first one, which knows nobody.
    pub fn new(count: usize, seed: u8, joins: bool) -> Self {
        let mut world = Self {
            now: Duration::ZERO,
            switches: Vec::new(),
            events: Vec::new(),
            sent: 0,
            weather: FAIR,
            trace: None,
            dead: vec![false; count],
            rng: StdRng::from_seed([seed; 32]),
            wakes: vec![None; count],
            under_way: BinaryHeap::new(),
            datagrams: BTreeMap::new(),
        };
        for n in 0..count {
            let mut config = Config::default();
            config.joins = joins;
            config.body_limit = 32 << 20;
            let mut key = [seed; 32];
            key[..2].copy_from_slice(&(n as u16).to_be_bytes());
            world.switches.push(Switch::new(config, Duration::ZERO, key));
            world.events.push(Vec::new());
        }
        world
    }

    pub fn drain(&mut self, n: usize) {
        loop {
            match self.switches[n].poll() {
                Output::Send { to, bytes } => self.post(n, to, bytes.to_vec()),
                Output::Event(event) => self.events[n].push(event),
                Output::Wait(at) => {
                    assert!(at.is_none_or(|at| at > self.now), "a deadline in the past");
                    self.wakes[n] = at;
                    return;
                }
                other => panic!("an output this test does not know: {other:?}"),
            }
        }
    }

    fn post(&mut self, from: usize, to: Ipp, bytes: Vec<u8>) {
        assert!(bytes.len() < 1400);
        self.sent += 1;
        if self.trace.is_some() {
            let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
            let json = String::from_utf8_lossy(&bytes[2..2 + length]);
            let body = String::from_utf8_lossy(&bytes[2 + length..]);
            let body = if body.is_empty() { String::new() } else { format!(" + {body}") };
            let at = self.now.as_secs_f64();
            self.note(&format!("{at:6.3} {} > {to}  {json}{body}", address(from)));
        }
        let Some(to) = (0..self.switches.len()).find(|n| address(*n) == to) else { return };
        let copies = if self.rng.random_bool(self.weather.loss) {
            0
        } else {
            1 + usize::from(self.rng.random_bool(self.weather.twice))
        };
        for _ in 0..copies {
            let at = self.now + DELAY + self.weather.jitter.mul_f64(self.rng.random_range(0.0..1.0));
            let id = self.datagrams.last_key_value().map_or(0, |(id, _)| id + 1);
            self.datagrams.insert(id, bytes.clone());
            self.under_way.push(Reverse((at, id, from, to)));
        }
    }

    pub fn act<T>(&mut self, n: usize, act: impl FnOnce(&mut Switch, Duration) -> T) -> T {
        let result = act(&mut self.switches[n], self.now);
        self.drain(n);
        result
    }

    /// A line for the trace.
    pub fn note(&mut self, line: &str) {
        if let Some(trace) = &mut self.trace {
            trace.push_str(line);
            trace.push('\n');
        }
    }

    /// Opens a session and waits for it.
    pub fn open(&mut self, from: usize, to: usize) -> SessionId {
        let id = self.act(from, |switch, now| switch.open(now, address(to), None));
        self.run(Duration::from_secs(1));
        id
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.now = until;
    }

    /// The next thing that happens before this moment.
    pub fn step(&mut self, until: Duration) -> bool {
        let datagram = self.under_way.peek().map(|Reverse((at, ..))| *at);
        let living = self.wakes.iter().zip(&self.dead).filter(|(_, dead)| !**dead);
        let wake = living.filter_map(|(wake, _)| *wake).min();
        match (datagram, wake) {
            (Some(at), wake) if at <= until && wake.is_none_or(|wake| at <= wake) => {
                self.now = self.now.max(at);
                let Some(Reverse((_, id, from, to))) = self.under_way.pop() else { return false };
                let bytes = self.datagrams.remove(&id).unwrap();
                if !self.dead[to] && !self.dead[from] {
                    let from = address(from).socket_addr();
                    self.act(to, |switch, now| switch.handle(now, Input::Datagram { from, bytes: &bytes }));
                }
                true
            }
            (_, Some(at)) if at <= until => {
                self.now = self.now.max(at);
                let n = (0..self.wakes.len()).find(|n| !self.dead[*n] && self.wakes[*n] == Some(at)).unwrap();
                self.act(n, |switch, now| switch.handle(now, Input::Tick));
                true
            }
            _ => false,
        }
    }

    pub fn take_events(&mut self, n: usize) -> Vec<Event> {
        std::mem::take(&mut self.events[n])
    }
}
