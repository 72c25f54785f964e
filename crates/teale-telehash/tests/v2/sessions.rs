//! Statements 10 to 19: how sessions begin, and whose packets belong to them.

use serde_json::{json, value::RawValue};
use teale_telehash::v2::{CloseReason, Event};

use crate::support::*;

/// The switch opens a session to Bob. Returns its `start`.
fn opening(node: &mut Node) -> String {
    node.act(|switch, now| switch.open(now, ipp(BOB), None));
    let sent = node.take();
    assert_eq!((sent.len(), sent[0].to.as_str()), (1, BOB));
    assert_eq!(sent[0].keys["to"], BOB);
    assert_eq!(sent[0].keys["from"], OWN);
    assert!(!sent[0].has("sid") && !sent[0].has("seq"));
    sent[0].keys["start"].as_str().unwrap().to_owned()
}

fn opened(node: &mut Node) -> usize {
    node.take_events().iter().filter(|event| matches!(event, Event::Opened { .. })).count()
}

#[test]
fn s10_a_start_is_answered_with_start_sid_to_and_tid() {
    let mut node = Node::new();
    node.hear(BOB, &json!({"start": "alpha", "tid": "t1", "to": OWN, "from": BOB}), b"");
    let sent = node.take();
    assert_eq!(sent.len(), 1);
    let keys = &sent[0].keys;
    let theirs = keys["start"].as_str().unwrap();
    assert_eq!(
        *keys,
        json!({"start": theirs, "sid": sid("alpha", theirs), "seq": 0, "to": BOB, "from": OWN, "tid": "t1"})
    );
    node.hear(CAROL, &json!({"start": "gamma"}), b"");
    assert!(!node.take()[0].has("tid"));
}

#[test]
fn s11_both_orders_of_the_sid_are_accepted() {
    for swapped in [false, true] {
        let mut node = Node::new();
        let ours = opening(&mut node);
        let sid = if swapped { sid("beta", &ours) } else { sid(&ours, "beta") };
        node.hear(BOB, &json!({"start": "beta", "sid": sid, "seq": 0, "to": OWN}), b"");
        assert_eq!(opened(&mut node), 1, "swapped: {swapped}");
    }
    // And a peer may go on with either.
    let mut node = Node::new();
    node.hear(BOB, &json!({"start": "alpha"}), b"");
    let theirs = node.take()[0].keys["start"].as_str().unwrap().to_owned();
    let swapped = Friend { ipp: BOB.into(), sid: sid(&theirs, "alpha"), next: 0 };
    swapped.say_as(&mut node, 0, json!({"recv": ABC}), b"");
    assert_eq!(opened(&mut node), 1);
}

#[test]
fn s12_a_wrong_sid_creates_no_session() {
    let mut node = Node::new();
    let ours = opening(&mut node);
    for wrong in [sid(&ours, "betA"), sid("x", "beta"), ABC.to_owned(), "beta".into()] {
        node.hear(BOB, &json!({"start": "beta", "sid": wrong, "seq": 0}), b"");
    }
    assert_eq!((opened(&mut node), node.take()), (0, vec![]));
    node.hear(CAROL, &json!({"sid": ABC, "seq": 0, "recv": ABC}), b"");
    node.hear(CAROL, &json!({"start": "gamma", "sid": ABC, "seq": 0}), b"");
    assert_eq!((node.sessions(), node.take()), (1, vec![]));
}

#[test]
fn s13_an_upper_case_sid_is_accepted_and_lower_case_sent() {
    let mut node = Node::new();
    let ours = opening(&mut node);
    let sid = sid(&ours, "beta");
    node.hear(BOB, &json!({"start": "beta", "sid": sid.to_uppercase(), "seq": 0, "to": OWN}), b"");
    assert_eq!(opened(&mut node), 1);
    assert_eq!(node.take()[0].keys["sid"], sid);
}

#[test]
fn s14_the_same_start_again_gets_the_same_answer() {
    let mut node = Node::new();
    let start = json!({"start": "alpha", "to": OWN, "from": BOB});
    node.hear(BOB, &start, b"");
    let first = node.take();
    node.pass(secs(1.0));
    node.hear(BOB, &start, b"");
    assert_eq!(node.take(), first);
    assert_eq!(node.sessions(), 1);
}

