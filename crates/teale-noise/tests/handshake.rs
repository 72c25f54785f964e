//! The handshake against carriers that cheat.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{alice, at, bob};
use teale_identity::{Identity, X25519Public};
use teale_noise::{
    IdentityProof, NoiseError, ReplayGuard, TimestampSource, initiate, respond, respond_to_anyone,
};

const REQUIRED: IdentityProof = IdentityProof::Required;

#[test]
fn both_sides_learn_who_the_other_is() {
    let (alices, bobs) = common::sessions();
    assert_eq!(alices.peer(), (bob().node_id(), true));
    assert_eq!(alices.peer_key(), bob().x25519_public());
    assert_eq!(bobs.peer(), (alice().node_id(), true));
    assert_eq!(bobs.peer_key(), alice().x25519_public());
    assert_eq!(alices.handshake_hash(), bobs.handshake_hash());
    assert_ne!(alices.handshake_hash(), common::sessions().0.handshake_hash(), "each session has its own");
}

/// The relay hands out mallory's key as bob's. Mallory can answer, but only in her own name.
#[test]
fn a_swapped_key_breaks_the_handshake() {
    let (alice, bob, mallory) = (alice(), bob(), Identity::from_seed([3; 32]));
    let stamps = TimestampSource::new();
    for proof in [IdentityProof::Required, IdentityProof::Optional] {
        let (waiting, packet) =
            initiate(&alice, bob.node_id(), mallory.x25519_public(), proof, &stamps, at(0)).unwrap();
        let unreadable = respond(&bob, alice.node_id(), &packet, proof).unwrap_err();
        assert_eq!(unreadable, NoiseError::HandshakeFailed("a message does not decrypt"));

        let incoming = respond(&mallory, alice.node_id(), &packet, proof).unwrap();
        let (_, reply) = incoming.accept(&mut ReplayGuard::default(), at(0)).unwrap();
        let refused = waiting.finish(&reply, at(0)).unwrap_err();
        assert_eq!(refused, NoiseError::HandshakeFailed("the peer proves another node id than expected"));
    }
}

/// The relay says that a message comes from somebody else, or sends our own back to us.
#[test]
fn a_message_under_another_name_is_refused() {
    let (alice, bob, carol) = (alice(), bob(), Identity::from_seed([4; 32]));
    let stamps = TimestampSource::new();
    let other = NoiseError::HandshakeFailed("the peer proves another node id than expected");
    let (_, packet) = initiate(&alice, bob.node_id(), bob.x25519_public(), REQUIRED, &stamps, at(0)).unwrap();
    assert_eq!(respond(&bob, carol.node_id(), &packet, REQUIRED).unwrap_err(), other);
    let (_, own) = initiate(&alice, bob.node_id(), alice.x25519_public(), REQUIRED, &stamps, at(0)).unwrap();
    assert_eq!(respond(&alice, bob.node_id(), &own, REQUIRED).unwrap_err(), other);
}

/// A carrier without names: the sender is who it proves to be.
#[test]
fn anyone_who_proves_an_id_is_answered_under_that_id() {
    let (alice, bob) = (alice(), bob());
    let stamps = TimestampSource::new();
    let (waiting, packet) =
        initiate(&alice, bob.node_id(), bob.x25519_public(), REQUIRED, &stamps, at(0)).unwrap();
    let incoming = respond_to_anyone(&bob, &packet).unwrap();
    assert_eq!(incoming.peer(), (alice.node_id(), true));
    let (session, reply) = incoming.accept(&mut ReplayGuard::default(), at(0)).unwrap();
    assert_eq!(waiting.finish(&reply, at(0)).unwrap().handshake_hash(), session.handshake_hash());
    for cut in 0..packet.len() {
        assert!(respond_to_anyone(&bob, &packet[..cut]).is_err(), "{cut} bytes of a message");
    }
}

#[test]
fn keys_of_small_order_are_refused() {
    let (alice, bob) = (alice(), bob());
    let stamps = TimestampSource::new();
    for low in [0_u8, 1] {
        let mut key = [0; 32];
        key[0] = low;
        let weak = initiate(&alice, bob.node_id(), X25519Public(key), REQUIRED, &stamps, at(0));
        assert_eq!(weak.unwrap_err(), NoiseError::InvalidPublicKey);

        let (waiting, packet) =
            initiate(&alice, bob.node_id(), bob.x25519_public(), REQUIRED, &stamps, at(0)).unwrap();
        let mut weak = packet.to_vec();
        weak[1..33].copy_from_slice(&key);
        let refused = respond(&bob, alice.node_id(), &weak, REQUIRED).unwrap_err();
        assert_eq!(refused, NoiseError::InvalidPublicKey);

        let incoming = respond(&bob, alice.node_id(), &packet, REQUIRED).unwrap();
        let (_, reply) = incoming.accept(&mut ReplayGuard::default(), at(0)).unwrap();
        let mut weak = reply.to_vec();
        weak[1..33].copy_from_slice(&key);
        assert_eq!(waiting.finish(&weak, at(0)).unwrap_err(), NoiseError::InvalidPublicKey);
    }
}

