//! Sessions between two machines over an honest relay, and what a peer may not do.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use teale_noise::{IdentityProof, NoiseError};
use teale_relay_client::{Encryption, Event, Input, Security, SessionError, bounds};

use crate::support::{Node, PATIENCE, config, record, secs, session, settle};

fn pair() -> (Node, Node) {
    (Node::registered(1), Node::registered(2))
}

fn relayed(kind: &str, from: &Node, to: &Node, session: &str) -> serde_json::Value {
    json!({kind: {"fromNodeID": from.id(), "toNodeID": to.id(), "sessionID": session}})
}

fn data(from: &Node, to: &Node, session: &str, payload: &[u8]) -> serde_json::Value {
    json!({"relayData": {"fromNodeID": from.id(), "toNodeID": to.id(), "sessionID": session,
        "data": STANDARD.encode(payload)}})
}

#[test]
fn two_nodes_with_keys_talk_sealed_and_know_each_other() {
    let (mut a, mut b) = pair();
    let ((_, at_a), (_, at_b)) = session(&mut a, &mut b);
    let Security::Sealed { verified: true, handshake_hash } = at_a.security() else { panic!("not sealed") };
    assert_eq!(at_b.security(), Security::Sealed { verified: true, handshake_hash });
    assert_eq!((at_a.peer(), at_b.peer()), (b.id(), a.id()));
    assert_eq!(at_a.id(), at_b.id());
    let ((mut a_writes, mut a_reads), (mut b_writes, mut b_reads)) = (at_a.split(), at_b.split());
    for n in 0..100_u32 {
        let message = format!("{{\"n\":{n}}}");
        b.frame(a_writes.write(message.as_bytes(), a.now).unwrap());
        assert_eq!(b_reads.read(&b.session_frame().unwrap(), b.now).unwrap(), message);
        a.frame(b_writes.write(message.as_bytes(), b.now).unwrap());
        assert_eq!(a_reads.read(&a.session_frame().unwrap(), a.now).unwrap(), message);
    }
    assert_eq!(a.client.counters().sealed_sessions, 1);
    assert_eq!(a.client.sessions(), 1);
}

#[test]
fn closing_ends_the_session_on_both_sides() {
    let (mut a, mut b) = pair();
    let ((key, _), (other, _)) = session(&mut a, &mut b);
    a.act(|client, now| client.close(now, key));
    assert_eq!(a.ended(), Some((key, SessionError::Closed)));
    settle(&mut a, &mut b);
    assert_eq!(b.ended(), Some((other, SessionError::Closed)));
    assert_eq!((a.client.sessions(), b.client.sessions()), (0, 0));
}

#[test]
fn a_peer_without_a_key_is_spoken_to_in_plaintext_and_counted() {
    let (mut a, mut b) = pair();
    let peer = record(b.id(), None, &[]);
    a.open(&peer).unwrap();
    settle(&mut a, &mut b);
    let (_, at_a) = a.established().unwrap();
    assert_eq!(at_a.security(), Security::Plaintext);
    let (mut writes, _) = at_a.split();
    assert_eq!(
        writes.write(b"\x01", a.now).unwrap_err(),
        SessionError::NotPossible("a plaintext message that is not a JSON object")
    );
    b.frame(writes.write(b"{\"hello\":{}}", a.now).unwrap());
    let (_, at_b) = b.established().unwrap();
    assert_eq!(at_b.security(), Security::Plaintext);
    let (_, mut reads) = at_b.split();
    assert_eq!(reads.read(&b.session_frame().unwrap(), b.now).unwrap(), "{\"hello\":{}}");
    assert_eq!((a.client.counters().plaintext_sessions, b.client.counters().plaintext_sessions), (1, 1));
}

#[test]
fn a_node_that_requires_encryption_neither_opens_nor_accepts_plaintext() {
    let mut strict = config(1);
    strict.encryption = Encryption::Required;
    let mut a = Node::with(strict, 1).register();
    let mut b = Node::registered(2);
    assert!(matches!(a.open(&record(b.id(), None, &[])), Err(SessionError::PlaintextRefused(_))));
    b.open(&record(a.id(), None, &[])).unwrap();
    settle(&mut b, &mut a);
    let (mut writes, _) = b.established().unwrap().1.split();
    a.frame(writes.write(b"{}", b.now).unwrap());
    assert!(matches!(a.ended(), Some((_, SessionError::PlaintextRefused(_)))));
    assert!(a.established().is_none());
}