#[test]
fn s14_a_start_is_sent_again_and_given_up() {
    let mut node = Node::new();
    node.act(|switch, now| switch.open(now, ipp(BOB), None));
    let first = node.take();
    node.pass(secs(0.99));
    assert_eq!(node.take(), []);
    node.pass(secs(9.0));
    let again = node.take();
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|sent| sent.raw == first[0].raw));
    node.pass(secs(0.01));
    let events = node.take_events();
    assert!(matches!(events[..], [Event::Closed { reason: CloseReason::Unanswered, .. }]), "{events:?}");
    assert_eq!((node.sessions(), node.deadline), (0, None));
}

#[test]
fn s15_crossing_starts_end_in_one_session() {
    let mut node = Node::new();
    let ours = opening(&mut node);
    // Bob's start comes before his answer to ours.
    node.hear(BOB, &json!({"start": "beta", "to": OWN, "from": BOB, "tid": "b"}), b"");
    let answer = node.take();
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].keys["start"], ours, "the same start makes the same session");
    assert_eq!(answer[0].keys["sid"], sid("beta", &ours));
    assert_eq!(answer[0].keys["tid"], "b");
    assert_eq!(opened(&mut node), 0);
    let bob = Friend { ipp: BOB.into(), sid: sid(&ours, "beta"), next: 0 };
    bob.say_as(&mut node, 0, json!({"start": "beta", "to": OWN}), b"");
    assert_eq!((opened(&mut node), node.sessions()), (1, 1));
    // Under the other name it is the same session.
    let alias = Friend { sid: sid("beta", &ours), ..bob };
    alias.say_as(&mut node, 1, json!({"recv": ABC}), b"");
    assert_eq!(node.switch.sessions().next().unwrap().recvs, 1);
    assert_eq!(opened(&mut node), 0);
}

#[test]
fn s15_crossing_does_not_lose_what_our_start_says() {
    let mut node = Node::new();
    let bind = RawValue::from_string(r#"{"a":1}"#.into()).unwrap();
    node.act(|switch, now| switch.accept(now, ipp(BOB), None, Some("wanted".into()), Some(bind)));
    let ours = node.take()[0].keys["start"].as_str().unwrap().to_owned();
    // Ours is lost; Bob's comes, and is answered under its own tid.
    node.hear(BOB, &json!({"start": "beta", "to": OWN, "from": BOB, "tid": "b"}), b"");
    assert_eq!(node.take()[0].keys["tid"], "b");
    let mut bob = Friend { ipp: BOB.into(), sid: sid("beta", &ours), next: 0 };
    bob.say(&mut node, json!({"range": [0, 0]}));
    let said = bob.take(&mut node);
    assert!(
        said.iter().any(|sent| sent.keys["tid"] == "wanted" && sent.keys["bind"] == json!({"a": 1})),
        "{said:?}"
    );
}

#[test]
fn s15_a_tid_that_comes_after_a_crossing_ends_the_search() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    let seek = node.act(|switch, now| switch.seek(now, ABC.parse().unwrap(), None, "".into()));
    let tid = bob.take(&mut node)[0].keys["tid"].clone();
    bob.say(&mut node, json!({"see": [CAROL], "tid": tid}));
    assert!(node.take_events().is_empty(), "an answer to the question is not the one who is meant");
    node.pass(secs(0.1));
    let mut carol = Friend::open(&mut node, CAROL);
    carol.say(&mut node, json!({"tid": "another's"}));
    bob.say(&mut node, json!({"tid": tid}));
    assert!(node.take_events().is_empty(), "Bob was there before the search");
    carol.say(&mut node, json!({"tid": tid, "bind": {"c": 1}}));
    let session = node.session(CAROL);
    let events = node.take_events();
    assert!(
        matches!(&events[..], [Event::Sought { id, found: Some(found) }] if *id == seek && *found == session),
        "{events:?}"
    );
}

