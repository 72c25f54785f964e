//! Statements 20 to 33: every packet arrives, or the session is over.

use serde_json::{Value, json};
use teale_telehash::v2::{CloseReason, Event};

use crate::support::*;

fn closed(node: &mut Node) -> Option<CloseReason> {
    node.take_events().into_iter().find_map(|event| match event {
        Event::Closed { reason, .. } => Some(reason),
        _ => None,
    })
}

fn seqs(sent: &[Sent]) -> Vec<u64> {
    sent.iter().map(|sent| sent.keys["seq"].as_u64().unwrap()).collect()
}

#[test]
fn s20_send_pop_and_tid_work_without_a_session() {
    let mut node = Node::new();
    Friend::open(&mut node, BOB);
    let near = teale_telehash::end_of_switch(ipp(BOB)).to_string();
    node.hear(CAROL, &json!({"send": near, "tid": "c1", "to": OWN}), b"");
    node.hear(CAROL, &json!({"pop": BOB}), b"");
    let sent = node.take();
    assert_eq!(sent.len(), 2);
    assert_eq!((&sent[0].keys["see"], &sent[0].keys["tid"]), (&json!([BOB]), &json!("c1")));
    assert_eq!((sent[1].to.as_str(), &sent[1].keys["source"]), (BOB, &json!(CAROL)));
}

#[test]
fn s21_seqs_start_at_zero_without_gaps() {
    let mut node = Node::new();
    node.hear(BOB, &json!({"start": "alpha"}), b"");
    let answer = node.take();
    let theirs = answer[0].keys["start"].as_str().unwrap();
    let mut bob = Friend { ipp: BOB.into(), sid: sid("alpha", theirs), next: 0 };
    bob.say(&mut node, json!({"tid": "1"}));
    send_body(&mut node, 5);
    node.pass(secs(1.0));
    let mut sent = answer;
    sent.extend(bob.take(&mut node));
    assert_eq!(seqs(&sent), (0..sent.len() as u64).collect::<Vec<_>>());
    assert!(sent.len() >= 6);
}

#[test]
fn s22_a_packet_that_comes_twice_acts_once() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    let ask = json!({"tid": "1", "req": {"uri": "x:"}, "done": true});
    bob.say(&mut node, ask.clone());
    bob.say_as(&mut node, bob.next - 1, ask, b"");
    assert_eq!(node.take_events().len(), 1);
    assert_eq!(node.switch.counters().duplicates, 1);
}

#[test]
fn s23_a_gap_is_reported() {
    let mut node = Node::new();
    let bob = Friend::open(&mut node, BOB);
    bob.say_as(&mut node, 1, json!({"tid": "1"}), b"");
    bob.say_as(&mut node, 3, json!({"tid": "1"}), b"");
    node.pass(secs(0.99));
    let sent = bob.take(&mut node);
    assert!(!sent.is_empty());
    for sent in sent {
        assert_eq!((&sent.keys["range"], &sent.keys["miss"]), (&json!([0, 3]), &json!([2])));
    }
}

#[test]
fn s24_full_reception_has_no_miss() {
    let mut node = Node::new();
    let bob = Friend::open(&mut node, BOB);
    for seq in [1, 3, 2] {
        bob.say_as(&mut node, seq, json!({"tid": "1"}), b"");
    }
    node.pass(secs(1.0));
    let sent = bob.take(&mut node);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].keys["range"], json!([0, 3]));
    assert!(!sent[0].has("miss"));
}

#[test]
fn s25_a_missed_packet_goes_again_byte_for_byte() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    send_body(&mut node, 5);
    let sent = bob.take(&mut node);
    // Its range was another one then; the packet is as it was.
    bob.say(&mut node, json!({"range": [0, 3], "miss": [2]}));
    let again = bob.take(&mut node);
    let original: Vec<&Sent> = sent.iter().filter(|sent| sent.keys["seq"] == 2).collect();
    assert_eq!(again.iter().collect::<Vec<_>>(), original);
    assert_eq!(again.len(), 1);
}

#[test]
fn s26_confirmed_packets_leave_the_buffer() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    send_body(&mut node, 5);
    let last = *seqs(&bob.take(&mut node)).last().unwrap();
    assert!(node.switch.sessions().next().unwrap().unconfirmed >= 5);
    bob.say(&mut node, json!({"range": [0, last]}));
    assert_eq!(node.switch.sessions().next().unwrap().unconfirmed, 0);
    // What is confirmed is never sent again, whatever is said later.
    bob.say(&mut node, json!({"range": [0, last], "miss": [2]}));
    assert_eq!(bob.take(&mut node), []);
}

#[test]
fn s27_a_packet_below_the_range_counts_as_missed() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    send_body(&mut node, 5);
    bob.take(&mut node);
    bob.say(&mut node, json!({"range": [3, 4]}));
    assert_eq!(seqs(&bob.take(&mut node)), [1, 2]);
}

#[test]
fn s28_the_third_report_ends_the_session() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    send_body(&mut node, 5);
    bob.take(&mut node);
    for report in 1..=3 {
        assert_eq!(closed(&mut node), None, "before report {report}");
        bob.say(&mut node, json!({"range": [0, 3], "miss": [2]}));
        node.pass(secs(1.1));
    }
    assert_eq!(closed(&mut node), Some(CloseReason::MissedTooOften));
    assert_eq!(node.sessions(), 0);
}

