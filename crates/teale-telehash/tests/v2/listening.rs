//! Statements 40 to 46: who listens to a hash, who sends to it, and who is closer.

use serde_json::{Value, json, value::RawValue};
use teale_telehash::{
    end_of, end_of_switch,
    v2::{Event, SessionId},
};

use crate::support::*;

const BIND: &str = r#"{"telehash.org" : ["\u00e9", 1.0]}"#;

fn distance(text: &str, target: &str) -> teale_telehash::Distance {
    end_of_switch(ipp(text)).distance(target.parse().unwrap())
}

/// So many addresses, nearest to the hash first.
fn near(target: &str, count: u8) -> Vec<String> {
    let mut all: Vec<String> = (1..=250).map(|n| format!("10.4.0.{n}:7")).collect();
    all.sort_by_key(|ipp| distance(ipp, target));
    all.truncate(count.into());
    all
}

#[test]
fn s40_recv_and_send_in_one_packet_come_back() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"recv": ABC, "send": ABC, "tid": "t"}));
    let sent = bob.take(&mut node);
    let back: Vec<&Sent> = sent.iter().filter(|sent| sent.has("source")).collect();
    assert_eq!(back.len(), 1);
    let keys = &back[0].keys;
    assert_eq!((&keys["send"], &keys["tid"], &keys["source"]), (&json!(ABC), &json!("t"), &json!(BOB)));
}

#[test]
fn s41_stop_ends_the_matching() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    let other = end_of("other").to_string();
    bob.say(&mut node, json!({"recv": ABC}));
    bob.say(&mut node, json!({"recv": other}));
    node.hear(CAROL, &json!({"send": ABC}), b"");
    assert_eq!(bob.take(&mut node).len(), 1);
    bob.say(&mut node, json!({"stop": ABC}));
    bob.say(&mut node, json!({"stop": end_of("unknown").to_string()}));
    node.hear(CAROL, &json!({"send": ABC}), b"");
    assert!(bob.take(&mut node).iter().all(|sent| !sent.has("send")));
    node.hear(CAROL, &json!({"send": other}), b"");
    assert_eq!(bob.take(&mut node).len(), 1);
}

#[test]
fn s42_the_end_of_the_session_ends_its_recvs() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"recv": ABC}));
    node.pass(secs(60.0));
    assert_eq!(node.sessions(), 0);
    node.take();
    node.hear(CAROL, &json!({"send": ABC}), b"");
    assert_eq!(node.take(), []);
    Friend::open(&mut node, DAVE);
    node.hear(CAROL, &json!({"send": ABC}), b"");
    assert!(node.take_to(DAVE).is_empty());
}

#[test]
fn s43_a_relay_copies_send_tid_bind_and_body() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"recv": ABC}));
    let json = format!(r#"{{"send":"{ABC}","tid":"\u00fc","bind":{BIND},"source":"{DAVE}","x":1}}"#);
    node.raw(CAROL, &framed(&json, &[0, 1, 255]));
    let sent = bob.take(&mut node);
    assert_eq!(sent.len(), 1);
    let mut keys = sent[0].keys.as_object().unwrap().clone();
    assert_eq!(keys.remove("sid"), Some(json!(bob.sid)));
    assert_eq!(keys.remove("seq"), Some(json!(1)));
    keys.remove("range");
    let bind: Value = serde_json::from_str(BIND).unwrap();
    assert_eq!(Value::from(keys), json!({"send": ABC, "tid": "ü", "bind": bind, "source": CAROL}));
    assert_eq!(sent[0].body, [0, 1, 255]);
    let text = String::from_utf8_lossy(&sent[0].raw).into_owned();
    assert!(text.contains(BIND), "verbatim: {text}");
}

#[test]
fn s43_a_send_that_is_sent_again_is_relayed_once() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"recv": ABC}));
    for seconds in [0.0, 1.0, 10.0] {
        node.pass(secs(seconds));
        node.hear(CAROL, &json!({"send": ABC, "tid": "1"}), b"");
    }
    let relayed = bob
        .take(&mut node)
        .iter()
        .filter(|sent| sent.has("source"))
        .map(|sent| sent.raw.clone())
        .collect::<std::collections::BTreeSet<_>>();
    assert_eq!(relayed.len(), 2, "at first, and after ten seconds");
}

#[test]
fn s44_see_has_only_switches_closer_than_this_one() {
    let mut node = Node::new();
    let all = near(ABC, 250);
    for ipp in [&all[0], &all[249], &all[3]] {
        Friend::open(&mut node, ipp);
    }
    let own = distance(OWN, ABC);
    let expected: Vec<&String> =
        [&all[0], &all[3], &all[249]].into_iter().filter(|ipp| distance(ipp, ABC) < own).collect();
    assert!((1..3).contains(&expected.len()), "the example is a poor one");
    node.hear(CAROL, &json!({"send": ABC, "tid": "1"}), b"");
    let sent = node.take_to(CAROL);
    assert_eq!(sent[0].keys["see"], json!(expected));
    assert_eq!(sent[0].keys["tid"], "1");
}

