//! Both sides of a greeting, played against each other and against strangers, without a socket.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;
use teale_noise::{IdentityProof, NoiseError};
use teale_relay_client::{Encryption, KnownPeers, SessionError};

use super::*;
use crate::LinkError;

fn terms(seed: u8) -> Terms {
    Terms {
        identity: Arc::new(Identity::from_seed([seed; 32])),
        policy: Policy {
            encryption: Encryption::Preferred,
            identity_proof: IdentityProof::Required,
            known: KnownPeers::new(),
        },
    }
}

fn at(seconds: u64) -> Now {
    let monotonic = Duration::from_secs(seconds);
    Now { unix: Duration::from_secs(1_700_000_000) + monotonic, monotonic }
}

fn node(terms: &Terms) -> Target {
    Target::Node { node: terms.identity.node_id(), wg: Some(terms.identity.x25519_public().to_hex()) }
}

fn address(expected: Option<NodeId>) -> Target {
    Target::Address { nameless: NodeId::from_bytes([9; 32]), expected, sealed_before: false }
}

/// A frame without its length.
fn bare(frame: Option<Bytes>) -> Bytes {
    let frame = frame.unwrap();
    let length = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
    assert_eq!(length, frame.len() - 4);
    frame.slice(4..)
}

type Ends = Result<(Opened, Opened), GreetingError>;

/// Plays a dialler against an answerer; `answers` is false for a peer that knows no nodeQuery.
fn play(alice: &Terms, target: Target, bob: &Terms, answers: bool) -> Ends {
    let mut answering = Some(Answering::start(at(1)));
    let mut next = Dialling::start(alice, target, at(1))?;
    let mut bobs = None;
    loop {
        let (dialling, frame) = match next {
            Next::Wait(dialling, frame) => (dialling, bare(frame)),
            Next::Open(mut opened) if bobs.is_none() => {
                // Plaintext: the first message is hello, which the cluster layer says.
                let hello = opened.sealer.seal(&hello("5af3a9c6"), at(1).monotonic).unwrap();
                let Next::Open(other) = answering.take().unwrap().frame(bob, &bare(Some(hello)), at(1))?
                else {
                    panic!("hello opens a link")
                };
                return Ok((*opened, *other));
            }
            Next::Open(opened) => return Ok((*opened, bobs.take().unwrap())),
        };
        if !answers && frame.first() == Some(&b'{') {
            next = dialling.late(alice)?;
            continue;
        }
        let reply = match answering.take().unwrap().frame(bob, &frame, at(1))? {
            Next::Wait(state, reply) => {
                answering = Some(state);
                reply
            }
            Next::Open(mut opened) => {
                let reply = opened.reply.take();
                bobs = Some(*opened);
                reply
            }
        };
        next = dialling.frame(alice, &bare(reply), at(1))?;
    }
}

fn hello(device: &str) -> Vec<u8> {
    let hardware = json!({"chipFamily": "unknown", "chipName": "", "totalRAMGB": 8, "gpuCoreCount": 0,
        "memoryBandwidthGBs": 10, "tier": 2});
    json!({"hello": {"deviceInfo": {"id": device, "name": "n", "hardware": hardware, "registeredAt": 0,
        "lastSeenAt": 0, "isCurrentDevice": true, "loadedModels": []}, "protocolVersion": 1, "loadedModels": [],
        "clusterPasscodeHash": null, "ownerUserID": null}})
    .to_string()
    .into_bytes()
}

fn talk(from: &mut Opened, to: &mut Opened) {
    let frame = from.sealer.seal(b"{\"x\":{}}", at(2).monotonic).unwrap();
    assert_eq!(to.opener.open(bare(Some(frame)), at(2).monotonic).unwrap(), &b"{\"x\":{}}"[..]);
}

#[test]
fn a_known_key_takes_one_round_trip_and_seals() {
    let (alice, bob) = (terms(1), terms(2));
    let (mut a, mut b) = play(&alice, node(&bob), &bob, true).unwrap();
    assert_eq!((a.peer, b.peer), (bob.identity.node_id(), alice.identity.node_id()));
    assert_eq!(a.security, b.security);
    assert!(matches!(a.security, Security::Sealed { verified: true, .. }));
    talk(&mut a, &mut b);
    talk(&mut b, &mut a);
    assert!(
        alice.policy.known.get(id_of(&bob)).unwrap().proved
            && bob.policy.known.get(id_of(&alice)).unwrap().proved
    );
}

fn id_of(terms: &Terms) -> NodeId {
    terms.identity.node_id()
}

