//! Two v1 switches, and between them and around them somebody who does what he likes: they do not panic, hang, grow or
//! contradict themselves.
//!
//! Input: a script, one step a line. `d` delivers the datagram that has waited longest, `D` all of them, `x` loses it, `2`
//! doubles it, `r` lets it wait for the others, `m` bends a byte of it; `+MS` time passes; `a` and `b` dial, `n` announces
//! (the first switch), `t` taps, `u` untaps, `s` sends data (the second). `<` and the rest is a datagram to the second switch
//! in the first one's name; any other line is a datagram to the first from a third party, in which `$L` is the line between
//! them as far as it goes (the third party's ring is 1).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use teale_telehash::{
    Ipp, end_of,
    v1::{AnnounceId, Config, DialId, Event, Input, Output, Switch, TapId, bounds},
};
use teale_wire::{limits, telehash::Telex};

/// Steps of one script.
const STEPS: usize = 300;
/// The longest time that may pass in one step.
const PASS: u64 = 200_000;
/// Wakes in that time: a sweep each second, pings, dials and seeds.
const WAKES: usize = 2000;
/// Datagrams that wait at once; the network loses what is more.
const IN_FLIGHT: usize = 1000;

struct Node {
    at: Ipp,
    switch: Switch,
    deadline: Option<Duration>,
    dials: BTreeSet<DialId>,
    announcements: BTreeSet<AnnounceId>,
    taps: BTreeMap<TapId, Vec<Ipp>>,
    online: bool,
}

struct World {
    nodes: [Node; 2],
    third: Ipp,
    /// The number the first switch gave the third party.
    line: u64,
    now: Duration,
    flying: VecDeque<(Ipp, Ipp, Bytes)>,
}

/// Runs the script.
pub fn run(data: &[u8]) {
    let mut world = World::new();
    for line in data.split(|byte| *byte == b'\n').take(STEPS) {
        world.step(line);
        world.drain();
    }
}

fn at(host: u8) -> Ipp {
    let Some(ipp) = Ipp::new(([10, 0, 0, host], 42_424).into()) else { panic!("the port is not 0") };
    ipp
}

impl World {
    fn new() -> Self {
        let node = |host: u8, config: Config| Node {
            at: at(host),
            switch: Switch::new(config, Duration::ZERO, [host; 32]),
            deadline: None,
            dials: BTreeSet::new(),
            announcements: BTreeSet::new(),
            taps: BTreeMap::new(),
            online: false,
        };
        let first = node(1, Config { own: Some(at(1)), ..Config::default() });
        let second = node(2, Config { seeds: vec![at(1), at(3)], ..Config::default() });
        let mut world = Self {
            nodes: [first, second],
            third: at(3),
            line: 1,
            now: Duration::ZERO,
            flying: VecDeque::new(),
        };
        world.drain();
        world
    }

    fn step(&mut self, line: &[u8]) {
        let now = self.now;
        let [first, second] = &mut self.nodes;
        match line {
            b"d" => self.deliver(),
            b"D" => (0..self.flying.len()).for_each(|_| self.deliver()),
            b"x" => _ = self.flying.pop_front(),
            b"2" => self.flying.extend(self.flying.front().cloned()),
            b"r" => self.flying.rotate_left(usize::from(!self.flying.is_empty())),
            b"m" => self.bend(),
            b"a" => _ = first.dials.insert(first.switch.dial(now, end_of("x"))),
            b"b" => _ = second.dials.insert(second.switch.dial(now, end_of("y"))),
            b"n" => {
                let signals = [("+foo".to_owned(), format!("{now:?}"))].into();
                first.announcements.insert(first.switch.announce(now, end_of("x"), signals));
            }
            b"t" => _ = second.taps.insert(second.switch.tap(now, end_of("x"), Vec::new()), Vec::new()),
            b"u" => {
                if let Some((id, _)) = second.taps.pop_first() {
                    second.switch.untap(now, id);
                }
            }
            b"s" => {
                let data = [("hello".to_owned(), "there".into())].into_iter().collect();
                _ = second.switch.send_data(now, at(1), data);
            }
            [b'+', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
                let digits = std::str::from_utf8(digits).unwrap_or_default();
                self.pass(Duration::from_millis(digits.parse::<u64>().unwrap_or_default().min(PASS)));
            }
            [b'<', bytes @ ..] => {
                let from = at(1).socket_addr();
                second.switch.handle(now, Input::Datagram { from, bytes });
            }
            bytes => {
                let text = String::from_utf8_lossy(bytes).replace("$L", &self.line.to_string());
                let bytes = if bytes.contains(&b'$') { text.as_bytes() } else { bytes };
                let from = self.third.socket_addr();
                first.switch.handle(now, Input::Datagram { from, bytes });
            }
        }
    }

