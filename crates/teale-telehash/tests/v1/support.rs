//! A switch without a socket, and peers that are a few lines of JSON.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Map, Value, json};
use teale_telehash::{
    End, Ipp, end_of_switch,
    v1::{Config, Event, Input, Output, Switch},
};

/// Where the switch of most tests is.
pub const OWN: &str = "10.0.0.1:42424";
/// SHA-1 of "abc".
pub const ABC: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

pub fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

pub fn ipp(text: &str) -> Ipp {
    text.parse().unwrap()
}

/// Address number `n` of those that tests use.
pub fn address(n: u16) -> Ipp {
    ipp(&format!("10.0.{}.{}:{}", 1 + n / 250, 1 + n % 250, 1000 + n))
}

/// Addresses by their distance from an end, the nearest first.
pub fn by_distance(end: End, count: u16) -> Vec<Ipp> {
    let mut all: Vec<Ipp> = (0..count).map(address).collect();
    all.sort_by_key(|ipp| end_of_switch(*ipp).distance(end));
    all
}

/// A telex that was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    pub to: Ipp,
    pub telex: Map<String, Value>,
    pub bytes: usize,
}

impl Sent {
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.telex.get(key)
    }

    /// `.see`, if there is one.
    pub fn see(&self) -> Option<Vec<String>> {
        let see = self.get(".see")?.as_array()?;
        Some(see.iter().map(|entry| entry.as_str().unwrap().to_owned()).collect())
    }
}

/// A switch under test.
pub struct Bench {
    pub switch: Switch,
    pub now: Duration,
    pub sent: Vec<Sent>,
    pub events: Vec<Event>,
    pub deadline: Option<Duration>,
}

impl Bench {
    /// The first switch of a DHT, at [`OWN`], some time after its start.
    pub fn root() -> Self {
        Self::root_with(Config::default())
    }

    pub fn root_with(config: Config) -> Self {
        let mut bench = Self::new(Config { own: Some(ipp(OWN)), ..config });
        assert_eq!(bench.events, [Event::Online { own: ipp(OWN) }]);
        bench.events.clear();
        assert!(bench.pass(secs(30.0)).is_empty(), "there is nobody to ask");
        bench
    }

    pub fn new(config: Config) -> Self {
        Self::seeded(config, 7)
    }

    pub fn seeded(config: Config, seed: u8) -> Self {
        let now = secs(1000.0);
        let switch = Switch::new(config, now, [seed; 32]);
        let mut bench = Self { switch, now, sent: Vec::new(), events: Vec::new(), deadline: None };
        bench.drain();
        bench
    }

