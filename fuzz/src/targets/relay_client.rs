//! A relay that says anything at any time: the client does not panic, hang, grow or contradict itself.
//!
//! Input: a script, one step a line. `C` connected, `L` lost, `P` pong, `+MS` time passes, `O` and `o` open a session
//! (the peer has a key or none), `A` accept, `X` close, `D` discover, `c` new capabilities, `S` shutdown; any other line
//! is a frame, in which `$A` stands for the client's node id, `$B` for a peer's, `$S` for the session last opened.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use teale_identity::Identity;
use teale_noise::{IdentityProof, Now};
use teale_relay_client::{
    Client, ClientConfig, Encryption, Event, FrameReader, Input, Inquiry, KnownPeers, Output, SessionKey,
    Ticket, bounds,
};
use teale_wire::{HardwareCapability, NodeCapabilities, RelayMessage};

/// Steps of one script.
const STEPS: usize = 300;
/// Wakes in the longest time that may pass in one step: an hour of pings and polls, and a session's timeouts.
const WAKES: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(5);

/// How far a session has come, by the events told of it.
enum Told {
    Begun,
    Established(Box<FrameReader>),
}

struct World {
    client: Client,
    me: String,
    peer: Identity,
    now: Duration,
    deadline: Option<Duration>,
    connected: bool,
    dialing: bool,
    session: String,
    offered: VecDeque<SessionKey>,
    told: BTreeMap<SessionKey, Told>,
    tickets: u64,
    waiting: u64,
}

/// Runs the script.
pub fn run(data: &[u8]) {
    let mut world = World::new();
    for line in data.split(|byte| *byte == b'\n').take(STEPS) {
        world.step(line);
        world.drain();
    }
}

impl World {
    fn new() -> Self {
        let identity = Arc::new(Identity::from_seed([1; 32]));
        let config = ClientConfig {
            identity: identity.clone(),
            display_name: "fuzz".into(),
            capabilities: capabilities(Vec::new()),
            encryption: Encryption::Preferred,
            identity_proof: IdentityProof::Required,
            known_peers: KnownPeers::new(),
        };
        let mut world = Self {
            client: Client::new(config, at(Duration::ZERO), [7; 32]),
            me: identity.node_id().to_string(),
            peer: Identity::from_seed([2; 32]),
            now: Duration::ZERO,
            deadline: None,
            connected: false,
            dialing: false,
            session: String::new(),
            offered: VecDeque::new(),
            told: BTreeMap::new(),
            tickets: 0,
            waiting: 0,
        };
        world.drain();
        world
    }