#[test]
fn s15_crossed_starts_whose_answers_are_lost_are_said_again() {
    let mut node = Node::new();
    opening(&mut node);
    node.hear(BOB, &json!({"start": "beta", "to": OWN, "from": BOB}), b"");
    let answer = node.take();
    node.pass(secs(9.9));
    let again = node.take();
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|sent| sent.raw == answer[0].raw));
    // One that we did not want is not sent to whoever may have been named.
    node.hear(CAROL, &json!({"start": "gamma"}), b"");
    node.take();
    node.pass(secs(30.0));
    assert_eq!(node.take_to(CAROL), []);
}

#[test]
fn a_start_in_anothers_name_does_not_end_a_session_that_is_being_opened() {
    let mut node = Node::new();
    let ours = opening(&mut node);
    // Mallory writes Bob's address on it; he knows nothing of our start.
    node.hear(BOB, &json!({"start": "mallory", "to": OWN, "from": BOB}), b"");
    node.take();
    node.hear(BOB, &json!({"start": "beta", "sid": sid(&ours, "beta"), "seq": 0, "to": OWN}), b"");
    assert_eq!((opened(&mut node), node.sessions()), (1, 1), "who knows our start is whom we sent it to");
    // From now on it is that session, and the other one's names are gone.
    let bob = Friend { ipp: BOB.into(), sid: sid(&ours, "beta"), next: 1 };
    bob.say_as(&mut node, 1, json!({"recv": ABC}), b"");
    assert_eq!(node.switch.sessions().next().unwrap().recvs, 1);
    let mallory = Friend { sid: sid("mallory", &ours), ..bob };
    mallory.say_as(&mut node, 2, json!({"stop": ABC}), b"");
    assert_eq!(node.switch.sessions().next().unwrap().recvs, 1);
}

#[test]
fn s16_own_starts_are_long_and_never_the_same() {
    let mut node = Node::new();
    let mut starts = std::collections::BTreeSet::new();
    for n in 0..100 {
        let to = ipp(&format!("10.1.0.{n}:7"));
        node.act(|switch, now| switch.open(now, to, None));
        let sent = node.take();
        let start = sent[0].keys["start"].as_str().unwrap();
        assert!(start.len() >= 16, "{start}");
        starts.insert(start.to_owned());
    }
    assert_eq!(starts.len(), 100);
}

#[test]
fn a_mirrored_start_is_ignored() {
    let mut node = Node::new();
    let ours = opening(&mut node);
    node.hear(BOB, &json!({"start": ours}), b"");
    node.hear(BOB, &json!({"start": ours, "sid": sid(&ours, &ours), "seq": 0}), b"");
    assert_eq!((opened(&mut node), node.take()), (0, vec![]));
    assert_eq!(node.switch.counters().wrong_starts, 2);
}

#[test]
fn s17_a_sid_from_another_address_is_dropped() {
    let mut node = Node::new();
    let bob = Friend::open(&mut node, BOB);
    let thief = Friend { ipp: CAROL.into(), ..bob };
    thief.say_as(&mut node, 1, json!({"recv": ABC}), b"");
    assert_eq!(node.switch.sessions().map(|session| session.recvs).sum::<usize>(), 0);
    assert_eq!(node.switch.counters().strays, 1);
}

#[test]
fn s18_a_peer_behind_a_nat_is_answered_and_marked() {
    let mut node = Node::new();
    node.hear(BOB, &json!({"start": "alpha", "from": "192.168.1.5:5000"}), b"");
    let sent = node.take();
    assert_eq!((sent[0].to.as_str(), &sent[0].keys["to"]), (BOB, &json!(BOB)));
    assert!(node.switch.sessions().next().unwrap().behind_nat);
    node.hear(CAROL, &json!({"start": "gamma", "from": CAROL}), b"");
    assert!(!node.switch.sessions().find(|session| session.peer == ipp(CAROL)).unwrap().behind_nat);
}

#[test]
fn s18_the_own_address_is_learned_from_to() {
    let mut node = Node::with(quiet());
    node.act(|switch, now| switch.open(now, ipp(BOB), None));
    let sent = node.take();
    assert!(!sent[0].has("from"), "not known yet");
    let ours = sent[0].keys["start"].as_str().unwrap();
    node.hear(BOB, &json!({"start": "beta", "sid": sid(ours, "beta"), "seq": 0, "to": OWN}), b"");
    assert_eq!(node.switch.own(), Some(ipp(OWN)));
    assert!(
        node.take_events().iter().any(|event| matches!(event, Event::Online { own } if *own == ipp(OWN)))
    );
}

