//! Connecting, registering, staying alive, backing off.

use serde_json::json;
use teale_identity::signed;
use teale_relay_client::{Event, Input};

use crate::support::{Ask, NONCE, Node, capabilities, secs};

#[test]
fn a_challenge_is_answered_with_a_proof() {
    let mut node = Node::new(1);
    assert_eq!(node.asks, [(secs(0.0), Ask::Connect)]);
    node.input(Input::Connected);
    assert!(node.frames.is_empty(), "the challenge is waited for");
    node.relay(json!({"challenge": {"nonce": NONCE}}));
    let register = node.registration().unwrap();
    let key = register.wg_public_key.as_deref();
    assert_eq!(register.node_id, node.id());
    assert_eq!(key, Some(node.identity.x25519_public().to_hex().as_str()));
    signed::verify_register(node.id(), &register.signature).unwrap();
    signed::verify_register_proof(node.id(), NONCE, key, &register.proof.unwrap()).unwrap();
    assert!(!node.client.registered());
    node.acknowledge(300);
    assert!(node.client.registered());
    assert!(matches!(node.events.pop_front(), Some(Event::Registered)));
    assert_eq!(node.kinds(), ["discover"]);
}

#[test]
fn a_relay_that_sends_no_challenge_gets_a_registration_without_proof() {
    let mut node = Node::new(1);
    node.input(Input::Connected);
    node.pass(secs(0.249));
    assert!(node.frames.is_empty());
    node.pass(secs(0.001));
    assert_eq!(node.registration().unwrap().proof, None);
    node.relay(json!({"peerJoined": {"nodeID": node.id(), "displayName": "x"}}));
    node.relay(json!({"somethingNew": {"a": 1}}));
    node.acknowledge(300);
    assert!(node.client.registered());
}

#[test]
fn a_late_challenge_is_answered_with_a_second_registration() {
    let mut node = Node::new(1);
    node.input(Input::Connected);
    node.pass(secs(0.3));
    assert_eq!(node.registration().unwrap().proof, None);
    node.relay(json!({"challenge": {"nonce": NONCE}}));
    assert!(node.registration().unwrap().proof.is_some());
}

#[test]
fn only_the_first_real_nonce_of_a_connection_is_signed() {
    let mut node = Node::new(1);
    node.input(Input::Connected);
    node.relay(json!({"challenge": {"nonce": "short"}}));
    node.relay(json!({"challenge": {"nonce": "00112233445566778899AABBCCDDEEFF"}}));
    assert!(node.frames.is_empty());
    node.relay(json!({"challenge": {"nonce": NONCE}}));
    assert_eq!(node.kinds(), ["register"]);
    node.relay(json!({"challenge": {"nonce": "ffffffffffffffffffffffffffffffff"}}));
    assert!(node.frames.is_empty());
}

#[test]
fn the_registration_is_refreshed_every_240_s_or_before_a_shorter_ttl_ends() {
    for (ttl, refresh) in [(300, 240.0), (100, 80.0), (1, 10.0), (4_000_000_000, 240.0)] {
        let mut node = Node::new(1);
        node.input(Input::Connected);
        node.relay(json!({"challenge": {"nonce": NONCE}}));
        node.acknowledge(ttl);
        node.frames.clear();
        let mut registered_at = None;
        for _ in 0..500 {
            node.pass(secs(0.5));
            node.input(Input::Pong);
            if node.kinds().iter().any(|kind| kind == "register") {
                registered_at = Some(node.now);
                break;
            }
        }
        assert_eq!(registered_at, Some(secs(refresh)), "a TTL of {ttl} s");
    }
}

#[test]
fn new_capabilities_are_registered_at_once_and_those_of_one_second_together() {
    let mut node = Node::registered(1);
    node.pass(secs(5.0));
    node.act(|client, now| client.set_capabilities(now, capabilities(&[])));
    assert!(node.frames.is_empty(), "the same as before");
    node.act(|client, now| client.set_capabilities(now, capabilities(&["a"])));
    assert_eq!(node.registration().unwrap().capabilities.loaded_models, ["a"]);
    node.act(|client, now| client.set_capabilities(now, capabilities(&["b"])));
    node.act(|client, now| client.set_capabilities(now, capabilities(&["c"])));
    assert!(node.frames.is_empty());
    node.pass(secs(1.0));
    let register = node.registration().unwrap();
    assert_eq!(register.capabilities.loaded_models, ["c"]);
    assert!(register.proof.is_some(), "a refresh proves itself too");
    assert!(node.frames.is_empty());
}

#[test]
fn the_relay_is_pinged_every_25_s_and_the_answer_measured() {
    let mut node = Node::registered(1);
    let start = node.now;
    node.pass(secs(25.0));
    assert_eq!(node.asks, [(start + secs(25.0), Ask::Ping)]);
    node.pass(secs(0.04));
    node.input(Input::Pong);
    assert_eq!(node.client.round_trip(), Some(secs(0.04)));
}