#[test]
fn an_address_alone_is_asked_who_it_is_and_then_sealed() {
    let (alice, bob) = (terms(1), terms(2));
    let (a, b) = play(&alice, address(None), &bob, true).unwrap();
    assert_eq!(a.peer, bob.identity.node_id());
    assert_eq!(a.security, b.security);
    play(&alice, address(Some(bob.identity.node_id())), &bob, true).unwrap();
    let other = play(&alice, address(Some(NodeId::from_bytes([7; 32]))), &bob, true).unwrap_err();
    assert_eq!(other, GreetingError::OtherNode);
}

#[test]
fn a_peer_that_knows_no_question_is_spoken_to_in_plaintext_only_where_that_is_allowed() {
    let (mut alice, bob) = (terms(1), terms(2));
    let (mut a, mut b) = play(&alice, address(None), &bob, false).unwrap();
    assert_eq!((a.peer, a.security), (NodeId::from_bytes([9; 32]), Security::Plaintext));
    assert_eq!(b.peer, device_node_id("5AF3A9C6"), "the device of its hello, in either case");
    assert_eq!(b.first.take().unwrap(), hello("5af3a9c6"));
    talk(&mut a, &mut b);

    let sealed_before =
        Target::Address { nameless: NodeId::from_bytes([9; 32]), expected: None, sealed_before: true };
    let silent = GreetingError::Silent(bounds::QUERY_WITHIN);
    assert_eq!(play(&alice, sealed_before, &bob, false).unwrap_err(), silent);
    assert_eq!(play(&alice, address(Some(id_of(&bob))), &bob, false).unwrap_err(), silent);
    alice.policy.encryption = Encryption::Required;
    assert!(matches!(play(&alice, address(None), &bob, false), Err(GreetingError::Policy(_))));
}

#[test]
fn encryption_required_refuses_plaintext_on_the_answering_side_too() {
    let mut bob = terms(2);
    bob.policy.encryption = Encryption::Required;
    let refused = Answering::start(at(1)).frame(&bob, &hello("x").into(), at(1)).unwrap_err();
    assert!(matches!(refused, GreetingError::Policy(SessionError::PlaintextRefused(_))));
    let refused = play(&terms(1), Target::Device(NodeId::from_bytes([5; 32])), &bob, true).unwrap_err();
    assert!(matches!(refused, GreetingError::Policy(_)));
}

#[test]
fn a_key_that_was_proved_outweighs_what_the_network_says() {
    let (alice, bob, mallory) = (terms(1), terms(2), terms(3));
    play(&alice, node(&bob), &bob, true).unwrap();
    let swapped = Target::Node { node: id_of(&bob), wg: Some(mallory.identity.x25519_public().to_hex()) };
    play(&alice, swapped.clone(), &bob, true).unwrap();
    // Unproved, the swapped key is tried, and the handshake shows that bob does not hold it.
    let refused = play(&terms(4), swapped, &bob, true).unwrap_err();
    assert!(matches!(refused, GreetingError::Handshake(NoiseError::HandshakeFailed(_))));
    // A node that is known to have a key never gets plaintext, whatever the record leaves out.
    play(&alice, Target::Node { node: id_of(&bob), wg: None }, &bob, true).unwrap();
}

#[test]
fn a_swapped_node_is_found_out() {
    let (alice, bob, mallory) = (terms(1), terms(2), terms(3));
    let claims_bob = Target::Node { node: id_of(&bob), wg: Some(mallory.identity.x25519_public().to_hex()) };
    let refused = play(&alice, claims_bob, &mallory, true).unwrap_err();
    let why = "the peer proves another node id than expected";
    assert_eq!(refused, GreetingError::Handshake(NoiseError::HandshakeFailed(why)));
}

#[test]
fn our_own_id_is_told_apart() {
    let (alice, copy) = (terms(1), terms(1));
    assert_eq!(play(&alice, node(&copy), &copy, true).unwrap_err(), GreetingError::OwnId);
    assert_eq!(play(&alice, address(None), &copy, true).unwrap_err(), GreetingError::OwnId);
    // A copy that dials us under our own name.
    let bob = terms(2);
    let Next::Wait(_, frame) = Dialling::start(&bob, node(&alice), at(1)).unwrap() else { panic!() };
    let as_copy = Answering::start(at(1)).frame(&alice, &bare(frame), at(1)).unwrap();
    assert!(matches!(as_copy, Next::Open(_)), "bob is not us");
    let (_, own) = initiate(
        &copy.identity,
        id_of(&alice),
        alice.identity.x25519_public(),
        IdentityProof::Required,
        copy.policy.known.stamps(),
        at(1),
    )
    .unwrap();
    assert_eq!(Answering::start(at(1)).frame(&alice, &own, at(1)).unwrap_err(), GreetingError::OwnId);
}

#[test]
fn a_recorded_handshake_opens_nothing() {
    let (alice, bob) = (terms(1), terms(2));
    let Next::Wait(_, frame) = Dialling::start(&alice, node(&bob), at(1)).unwrap() else { panic!() };
    let first = bare(frame);
    assert!(Answering::start(at(1)).frame(&bob, &first, at(1)).is_ok());
    let again = Answering::start(at(2)).frame(&bob, &first, at(2)).unwrap_err();
    assert_eq!(again, GreetingError::Handshake(NoiseError::ReplayDetected));
}

