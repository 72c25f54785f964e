//! Statements 47 to 53: requests, responses, bodies, binds.

use std::sync::Arc;

use serde_json::{json, value::RawValue};
use teale_telehash::{
    Ipp,
    v2::{BindValidator, Event, HeaderValue, Req, RequestFailure, Res, RespondError},
};

use crate::support::*;

fn ask() -> serde_json::Value {
    json!({"uri": "http://telehash.org/", "m": "GET", "h": {"User-Agent": "testing", "n": 3}})
}

fn requests(node: &mut Node) -> Vec<(String, Req, Vec<u8>)> {
    let request = |event| match event {
        Event::Request { tid, req, body, .. } => Some((tid, req, body.to_vec())),
        _ => None,
    };
    node.take_events().into_iter().filter_map(request).collect()
}

#[test]
fn s47_a_request_needs_a_session_and_a_tid() {
    let mut node = Node::new();
    node.hear(BOB, &json!({"req": ask(), "tid": "1", "done": true}), b"");
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"req": ask(), "done": true}));
    assert_eq!(requests(&mut node), []);
    assert_eq!(node.switch.counters().ignored, 2);
}

#[test]
fn s48_a_body_is_joined_by_seq_whatever_the_order() {
    let parts = [
        json!({"req": ask(), "tid": "1"}),
        json!({"tid": "1"}),
        json!({"tid": "1"}),
        json!({"tid": "1", "done": true}),
    ];
    let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]];
    for order in orders {
        let mut node = Node::new();
        let bob = Friend::open(&mut node, BOB);
        for (n, part) in order.iter().enumerate() {
            assert_eq!(requests(&mut node), [], "{order:?} at {n}");
            bob.say_as(&mut node, *part + 1, parts[*part as usize].clone(), &[*part as u8; 3]);
        }
        let got = requests(&mut node);
        assert_eq!(got.len(), 1, "{order:?}");
        assert_eq!(got[0].2, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
    }
}

#[test]
fn s48_threads_mix_and_any_packet_may_fill_the_gap() {
    let mut node = Node::new();
    let bob = Friend::open(&mut node, BOB);
    bob.say_as(&mut node, 1, json!({"req": ask(), "tid": "a"}), b"a1");
    bob.say_as(&mut node, 4, json!({"tid": "a", "done": true}), b"a2");
    bob.say_as(&mut node, 2, json!({"req": ask(), "tid": "b", "done": true}), b"b");
    let got = requests(&mut node);
    assert_eq!((got.len(), got[0].0.as_str()), (1, "b"), "seq 3 might be a's");
    bob.say_as(&mut node, 3, json!({"recv": ABC}), b"");
    let got = requests(&mut node);
    assert_eq!((got[0].0.as_str(), &got[0].2[..]), ("a", &b"a1a2"[..]));
}

#[test]
fn s49_nothing_is_complete_before_done() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    bob.say_with(&mut node, json!({"req": ask(), "tid": "1"}), b"all there is");
    node.pass(secs(30.0));
    assert_eq!(requests(&mut node), []);
    bob.say(&mut node, json!({"tid": "1", "done": true}));
    assert_eq!(requests(&mut node)[0].2, b"all there is");
    bob.say_with(&mut node, json!({"req": ask(), "tid": "2", "done": true}), b"x");
    assert_eq!(requests(&mut node).len(), 1, "one packet with done");
    bob.say(&mut node, json!({"req": ask(), "tid": "3", "done": false}));
    assert_eq!(requests(&mut node), []);
}

#[test]
fn s50_a_response_carries_the_requests_tid() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"req": ask(), "tid": "any text ü", "done": true}));
    let session = node.session(BOB);
    let res = Res { s: 200, h: [("Content-Length".into(), 3000.into())].into() };
    node.act(|switch, now| switch.respond(now, session, "any text ü", res, vec![9; 3000].into())).unwrap();
    let sent = bob.take(&mut node);
    assert_eq!(sent[0].keys["res"], json!({"s": 200, "h": {"Content-Length": 3000}}));
    assert_eq!(sent.len(), 3);
    for (n, sent) in sent.iter().enumerate() {
        assert_eq!(sent.keys["tid"], "any text ü");
        assert_eq!(sent.has("done"), n == 2);
        let allowed = ["sid", "seq", "range", "tid", "res", "done"];
        assert!(sent.keys.as_object().unwrap().keys().all(|key| allowed.contains(&key.as_str())));
        assert_eq!(sent.has("res"), n == 0);
    }
    let body: Vec<u8> = sent.into_iter().flat_map(|sent| sent.body).collect();
    assert_eq!(body, [9; 3000]);
    let again = node.act(|switch, now| switch.respond(now, session, "any text ü", Res::new(200), "".into()));
    assert_eq!(again, Err(RespondError::NoRequest));
}

