//! The foreign vectors (`tests/vectors`), played with their ephemeral keys: both roles, every byte.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::Value;

use super::{
    AwaitingReply, Incoming, ReplayGuard, ReplyPayload, initiate_with,
    payload::{self, Expected},
    respond_with,
    suite::Entropy,
};
use crate::{IdentityProof, NoiseError, Now, Session, clock::Timestamp};
use teale_identity::Identity;

const TIME: Duration = Duration::ZERO;
const NOW: Now = Now { unix: TIME, monotonic: TIME };

fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../tests/vectors/tealenet.json")).unwrap();
    file["noise"].as_array().unwrap().clone()
}

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    hex::decode(vector[field].as_str().unwrap()).unwrap()
}

fn seed(vector: &Value, field: &str) -> [u8; 32] {
    bytes(vector, field).try_into().unwrap()
}

fn now_of(payload: &[u8]) -> Now {
    let time = Timestamp::from_bytes(payload[..12].try_into().unwrap()).unwrap();
    Now { unix: Duration::new(time.unix_seconds(), time.subsec_nanos()), monotonic: TIME }
}

/// Both ends of one vector.
struct Played {
    initiator: Session,
    responder: Session,
}

fn start(vector: &Value) -> (AwaitingReply, Incoming) {
    let (alice, bob) = ends(vector);
    let optional = IdentityProof::Optional;
    let (waiting, packet) = initiate_with(
        &alice,
        bob.node_id(),
        bob.x25519_public(),
        optional,
        &bytes(vector, "payload1"),
        Entropy::Fixed(seed(vector, "initiatorEphemeral")),
    )
    .unwrap();
    assert_eq!(hex::encode(&packet), vector["packet1"], "message 1");
    let reply = ReplyPayload(bytes(vector, "payload2"));
    let entropy = Entropy::Fixed(seed(vector, "responderEphemeral"));
    let incoming =
        respond_with(&bob, Expected::Node(alice.node_id(), optional), &packet, reply, entropy).unwrap();
    (waiting, incoming)
}

fn ends(vector: &Value) -> (Identity, Identity) {
    (Identity::from_seed(seed(vector, "initiatorSeed")), Identity::from_seed(seed(vector, "responderSeed")))
}

fn play(vector: &Value) -> Played {
    let (waiting, incoming) = start(vector);
    let (responder, packet) =
        incoming.accept(&mut ReplayGuard::default(), now_of(&bytes(vector, "payload2"))).unwrap();
    assert_eq!(hex::encode(&packet), vector["packet2"], "message 2");
    Played { initiator: waiting.finish(&packet, NOW).unwrap(), responder }
}

#[test]
fn the_handshake_is_the_vectors_byte_for_byte() {
    for vector in vectors() {
        let Played { initiator, responder } = play(&vector);
        assert_eq!(hex::encode(initiator.handshake_hash()), vector["handshakeHash"]);
        assert_eq!(responder.handshake_hash(), initiator.handshake_hash());
        let proven = vector["name"] == "with identity proof";
        let (alice, bob) = ends(&vector);
        assert_eq!(initiator.peer(), (bob.node_id(), proven));
        assert_eq!(responder.peer(), (alice.node_id(), proven));
        assert_eq!(responder.peer_key(), alice.x25519_public());
    }
}

#[test]
fn the_payloads_are_ours() {
    let vector = &vectors()[0];
    let (alice, bob) = ends(vector);
    for (me, field) in [(&alice, "payload1"), (&bob, "payload2")] {
        let expected = bytes(vector, field);
        let time = Timestamp::from_bytes(expected[..12].try_into().unwrap()).unwrap();
        assert_eq!(payload::write(time, Some(me)), expected);
        assert_eq!(payload::write(time, None), expected[..12]);
    }
}

#[test]
fn the_split_keys_are_the_vectors() {
    for vector in vectors() {
        let (mut waiting, incoming) = start(&vector);
        let mut guard = ReplayGuard::default();
        let (_, packet) = incoming.accept(&mut guard, now_of(&bytes(&vector, "payload2"))).unwrap();
        super::read_message(&mut waiting.state, 2, super::REPLY_OVERHEAD, &packet).unwrap();
        let (first, second) = waiting.state.dangerously_get_raw_split();
        assert_eq!(hex::encode(first), vector["initiatorSends"]);
        assert_eq!(hex::encode(second), vector["responderSends"]);
    }
}

#[test]
fn the_sealed_packets_are_the_vectors() {
    for vector in vectors() {
        let Played { mut initiator, mut responder } = play(&vector);
        let directions = [("fromInitiator", true), ("fromResponder", false)];
        for (field, from_initiator) in directions {
            let (from, to) = if from_initiator {
                (&mut initiator, &mut responder)
            } else {
                (&mut responder, &mut initiator)
            };
            for sealed in vector[field].as_array().unwrap() {
                from.skip_to(sealed["counter"].as_u64().unwrap());
                let packet = from.seal(&bytes(sealed, "plaintext"), TIME).unwrap();
                assert_eq!(hex::encode(&packet), sealed["packet"]);
                assert_eq!(to.open(&packet, TIME).unwrap(), bytes(sealed, "plaintext"));
                assert_eq!(to.open(&packet, TIME), Err(NoiseError::ReplayDetected));
            }
        }
    }
}

