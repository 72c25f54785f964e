//! Statements 1 to 9 as the switch sees them; `teale-wire` has those about the packet itself.

use serde_json::json;

use crate::support::*;

/// What a switch must make nothing of.
fn is_dropped(bytes: &[u8]) {
    let mut node = Node::new();
    node.raw(BOB, bytes);
    assert_eq!(node.take(), [], "{bytes:?}");
    assert_eq!((node.sessions(), node.switch.counters().malformed), (0, 1), "{bytes:?}");
}

#[test]
fn s01_the_length_is_big_endian_json_only() {
    let mut node = Node::new();
    node.raw(BOB, &framed(r#"{"start":"alpha"}"#, b"a body"));
    assert_eq!(node.take().len(), 1);
    let mut swapped = framed(r#"{"start":"alpha"}"#, b"");
    swapped.swap(0, 1);
    is_dropped(&swapped);
}

#[test]
fn s02_a_length_beyond_the_datagram_is_dropped() {
    let mut bytes = framed(r#"{"start":"alpha"}"#, b"");
    bytes[1] += 1;
    is_dropped(&bytes);
}

#[test]
fn s03_a_length_of_zero_or_one_is_dropped() {
    is_dropped(&[0, 0, b'{', b'}']);
    is_dropped(&[0, 1, b'{', b'}']);
}

#[test]
fn s04_an_empty_packet_is_a_packet() {
    let mut node = Node::new();
    node.raw(BOB, &framed("{}", b""));
    node.raw(BOB, &framed("{}", &[0, 0xff]));
    assert_eq!(node.switch.counters().malformed, 0);
    assert_eq!(node.take(), []);
}

#[test]
fn s05_datagrams_of_up_to_two_bytes_are_dropped() {
    is_dropped(&[]);
    is_dropped(&[0]);
    is_dropped(&[0, 2]);
}

#[test]
fn s06_what_is_no_json_object_is_dropped() {
    for json in ["[]", "7", r#"{"start":"a"}x"#, "{", r#"["start"]"#] {
        is_dropped(&framed(json, b""));
    }
    is_dropped(&[0, 4, b'{', b'"', 0xff, b'}']);
}

#[test]
fn s07_a_body_arrives_as_it_was_sent() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    let body: Vec<u8> = (0..=255).collect();
    bob.say_with(&mut node, json!({"tid": "1", "req": {"uri": "x:", "m": "PUT"}, "done": true}), &body);
    let events = node.take_events();
    let [teale_telehash::v2::Event::Request { body: got, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(&got[..], body);
}

#[test]
fn s08_no_packet_sent_reaches_1400_bytes() {
    // `Sent::read` asserts it for every packet of every test; here are large ones.
    let mut node = Node::new();
    let bob = Friend::open(&mut node, BOB);
    let session = node.session(BOB);
    let req = teale_telehash::v2::Req::new("PUT", "http://x/");
    node.act(|switch, now| switch.request(now, session, req, vec![1; 50_000].into()));
    let sent = bob.take(&mut node);
    assert!(sent.iter().any(|sent| sent.raw.len() > 1250));
    is_dropped(&framed("{}", &[0; 1396]));
}

#[test]
fn s09_unknown_keys_are_ignored() {
    let mut node = Node::new();
    node.hear(BOB, &json!({"start": "alpha", "x": [{}], "_ring": 5, "+end": ABC}), b"");
    let sent = node.take();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].has("sid"));
}