#[test]
fn s50_the_answer_to_our_own_request() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    let session = node.session(BOB);
    let id = node.act(|switch, now| switch.request(now, session, Req::new("GET", "http://x/"), "".into()));
    let sent = bob.take(&mut node);
    assert_eq!((sent.len(), &sent[0].keys["done"]), (1, &json!(true)));
    let tid = sent[0].keys["tid"].clone();
    bob.say(&mut node, json!({"tid": "another", "res": {"s": 500}, "done": true}));
    assert!(node.take_events().is_empty());
    bob.say_with(&mut node, json!({"tid": tid, "res": {"s": 404}}), b"no");
    bob.say_with(&mut node, json!({"tid": tid, "done": true}), b"ne");
    let events = node.take_events();
    let [Event::Response { id: which, res, body, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((*which, res.s, &body[..]), (id, 404, &b"none"[..]));
}

#[test]
fn s51_header_values_are_text_or_numbers() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"req": ask(), "tid": "1", "done": true}));
    let (_, req, _) = requests(&mut node).remove(0);
    assert_eq!(req.h["User-Agent"], HeaderValue::from("testing"));
    assert_eq!(req.h["n"], HeaderValue::from(3));
    assert_eq!(req.m.as_deref(), Some("GET"));
}

#[test]
fn s52_uris_of_any_scheme_reach_the_program() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    for uri in ["teale:chat", "urn:x:y", "not a uri at all", ""] {
        bob.say(&mut node, json!({"req": {"uri": uri}, "tid": uri, "done": true}));
        assert_eq!(requests(&mut node)[0].1.uri, uri);
    }
}

#[test]
fn s53_a_bind_is_handed_up_verbatim_and_never_trusted() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    let bind = r#"{ "http://telehash.org/" : "sig\u0041" }"#;
    bob.next += 1;
    let json = format!(
        r#"{{"req":{{"uri":"x:"}},"tid":"1","done":true,"bind":{bind},"sid":"{}","seq":1}}"#,
        bob.sid
    );
    node.raw(BOB, &framed(&json, b""));
    let events = node.take_events();
    assert!(
        matches!(&events[..], [Event::Request { bind: Some(got), .. }] if got.get() == bind),
        "{events:?}"
    );
    assert_eq!(node.switch.bound("http://telehash.org/"), None);
}

#[test]
fn s53_a_validator_decides() {
    #[derive(Debug)]
    struct Keys;
    impl BindValidator for Keys {
        fn proven(&self, _: Ipp, bind: &RawValue) -> Vec<String> {
            let bind: serde_json::Map<String, serde_json::Value> = serde_json::from_str(bind.get()).unwrap();
            bind.into_iter().filter(|(_, signature)| signature == "good").map(|(base, _)| base).collect()
        }
    }
    let mut config = quiet();
    config.own = Some(ipp(OWN));
    config.binds = Some(Arc::new(Keys));
    let mut node = Node::with(config);
    // Without a session, the address is not proven.
    node.hear(CAROL, &json!({"send": ABC, "bind": {"a:": "good"}}), b"");
    assert_eq!(node.switch.bound("a:"), None);
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"bind": {"a:": "good", "b:": "bad"}}));
    assert_eq!((node.switch.bound("a:"), node.switch.bound("b:")), (Some(ipp(BOB)), None));
}

#[test]
fn a_request_ends_in_every_case() {
    let failure = |node: &mut Node| {
        node.take_events().into_iter().find_map(|event| match event {
            Event::RequestFailed { reason, .. } => Some(reason),
            _ => None,
        })
    };
    let mut config = quiet();
    config.body_limit = 10;
    let mut node = Node::with(config);
    let mut bob = Friend::open(&mut node, BOB);
    let session = node.session(BOB);
    let request = |node: &mut Node, req| node.act(|switch, now| switch.request(now, session, req, "".into()));

    request(&mut node, Req::new("GET", "x".repeat(1400)));
    assert_eq!(failure(&mut node), Some(RequestFailure::TooBig));

    request(&mut node, Req::new("GET", "x:"));
    let tid = bob.take(&mut node).last().unwrap().keys["tid"].clone();
    bob.say_with(&mut node, json!({"tid": tid, "res": {"s": 200}}), &[0; 11]);
    assert_eq!(failure(&mut node), Some(RequestFailure::AnswerTooBig));

    request(&mut node, Req::new("GET", "x:"));
    for _ in 0..4 {
        node.pass(secs(14.9));
        assert_eq!(failure(&mut node), None);
        bob.say(&mut node, json!({"tid": "alive"}));
    }
    node.pass(secs(1.0));
    assert_eq!(failure(&mut node), Some(RequestFailure::TimedOut));

    for _ in 0..64 {
        request(&mut node, Req::new("GET", "x:"));
    }
    assert_eq!(failure(&mut node), None);
    request(&mut node, Req::new("GET", "x:"));
    assert_eq!(failure(&mut node), Some(RequestFailure::Busy));
    node.act(|switch, now| switch.close(now, session));
    let events = node.take_events();
    assert_eq!(events.iter().filter(|event| matches!(event, Event::RequestFailed { .. })).count(), 64);
    request(&mut node, Req::new("GET", "x:"));
    assert_eq!(failure(&mut node), Some(RequestFailure::NoSession));
}