#[test]
fn s29_a_hundred_missing_are_alive_and_one_more_is_not() {
    for (seq, alive) in [(101, true), (102, false)] {
        let mut node = Node::new();
        let bob = Friend::open(&mut node, BOB);
        bob.say_as(&mut node, seq, json!({"tid": "1"}), b"");
        assert_eq!(node.sessions() == 1, alive);
        if alive {
            node.pass(secs(1.0));
            assert_eq!(bob.take(&mut node)[0].keys["miss"].as_array().unwrap().len(), 100);
        } else {
            assert_eq!(closed(&mut node), Some(CloseReason::TooManyMissing));
        }
    }
}

#[test]
fn s29_the_same_for_what_the_peer_misses() {
    for (count, alive) in [(100, true), (101, false)] {
        let mut node = Node::new();
        let mut bob = Friend::open(&mut node, BOB);
        send_body(&mut node, 150);
        bob.say(&mut node, json!({"range": [0, 60]}));
        let last = *seqs(&bob.take(&mut node)).last().unwrap();
        let miss: Vec<u64> = (1..=count).collect();
        bob.say(&mut node, json!({"range": [0, last], "miss": miss}));
        assert_eq!(node.sessions() == 1, alive, "{count}");
    }
}

#[test]
fn s30_the_hundred_and_first_is_held_back() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    send_body(&mut node, 150);
    let sent = bob.take(&mut node);
    assert_eq!(seqs(&sent), (1..=100).collect::<Vec<_>>(), "seq 0 is confirmed");
    bob.say(&mut node, json!({"range": [0, 1]}));
    assert_eq!(seqs(&bob.take(&mut node)), [101]);
}

#[test]
fn s31_a_senseless_range_is_ignored() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    send_body(&mut node, 5);
    let last = *seqs(&bob.take(&mut node)).last().unwrap();
    let before = node.switch.sessions().next().unwrap().unconfirmed;
    let senseless = [
        json!([3, 1]),
        json!([-1, 3]),
        json!([0, 1.5]),
        json!([0, last + 1]),
        json!([0, u64::MAX]),
        json!([0]),
        json!("0,3"),
        Value::Null,
    ];
    for range in senseless {
        bob.say(&mut node, json!({"range": range}));
        bob.say(&mut node, json!({"range": range, "miss": [0, 1, 2]}));
    }
    bob.say(&mut node, json!({"range": [0, 3], "miss": [1.5]}));
    bob.say(&mut node, json!({"miss": [1, 2]}));
    assert_eq!(node.switch.sessions().next().unwrap().unconfirmed, before);
    assert!(bob.take(&mut node).iter().all(|sent| !sent.has("req")), "nothing is sent again");
    // A sensible one still counts: all but one are confirmed, and that one is sent again.
    bob.say(&mut node, json!({"range": [0, last], "miss": [last - 1]}));
    let sent = bob.take(&mut node);
    assert!(sent.iter().any(|sent| sent.keys["seq"] == json!(last - 1)), "{sent:?}");
    assert!(node.switch.sessions().next().unwrap().unconfirmed < before);
}

#[test]
fn s32_bookkeeping_alone_is_not_acknowledged() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    for _ in 0..20 {
        bob.say(&mut node, json!({"range": [0, 0]}));
        node.pass(secs(0.1));
    }
    node.pass(secs(5.0));
    assert_eq!(bob.take(&mut node), []);
}

#[test]
fn s32_two_switches_fall_silent() {
    let mut world = crate::world::World::new(2, 1, false);
    world.open(0, 1);
    world.run(secs(10.0));
    let sent = world.sent;
    world.run(secs(10.0));
    assert_eq!(world.sent, sent, "nothing to say, nothing said");
}

#[test]
fn s33_an_acknowledgement_comes_within_a_second() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"tid": "1"}));
    assert_eq!(bob.take(&mut node), []);
    node.pass(secs(1.0));
    let sent = bob.take(&mut node);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].keys["range"], json!([0, 1]));
}

#[test]
fn s33_or_at_once_after_thirty_packets() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    for _ in 0..28 {
        bob.say(&mut node, json!({"tid": "1"}));
    }
    assert_eq!(bob.take(&mut node), []);
    bob.say(&mut node, json!({"tid": "1"}));
    bob.say(&mut node, json!({"tid": "1"}));
    let sent = bob.take(&mut node);
    assert_eq!(sent.len(), 1, "without any time");
}

#[test]
fn s33_or_at_once_after_five_duplicates() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"tid": "1"}));
    for duplicate in 1..=5 {
        assert_eq!(bob.take(&mut node), [], "before duplicate {duplicate}");
        bob.say_as(&mut node, 1, json!({"tid": "1"}), b"");
    }
    assert_eq!(bob.take(&mut node).len(), 1);
}

#[test]
fn the_last_packet_goes_again_if_nobody_confirms_it() {
    let mut node = Node::new();
    let bob = Friend::open(&mut node, BOB);
    send_body(&mut node, 1);
    let sent = bob.take(&mut node);
    node.pass(secs(1.5));
    assert_eq!(bob.take(&mut node), [sent.last().unwrap().clone()]);
}

#[test]
fn two_full_windows_do_not_wait_for_each_other() {
    let mut node = Node::new();
    let bob = Friend::open(&mut node, BOB);
    send_body(&mut node, 200);
    assert_eq!(bob.take(&mut node).len(), 100);
    for seq in 1..=100 {
        bob.say_as(&mut node, seq, json!({"tid": "1"}), b"");
    }
    node.pass(secs(1.0));
    let sent = bob.take(&mut node);
    assert_eq!(sent.len(), 1, "one acknowledgement beyond the window: {sent:?}");
    let ranges: Vec<_> = sent.iter().map(|sent| &sent.keys["range"]).collect();
    assert_eq!(sent[0].keys.as_object().unwrap().len(), 3, "{ranges:?}");
}
