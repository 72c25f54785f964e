//! A switch without a socket, and a stranger that speaks to it in hand-written JSON: it shares no code with the switch but
//! SHA-1.

use std::{collections::VecDeque, time::Duration};

use serde_json::{Value, json};
use teale_telehash::{
    Ipp, end_of,
    v2::{Config, Event, Input, Output, Req, SessionId, Switch},
};

pub const OWN: &str = "10.0.0.1:5000";
pub const BOB: &str = "10.0.0.2:5001";
pub const CAROL: &str = "10.0.0.3:5002";
pub const DAVE: &str = "10.0.0.4:5003";
/// The sheet's hash of "abc".
pub const ABC: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

pub fn ipp(text: &str) -> Ipp {
    text.parse().unwrap()
}

pub fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

pub fn framed(json: &str, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(json.len()).unwrap().to_be_bytes();
    [&length, json.as_bytes(), body].concat()
}

/// A switch that does not look for neighbours.
pub fn quiet() -> Config {
    let mut config = Config::default();
    config.joins = false;
    config
}

/// A packet the switch sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    pub to: String,
    pub keys: Value,
    pub body: Vec<u8>,
    pub raw: Vec<u8>,
}

impl Sent {
    fn read(to: Ipp, raw: &[u8]) -> Self {
        assert!(raw.len() < 1400, "a packet of {} bytes", raw.len());
        let length = usize::from(u16::from_be_bytes([raw[0], raw[1]]));
        let (json, body) = raw[2..].split_at(length);
        let keys = serde_json::from_slice(json).unwrap();
        Self { to: to.to_string(), keys, body: body.to_vec(), raw: raw.to_vec() }
    }

    pub fn has(&self, key: &str) -> bool {
        self.keys.get(key).is_some()
    }
}

pub struct Node {
    pub switch: Switch,
    pub now: Duration,
    pub sent: VecDeque<Sent>,
    pub events: VecDeque<Event>,
    pub deadline: Option<Duration>,
}

impl Node {
    /// One that knows its address and does nothing of its own accord.
    pub fn new() -> Self {
        let mut config = quiet();
        config.own = Some(ipp(OWN));
        Self::with(config)
    }

    pub fn with(config: Config) -> Self {
        let switch = Switch::new(config, Duration::ZERO, [7; 32]);
        let (sent, events) = (VecDeque::new(), VecDeque::new());
        let mut node = Self { switch, now: Duration::ZERO, sent, events, deadline: None };
        node.drain();
        node
    }

    pub fn drain(&mut self) {
        loop {
            match self.switch.poll() {
                Output::Send { to, bytes } => self.sent.push_back(Sent::read(to, &bytes)),
                Output::Event(event) => self.events.push_back(event),
                Output::Wait(deadline) => {
                    assert!(deadline.is_none_or(|at| at > self.now), "a deadline in the past: {deadline:?}");
                    self.deadline = deadline;
                    return;
                }
                other => panic!("an output this test does not know: {other:?}"),
            }
        }
    }

    pub fn act<T>(&mut self, act: impl FnOnce(&mut Switch, Duration) -> T) -> T {
        let result = act(&mut self.switch, self.now);
        self.drain();
        result
    }

    pub fn raw(&mut self, from: &str, bytes: &[u8]) {
        let from = ipp(from).socket_addr();
        self.act(|switch, now| switch.handle(now, Input::Datagram { from, bytes }));
    }

    pub fn hear(&mut self, from: &str, keys: &Value, body: &[u8]) {
        self.raw(from, &framed(&keys.to_string(), body));
    }

    /// Lets time pass, waking the switch whenever it wants.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for wakes in 0.. {
            assert!(wakes < 100_000, "it never rests");
            match self.deadline {
                Some(at) if at <= until => self.now = at,
                _ => break,
            }
            self.act(|switch, now| switch.handle(now, Input::Tick));
        }
        self.now = until;
        self.act(|switch, now| switch.handle(now, Input::Tick));
    }

    /// What was sent since the last time.
    pub fn take(&mut self) -> Vec<Sent> {
        self.sent.drain(..).collect()
    }

    pub fn take_to(&mut self, to: &str) -> Vec<Sent> {
        self.take().into_iter().filter(|sent| sent.to == to).collect()
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    /// The session with a peer.
    pub fn session(&self, peer: &str) -> SessionId {
        self.switch.sessions().find(|session| session.peer == ipp(peer)).unwrap().id
    }

    pub fn sessions(&self) -> usize {
        self.switch.sessions().count()
    }
}

/// Has the switch send a body of so many packets to Bob.
pub fn send_body(node: &mut Node, packets: usize) {
    let session = node.session(BOB);
    let body = vec![1; packets * 1200];
    node.act(|switch, now| switch.request(now, session, Req::new("PUT", "http://x/"), body.into()));
}

/// A stranger's side of a session.
#[derive(Debug, Clone)]
pub struct Friend {
    pub ipp: String,
    pub sid: String,
    pub next: u32,
}

pub fn sid(first: &str, second: &str) -> String {
    end_of([first, second].concat()).to_string()
}

impl Friend {
    /// Opens a session from this address; the switch's answer is taken and confirmed.
    pub fn open(node: &mut Node, from: &str) -> Self {
        let mut friend = Self::half_open(node, from, &format!("start of {from}"));
        // Seq 0 with a receipt of the answer, so that nothing is left to be acknowledged.
        friend.say(node, json!({"range": [0, 0]}));
        node.take();
        node.take_events();
        friend
    }

    /// The same without the last step.
    pub fn half_open(node: &mut Node, from: &str, start: &str) -> Self {
        node.take();
        node.hear(from, &json!({"start": start, "to": OWN, "from": from}), b"");
        let answer = node.take_to(from).into_iter().find(|sent| sent.has("start")).unwrap();
        let theirs = answer.keys["start"].as_str().unwrap();
        assert_eq!(answer.keys["sid"], sid(start, theirs));
        Self { ipp: from.to_owned(), sid: sid(start, theirs), next: 0 }
    }

    pub fn say(&mut self, node: &mut Node, keys: Value) {
        self.say_with(node, keys, b"");
    }

    pub fn say_with(&mut self, node: &mut Node, keys: Value, body: &[u8]) {
        self.next += 1;
        self.say_as(node, self.next - 1, keys, body);
    }

    /// With a seq of one's own choice.
    pub fn say_as(&self, node: &mut Node, seq: u32, mut keys: Value, body: &[u8]) {
        keys["sid"] = json!(self.sid);
        keys["seq"] = json!(seq);
        node.hear(&self.ipp, &keys, body);
    }

    /// The packets of this session that the switch has sent since the last time.
    pub fn take(&self, node: &mut Node) -> Vec<Sent> {
        let ours = |sent: &Sent| sent.keys["sid"] == json!(self.sid);
        node.take_to(&self.ipp).into_iter().filter(ours).collect()
    }
}
