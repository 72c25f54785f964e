//! What a conversation looks like on the wire: three switches of ours, from the first telex to a signal that was tapped.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use serde_json::{Map, Value};
use teale_telehash::{
    Ipp, end_of, end_of_switch,
    v1::{Config, Event, Input, Output, Switch},
};

use super::support::*;

/// Switches that hear each other at once.
struct Room {
    switches: Vec<(Ipp, Switch)>,
    now: Duration,
    flying: VecDeque<(Ipp, Ipp, Bytes)>,
    trace: String,
}

impl Room {
    fn enter(&mut self, at: &str, config: Config) {
        let seed = [at.as_bytes()[7]; 32];
        self.switches.push((ipp(at), Switch::new(config, self.now, seed)));
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            for (from, switch) in &mut self.switches {
                loop {
                    match switch.poll() {
                        Output::Send { to, bytes } => self.flying.push_back((*from, to, bytes)),
                        Output::Event(event) => {
                            self.trace.push_str(&format!("{from} learns {}\n", told(&event)))
                        }
                        _ => break,
                    }
                }
            }
            let Some((from, to, bytes)) = self.flying.pop_front() else { return };
            self.trace.push_str(&format!("{from} > {to}  {}\n", shortened(&bytes)));
            if let Some((_, switch)) = self.switches.iter_mut().find(|(at, _)| *at == to) {
                switch.handle(self.now, Input::Datagram { from: from.socket_addr(), bytes: &bytes });
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.trace.push_str(&format!("-- {time:?} later\n"));
        self.now += time;
        for n in 0..self.switches.len() {
            self.switches[n].1.handle(self.now, Input::Tick);
            self.settle();
        }
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::Online { own } => format!("that it is {own}"),
        Event::Tapped { at, .. } => format!("that it taps {at:?}"),
        Event::Announced { told, .. } => format!("that it told {told:?}"),
        Event::Signal { signals, hop, .. } => format!("at hop {hop} {:?}", signals.get("+foo")),
        other => format!("{other:?}"),
    }
}

/// Ends by their first digits.
fn shortened(bytes: &[u8]) -> String {
    let mut text = String::from_utf8(bytes.to_vec()).unwrap();
    let telex: Map<String, Value> = serde_json::from_slice(bytes).unwrap();
    let ends = telex.get("+end").into_iter().chain(telex.get(".tap").into_iter().flat_map(ends_of));
    for end in ends.filter_map(Value::as_str) {
        text = text.replace(end, &format!("{}…", &end[..4]));
    }
    text
}

fn ends_of(tap: &Value) -> impl Iterator<Item = &Value> {
    tap.as_array().into_iter().flatten().filter_map(|rule| rule.get("is")?.get("+end"))
}

#[test]
fn joining_tapping_and_announcing() {
    let mut room =
        Room { switches: Vec::new(), now: secs(100.0), flying: VecDeque::new(), trace: String::new() };
    let seed = "10.0.0.1:42424";
    room.enter(seed, Config { own: Some(ipp(seed)), ..Config::default() });
    for newcomer in ["10.0.0.2:42424", "10.0.0.3:42424"] {
        room.trace.push_str("-- another one comes\n");
        room.enter(newcomer, Config { seeds: vec![ipp(seed)], ..Config::default() });
    }
    let end = end_of("abc");
    let now = room.now;
    room.trace.push_str("-- the second one taps\n");
    let tap = room.switches[1].1.tap(now, end, vec![]);
    assert!(room.switches[1].1.tapped(tap).is_empty());
    room.settle();
    assert_eq!(room.switches[1].1.tapped(tap), [ipp("10.0.0.3:42424"), ipp(seed)]);
    assert!(room.switches[2].1.tapped(tap).is_empty());
    room.trace.push_str("-- the third one announces\n");
    room.switches[2].1.announce(now, end, [("+foo".to_owned(), "bar".to_owned())].into());
    room.settle();
    room.pass(secs(28.0));
    let untapping = room.now;
    room.switches[1].1.untap(untapping, tap);
    assert!(room.switches[1].1.tapped(tap).is_empty());
    let mut header = String::new();
    for (at, _) in &room.switches {
        header.push_str(&format!("{at} is at {}\n", &end_of_switch(*at).to_string()[..4]));
    }
    insta::assert_snapshot!(header + &room.trace);
}
