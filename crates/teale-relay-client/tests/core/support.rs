//! A client without a socket: what it wants is recorded, time is a number.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;
use teale_identity::{Identity, NodeId};
use teale_noise::{IdentityProof, Now};
use teale_relay_client::{
    Channel, Client, ClientConfig, Encryption, Event, Input, KnownPeers, Output, SessionKey,
};
use teale_wire::{NodeCapabilities, PeerRecord, Register, RelayMessage};

pub const NONCE: &str = "00112233445566778899aabbccddeeff";
pub const PATIENCE: Duration = Duration::from_secs(5);
const EPOCH: Duration = Duration::from_secs(1_713_100_000);

pub fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// What a client wanted beside frames and events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Connect,
    Disconnect,
    Ping,
}

pub struct Node {
    pub client: Client,
    pub identity: Arc<Identity>,
    pub now: Duration,
    pub frames: VecDeque<Bytes>,
    pub events: VecDeque<Event>,
    pub asks: Vec<(Duration, Ask)>,
    deadline: Option<Duration>,
}

pub fn capabilities(models: &[&str]) -> NodeCapabilities {
    serde_json::from_value(json!({
        "hardware": {"chipFamily": "amdCPU", "chipName": "x", "totalRAMGB": 64.0, "gpuCoreCount": 0,
            "memoryBandwidthGBs": 50.0, "tier": 2},
        "loadedModels": models, "maxModelSizeGB": 60.0, "isAvailable": true, "ptnIDs": [],
    }))
    .unwrap()
}

pub fn config(seed: u8) -> ClientConfig {
    ClientConfig {
        identity: Arc::new(Identity::from_seed([seed; 32])),
        display_name: format!("node {seed}"),
        capabilities: capabilities(&[]),
        encryption: Encryption::Preferred,
        identity_proof: IdentityProof::Required,
        known_peers: KnownPeers::new(),
    }
}

impl Node {
    pub fn new(seed: u8) -> Self {
        Self::with(config(seed), seed)
    }

    pub fn with(config: ClientConfig, seed: u8) -> Self {
        let identity = config.identity.clone();
        let client = Client::new(config, at(Duration::ZERO), [seed; 32]);
        let mut node = Self {
            client,
            identity,
            now: Duration::ZERO,
            frames: VecDeque::new(),
            events: VecDeque::new(),
            asks: Vec::new(),
            deadline: None,
        };
        node.drain();
        node
    }

    /// Connected, challenged, registered, discover answered with nobody.
    pub fn registered(seed: u8) -> Self {
        Self::new(seed).register()
    }

    pub fn register(mut self) -> Self {
        self.input(Input::Connected);
        self.relay(json!({"challenge": {"nonce": NONCE}}));
        self.acknowledge(300);
        self.peers(&[]);
        self.frames.clear();
        self.events.clear();
        self.asks.clear();
        self
    }

    pub fn id(&self) -> NodeId {
        self.identity.node_id()
    }

    pub fn at(&self) -> Now {
        at(self.now)
    }

    pub fn drain(&mut self) {
        loop {
            match self.client.poll() {
                Output::Send(frame) => self.frames.push_back(frame),
                Output::Event(event) => self.events.push_back(event),
                Output::Connect => self.asks.push((self.now, Ask::Connect)),
                Output::Disconnect => self.asks.push((self.now, Ask::Disconnect)),
                Output::Ping => self.asks.push((self.now, Ask::Ping)),
                Output::Wait(deadline) => {
                    self.deadline = deadline;
                    return;
                }
                other => panic!("an output this test does not know: {other:?}"),
            }
        }
    }

    pub fn act<T>(&mut self, act: impl FnOnce(&mut Client, Now) -> T) -> T {
        let now = self.at();
        let result = act(&mut self.client, now);
        self.drain();
        result
    }

    pub fn input(&mut self, input: Input) {
        self.act(|client, now| client.handle(now, input));
    }

    pub fn lost(&mut self) {
        self.input(Input::Lost { reason: "the test says so".into() });
    }

    pub fn frame(&mut self, frame: impl Into<Bytes>) {
        self.input(Input::Frame(frame.into()));
    }

    /// A frame of the relay's.
    pub fn relay(&mut self, message: serde_json::Value) {
        self.frame(message.to_string());
    }