#[test]
fn a_bare_payload_is_no_proof() {
    let vector = &vectors()[1];
    let (alice, bob) = ends(vector);
    let reply = || ReplyPayload(bytes(vector, "payload2"));
    let packet1 = bytes(vector, "packet1");
    let required = IdentityProof::Required;
    let refused =
        respond_with(&bob, Expected::Node(alice.node_id(), required), &packet1, reply(), Entropy::System);
    let no_proof = NoiseError::HandshakeFailed("the peer does not prove its identity");
    assert_eq!(refused.unwrap_err(), no_proof);
    let nobody = respond_with(&bob, Expected::Anyone, &packet1, reply(), Entropy::System);
    assert_eq!(nobody.unwrap_err(), no_proof);

    let (mut waiting, incoming) = start(vector);
    assert_eq!(incoming.peer(), (alice.node_id(), false));
    waiting.proof = required;
    assert_eq!(waiting.finish(&bytes(vector, "packet2"), NOW).unwrap_err(), no_proof);
}

/// A message 1 with this payload, as `bob` reads it when it is said to come from `from`.
fn read_initiation(
    from: &Identity,
    said: &Identity,
    proof: IdentityProof,
    payload: &[u8],
) -> Result<bool, NoiseError> {
    let bob = Identity::from_seed([9; 32]);
    let (_, packet) =
        initiate_with(from, bob.node_id(), bob.x25519_public(), proof, payload, Entropy::System).unwrap();
    super::respond(&bob, said.node_id(), &packet, proof).map(|incoming| incoming.peer().1)
}

#[test]
fn a_wrong_proof_is_refused_even_where_none_is_required() {
    let (alice, mallory) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    let time = Timestamp::from(Duration::from_secs(1));
    let good = payload::write(time, Some(&alice));
    let foreign = payload::write(time, Some(&mallory));
    let mut renamed = foreign.clone();
    renamed[13..45].copy_from_slice(alice.node_id().as_bytes());
    let mut later = good.clone();
    later.extend_from_slice(b"a field of a later version");
    let mut unknown_tag = good.clone();
    unknown_tag[12] = 2;

    for proof in [IdentityProof::Required, IdentityProof::Optional] {
        let read = |from, payload: &[u8]| read_initiation(from, &alice, proof, payload);
        assert_eq!(read(&alice, &good), Ok(true));
        assert_eq!(read(&alice, &later), Ok(true));
        let other_id = NoiseError::HandshakeFailed("the peer proves another node id than expected");
        assert_eq!(read(&mallory, &foreign), Err(other_id), "mallory under her own name");
        let unsigned = NoiseError::HandshakeFailed("the identity proof does not verify");
        assert_eq!(read(&mallory, &renamed), Err(unsigned.clone()), "mallory's signature under alice's name");
        assert_eq!(read(&mallory, &good), Err(unsigned), "alice's proof beside mallory's key");
        assert_eq!(read(&alice, &unknown_tag), Err(NoiseError::InvalidMessage));
        for cut in 13..good.len() {
            assert_eq!(read(&alice, &good[..cut]), Err(NoiseError::InvalidMessage), "cut at {cut}");
        }
        for cut in 0..12 {
            assert_eq!(read(&alice, &good[..cut]), Err(NoiseError::InvalidMessage), "cut at {cut}");
        }
        for bit in 13 * 8..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(read(&alice, &flipped), Err(NoiseError::HandshakeFailed(_))), "bit {bit}");
        }
    }
}

#[test]
fn a_payload_beyond_its_limit_is_refused_before_the_keys_are_tried() {
    let alice = Identity::from_seed([1; 32]);
    let mut payload = payload::write(Timestamp::ZERO, Some(&alice));
    payload.resize(payload::PAYLOAD_MAX, 0);
    assert_eq!(read_initiation(&alice, &alice, IdentityProof::Required, &payload), Ok(true));
    payload.push(0);
    let refused = read_initiation(&alice, &alice, IdentityProof::Required, &payload);
    assert_eq!(refused, Err(NoiseError::InvalidMessage));
}

#[test]
fn the_counters_end_before_the_reserved_one() {
    let Played { mut initiator, mut responder } = play(&vectors()[0]);
    initiator.skip_to(u64::MAX - 1);
    let last = initiator.seal(b"last", TIME).unwrap();
    assert_eq!(responder.open(&last, TIME).unwrap(), &b"last"[..]);
    assert_eq!(initiator.seal(b"one more", TIME), Err(NoiseError::SessionExpired));
    let mut reserved = last.to_vec();
    reserved[..8].fill(0xff);
    assert_eq!(responder.open(&reserved, TIME), Err(NoiseError::InvalidMessage));
}
