//! Our v1 switch among those of `get-telehash` 0.2.2, on loopback: each joins the other's seed, all find each other, and
//! what is announced at one is heard at another.
//!
//! The package is installed by `cargo xtask test` below `target/node`. Without it these tests say SKIPPED on stderr. It
//! counts only 127.0.0.1 as private, so everybody is there, on ports of their own.

#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test"
)]

mod foreign;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::UdpSocket,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use foreign::{Foreign, get_telehash, script};
use serde_json::json;
use teale_telehash::{
    End, Ipp, end_of, end_of_switch,
    v1::{Config, Event, Input, Line, Output, Switch},
};
use teale_wire::telehash::TapRule;

/// How long anything may take: the package looks around every 10 s.
const LIMIT: Duration = Duration::from_secs(60);

/// Our switch on a socket.
struct Ours {
    switch: Switch,
    socket: UdpSocket,
    begun: Instant,
    wake: Option<Duration>,
    events: Vec<Event>,
}

impl Ours {
    fn start(config: impl FnOnce(Ipp) -> Config, seed: u8) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let own = Ipp::new(socket.local_addr().unwrap()).unwrap();
        let switch = Switch::new(config(own), Duration::ZERO, [seed; 32]);
        Self { switch, socket, begun: Instant::now(), wake: Some(Duration::ZERO), events: Vec::new() }
    }

    /// The first switch of a DHT.
    fn seed(seed: u8) -> Self {
        Self::start(|own| Config { own: Some(own), ..Config::default() }, seed)
    }

    fn join(seeds: &[Ipp], seed: u8) -> Self {
        Self::start(|_| Config { seeds: seeds.to_vec(), ..Config::default() }, seed)
    }

    fn ipp(&self) -> Ipp {
        Ipp::new(self.socket.local_addr().unwrap()).unwrap()
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn turn(&mut self) {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            let now = self.now();
            self.switch.handle(now, Input::Datagram { from, bytes: &buffer[..length] });
            self.drain();
        }
        let now = self.now();
        if self.wake.is_some_and(|wake| wake <= now) {
            self.switch.handle(now, Input::Tick);
        }
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.switch.poll() {
                Output::Send { to, bytes } => {
                    let _ = self.socket.send_to(&bytes, to.socket_addr());
                }
                Output::Event(event) => self.events.push(event),
                Output::Wait(wake) => {
                    self.wake = wake;
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn lines(&self) -> Vec<Line> {
        self.switch.lines().collect()
    }

    fn online(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Online { .. }))
    }

    fn heard(&self, value: &str) -> bool {
        self.events.iter().any(|event| match event {
            Event::Signal { signals, .. } => signals.get("+foo").is_some_and(|said| said == value),
            _ => false,
        })
    }
}

/// A switch of the package.
struct Theirs {
    program: Foreign,
    ipp: Ipp,
}

impl Theirs {
    fn start(package: &Path, mode: &str, seeds: &[Ipp]) -> Self {
        // A free port, which the package is told to take.
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ipp: Ipp = format!("127.0.0.1:{port}").parse().unwrap();
        let mut command = Command::new("node");
        command.arg(script("get_telehash.js")).arg(package).arg(mode).arg(port.to_string());
        // A switch without others seeds itself.
        let seeds = if seeds.is_empty() { vec![ipp] } else { seeds.to_vec() };
        command.args(seeds.iter().map(ToString::to_string));
        Self { program: Foreign::start(&mut command), ipp }
    }

    fn online(&self) -> bool {
        self.program.of("status").next_back().is_some_and(|event| event["status"] == "online")
    }

    fn peers(&self) -> BTreeSet<String> {
        let peers = self.program.of("peers").next_back().map(|event| event["peers"].clone());
        peers.and_then(|peers| serde_json::from_value(peers).ok()).unwrap_or_default()
    }

    fn heard(&self, value: &str) -> bool {
        self.program.of("signal").any(|event| event["telex"]["+foo"] == value)
    }
}

/// Everybody there is, driven in turns.
struct Mesh {
    ours: Vec<Ours>,
    theirs: Vec<Theirs>,
}

