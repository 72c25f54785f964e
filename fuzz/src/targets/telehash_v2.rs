//! Two v2 switches joined by a hostile schedule: datagrams are lost, doubled, late, spoilt and made up, time jumps. Nothing
//! panics, hangs or grows; every request and search ends once; and as long as nobody has spoilt or made up anything, every
//! body arrives as it was sent.
//!
//! Input: operations, a byte each (the highest bit says which side), some with arguments.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use teale_telehash::{
    Ipp, end_of,
    v2::{Config, Event, Input, Output, RecvId, Req, RequestId, Res, SeekId, SessionId, Switch, bounds},
};
use teale_wire::telehash::{Packet, Sid};

/// Steps of one run; longer inputs are cut.
const STEPS: usize = 2000;
/// Datagrams under way per direction; beyond it the oldest is lost.
const UNDER_WAY: usize = 512;
/// Requests a side makes in one run.
const REQUESTS: usize = 64;

struct Side {
    switch: Switch,
    ipp: Ipp,
    inbox: VecDeque<Bytes>,
    /// The sid of the last packet it sent.
    sid: Option<Sid>,
    sessions: BTreeSet<SessionId>,
    closed: BTreeSet<SessionId>,
    /// Requests that have not ended, with the number in their URI.
    asked: BTreeMap<RequestId, usize>,
    made: usize,
    to_answer: VecDeque<(SessionId, String, usize)>,
    heard: VecDeque<(Ipp, Option<SessionId>, Option<String>)>,
    recvs: Vec<RecvId>,
    seeks: BTreeSet<SeekId>,
}

struct World {
    now: Duration,
    sides: [Side; 2],
    /// Whether nobody has spoilt or made up anything so far.
    honest: bool,
}

/// Plays the schedule.
pub fn run(data: &[u8]) {
    let Some(mut world) = World::new() else { return };
    let mut bytes = data;
    for _ in 0..STEPS {
        let Some((op, rest)) = bytes.split_first() else { break };
        bytes = rest;
        world.step(*op, &mut bytes);
    }
    world.finish();
}

fn toggle<T: Ord>(set: &mut BTreeSet<T>, item: T) {
    if let Some(item) = set.replace(item) {
        set.remove(&item);
    }
}

fn end_or_begin(asked: &mut BTreeMap<RequestId, usize>, id: RequestId, number: usize) {
    if asked.remove(&id).is_none() {
        asked.insert(id, number);
    }
}

fn ipp(n: usize) -> Option<Ipp> {
    Ipp::new(([10, 0, 0, n as u8 + 1], 4242).into())
}

fn body(number: usize, len: usize) -> Bytes {
    (0..len).map(|n| (n.wrapping_mul(31) ^ (n >> 8) ^ number) as u8).collect()
}

fn len_of(number: usize) -> usize {
    [0, 1, 1000, 1400, 5000, 200_000][number % 6]
}

impl World {
    fn new() -> Option<Self> {
        let side = |n: usize| {
            let mut config = Config::default();
            config.own = ipp(n).filter(|_| n == 0);
            config.body_limit = 1 << 20;
            Some(Side {
                switch: Switch::new(config, Duration::ZERO, [n as u8; 32]),
                ipp: ipp(n)?,
                inbox: VecDeque::new(),
                sid: None,
                sessions: BTreeSet::new(),
                closed: BTreeSet::new(),
                asked: BTreeMap::new(),
                made: 0,
                to_answer: VecDeque::new(),
                heard: VecDeque::new(),
                recvs: Vec::new(),
                seeks: BTreeSet::new(),
            })
        };
        Some(Self { now: Duration::ZERO, sides: [side(0)?, side(1)?], honest: true })
    }