#[test]
fn a_peer_seen_with_a_key_is_not_heard_in_plaintext() {
    let (mut a, mut b) = pair();
    a.pass(secs(30.0));
    let known = b.record();
    a.peers(&[known]);
    b.open(&record(a.id(), None, &[])).unwrap();
    settle(&mut b, &mut a);
    let (mut writes, _) = b.established().unwrap().1.split();
    a.frame(writes.write(b"{\"secret\":1}", b.now).unwrap());
    let (_, error) = a.ended().unwrap();
    assert_eq!(error, SessionError::PlaintextRefused("the peer is known to have a key"));
    assert!(a.session_frame().is_none());
    assert_eq!(a.client.counters().rejected, 1);
}

#[test]
fn a_key_that_becomes_known_while_a_plaintext_session_opens_ends_it() {
    let (mut a, mut b) = pair();
    a.pass(secs(30.0));
    let key = a.open(&record(b.id(), None, &[])).unwrap();
    let known = b.record();
    a.peers(&[known]);
    settle(&mut a, &mut b);
    assert!(a.established().is_none(), "spoken to in plaintext though its key was known");
    let refused = SessionError::PlaintextRefused("the peer is known to have a key");
    assert_eq!(a.ended(), Some((key, refused)));
}

#[test]
fn a_key_that_becomes_known_during_a_plaintext_session_ends_it_both_ways() {
    let (mut a, mut b) = pair();
    a.pass(secs(30.0));
    a.open(&record(b.id(), None, &[])).unwrap();
    settle(&mut a, &mut b);
    let (mut a_writes, mut a_reads) = a.established().unwrap().1.split();
    b.frame(a_writes.write(b"{\"n\":1}", a.now).unwrap());
    let (mut b_writes, _) = b.established().unwrap().1.split();
    let known = b.record();
    a.peers(&[known]);
    let refused = SessionError::PlaintextRefused("the peer is known to have a key");
    assert_eq!(a_writes.write(b"{\"secret\":1}", a.now), Err(refused.clone()));
    a.frame(b_writes.write(b"{\"n\":2}", b.now).unwrap());
    assert_eq!(a_reads.read(&a.session_frame().unwrap(), a.now), Err(refused));
}

#[test]
fn a_peer_seen_with_a_key_is_still_sealed_when_the_relay_strips_it() {
    let (mut a, mut b) = pair();
    let _ = session(&mut a, &mut b);
    a.open(&record(b.id(), None, &[])).unwrap();
    settle(&mut a, &mut b);
    let (_, channel) = a.established().unwrap();
    assert!(matches!(channel.security(), Security::Sealed { verified: true, .. }));
}

#[test]
fn a_swapped_key_fails_the_handshake_and_never_falls_back() {
    let (mut a, mut b) = pair();
    let mallory = Node::new(66);
    let swapped = record(b.id(), Some(&mallory.identity.x25519_public().to_hex()), &[]);
    a.open(&swapped).unwrap();
    settle(&mut a, &mut b);
    assert!(a.established().is_none() && b.established().is_none());
    assert!(matches!(
        b.ended(),
        Some((_, SessionError::Noise(NoiseError::HandshakeFailed(_) | NoiseError::DecryptionFailed)))
    ));
    assert_eq!(a.ended().map(|(_, error)| error), Some(SessionError::Closed), "the peer gave up");
}

#[test]
fn a_relay_that_answers_the_handshake_itself_cannot_be_the_peer() {
    let mut a = Node::registered(1);
    let b = Node::new(2);
    let mallory = Node::new(66);
    let swapped = record(b.id(), Some(&mallory.identity.x25519_public().to_hex()), &[]);
    a.open(&swapped).unwrap();
    let Some(teale_wire::RelayMessage::RelayOpen(open)) = a.message() else { panic!("no relayOpen") };
    a.relay(relayed("relayReady", &b, &a, open.session.as_str()));
    let Some(teale_wire::RelayMessage::RelayData(first)) = a.message() else { panic!("no message 1") };
    let incoming =
        teale_noise::respond(&mallory.identity, a.id(), &first.data, IdentityProof::Required).unwrap();
    let (_, reply) = incoming.accept(&mut Default::default(), a.at()).unwrap();
    a.relay(data(&b, &a, open.session.as_str(), &reply));
    assert!(matches!(a.ended(), Some((_, SessionError::Noise(NoiseError::HandshakeFailed(_))))));
    assert!(a.established().is_none());
}