#[test]
fn s44_nobody_closer_is_no_see() {
    let mut node = Node::new();
    Friend::open(&mut node, BOB);
    node.hear(CAROL, &json!({"send": end_of_switch(ipp(OWN)).to_string(), "tid": "1"}), b"");
    assert_eq!(node.take(), []);
}

#[test]
fn s45_see_has_at_most_five_sorted() {
    let mut node = Node::new();
    // Nobody is farther from it than this switch.
    let far = end_of_switch(ipp(OWN)).far().to_string();
    let all = near(&far, 9);
    for ipp in all.iter().rev() {
        Friend::open(&mut node, ipp);
    }
    node.hear(CAROL, &json!({"send": far}), b"");
    assert_eq!(node.take_to(CAROL)[0].keys["see"], json!(&all[..5]));
}

#[test]
fn s45_the_three_closest_of_a_see_are_asked() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    let seek = node.act(|switch, now| switch.seek(now, ABC.parse().unwrap(), None, "hello".into()));
    let asked = bob.take(&mut node);
    assert_eq!((&asked[0].keys["send"], &asked[0].body[..]), (&json!(ABC), &b"hello"[..]));
    let tid = asked[0].keys["tid"].as_str().unwrap().to_owned();
    let all = near(ABC, 5);
    let see = [&all[4], &all[1], &all[0], &all[3], &all[2]];
    bob.say(&mut node, json!({"see": see, "tid": tid}));
    let sent = node.take();
    for close in &all[..3] {
        let to: Vec<&Sent> = sent.iter().filter(|sent| sent.to == **close).collect();
        assert_eq!(to.len(), 1, "{close}");
        assert_eq!((&to[0].keys["send"], &to[0].keys["tid"]), (&json!(ABC), &json!(tid)));
        assert!(sent.iter().any(|sent| sent.to == BOB && sent.keys["pop"] == **close), "a pop for {close}");
    }
    for far in &all[3..] {
        assert!(!sent.iter().any(|sent| sent.to == **far), "{far} is the fourth or fifth");
    }
    // They know nobody closer: silence is the end, after the one who is meant had time to come back.
    node.pass(secs(12.0));
    let events = node.take_events();
    assert!(
        events.iter().any(|event| matches!(event, Event::Sought { id, found: None } if *id == seek)),
        "{events:?}"
    );
    // A see that nobody asked for is nothing.
    node.take();
    node.hear(CAROL, &json!({"see": [DAVE], "tid": tid}), b"");
    assert_eq!(node.take(), []);
}