    fn step(&mut self, op: u8, bytes: &mut &[u8]) {
        let side = usize::from(op >> 7);
        let arg = |bytes: &mut &[u8]| {
            let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
            *bytes = rest;
            usize::from(*first)
        };
        match op & 0x0f {
            0..=2 => self.deliver(side, 0, false),
            3 => self.deliver(side, 0, true),
            4 => self.deliver(side, arg(bytes), false),
            5 => drop(self.sides[side].inbox.pop_front()),
            6 => {
                let to = self.sides[1 - side].ipp;
                let via = (op & 0x10 != 0).then_some(to);
                self.act(side, |switch, now| switch.open(now, to, via));
            }
            7 => self.request(side, arg(bytes)),
            8 => self.respond(side),
            9 => {
                let end = end_of([arg(bytes) as u8 % 4]);
                if self.sides[side].recvs.len() < 8 {
                    let id = self.act(side, |switch, now| switch.recv(now, end));
                    self.sides[side].recvs.push(id);
                } else if let Some(id) = self.sides[side].recvs.pop() {
                    self.act(side, |switch, now| switch.stop(now, id));
                }
            }
            10 => {
                let number = arg(bytes);
                let end = end_of([number as u8 % 4]);
                let body = body(number, number);
                let id = self.act(side, |switch, now| switch.seek(now, end, None, body));
                // It may have ended at once, before its name was known here.
                toggle(&mut self.sides[side].seeks, id);
            }
            11 => {
                if let Some((source, via, tid)) = self.sides[side].heard.pop_front() {
                    self.act(side, |switch, now| switch.accept(now, source, via, tid, None));
                }
            }
            12 => {
                self.now += Duration::from_millis(1 << (arg(bytes) % 17));
                self.tick();
            }
            13 => {
                let len = arg(bytes).min(bytes.len());
                let (text, rest) = bytes.split_at(len);
                *bytes = rest;
                self.made_up(side, text);
            }
            14 => self.spoil(side, arg(bytes), arg(bytes)),
            _ => {
                let nth = arg(bytes);
                if let Some(id) = self.sides[side].sessions.iter().nth(nth % 8).copied() {
                    self.act(side, |switch, now| switch.close(now, id));
                }
            }
        }
    }

    fn deliver(&mut self, side: usize, nth: usize, twice: bool) {
        let inbox = &mut self.sides[side].inbox;
        let nth = if inbox.is_empty() { return } else { nth % inbox.len() };
        let Some(bytes) = inbox.remove(nth) else { return };
        for _ in 0..=usize::from(twice) {
            self.datagram(side, &bytes);
        }
    }

    fn datagram(&mut self, side: usize, bytes: &[u8]) {
        let from = self.sides[1 - side].ipp.socket_addr();
        self.act(side, |switch, now| switch.handle(now, Input::Datagram { from, bytes }));
    }

    fn request(&mut self, side: usize, number: usize) {
        let at = &mut self.sides[side];
        let Some(session) = at.sessions.iter().nth(number % 8).copied() else { return };
        if at.made >= REQUESTS {
            return;
        }
        at.made += 1;
        let req = Req::new("PUT", format!("x:{number}"));
        let body = body(number, len_of(number));
        let id = self.act(side, |switch, now| switch.request(now, session, req, body));
        let at = &mut self.sides[side];
        end_or_begin(&mut at.asked, id, number);
    }

    fn respond(&mut self, side: usize) {
        let Some((session, tid, number)) = self.sides[side].to_answer.pop_front() else { return };
        let body = body(number + 1, len_of(number + 1));
        _ = self.act(side, |switch, now| switch.respond(now, session, &tid, Res::new(200), body));
    }

    /// A peer may say anything at all; `$` is the sid of the peer's session.
    fn made_up(&mut self, side: usize, text: &[u8]) {
        self.honest = false;
        let sid = self.sides[1 - side].sid.map(|sid| sid.to_string()).unwrap_or_default();
        let json = String::from_utf8_lossy(text).replace('$', &sid);
        let length = (json.len().min(0xffff) as u16).to_be_bytes();
        self.datagram(side, &[&length, json.as_bytes(), b"body"].concat());
    }

    fn spoil(&mut self, side: usize, at: usize, byte: usize) {
        self.honest = false;
        let Some(bytes) = self.sides[side].inbox.pop_front() else { return };
        let mut bytes = bytes.to_vec();
        let at = at * 5 % bytes.len();
        bytes[at] = byte as u8;
        self.datagram(side, &bytes);
    }