#[test]
fn who_proved_itself_once_has_to_prove_itself_again_even_where_proofs_are_optional() {
    let mut lax = config(1);
    lax.identity_proof = IdentityProof::Optional;
    let mut a = Node::with(lax, 1).register();
    let mut b = Node::registered(2);
    let _ = session(&mut a, &mut b);
    let known = a.record();
    assert!(known.wg_public_key.is_some());
    let mallory = Node::new(66);
    a.open(&record(b.id(), Some(&mallory.identity.x25519_public().to_hex()), &[])).unwrap();
    let Some(teale_wire::RelayMessage::RelayOpen(open)) = a.message() else { panic!("no relayOpen") };
    a.relay(relayed("relayReady", &b, &a, open.session.as_str()));
    let Some(teale_wire::RelayMessage::RelayData(first)) = a.message() else { panic!("no message 1") };
    let incoming =
        teale_noise::respond(&mallory.identity, a.id(), &first.data, IdentityProof::Required).unwrap();
    let (_, reply) = incoming.accept(&mut Default::default(), a.at()).unwrap();
    a.relay(data(&b, &a, open.session.as_str(), &reply));
    assert!(matches!(a.ended(), Some((_, SessionError::Noise(_)))));
}

#[test]
fn plaintext_in_answer_to_a_handshake_is_refused() {
    let mut a = Node::registered(1);
    let b = Node::new(2);
    a.open(&b.record()).unwrap();
    let Some(teale_wire::RelayMessage::RelayOpen(open)) = a.message() else { panic!("no relayOpen") };
    a.relay(relayed("relayReady", &b, &a, open.session.as_str()));
    a.relay(data(&b, &a, open.session.as_str(), b"{\"hello\":{}}"));
    assert_eq!(
        a.ended().map(|(_, error)| error),
        Some(SessionError::Protocol("plaintext in answer to a handshake"))
    );
}

#[test]
fn a_replayed_first_message_is_refused() {
    let (mut a, mut b) = pair();
    a.open(&b.record()).unwrap();
    b.frame(a.frames.pop_front().unwrap());
    let key = b.incoming().unwrap();
    b.act(|client, now| client.accept(now, key));
    a.frame(b.frames.pop_front().unwrap());
    let Some(teale_wire::RelayMessage::RelayData(first)) = a.message() else { panic!("no message 1") };
    b.relay(data(&a, &b, first.session.as_str(), &first.data));
    assert!(b.established().is_some());
    b.relay(relayed("relayOpen", &a, &b, "replayed"));
    let key = b.incoming().unwrap();
    b.act(|client, now| client.accept(now, key));
    b.relay(data(&a, &b, "replayed", &first.data));
    assert_eq!(b.ended(), Some((key, SessionError::Noise(NoiseError::ReplayDetected))));
}

#[test]
fn a_peer_that_does_not_wait_for_relay_ready_is_understood() {
    let mut b = Node::registered(2);
    let a = Node::new(1);
    b.relay(relayed("relayOpen", &a, &b, "s"));
    b.relay(data(&a, &b, "s", b"{\"inferenceRequest\":{}}"));
    let key = b.incoming().unwrap();
    b.act(|client, now| client.accept(now, key));
    assert_eq!(b.kinds(), ["relayReady"]);
    let (_, channel) = b.established().unwrap();
    assert_eq!(
        channel.split().1.read(&b.session_frame().unwrap(), b.now).unwrap(),
        "{\"inferenceRequest\":{}}"
    );
}

#[test]
fn what_is_sent_before_relay_ready_is_bounded() {
    let mut b = Node::registered(2);
    let a = Node::new(1);
    b.relay(relayed("relayOpen", &a, &b, "s"));
    for _ in 0..=bounds::EARLY_FRAMES {
        b.relay(data(&a, &b, "s", b"{}"));
    }
    assert_eq!(
        b.ended().map(|(_, error)| error),
        Some(SessionError::Protocol("too much was sent before relayReady"))
    );
    assert_eq!(b.kinds(), ["relayClose"]);
}