    fn step(&mut self, line: &[u8]) {
        let now = at(self.now);
        match line {
            b"C" if self.dialing => {
                (self.dialing, self.connected) = (false, true);
                self.client.handle(now, Input::Connected);
            }
            b"L" => {
                (self.dialing, self.connected) = (false, false);
                self.client.handle(now, Input::Lost { reason: "the script says so".into() });
            }
            b"P" => self.client.handle(now, Input::Pong),
            b"O" | b"o" => {
                let key = (line == b"O").then(|| self.peer.x25519_public().to_hex());
                if let Ok(key) = self.client.open(now, self.peer.node_id(), key.as_deref(), PATIENCE) {
                    assert!(self.told.insert(key, Told::Begun).is_none());
                }
            }
            b"A" => {
                if let Some(key) = self.offered.pop_front() {
                    self.client.accept(now, key);
                }
            }
            b"X" => {
                if let Some(key) = self.told.keys().next().copied() {
                    self.client.close(now, key);
                }
            }
            b"D" => {
                self.tickets += 1;
                self.waiting += 1;
                let (ticket, deadline) = (Ticket(self.tickets), self.now + PATIENCE);
                self.client.discover(now, Inquiry { ticket, filter: None, deadline, patience: PATIENCE });
            }
            b"c" => self.client.set_capabilities(now, capabilities(vec![format!("{:?}", self.now)])),
            b"S" => self.client.shutdown(now),
            [b'+', digits @ ..] => {
                let digits = std::str::from_utf8(digits).unwrap_or_default();
                self.pass(Duration::from_millis(digits.parse::<u64>().unwrap_or_default().min(3_600_000)));
            }
            frame => {
                let frame = match std::str::from_utf8(frame) {
                    Ok(text) => text
                        .replace("$A", &self.me)
                        .replace("$B", &self.peer.node_id().to_string())
                        .replace("$S", &self.session)
                        .into(),
                    Err(_) => Bytes::copy_from_slice(frame),
                };
                self.client.handle(now, Input::Frame(frame));
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut wakes = 0;
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.client.handle(at(self.now), Input::Tick);
            self.drain();
            assert!(
                self.deadline.is_none_or(|deadline| deadline > self.now),
                "woken, it asks to be woken again"
            );
            wakes += 1;
            assert!(wakes < WAKES, "woken too often");
        }
        self.now = end;
    }

    fn drain(&mut self) {
        loop {
            match self.client.poll() {
                Output::Wait(deadline) => {
                    self.deadline = deadline;
                    break;
                }
                Output::Connect => {
                    assert!(!self.dialing && !self.connected);
                    self.dialing = true;
                }
                Output::Disconnect => {
                    assert!(self.dialing || self.connected);
                    (self.dialing, self.connected) = (false, false);
                }
                Output::Ping => assert!(self.connected),
                Output::Send(frame) => {
                    assert!(self.connected, "a frame without a connection");
                    let message = RelayMessage::parse(&frame);
                    assert!(message.is_ok(), "a frame the parser refuses");
                    if let Ok(RelayMessage::RelayOpen(open)) = message {
                        self.session = open.session.to_string();
                    }
                }
                Output::Event(event) => self.event(event),
                _ => {}
            }
        }
        assert!(self.told.len() <= bounds::SESSIONS);
        assert!(!self.client.registered() || self.connected);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Incoming { key, .. } => {
                assert!(self.told.insert(key, Told::Begun).is_none());
                self.offered.push_back(key);
            }
            Event::Established { key, channel } => {
                let reader = Box::new(channel.split().1);
                let before = self.told.insert(key, Told::Established(reader));
                assert!(matches!(before, Some(Told::Begun)), "established twice, or out of nothing");
            }
            Event::Frame { key, frame } => {
                let Some(Told::Established(reader)) = self.told.get_mut(&key) else {
                    panic!("a frame of a session that is not established");
                };
                if let Err(error) = reader.read(&frame, self.now) {
                    self.client.fail(at(self.now), key, error);
                }
            }
            Event::Ended { key, .. } => {
                assert!(self.told.remove(&key).is_some(), "ended twice, or out of nothing");
                self.offered.retain(|offered| *offered != key);
            }
            Event::Discovered { ticket, .. } => {
                assert!(ticket.0 <= self.tickets && self.waiting > 0);
                self.waiting -= 1;
            }
            Event::Disconnected { .. } => {
                (self.dialing, self.connected) = (false, false);
                assert!(self.told.is_empty(), "a session outlives its connection");
            }
            _ => {}
        }
    }
}

fn at(monotonic: Duration) -> Now {
    Now { unix: Duration::from_secs(1_713_100_000) + monotonic, monotonic }
}

fn capabilities(loaded_models: Vec<String>) -> NodeCapabilities {
    let hardware = HardwareCapability {
        chip_family: "unknown".into(),
        chip_name: "fuzz".into(),
        total_ram_gb: 8.0,
        gpu_core_count: 0,
        memory_bandwidth_gbs: 0.0,
        tier: 2,
        gpu_backend: None,
        platform: None,
        gpu_vram_gb: None,
        extra: Default::default(),
    };
    NodeCapabilities {
        hardware,
        loaded_models,
        max_model_size_gb: 0.0,
        is_available: true,
        ptn_ids: None,
        swappable_models: None,
        max_concurrent_requests: None,
        effective_context: None,
        on_ac_power: None,
        extra: Default::default(),
    }
}