impl Mesh {
    fn until(&mut self, what: &str, mut is: impl FnMut(&mut Self) -> bool) {
        let limit = Instant::now() + LIMIT;
        while !is(self) {
            assert!(Instant::now() < limit, "{what}: {}", self.describe());
            self.ours.iter_mut().for_each(Ours::turn);
            self.theirs.iter_mut().for_each(|theirs| theirs.program.listen());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.until("time passes", |_| Instant::now() >= end);
    }

    fn tap(&mut self, n: usize) {
        let end = end_of(topic(n));
        if let Some(ours) = self.ours.get_mut(n) {
            let now = ours.now();
            ours.switch.tap(now, end, vec![rule(end)]);
            ours.drain();
        } else {
            let rule = json!({"is": {"+end": end.to_string()}, "has": ["+foo"]});
            self.theirs[n - 3].program.tell(&json!({"do": "tap", "name": topic(n), "rule": rule}));
        }
    }

    /// Says something to whoever taps; what is said once more is said with another word.
    fn announce(&mut self, from: usize, to: usize, again: usize) {
        let signals = [("+foo", format!("{from} to {to}")), ("+again", again.to_string())];
        if let Some(ours) = self.ours.get_mut(from) {
            let now = ours.now();
            let signals = signals.map(|(key, value)| (key.to_owned(), value)).into();
            ours.switch.announce(now, end_of(topic(to)), signals);
            ours.drain();
        } else {
            let signals: BTreeMap<_, _> = signals.into();
            let command = json!({"do": "announce", "name": topic(to), "signals": signals});
            self.theirs[from - 3].program.tell(&command);
        }
    }

    fn describe(&self) -> String {
        let ours =
            self.ours.iter().map(|ours| format!("{}: {:?} {:?}\n", ours.ipp(), ours.lines(), ours.events));
        let theirs = self.theirs.iter().map(|theirs| format!("{}: {:?}\n", theirs.ipp, theirs.program.said));
        ours.chain(theirs).collect()
    }

    fn ipps(&self) -> Vec<Ipp> {
        self.ours.iter().map(Ours::ipp).chain(self.theirs.iter().map(|theirs| theirs.ipp)).collect()
    }

    fn online(&mut self) {
        self.until("everybody is online", |mesh| {
            mesh.ours.iter().all(Ours::online) && mesh.theirs.iter().all(Theirs::online)
        });
    }
}

#[test]
fn a_stranger_joins_our_seed() {
    let Some(package) = get_telehash() else { return };
    for mode in ["announcer", "listener", "full"] {
        let seed = Ours::seed(1);
        let theirs = Theirs::start(&package, mode, &[seed.ipp()]);
        let own = theirs.ipp.to_string();
        let mut mesh = Mesh { ours: vec![seed], theirs: vec![theirs] };
        mesh.online();
        let status = mesh.theirs[0].program.of("status").next_back().cloned().unwrap();
        assert_eq!(status["info"], own, "{mode}");
    }
}

#[test]
fn we_join_a_strangers_seed() {
    let Some(package) = get_telehash() else { return };
    let theirs = Theirs::start(&package, "full", &[]);
    let mut mesh = Mesh { ours: Vec::new(), theirs: vec![theirs] };
    mesh.online();
    let seed = mesh.theirs[0].ipp;
    mesh.ours.push(Ours::join(&[seed], 1));
    mesh.online();
    assert_eq!(mesh.ours[0].switch.own(), Some(mesh.ours[0].ipp()));
    mesh.until("a line that the stranger also has", |mesh| {
        mesh.theirs[0].program.tell(&json!({"do": "peers"}));
        !mesh.ours[0].lines().is_empty() && mesh.theirs[0].peers().contains(&mesh.ours[0].ipp().to_string())
    });
}

/// Three of each, over one seed of each.
fn mesh() -> Option<Mesh> {
    let package = get_telehash()?;
    let ours = Ours::seed(1);
    let theirs = Theirs::start(&package, "full", &[ours.ipp()]);
    let seeds = [ours.ipp(), theirs.ipp];
    let mut mesh = Mesh { ours: vec![ours], theirs: vec![theirs] };
    mesh.online();
    for n in 2..=3 {
        mesh.ours.push(Ours::join(&seeds, n));
        mesh.theirs.push(Theirs::start(&package, "full", &seeds));
    }
    mesh.online();
    Some(mesh)
}

fn rule(end: End) -> TapRule {
    TapRule::new([("+end", end.to_string())], ["+foo"]).unwrap()
}

#[test]
fn three_of_each_find_each_other_and_hear_each_other() {
    let Some(mut mesh) = mesh() else { return };
    everybody_is_found(&mut mesh);
    everything_is_heard(&mut mesh);
    a_pop_goes_through_a_stranger(&mut mesh);
}

fn everybody_is_found(mesh: &mut Mesh) {
    let all = mesh.ipps();
    for from in 0..mesh.ours.len() {
        for target in &all {
            mesh.until(&format!("{} finds {target}", all[from]), |mesh| {
                let ours = &mut mesh.ours[from];
                let now = ours.now();
                let found = ours.events.iter().any(|event| match event {
                    Event::Dialed { closest, .. } => closest.contains(target),
                    _ => false,
                });
                // One dial each second: a switch that came a moment ago may not be listed yet.
                if !found && *target != ours.ipp() && now.subsec_millis() < 4 {
                    ours.switch.dial(now, end_of_switch(*target));
                    ours.drain();
                }
                found || *target == ours.ipp()
            });
        }
    }
    for from in 0..mesh.theirs.len() {
        mesh.until("a stranger knows everybody", |mesh| {
            let theirs = &mut mesh.theirs[from];
            let missing: Vec<&Ipp> = all
                .iter()
                .filter(|ipp| **ipp != theirs.ipp && !theirs.peers().contains(&ipp.to_string()))
                .collect();
            for ipp in &missing {
                theirs.program.tell(&json!({"do": "dial", "name": ipp.to_string()}));
            }
            theirs.program.tell(&json!({"do": "peers"}));
            std::thread::sleep(Duration::from_millis(50));
            missing.is_empty()
        });
    }
}

/// What the `n`th of all taps.
fn topic(n: usize) -> String {
    format!("topic {n}")
}

/// Everybody taps an end of its own, and everybody announces there.
fn everything_is_heard(mesh: &mut Mesh) {
    let count = mesh.ours.len() + mesh.theirs.len();
    for n in 0..count {
        mesh.tap(n);
    }
    let pairs: Vec<(usize, usize)> =
        (0..count).flat_map(|from| (0..count).map(move |to| (from, to))).collect();
    let heard = |mesh: &Mesh, from: usize, to: usize| {
        let value = format!("{from} to {to}");
        mesh.ours.get(to).map_or_else(|| mesh.theirs[to - 3].heard(&value), |ours| ours.heard(&value))
    };
    let missing = |mesh: &Mesh| -> Vec<(usize, usize)> {
        pairs.iter().filter(|(from, to)| from != to && !heard(mesh, *from, *to)).copied().collect()
    };
    let limit = Instant::now() + LIMIT;
    for again in 0.. {
        let missing = missing(mesh);
        if missing.is_empty() {
            return;
        }
        assert!(Instant::now() < limit, "not heard, from and to: {missing:?}\n{}", mesh.describe());
        // The package tells those it has lines with of a new tap when it next looks around, up to 40 s later.
        for (from, to) in missing {
            mesh.announce(from, to, again);
            mesh.run_for(Duration::from_millis(100));
        }
        mesh.run_for(Duration::from_secs(3));
    }
}

/// A bare socket asks one of theirs to have one of ours open a path: the pop tap that ours keeps there passes it on.
fn a_pop_goes_through_a_stranger(mesh: &mut Mesh) {
    let asker = UdpSocket::bind("127.0.0.1:0").unwrap();
    asker.set_nonblocking(true).unwrap();
    let (target, relay) = (mesh.ours[1].ipp(), mesh.theirs[0].ipp);
    let pop = format!("th:{}", asker.local_addr().unwrap());
    let telex = json!({"+end": end_of_switch(target), "+pop": pop, "_hop": 1, "_to": relay});
    asker.send_to(telex.to_string().as_bytes(), relay.socket_addr()).unwrap();
    mesh.until("the path is opened", |_| {
        let mut buffer = [0; 1500];
        while let Ok((_, from)) = asker.recv_from(&mut buffer) {
            if from == target.socket_addr() {
                return true;
            }
        }
        false
    });
}