#[test]
fn a_missing_peer_fails_its_sessions_and_no_others() {
    let (mut a, mut b) = pair();
    let ((to_b, _), _) = session(&mut a, &mut b);
    let c = Node::new(3).record();
    let to_c = a.open(&c).unwrap();
    a.relay(json!({"error": {"code": "peer_not_found", "message": format!("Peer {} is not connected", c.node_id)}}));
    assert_eq!(a.ended(), Some((to_c, SessionError::PeerNotFound)));
    a.relay(json!({"error": {"code": "peer_not_found", "message": "Peer nobody is not connected"}}));
    assert!(a.ended().is_none());
    a.relay(
        json!({"error": {"code": "peer_not_found", "message": format!("Peer {} is not connected", b.id())}}),
    );
    assert_eq!(a.ended(), Some((to_b, SessionError::PeerNotFound)));
}

#[test]
fn a_peer_that_does_not_answer_or_declines_fails_the_open() {
    let (mut a, mut b) = pair();
    let key = a.open(&b.record()).unwrap();
    a.pass(PATIENCE);
    assert_eq!(a.ended(), Some((key, SessionError::Timeout(PATIENCE))));
    assert_eq!(a.kinds(), ["relayOpen", "relayClose"]);
    let key = a.open(&b.record()).unwrap();
    b.frame(a.frames.pop_front().unwrap());
    let offered = b.incoming().unwrap();
    b.act(|client, now| client.close(now, offered));
    a.frame(b.frames.pop_front().unwrap());
    assert_eq!(a.ended(), Some((key, SessionError::Closed)));
}

#[test]
fn an_offer_nobody_accepts_and_an_opener_that_says_nothing_are_given_up() {
    let mut b = Node::registered(2);
    let a = Node::new(1);
    b.relay(relayed("relayOpen", &a, &b, "ignored"));
    b.pass(bounds::ACCEPT_WITHIN);
    assert_eq!(b.ended().map(|(_, error)| error), Some(SessionError::Timeout(bounds::ACCEPT_WITHIN)));
    b.relay(relayed("relayOpen", &a, &b, "silent"));
    b.events.clear();
    let mut b = Node::registered(2);
    b.relay(relayed("relayOpen", &a, &b, "silent"));
    let key = b.incoming().unwrap();
    b.act(|client, now| client.accept(now, key));
    b.pass(bounds::HANDSHAKE_WITHIN);
    assert_eq!(b.ended(), Some((key, SessionError::Timeout(bounds::HANDSHAKE_WITHIN))));
}

#[test]
fn half_open_sessions_are_bounded_per_peer_and_in_all() {
    let mut b = Node::registered(2);
    let a = Node::new(1);
    for n in 0..=bounds::HALF_OPEN_PER_PEER {
        b.relay(relayed("relayOpen", &a, &b, &format!("s{n}")));
    }
    assert_eq!(b.kinds(), ["relayClose"], "the one beyond the bound");
    for peer in 3..=100 {
        let peer = Node::new(peer);
        for n in 0..8 {
            b.relay(relayed("relayOpen", &peer, &b, &format!("s{n}")));
        }
    }
    let offers = b.events.iter().filter(|event| matches!(event, Event::Incoming { .. })).count();
    assert_eq!(offers, bounds::HALF_OPEN);
    b.pass(bounds::ACCEPT_WITHIN);
    b.events.clear();
    b.relay(relayed("relayOpen", &a, &b, "again"));
    assert!(b.incoming().is_some(), "room again");
}

#[test]
fn strangers_who_keep_their_sessions_leave_room_for_ours() {
    let mut b = Node::registered(2);
    let strangers: Vec<_> = (10..30).map(Node::new).collect();
    for n in 0..bounds::SESSIONS {
        let peer = &strangers[n % strangers.len()];
        let id = format!("s{n}");
        b.relay(relayed("relayOpen", peer, &b, &id));
        if let Some(key) = b.incoming() {
            b.act(|client, now| client.accept(now, key));
            b.relay(data(peer, &b, &id, b"{}"));
        }
        b.events.clear();
        b.frames.clear();
    }
    assert_eq!(b.client.sessions(), bounds::SESSIONS - bounds::SESSIONS_OURS);
    assert!(b.open(&Node::new(1).record()).is_ok());
}

#[test]
fn a_session_id_in_use_is_refused_and_the_session_lives_on() {
    let (mut a, mut b) = pair();
    let ((_, at_a), _) = session(&mut a, &mut b);
    let id = at_a.id().to_string();
    b.relay(relayed("relayOpen", &a, &b, &id));
    assert!(b.incoming().is_none() && b.frames.is_empty());
    assert!(b.events.iter().any(|event| matches!(event, Event::Rejected { .. })));
    b.frame(at_a.split().0.write(b"{}", a.now).unwrap());
    assert!(b.session_frame().is_some());
}