    fn tick(&mut self) {
        for side in 0..2 {
            self.act(side, |switch, now| switch.handle(now, Input::Tick));
        }
    }

    fn act<T>(&mut self, side: usize, act: impl FnOnce(&mut Switch, Duration) -> T) -> T {
        let result = act(&mut self.sides[side].switch, self.now);
        for outputs in 0.. {
            assert!(outputs < 100_000, "the switch never rests");
            match self.sides[side].switch.poll() {
                Output::Send { to, bytes } => self.send(side, to, bytes),
                Output::Event(event) => self.event(side, event),
                Output::Wait(at) => {
                    assert!(at.is_none_or(|at| at > self.now), "a deadline in the past");
                    break;
                }
                _ => {}
            }
        }
        let switch = &self.sides[side].switch;
        assert!(switch.buffered() <= bounds::BODIES);
        let mut count = 0;
        for session in switch.sessions() {
            count += 1;
            assert!(session.unconfirmed <= bounds::WINDOW + 1 && session.recvs <= bounds::RECVS_PER_SESSION);
        }
        assert!(count <= bounds::SESSIONS);
        result
    }

    fn send(&mut self, side: usize, to: Ipp, bytes: Bytes) {
        assert!(bytes.len() < 1400);
        match Packet::parse(&bytes) {
            Ok(packet) => self.sides[side].sid = packet.sid.or(self.sides[side].sid),
            Err(error) => panic!("it sent what cannot be read: {error}"),
        }
        assert!(
            to != self.sides[side].ipp || self.sides[side].switch.own() != Some(to),
            "it talks to itself"
        );
        let other = &mut self.sides[1 - side];
        if to == other.ipp {
            if other.inbox.len() >= UNDER_WAY {
                other.inbox.pop_front();
            }
            other.inbox.push_back(bytes);
        }
    }

    fn event(&mut self, side: usize, event: Event) {
        let honest = self.honest;
        let at = &mut self.sides[side];
        match event {
            Event::Opened { id, .. } => {
                assert!(!at.closed.contains(&id) && at.sessions.insert(id), "opened twice");
            }
            Event::Closed { id, .. } => {
                at.sessions.remove(&id);
                assert!(at.closed.insert(id), "closed twice");
            }
            Event::Request { session, tid, req, body: got, .. } => {
                let number = req.uri.strip_prefix("x:").and_then(|number| number.parse().ok()).unwrap_or(0);
                assert!(!honest || got == body(number, len_of(number)), "a request's body is spoilt");
                at.to_answer.push_back((session, tid, number));
                at.to_answer.truncate(bounds::THREADS);
            }
            Event::Response { id, res, body: got, .. } => {
                if let Some(number) = at.asked.remove(&id) {
                    let expected = body(number + 1, len_of(number + 1));
                    assert!(!honest || res.s == 200 && got == expected, "a response is spoilt");
                } else {
                    panic!("answered twice, or not asked");
                }
            }
            // One that fails at once ends before its name is known here.
            Event::RequestFailed { id, .. } => end_or_begin(&mut at.asked, id, usize::MAX),
            Event::Heard { source, via, tid, .. } => {
                at.heard.push_back((source, via, tid));
                at.heard.truncate(16);
            }
            // Likewise.
            Event::Sought { id, .. } => toggle(&mut at.seeks, id),
            _ => {}
        }
    }

    /// When nothing arrives any more and time has run out, nothing is left.
    fn finish(&mut self) {
        for side in 0..2 {
            while let Some(id) = self.sides[side].recvs.pop() {
                self.act(side, |switch, now| switch.stop(now, id));
            }
        }
        for _ in 0..20 {
            self.now += Duration::from_secs(10);
            self.tick();
        }
        for side in &self.sides {
            assert_eq!(side.switch.sessions().count(), 0, "a session is left");
            assert_eq!(side.switch.buffered(), 0, "bytes are left");
            assert!(side.asked.is_empty(), "a request is left");
            assert!(side.seeks.is_empty(), "a search is left");
            assert!(side.sessions.is_empty(), "nobody said that a session ended");
        }
    }
}