#[test]
fn a_relay_silent_for_two_pings_is_dead() {
    let mut node = Node::registered(1);
    node.pass(secs(54.9));
    assert_eq!(node.asks.iter().filter(|(_, ask)| *ask == Ask::Ping).count(), 2);
    assert!(node.client.registered());
    node.pass(secs(0.1));
    assert!(!node.client.registered());
    assert_eq!(node.asks[2].1, Ask::Disconnect);
    assert!(node.events.iter().any(|event| matches!(event, Event::Disconnected { .. })));
}

#[test]
fn any_frame_is_a_sign_of_life() {
    let mut node = Node::registered(1);
    for _ in 0..10 {
        node.pass(secs(50.0));
        node.relay(json!({"peerLeft": {"nodeID": node.id(), "displayName": "x"}}));
    }
    assert!(node.client.registered());
}

#[test]
fn attempts_back_off_and_a_stable_connection_starts_over() {
    let mut node = Node::new(1);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        node.lost();
        let Some(Event::Disconnected { retry_in, .. }) = node.events.pop_back() else { panic!("no event") };
        pauses.push(retry_in);
        node.asks.clear();
        node.pass(retry_in);
        assert_eq!(node.asks, [(node.now, Ask::Connect)]);
    }
    for (pause, ceiling) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]) {
        assert!(*pause >= secs(ceiling / 2.0) && *pause <= secs(ceiling), "{pauses:?}");
    }
    let mut node = node.register();
    node.pass(secs(1.0));
    node.lost();
    let Some(Event::Disconnected { retry_in, .. }) = node.events.pop_back() else { panic!("no event") };
    assert!(retry_in >= secs(30.0), "a connection that did not last is a failure too");
    node.pass(retry_in);
    let mut node = node.register();
    node.pass(secs(10.0));
    node.lost();
    let Some(Event::Disconnected { retry_in, .. }) = node.events.pop_back() else { panic!("no event") };
    assert!(retry_in <= secs(1.0));
}

#[test]
fn an_attempt_that_takes_too_long_is_given_up() {
    let mut node = Node::new(1);
    node.pass(secs(10.0));
    assert_eq!(node.asks, [(secs(0.0), Ask::Connect), (secs(10.0), Ask::Disconnect)]);
}

#[test]
fn a_registration_that_is_refused_or_not_acknowledged_ends_the_connection() {
    let mut refused = Node::new(1);
    refused.input(Input::Connected);
    refused.relay(json!({"challenge": {"nonce": NONCE}}));
    refused.relay(json!({"error": {"code": "invalid_register", "message": "no"}}));
    assert_eq!(refused.asks.last(), Some(&(secs(0.0), Ask::Disconnect)));
    let mut ignored = Node::new(1);
    ignored.input(Input::Connected);
    ignored.relay(json!({"challenge": {"nonce": NONCE}}));
    ignored.pass(secs(10.0));
    assert!(ignored.asks.contains(&(secs(10.0), Ask::Disconnect)));
}

#[test]
fn a_display_name_longer_than_relays_take_is_cut_between_characters() {
    let mut config = crate::support::config(1);
    config.display_name = "ü".repeat(200);
    let mut node = Node::with(config, 1);
    node.input(Input::Connected);
    node.relay(json!({"challenge": {"nonce": NONCE}}));
    assert_eq!(node.registration().unwrap().display_name, "ü".repeat(128));
}

#[test]
fn an_acknowledgement_for_another_node_is_none() {
    let mut node = Node::new(1);
    node.input(Input::Connected);
    node.relay(json!({"challenge": {"nonce": NONCE}}));
    let other = Node::new(2).id();
    node.relay(json!({"registerAck": {"nodeID": other, "registeredAt": 1.0, "ttlSeconds": 300}}));
    assert!(!node.client.registered());
}

#[test]
fn garbage_is_counted_and_changes_nothing() {
    let mut node = Node::registered(1);
    for garbage in ["", "{", "[]", "{\"a\":1,\"b\":2}", "{\"registerAck\":{}}", "\u{0}"] {
        node.frame(garbage.to_owned());
    }
    assert_eq!(node.client.counters().bad_frames, 6);
    assert!(node.client.registered() && node.frames.is_empty() && node.events.is_empty());
}

#[test]
fn after_shutdown_nothing_happens_any_more() {
    let mut node = Node::registered(1);
    node.act(|client, now| client.shutdown(now));
    assert_eq!(node.asks, [(node.now, Ask::Disconnect)]);
    node.lost();
    node.pass(secs(1000.0));
    assert_eq!(node.asks.len(), 1);
    assert!(node.events.is_empty());
}