#[test]
fn s18_a_few_hosts_that_come_to_us_cannot_move_us() {
    let mut node = Node::with(quiet());
    node.act(|switch, now| switch.open(now, ipp(DAVE), None));
    let ours = node.take()[0].keys["start"].as_str().unwrap().to_owned();
    node.hear(DAVE, &json!({"start": "d", "sid": sid(&ours, "d"), "seq": 0, "to": OWN}), b"");
    assert_eq!(node.switch.own(), Some(ipp(OWN)));
    // One host has many ports; and two hosts weigh no more than the one we asked.
    let ports = ["10.0.0.2:1", "10.0.0.2:2", "10.0.0.2:3"];
    let hosts = ports.into_iter().chain([BOB, CAROL, "10.0.0.5:1"]).enumerate();
    for (n, from) in hosts {
        let (start, moves) = (format!("start {n}"), n == 5);
        node.hear(from, &json!({"start": start, "to": "10.9.9.9:9"}), b"");
        let answer = node.take_to(from);
        let theirs = answer[0].keys["start"].as_str().unwrap().to_owned();
        assert_ne!(node.switch.own(), Some(ipp("10.9.9.9:9")), "before it shows that it hears us");
        Friend { ipp: from.into(), sid: sid(&start, &theirs), next: 0 }.say(&mut node, json!({}));
        assert_eq!(node.switch.own() == Some(ipp("10.9.9.9:9")), moves, "{from}");
    }
    // An address that the program has set is nobody's to change.
    let mut node = Node::new();
    for n in 1..9 {
        let from = format!("10.0.1.{n}:7");
        node.hear(&from, &json!({"start": from, "to": "10.9.9.9:9"}), b"");
        let theirs = node.take()[0].keys["start"].as_str().unwrap().to_owned();
        Friend { ipp: from.clone(), sid: sid(&from, &theirs), next: 0 }.say(&mut node, json!({}));
    }
    assert_eq!(node.switch.own(), Some(ipp(OWN)));
}

#[test]
fn s19_a_sessions_keys_mean_nothing_without_one() {
    let mut node = Node::new();
    for keys in [json!({"seq": 0, "range": [0, 0], "miss": [0]}), json!({"recv": ABC}), json!({"stop": ABC})]
    {
        node.hear(BOB, &keys, b"");
    }
    node.hear(BOB, &json!({"send": ABC, "tid": "1"}), b"");
    assert_eq!((node.take(), node.sessions()), (vec![], 0));
    assert_eq!(node.switch.counters().ignored, 3);
    // Nor do they where there is a session, but the packet does not name it.
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"recv": ABC}));
    send_body(&mut node, 3);
    let unconfirmed = |node: &Node| node.switch.sessions().next().unwrap().unconfirmed;
    let before = (unconfirmed(&node), bob.take(&mut node).len());
    assert!(before.0 >= 3 && before.1 >= 3);
    node.hear(BOB, &json!({"seq": 2, "range": [0, 3], "miss": [1]}), b"");
    node.hear(BOB, &json!({"stop": ABC}), b"");
    node.hear(BOB, &json!({"recv": sid("other", "")}), b"");
    assert_eq!((unconfirmed(&node), node.switch.sessions().next().unwrap().recvs), (before.0, 1));
    assert_eq!((node.take(), node.switch.counters().ignored), (vec![], 6));
}

#[test]
fn an_idle_session_is_kept_alive_and_a_silent_one_ends() {
    let mut node = Node::new();
    let bob = Friend::open(&mut node, BOB);
    node.pass(secs(59.9));
    let kept = bob.take(&mut node);
    assert_eq!(kept.len(), 2, "each 25 s");
    for sent in &kept {
        assert_eq!(sent.keys["range"], json!([0, 0]));
        assert_eq!(sent.keys.as_object().unwrap().len(), 3, "sid, seq and range only");
    }
    node.pass(secs(0.1));
    let events = node.take_events();
    assert!(
        matches!(events[..], [Event::Closed { reason: CloseReason::Idle, .. }, Event::Offline]),
        "{events:?}"
    );
}