#[test]
fn the_same_id_from_another_peer_is_another_session() {
    let mut b = Node::registered(2);
    let (a, c) = (Node::new(1), Node::new(3));
    b.relay(relayed("relayOpen", &a, &b, "s"));
    b.relay(relayed("relayOpen", &c, &b, "s"));
    assert!(b.incoming().is_some() && b.incoming().is_some());
    b.relay(relayed("relayClose", &c, &b, "s"));
    assert_eq!(b.events.iter().filter(|event| matches!(event, Event::Ended { .. })).count(), 1);
}

#[test]
fn data_of_unknown_sessions_is_answered_a_few_times_a_second() {
    let mut b = Node::registered(2);
    let a = Node::new(1);
    for _ in 0..100 {
        b.relay(data(&a, &b, "unknown", b"x"));
    }
    assert_eq!(b.kinds().len(), 16);
    assert_eq!(b.client.counters().stray_frames, 100);
    b.pass(secs(1.0));
    b.relay(data(&a, &b, "unknown", b"x"));
    assert_eq!(b.kinds(), ["relayClose"]);
    b.relay(relayed("relayClose", &a, &b, "unknown"));
    b.relay(relayed("relayReady", &a, &b, "unknown"));
    assert!(b.frames.is_empty(), "these are never answered");
}

#[test]
fn frames_for_or_from_the_wrong_node_are_ignored() {
    let mut b = Node::registered(2);
    let (a, c) = (Node::new(1), Node::new(3));
    b.relay(relayed("relayOpen", &a, &c, "s"));
    let own = relayed("relayOpen", &b, &b, "s");
    b.relay(own);
    assert!(b.events.is_empty() && b.frames.is_empty());
    assert_eq!(b.client.counters().bad_frames, 2);
}

#[test]
fn the_loss_of_the_relay_ends_every_session() {
    let (mut a, mut b) = pair();
    let ((established, _), _) = session(&mut a, &mut b);
    let opening = a.open(&Node::new(3).record()).unwrap();
    a.lost();
    assert_eq!(a.ended(), Some((established, SessionError::RelayLost)));
    assert_eq!(a.ended(), Some((opening, SessionError::RelayLost)));
    assert_eq!(a.open(&b.record()).unwrap_err(), SessionError::RelayLost);
    let refused = a.record();
    assert!(matches!(a.open(&refused), Err(SessionError::NotPossible(_))), "a session with oneself");
}

#[test]
fn a_message_that_fits_no_frame_is_refused_and_the_session_lives_on() {
    let (mut a, mut b) = pair();
    let ((_, at_a), (_, at_b)) = session(&mut a, &mut b);
    let (mut writes, mut reads) = (at_a.split().0, at_b.split().1);
    let limit = bounds::SEALED_MESSAGE;
    let big = vec![b'x'; limit + 1];
    assert_eq!(writes.write(&big, a.now).unwrap_err(), SessionError::TooBig { got: limit + 1, limit });
    let frame = writes.write(&big[..limit], a.now).unwrap();
    assert!(frame.len() <= teale_wire::limits::RELAY_FRAME);
    b.frame(frame);
    assert_eq!(reads.read(&b.session_frame().unwrap(), b.now).unwrap().len(), limit);
}

#[test]
fn after_its_lifetime_a_session_neither_seals_nor_opens() {
    let (mut a, mut b) = pair();
    let ((_, at_a), (_, at_b)) = session(&mut a, &mut b);
    let (mut writes, mut reads) = (at_a.split().0, at_b.split().1);
    let frame = writes.write(b"{}", a.now).unwrap();
    let later = a.now + teale_noise::LIFETIME + secs(1.0);
    assert_eq!(writes.write(b"{}", later).unwrap_err(), SessionError::Noise(NoiseError::SessionExpired));
    assert_eq!(reads.read(&frame, later).unwrap_err(), SessionError::Noise(NoiseError::SessionExpired));
}

#[test]
fn a_pong_or_frame_without_a_connection_means_nothing() {
    let mut a = Node::new(1);
    a.input(Input::Pong);
    a.relay(json!({"challenge": {"nonce": crate::support::NONCE}}));
    assert!(a.frames.is_empty());
}