    pub fn drain(&mut self) {
        loop {
            match self.switch.poll() {
                Output::Send { to, bytes } => {
                    assert!(bytes.len() < 1400);
                    let telex = serde_json::from_slice(&bytes).unwrap();
                    self.sent.push(Sent { to, telex, bytes: bytes.len() });
                }
                Output::Event(event) => self.events.push(event),
                Output::Wait(deadline) => {
                    assert!(deadline.is_none_or(|deadline| deadline > self.now), "woken at once");
                    self.deadline = deadline;
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// A datagram comes; what is sent upon it.
    pub fn raw(&mut self, from: Ipp, bytes: &[u8]) -> Vec<Sent> {
        let before = self.sent.len();
        let from: SocketAddr = from.socket_addr();
        self.switch.handle(self.now, Input::Datagram { from, bytes });
        self.drain();
        self.sent.split_off(before)
    }

    /// A telex comes, exactly as written.
    pub fn hear(&mut self, from: Ipp, telex: Value) -> Vec<Sent> {
        self.raw(from, telex.to_string().as_bytes())
    }

    /// Time passes; what is sent meanwhile, with the time it was sent.
    pub fn pass(&mut self, time: Duration) -> Vec<(Duration, Sent)> {
        let (before, end) = (self.sent.len(), self.now + time);
        let mut sent = Vec::new();
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline <= end) {
            self.now = deadline;
            self.switch.handle(self.now, Input::Tick);
            self.drain();
            sent.extend(self.sent.split_off(before).into_iter().map(|telex| (deadline, telex)));
        }
        self.now = end;
        sent
    }

    /// Time passes until something is sent, but no longer than this.
    pub fn pass_until_sent(&mut self, time: Duration) -> Vec<Sent> {
        let (before, end) = (self.sent.len(), self.now + time);
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline <= end)
            && self.sent.len() == before
        {
            self.now = deadline;
            self.switch.handle(self.now, Input::Tick);
            self.drain();
        }
        self.sent.split_off(before)
    }

    /// A call was made: what is sent upon it.
    pub fn sent_now(&mut self) -> Vec<Sent> {
        let before = self.sent.len();
        self.drain();
        self.sent.split_off(before)
    }

    /// A peer says something in its line; what comes back to it. The rest stays in `sent`.
    pub fn say(&mut self, peer: &mut Peer, body: Value) -> Vec<Sent> {
        let telex = peer.telex(body);
        let sent = self.raw(peer.ipp, telex.as_bytes());
        peer.sent += telex.len() as u64;
        let (mine, others) = sent.into_iter().partition(|sent| sent.to == peer.ipp);
        self.sent.extend::<Vec<_>>(others);
        for sent in &mine {
            peer.take(sent);
        }
        mine
    }

    /// A peer with a line says something; what comes back to it. It confirms what it is made to.
    pub fn say_with_br(&mut self, peer: &Peer, received: u64, end: End) -> Vec<Sent> {
        let telex = peer.telex(json!({"+end": end, "_br": received}));
        self.raw(peer.ipp, telex.as_bytes())
    }

    /// A peer with a confirmed line.
    pub fn lined(&mut self, ipp: Ipp) -> Peer {
        let mut peer = Peer::new(ipp);
        self.say(&mut peer, json!({"+end": ABC}));
        assert!(peer.line.is_some(), "the answer to a ring has the line");
        self.say(&mut peer, json!({}));
        peer
    }

    /// A peer that may be told of.
    pub fn visible(&mut self, ipp: Ipp) -> Peer {
        let mut peer = self.lined(ipp);
        self.say(&mut peer, json!({".see": [ipp]}));
        assert!(self.switch.lines().any(|line| line.peer == ipp && line.visible));
        peer
    }

    pub fn own_end(&self) -> End {
        end_of_switch(self.switch.own().unwrap())
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

/// A peer, as the switch sees it.
#[derive(Debug, Clone)]
pub struct Peer {
    pub ipp: Ipp,
    pub ring: u64,
    pub line: Option<u64>,
    /// Bytes it got from the switch, which its `_br` says.
    pub received: u64,
    /// Bytes it sent to the switch.
    pub sent: u64,
}

impl Peer {
    pub fn new(ipp: Ipp) -> Self {
        Self { ipp, ring: 5240 + u64::from(ipp.port()) % 20_000, line: None, received: 0, sent: 0 }
    }

    /// A telex with the headers that belong to it, unless the body has its own.
    pub fn telex(&self, body: Value) -> String {
        let mut telex = Map::new();
        telex.insert("_to".into(), json!(OWN));
        telex.insert("_br".into(), json!(self.received));
        match self.line {
            Some(line) => telex.insert("_line".into(), json!(line)),
            None => telex.insert("_ring".into(), json!(self.ring)),
        };
        for (key, value) in body.as_object().unwrap() {
            if value.is_null() {
                telex.remove(key);
            } else {
                telex.insert(key.clone(), value.clone());
            }
        }
        Value::Object(telex).to_string()
    }

    pub fn take(&mut self, sent: &Sent) {
        assert_eq!(sent.to, self.ipp);
        self.received += sent.bytes as u64;
        if let Some(line) = sent.get("_line").and_then(Value::as_u64) {
            assert_eq!(line % self.ring, 0, "a line of another ring");
            self.line = Some(line);
        } else if let Some(ring) = sent.get("_ring").and_then(Value::as_u64) {
            self.line = Some(ring * self.ring);
        }
    }
}
