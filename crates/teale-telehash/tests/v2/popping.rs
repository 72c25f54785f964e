//! Statements 34 to 39: holes through NATs.

use serde_json::json;

use crate::support::*;

#[test]
fn s34_a_pop_is_relayed_with_the_observed_source() {
    let mut node = Node::new();
    node.hear(CAROL, &json!({}), b"");
    node.hear(BOB, &json!({"pop": CAROL, "source": DAVE, "from": "192.168.0.1:1"}), b"");
    let sent = node.take();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].to, CAROL);
    assert_eq!(sent[0].keys, json!({"to": CAROL, "from": OWN, "pop": CAROL, "source": BOB}));
}

#[test]
fn s34_the_same_in_a_session() {
    let mut node = Node::new();
    node.hear(CAROL, &json!({}), b"");
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"pop": CAROL}));
    let sent = node.take();
    assert_eq!((sent[0].to.as_str(), &sent[0].keys["source"]), (CAROL, &json!(BOB)));
}

#[test]
fn s35_a_pop_for_this_switch_is_answered_with_popped() {
    let mut node = Node::new();
    node.hear(BOB, &json!({"pop": OWN, "source": CAROL}), b"");
    let sent = node.take();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].to, CAROL);
    assert_eq!(sent[0].keys, json!({"to": CAROL, "from": OWN, "popped": true}));
}

#[test]
fn s35_whoever_was_heard_needs_no_way_opened() {
    let mut node = Node::new();
    node.hear(CAROL, &json!({}), b"");
    node.hear(BOB, &json!({"pop": OWN, "source": CAROL}), b"");
    assert_eq!(node.take(), []);
    // So a `pop` for Carol is still relayed.
    node.hear(BOB, &json!({"pop": CAROL}), b"");
    assert_eq!(node.take_to(CAROL).len(), 1);
    node.pass(secs(10.0));
    node.hear(BOB, &json!({"pop": OWN, "source": CAROL}), b"");
    assert_eq!(node.take_to(CAROL).len(), 1, "that was long ago");
}

#[test]
fn s36_a_pop_without_source_is_nothing() {
    let mut node = Node::new();
    node.hear(BOB, &json!({"pop": OWN}), b"");
    node.hear(BOB, &json!({"pop": OWN, "source": "nonsense"}), b"");
    assert_eq!(node.take(), []);
}

#[test]
fn s37_the_first_packet_popped_brings_the_original_again_once() {
    let mut node = Node::new();
    node.act(|switch, now| switch.open(now, ipp(CAROL), Some(ipp(BOB))));
    let sent = node.take();
    let original = sent.iter().find(|sent| sent.to == CAROL).unwrap().clone();
    let pop = sent.iter().find(|sent| sent.to == BOB).unwrap();
    assert_eq!(pop.keys, json!({"to": BOB, "from": OWN, "pop": CAROL}));
    assert_eq!(sent.len(), 2);
    node.hear(CAROL, &json!({"popped": true}), b"");
    assert_eq!(node.take(), [original]);
    node.hear(CAROL, &json!({"popped": true}), b"");
    assert_eq!(node.take(), []);
}

#[test]
fn s37_only_the_first_packet() {
    let mut node = Node::new();
    node.act(|switch, now| switch.open(now, ipp(CAROL), None));
    node.take();
    node.hear(CAROL, &json!({}), b"");
    node.hear(CAROL, &json!({"popped": true}), b"");
    assert_eq!(node.take(), []);
}

#[test]
fn s37_a_pop_goes_through_the_session_if_there_is_one() {
    let mut node = Node::new();
    let bob = Friend::open(&mut node, BOB);
    node.act(|switch, now| switch.open(now, ipp(CAROL), Some(ipp(BOB))));
    let sent = bob.take(&mut node);
    assert_eq!((sent.len(), &sent[0].keys["pop"]), (1, &json!(CAROL)));
}

#[test]
fn s38_popped_from_a_stranger_is_ignored() {
    let mut node = Node::new();
    node.hear(CAROL, &json!({"popped": true}), b"");
    assert_eq!((node.take(), node.switch.counters().ignored), (vec![], 1));
}

#[test]
fn s39_only_switches_heard_lately_are_popped() {
    let mut node = Node::new();
    node.hear(BOB, &json!({"pop": CAROL}), b"");
    assert_eq!(node.take(), [], "never heard");
    node.hear(CAROL, &json!({}), b"");
    node.pass(secs(60.0));
    node.hear(BOB, &json!({"pop": CAROL}), b"");
    assert_eq!(node.take(), [], "heard a minute ago");
    node.hear(CAROL, &json!({}), b"");
    node.pass(secs(59.0));
    node.hear(BOB, &json!({"pop": CAROL}), b"");
    assert_eq!(node.take().len(), 1);
}

#[test]
fn s39_the_rate_is_limited() {
    let mut node = Node::new();
    node.hear(CAROL, &json!({}), b"");
    for n in 0..200 {
        node.hear(&format!("10.2.0.{n}:7"), &json!({"pop": CAROL}), b"");
        node.hear(BOB, &json!({"pop": OWN, "source": DAVE}), b"");
    }
    let sent = node.take();
    assert_eq!(sent.len(), 2, "one each");
    let mut bob = Friend::open(&mut node, BOB);
    for n in 0..200 {
        node.hear("10.4.0.1:7", &json!({"pop": OWN, "source": format!("10.3.0.{n}:7")}), b"");
    }
    let sent = node.take().len();
    assert!((10..=20).contains(&sent), "{sent}: some for strangers, one second's worth less two");
    // Who proved its address has a share of its own.
    for n in 0..200 {
        bob.say(&mut node, json!({"pop": OWN, "source": format!("10.3.1.{n}:7")}));
    }
    let popped = node.take().into_iter().filter(|sent| sent.has("popped")).count();
    assert!((10..=20).contains(&popped), "{popped}");
    // One host's ports are one host.
    let mut carol = Friend::open(&mut node, CAROL);
    node.pass(secs(10.0));
    for n in 1..200 {
        carol.say(&mut node, json!({"pop": OWN, "source": format!("10.3.2.1:{n}")}));
    }
    assert_eq!(node.take().into_iter().filter(|sent| sent.has("popped")).count(), 4);
    for target in ["224.0.0.1:7", "255.255.255.255:7", "0.0.0.0:7", OWN] {
        node.pass(secs(10.0));
        node.hear(BOB, &json!({"pop": OWN, "source": target}), b"");
        assert_eq!(node.take_to(target), [], "{target}");
    }
}