#[test]
fn strangers_get_named_reasons() {
    let bob = terms(2);
    let frame = |bytes: &[u8]| Answering::start(at(1)).frame(&bob, &Bytes::copy_from_slice(bytes), at(1));
    assert_eq!(frame(b"GET / HTTP/1.1").unwrap_err(), GreetingError::Garbage);
    assert_eq!(frame(b"").unwrap_err(), GreetingError::Garbage);
    assert_eq!(frame(&[2; 50]).unwrap_err(), GreetingError::Garbage);
    assert!(matches!(frame(&[1; 50]), Err(GreetingError::Handshake(_))));
    assert!(matches!(frame(b"{\"hello\":1}"), Err(GreetingError::Unreadable(_))));
    assert_eq!(frame(b"{\"later\":{}}").unwrap_err(), GreetingError::NoHello);
}

#[test]
fn questions_are_answered_twice() {
    let (alice, bob) = (terms(1), terms(2));
    let question = bare(Some(encoded(&ClusterMessage::NodeQuery(own_name(&alice))).unwrap()));
    let mut state = Answering::start(at(1));
    for _ in 0..bounds::QUERIES {
        let Next::Wait(next, Some(_)) = state.frame(&bob, &question, at(1)).unwrap() else { panic!() };
        state = next;
    }
    assert_eq!(state.frame(&bob, &question, at(1)).unwrap_err(), GreetingError::TooManyQueries);
}

#[test]
fn a_plaintext_link_ends_when_the_peer_turns_out_to_have_a_key() {
    let (alice, bob) = (terms(1), terms(2));
    let (mut a, _) = play(&alice, address(None), &bob, false).unwrap();
    alice.policy.learn(a.peer, bob.identity.x25519_public(), true);
    let refused = a.sealer.seal(b"{}", at(2).monotonic).unwrap_err();
    assert!(matches!(refused, LinkError::Session(SessionError::PlaintextRefused(_))));
    let refused = a.opener.open(Bytes::from_static(b"{}"), at(2).monotonic).unwrap_err();
    assert!(matches!(refused, LinkError::Session(SessionError::PlaintextRefused(_))));
}

#[test]
fn a_repeated_lost_or_changed_frame_ends_a_sealed_link() {
    let (alice, bob) = (terms(1), terms(2));
    let now = at(2).monotonic;
    let (mut a, mut b) = play(&alice, node(&bob), &bob, true).unwrap();
    let first = bare(Some(a.sealer.seal(b"{}", now).unwrap()));
    let _lost = a.sealer.seal(b"{}", now).unwrap();
    let third = bare(Some(a.sealer.seal(b"{}", now).unwrap()));
    b.opener.open(first.clone(), now).unwrap();
    assert!(b.opener.open(third, now).is_err());
    assert!(b.opener.open(first, now).is_err());
    let too_big = vec![b' '; a.sealer.limit() + 1];
    assert!(matches!(a.sealer.seal(&too_big, now), Err(LinkError::TooBig { .. })));
}

proptest! {
    #[test]
    fn any_first_frames_are_refused_or_answered_within_bounds(frames: Vec<Vec<u8>>, kinds: Vec<u8>) {
        let bob = terms(2);
        let mut state = Answering::start(at(1));
        for (bytes, kind) in frames.into_iter().zip(kinds) {
            let mut frame = bytes;
            frame.insert(0, [b'{', 1, 2, kind][usize::from(kind % 4)]);
            match state.frame(&bob, &frame.into(), at(1)) {
                Ok(Next::Wait(next, _)) => state = next,
                Ok(Next::Open(opened)) => {
                    prop_assert_eq!(opened.security, Security::Plaintext);
                    break;
                }
                Err(error) => {
                    prop_assert!(!error.to_string().is_empty());
                    break;
                }
            }
        }
    }

    #[test]
    fn any_answer_to_a_dialler_is_refused_or_understood(answer: Vec<u8>, kind: u8, known: bool) {
        let (alice, bob) = (terms(1), terms(2));
        let target = if known { node(&bob) } else { address(None) };
        let Next::Wait(state, _) = Dialling::start(&alice, target, at(1)).unwrap() else { panic!() };
        let mut frame = answer;
        frame.insert(0, [b'{', 1, 2, kind][usize::from(kind % 4)]);
        let opened = match state.frame(&alice, &frame.into(), at(1)) {
            Ok(Next::Open(opened)) => Some(opened.security),
            _ => None,
        };
        prop_assert!(!matches!(opened, Some(Security::Sealed { .. })), "nobody seals without bob's key");
    }
}