#[test]
fn s46_the_target_opens_a_session_to_the_source() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    let id = node.act(|switch, now| switch.recv(now, ABC.parse().unwrap()));
    let sent = bob.take(&mut node);
    let question = sent.iter().find(|sent| sent.has("send")).unwrap();
    assert_ne!(question.keys["send"], ABC, "looking is not announcing");
    node.pass(secs(2.5));
    assert_eq!(bob.take(&mut node).iter().filter(|sent| sent.keys["recv"] == ABC).count(), 1);
    let at = |event: &Event| matches!(event, Event::Listening { id: which, at } if *which == id && *at == [ipp(BOB)]);
    assert!(node.take_events().iter().any(at));
    // Bob relays what Carol sends.
    let json = format!(
        r#"{{"send":"{ABC}","tid":"c7","bind":{BIND},"source":"{CAROL}","sid":"{}","seq":1}}"#,
        bob.sid
    );
    bob.next += 1;
    node.raw(BOB, &framed(&json, b"hi"));
    let events = node.take_events();
    let [Event::Heard { source, via: Some(via), tid, bind: Some(bind), body, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((*source, tid.as_deref(), bind.get(), &body[..]), (ipp(CAROL), Some("c7"), BIND, &b"hi"[..]));
    node.take();
    let own_bind = RawValue::from_string(r#"{"a":1}"#.into()).unwrap();
    let (source, via, tid) = (*source, *via, tid.clone());
    node.act(|switch, now| switch.accept(now, source, Some(via), tid, Some(own_bind)));
    let sent = node.take();
    let start = sent.iter().find(|sent| sent.to == CAROL).unwrap();
    assert!(start.has("start") && !start.has("sid"));
    assert_eq!((&start.keys["tid"], &start.keys["bind"]), (&json!("c7"), &json!({"a": 1})));
    assert!(sent.iter().any(|sent| sent.to == BOB && sent.keys["pop"] == CAROL), "the one who told of Carol");
}

#[test]
fn s46_the_tid_coming_back_ends_the_search() {
    let mut node = Node::new();
    let bob = Friend::open(&mut node, BOB);
    let seek = node.act(|switch, now| switch.seek(now, ABC.parse().unwrap(), None, "".into()));
    let tid = bob.take(&mut node)[0].keys["tid"].clone();
    node.hear(CAROL, &json!({"start": "gamma", "tid": tid, "bind": {"c": 1}, "to": OWN, "from": CAROL}), b"");
    let theirs = node.take_to(CAROL)[0].keys["start"].as_str().unwrap().to_owned();
    assert!(node.take_events().is_empty(), "Carol must show that she hears us");
    Friend { ipp: CAROL.into(), sid: sid("gamma", &theirs), next: 0 }.say(&mut node, json!({"to": OWN}));
    let events = node.take_events();
    let id: SessionId = node.session(CAROL);
    assert!(
        matches!(&events[..], [
            Event::Opened { id: opened, seek: Some(of), bind: Some(bind), incoming: true, .. },
            Event::Sought { id: sought, found: Some(found) },
        ] if *opened == id && *found == id && *sought == seek && *of == seek && bind.get() == r#"{"c":1}"#),
        "{events:?}"
    );
}

#[test]
fn whoever_tells_again_opens_another_way_to_the_source() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    let mut dave = Friend::open(&mut node, DAVE);
    node.act(|switch, now| switch.recv(now, ABC.parse().unwrap()));
    node.pass(secs(3.0));
    node.take();
    node.take_events();
    let told = json!({"send": ABC, "tid": "c7", "source": CAROL});
    bob.say(&mut node, told.clone());
    let events = node.take_events();
    let [Event::Heard { source, via: Some(via), tid, .. }] = &events[..] else { panic!("{events:?}") };
    // Dave tells of the same before we come back to Carol, and once more.
    let (source, via, tid) = (*source, *via, tid.clone());
    node.take();
    dave.say(&mut node, told.clone());
    dave.say(&mut node, told.clone());
    node.act(|switch, now| switch.accept(now, source, Some(via), tid, None));
    let pops = |node: &mut Node| -> Vec<String> {
        node.take().into_iter().filter(|sent| sent.keys["pop"] == CAROL).map(|sent| sent.to).collect()
    };
    assert_eq!(pops(&mut node), [BOB, DAVE]);
    assert!(node.take_events().is_empty(), "the program is told once");
    // The same if Dave is slower than we are.
    let told = json!({"send": ABC, "tid": "e1", "source": "10.0.0.5:7"});
    bob.say(&mut node, told.clone());
    node.act(|switch, now| switch.accept(now, ipp("10.0.0.5:7"), Some(via), Some("e1".into()), None));
    let pops = |node: &mut Node| node.take().iter().filter(|sent| sent.keys["pop"] == "10.0.0.5:7").count();
    assert_eq!(pops(&mut node), 1);
    dave.say(&mut node, told.clone());
    assert_eq!(pops(&mut node), 1);
    dave.say(&mut node, told);
    assert_eq!(pops(&mut node), 0);
}

#[test]
fn the_same_send_is_heard_once() {
    let mut node = Node::new();
    let end = ABC.parse().unwrap();
    node.act(|switch, now| switch.recv(now, end));
    for _ in 0..3 {
        node.hear(CAROL, &json!({"send": ABC, "tid": "1"}), b"");
    }
    let heard = |node: &mut Node| {
        node.take_events().iter().filter(|event| matches!(event, Event::Heard { via: None, .. })).count()
    };
    assert_eq!(heard(&mut node), 1);
    node.pass(secs(10.0));
    node.hear(CAROL, &json!({"send": ABC, "tid": "1"}), b"");
    assert_eq!(heard(&mut node), 1);
}

#[test]
fn a_listener_moves_when_its_switch_dies() {
    let mut node = Node::new();
    let mut friends: Vec<Friend> = near(ABC, 5).iter().map(|ipp| Friend::open(&mut node, ipp)).collect();
    let id = node.act(|switch, now| switch.recv(now, ABC.parse().unwrap()));
    node.pass(secs(3.0));
    let places = |node: &mut Node| {
        node.take_events().into_iter().rev().find_map(|event| match event {
            Event::Listening { id: which, at } if which == id => Some(at),
            _ => None,
        })
    };
    let nearest: Vec<_> = friends.iter().map(|friend| ipp(&friend.ipp)).collect();
    assert_eq!(places(&mut node).unwrap(), nearest[..3]);
    // The nearest falls silent, the others go on.
    for _ in 0..4 {
        node.pass(secs(15.0));
        for friend in &mut friends[1..] {
            let last = friend.take(&mut node).last().map_or(0, |sent| sent.keys["seq"].as_u64().unwrap());
            friend.say(&mut node, json!({"range": [0, last], "tid": "alive"}));
        }
    }
    node.pass(secs(5.0));
    assert_eq!(places(&mut node).unwrap(), nearest[1..4]);
}