    fn deliver(&mut self) {
        let Some((from, to, bytes)) = self.flying.pop_front() else { return };
        let from = from.socket_addr();
        if let Some(node) = self.nodes.iter_mut().find(|node| node.at == to) {
            node.switch.handle(self.now, Input::Datagram { from, bytes: &bytes });
        }
        self.drain();
    }

    fn bend(&mut self) {
        if let Some((_, _, bytes)) = self.flying.front_mut() {
            let mut bent = bytes.to_vec();
            let at = self.now.subsec_millis() as usize % bent.len().max(1);
            if let Some(byte) = bent.get_mut(at) {
                *byte = byte.wrapping_add(1);
            }
            *bytes = bent.into();
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for wakes in 0.. {
            assert!(wakes < WAKES, "woken too often");
            let due = self.nodes.iter().filter_map(|node| node.deadline).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            for node in self.nodes.iter_mut().filter(|node| node.deadline == Some(due)) {
                node.switch.handle(self.now, Input::Tick);
            }
            self.drain();
            let awake = self.nodes.iter().filter_map(|node| node.deadline).all(|due| due > self.now);
            assert!(awake, "woken, it asks to be woken again");
        }
        self.now = end;
    }

    fn drain(&mut self) {
        for n in 0..2 {
            loop {
                let node = &mut self.nodes[n];
                match node.switch.poll() {
                    Output::Wait(deadline) => {
                        node.deadline = deadline;
                        break;
                    }
                    Output::Send { to, bytes } => self.sent(n, to, bytes),
                    Output::Event(event) => node.event(event),
                    _ => {}
                }
            }
            assert!(self.nodes[n].switch.lines().count() <= bounds::LINES);
        }
    }

    fn sent(&mut self, n: usize, to: Ipp, bytes: Bytes) {
        assert!(bytes.len() <= limits::TELEX_SENT);
        let Ok(telex) = Telex::parse(&bytes) else { panic!("a telex the parser refuses") };
        let from = self.nodes[n].at;
        // A bent `_to` of a seed makes a switch believe that it is somebody else: then it may write to itself.
        assert!(telex.to == Some(to) && telex.received.is_some());
        assert!(telex.line.is_some() != telex.ring.is_some(), "either of the two");
        assert!(telex.see.is_none_or(|see| see.len() <= bounds::SEE), "`.see` is short");
        if n == 0 && to == self.third {
            self.line = telex.line.map_or(self.line, u64::from);
            self.line = telex.ring.map_or(self.line, u64::from);
        }
        if self.flying.len() < IN_FLIGHT {
            self.flying.push_back((from, to, bytes));
        }
    }
}

impl Node {
    fn event(&mut self, event: Event) {
        match event {
            Event::Online { own } => {
                self.online = true;
                assert_eq!(self.switch.own(), Some(own));
            }
            Event::Offline => {
                assert!(self.online, "offline twice");
                self.online = false;
            }
            Event::Dialed { id, closest, asked } => {
                assert!(self.dials.remove(&id), "dialed twice, or never wanted");
                assert!(closest.len() <= bounds::SEE.min(asked), "more answered than were asked");
            }
            Event::Announced { id, told } => {
                assert!(self.announcements.remove(&id), "announced twice, or never wanted");
                assert!(told.len() <= bounds::DIAL_NEAREST);
            }
            Event::Tapped { id, at } => {
                // Untapped ones may still be told of, if that happened before.
                if let Some(before) = self.taps.insert(id, at.clone()) {
                    assert!(before != at, "nothing has changed");
                }
            }
            _ => {}
        }
    }
}