#[test]
fn a_replayed_first_message_is_refused() {
    let (alice, bob) = (alice(), bob());
    let (stamps, mut guard) = (TimestampSource::new(), ReplayGuard::default());
    let send = |seconds| {
        initiate(&alice, bob.node_id(), bob.x25519_public(), REQUIRED, &stamps, at(seconds)).unwrap().1
    };
    let mut accept = |packet: &[u8]| {
        respond(&bob, alice.node_id(), packet, REQUIRED).unwrap().accept(&mut guard, at(50)).map(|_| ())
    };
    let (first, second, third) = (send(10), send(10), send(9));
    assert_eq!(accept(&first), Ok(()));
    assert_eq!(accept(&first), Err(NoiseError::ReplayDetected));
    assert_eq!(accept(&third), Ok(()), "ours are new even after the clock was set back");
    assert_eq!(accept(&second), Err(NoiseError::ReplayDetected), "an older one, though never seen");
}

#[test]
fn reading_without_accepting_leaves_the_guard_as_it_was() {
    let (alice, bob) = (alice(), bob());
    let (_, packet) =
        initiate(&alice, bob.node_id(), bob.x25519_public(), REQUIRED, &TimestampSource::new(), at(0))
            .unwrap();
    let mut guard = ReplayGuard::default();
    let dropped = respond(&bob, alice.node_id(), &packet, REQUIRED).unwrap();
    assert_eq!(dropped.timestamp().unix_seconds(), at(0).unix.as_secs());
    drop(dropped);
    assert!(respond(&bob, alice.node_id(), &packet, REQUIRED).unwrap().accept(&mut guard, at(0)).is_ok());
}

#[test]
fn no_bit_of_a_handshake_packet_can_be_changed() {
    let (alice, bob) = (alice(), bob());
    let stamps = TimestampSource::new();
    let key = bob.x25519_public();
    let (_, first) = initiate(&alice, bob.node_id(), key, REQUIRED, &stamps, at(0)).unwrap();
    for bit in 0..first.len() * 8 {
        let mut flipped = first.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // The top bit of an X25519 key is ignored by the curve (RFC 7748, section 5), but not by the transcript.
        let refused = respond(&bob, alice.node_id(), &flipped, REQUIRED).unwrap_err();
        assert!(
            matches!(refused, NoiseError::HandshakeFailed(_) | NoiseError::InvalidMessage),
            "bit {bit}: {refused}"
        );
    }
    for len in 0..first.len() {
        assert!(respond(&bob, alice.node_id(), &first[..len], REQUIRED).is_err(), "{len} bytes");
    }
    let (_, reply) = respond(&bob, alice.node_id(), &first, REQUIRED)
        .unwrap()
        .accept(&mut ReplayGuard::default(), at(0))
        .unwrap();
    for bit in (0..reply.len() * 8).step_by(5) {
        let (waiting, first) = initiate(&alice, bob.node_id(), key, REQUIRED, &stamps, at(0)).unwrap();
        let incoming = respond(&bob, alice.node_id(), &first, REQUIRED).unwrap();
        let (_, reply) = incoming.accept(&mut ReplayGuard::default(), at(0)).unwrap();
        let mut flipped = reply.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(waiting.finish(&flipped, at(0)).is_err(), "bit {bit}");
    }
}

#[test]
fn a_reply_to_another_handshake_is_refused() {
    let (alice, bob) = (alice(), bob());
    let (stamps, mut guard) = (TimestampSource::new(), ReplayGuard::default());
    let start = || initiate(&alice, bob.node_id(), bob.x25519_public(), REQUIRED, &stamps, at(0)).unwrap();
    let (first, packet) = start();
    let (_second, _) = start();
    let incoming = respond(&bob, alice.node_id(), &packet, REQUIRED).unwrap();
    let (_, reply) = incoming.accept(&mut guard, at(0)).unwrap();
    let (third, _) = start();
    assert_eq!(
        third.finish(&reply, at(0)).unwrap_err(),
        NoiseError::HandshakeFailed("a message does not decrypt")
    );
    assert!(first.finish(&reply, at(0)).is_ok());
}

#[test]
fn debug_and_display_show_no_key() {
    let (alice, bob) = (alice(), bob());
    let key = bob.x25519_public();
    let (waiting, packet) =
        initiate(&alice, bob.node_id(), key, REQUIRED, &TimestampSource::new(), at(0)).unwrap();
    let incoming = respond(&bob, alice.node_id(), &packet, REQUIRED).unwrap();
    let shown = format!("{waiting:?} {incoming:?}");
    let secret = hex::encode(alice.x25519_secret().as_slice());
    assert!(!shown.contains(&secret[..8]), "{shown}");
    assert!(shown.starts_with("AwaitingReply { peer: NodeId("), "{shown}");
}