    pub fn acknowledge(&mut self, ttl: u32) {
        let id = self.id();
        self.relay(json!({"registerAck": {"nodeID": id, "registeredAt": 1.0, "ttlSeconds": ttl}}));
    }

    pub fn peers(&mut self, peers: &[PeerRecord]) {
        self.relay(json!({"discoverResponse": {"peers": peers}}));
    }

    /// Lets time pass, waking the client exactly when it wants to be.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut wakes = 0;
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.input(Input::Tick);
            wakes += 1;
            assert!(wakes < 10_000, "the client wakes again and again without doing anything");
        }
        self.now = end;
    }

    pub fn message(&mut self) -> Option<RelayMessage> {
        self.frames.pop_front().map(|frame| RelayMessage::parse(&frame).unwrap())
    }

    /// The types of the frames sent since the last look.
    pub fn kinds(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.message()).map(|message| message.kind().to_owned()).collect()
    }

    pub fn registration(&mut self) -> Option<Register> {
        while let Some(message) = self.message() {
            if let RelayMessage::Register(register) = message {
                return Some(*register);
            }
        }
        None
    }

    /// How the relay describes this node.
    pub fn record(&self) -> PeerRecord {
        record(self.id(), Some(&self.identity.x25519_public().to_hex()), &[])
    }

    pub fn open(&mut self, peer: &PeerRecord) -> Result<SessionKey, teale_relay_client::SessionError> {
        self.act(|client, now| client.open(now, peer.node_id, peer.wg_public_key.as_deref(), PATIENCE))
    }

    pub fn incoming(&mut self) -> Option<SessionKey> {
        let index = self.events.iter().position(|event| matches!(event, Event::Incoming { .. }))?;
        match self.events.remove(index) {
            Some(Event::Incoming { key, .. }) => Some(key),
            _ => None,
        }
    }

    pub fn established(&mut self) -> Option<(SessionKey, Channel)> {
        let index = self.events.iter().position(|event| matches!(event, Event::Established { .. }))?;
        match self.events.remove(index) {
            Some(Event::Established { key, channel }) => Some((key, *channel)),
            _ => None,
        }
    }

    pub fn ended(&mut self) -> Option<(SessionKey, teale_relay_client::SessionError)> {
        let index = self.events.iter().position(|event| matches!(event, Event::Ended { .. }))?;
        match self.events.remove(index) {
            Some(Event::Ended { key, error }) => Some((key, error)),
            _ => None,
        }
    }

    pub fn session_frame(&mut self) -> Option<Bytes> {
        let index = self.events.iter().position(|event| matches!(event, Event::Frame { .. }))?;
        match self.events.remove(index) {
            Some(Event::Frame { frame, .. }) => Some(frame),
            _ => None,
        }
    }
}

pub fn at(monotonic: Duration) -> Now {
    Now { unix: EPOCH + monotonic, monotonic }
}

pub fn record(node: NodeId, key: Option<&str>, models: &[&str]) -> PeerRecord {
    serde_json::from_value(json!({
        "nodeID": node, "publicKey": node, "wgPublicKey": key, "displayName": "x",
        "capabilities": capabilities(models), "lastSeen": 1.0, "natType": "unknown", "endpoints": [],
    }))
    .unwrap()
}

/// Carries all frames between two nodes until nothing moves, as an honest relay does.
pub fn settle(a: &mut Node, b: &mut Node) {
    loop {
        let (to_b, to_a) = (std::mem::take(&mut a.frames), std::mem::take(&mut b.frames));
        if to_a.is_empty() && to_b.is_empty() {
            return;
        }
        to_b.into_iter().for_each(|frame| b.frame(frame));
        to_a.into_iter().for_each(|frame| a.frame(frame));
        while let Some(key) = b.incoming() {
            b.act(|client, now| client.accept(now, key));
        }
    }
}

/// An established session between two registered nodes, opened by the first.
pub fn session(a: &mut Node, b: &mut Node) -> ((SessionKey, Channel), (SessionKey, Channel)) {
    let peer = b.record();
    a.open(&peer).unwrap();
    settle(a, b);
    (a.established().unwrap(), b.established().unwrap())
}
