//! Sealed sessions against carriers that drop, repeat, reorder, cut and change packets.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Write},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use common::{START, sessions};
use proptest::prelude::*;
use teale_noise::{Draft, LIFETIME, NoiseError, PACKET_OVERHEAD};
use teale_wire::limits::CLUSTER_MESSAGE;

const WINDOW: usize = 2048;

#[test]
fn a_session_lives_a_day_on_both_ends() {
    let (mut alice, mut bob) = sessions();
    let last = START + LIFETIME - Duration::from_nanos(1);
    let packet = alice.seal(b"in time", last).unwrap();
    let late = alice.seal(b"in time too", last).unwrap();
    assert_eq!(bob.open(&packet, last).unwrap(), &b"in time"[..]);
    assert_eq!(alice.expires(), START + LIFETIME);
    assert_eq!(alice.seal(b"late", START + LIFETIME), Err(NoiseError::SessionExpired));
    assert_eq!(bob.open(&late, START + LIFETIME), Err(NoiseError::SessionExpired));
}

#[test]
fn a_direction_opens_only_its_own_packets() {
    let (mut alice, mut bob) = sessions();
    let packet = alice.seal(b"to bob", START).unwrap();
    assert_eq!(alice.open(&packet, START), Err(NoiseError::DecryptionFailed), "reflected");
    let (_, mut stranger) = sessions();
    assert_eq!(stranger.open(&packet, START), Err(NoiseError::DecryptionFailed), "another session");
    assert!(bob.open(&packet, START).is_ok());
}

#[test]
fn a_message_beyond_the_limit_is_refused_on_both_ends() {
    let (mut alice, mut bob) = sessions();
    let mut message = vec![b'x'; CLUSTER_MESSAGE];
    let packet = alice.seal(&message, START).unwrap();
    assert_eq!(packet.len(), CLUSTER_MESSAGE + PACKET_OVERHEAD);
    assert_eq!(bob.open(&packet, START).unwrap(), message);
    message.push(b'x');
    let too_big = NoiseError::TooBig { got: CLUSTER_MESSAGE + 1, limit: CLUSTER_MESSAGE };
    assert_eq!(alice.seal(&message, START), Err(too_big));
    let oversized = vec![0; CLUSTER_MESSAGE + PACKET_OVERHEAD + 1];
    assert_eq!(bob.open(&oversized, START), Err(NoiseError::InvalidMessage));
}

#[test]
fn a_refused_message_costs_no_counter_and_leaves_the_buffer() {
    let (mut alice, mut bob) = sessions();
    let mut out = BytesMut::from(&b"before"[..]);
    assert!(alice.seal_into(&vec![0; CLUSTER_MESSAGE + 1], &mut out, START).is_err());
    assert_eq!(out, &b"before"[..]);
    alice.seal_into(b"message", &mut out, START).unwrap();
    assert_eq!(&out[6..14], &[0; 8]);
    assert_eq!(bob.open(&out[6..], START).unwrap(), &b"message"[..]);
}

#[test]
fn every_way_to_seal_and_open_gives_the_same() {
    let (alice, bob) = sessions();
    let ((mut sealer, _), (_, mut opener)) = (alice.split(), bob.split());
    let mut buffer = BytesMut::new();
    for length in [0, 1, 63, 64, 65, 1000, 70_000] {
        let message = vec![b'm'; length];
        let packet = sealer.seal(&message, START).unwrap();
        assert_eq!(opener.open(&packet, START).unwrap(), message);
        buffer.clear();
        sealer.seal_into(&message, &mut buffer, START).unwrap();
        assert_eq!(opener.open_in_place(buffer.split(), START).unwrap(), message);
        let mut draft = Draft::with_capacity(length / 2);
        draft.write_all(&message).unwrap();
        assert_eq!(draft.message(), message);
        let packet = sealer.seal_draft(draft, START).unwrap();
        assert_eq!(opener.open(&packet, START).unwrap(), message);
    }
    assert_eq!(opener.next_counter(), 21);
}

#[test]
fn a_draft_takes_no_more_than_can_be_sealed() {
    let (mut alice, mut bob) = sessions();
    let mut draft = Draft::with_capacity(0);
    draft.write_all(&vec![b'x'; CLUSTER_MESSAGE]).unwrap();
    let error = draft.write_all(b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    assert_eq!(draft.message().len(), CLUSTER_MESSAGE);
    let packet = alice.seal_draft(draft, START).unwrap();
    assert_eq!(bob.open(&packet, START).unwrap().len(), CLUSTER_MESSAGE);
    let late = alice.seal_draft(Draft::with_capacity(usize::MAX), START + LIFETIME);
    assert_eq!(late, Err(NoiseError::SessionExpired));
}

#[test]
fn packets_older_than_the_window_are_refused_unread() {
    let (mut alice, mut bob) = sessions();
    let packets: Vec<Bytes> = (0..=WINDOW).map(|_| alice.seal(b"x", START).unwrap()).collect();
    assert!(bob.open(&packets[WINDOW], START).is_ok());
    assert_eq!(bob.open(&packets[0], START), Err(NoiseError::ReplayDetected));
    assert!(bob.open(&packets[1], START).is_ok());
}

#[test]
fn a_forged_counter_does_not_move_the_window() {
    let (mut alice, mut bob) = sessions();
    let packet = alice.seal(b"x", START).unwrap();
    let mut forged = packet.to_vec();
    forged[..8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    assert_eq!(bob.open(&forged, START), Err(NoiseError::DecryptionFailed));
    assert_eq!(bob.open(&packet, START).unwrap(), &b"x"[..]);
}

#[test]
fn an_ordered_session_names_what_the_carrier_did() {
    let (mut alice, bob) = sessions();
    let mut bob = bob.in_order();
    let packets: Vec<Bytes> = (0..4).map(|_| alice.seal(b"x", START).unwrap()).collect();
    assert!(bob.open(&packets[0], START).is_ok());
    assert_eq!(bob.open(&packets[0], START), Err(NoiseError::ReplayDetected));
    assert_eq!(bob.open(&packets[2], START), Err(NoiseError::OutOfOrder), "dropped or moved");
    assert!(bob.open(&packets[1], START).is_ok(), "a refusal changes nothing");
    assert!(bob.open(&packets[2], START).is_ok());
}

/// What a hostile carrier does with the packets it holds.
#[derive(Debug, Clone)]
enum Move {
    Deliver(prop::sample::Index),
    Flip(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index, prop::sample::Index),
    Extend(prop::sample::Index, u8),
    Splice(prop::sample::Index, prop::sample::Index),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let index = || any::<prop::sample::Index>();
    let one = prop_oneof![
        6 => index().prop_map(Move::Deliver),
        2 => (index(), index()).prop_map(|(packet, bit)| Move::Flip(packet, bit)),
        1 => (index(), index()).prop_map(|(packet, at)| Move::Cut(packet, at)),
        1 => (index(), any::<u8>()).prop_map(|(packet, byte)| Move::Extend(packet, byte)),
        1 => (index(), index()).prop_map(|(head, tail)| Move::Splice(head, tail)),
    ];
    prop::collection::vec(one, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever the carrier does, exactly the sealed messages open, each once, while they are in the window.
    #[test]
    fn only_what_was_sealed_opens_and_only_once(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 2..40),
        moves in moves(),
    ) {
        let (mut alice, mut bob) = sessions();
        let packets: Vec<Bytes> = messages.iter().map(|message| alice.seal(message, START).unwrap()).collect();
        let mut opened = BTreeSet::new();
        for step in moves {
            let (packet, intact) = match step {
                Move::Deliver(index) => {
                    let index = index.index(packets.len());
                    (packets[index].to_vec(), Some(index))
                }
                Move::Flip(index, bit) => {
                    let mut packet = index.get(&packets).to_vec();
                    let bit = bit.index(packet.len() * 8);
                    packet[bit / 8] ^= 1 << (bit % 8);
                    (packet, None)
                }
                Move::Cut(index, at) => {
                    let packet = index.get(&packets);
                    (packet[..at.index(packet.len())].to_vec(), None)
                }
                Move::Extend(index, byte) => {
                    let mut packet = index.get(&packets).to_vec();
                    packet.push(byte);
                    (packet, None)
                }
                Move::Splice(head, tail) => {
                    let (head, tail) = (head.index(packets.len()), tail.index(packets.len()));
                    let packet = [&packets[head][..8], &packets[tail][8..]].concat();
                    (packet, (head == tail).then_some(head))
                }
            };
            let result = bob.open(&packet, START);
            match intact {
                Some(index) if opened.insert(index) => prop_assert_eq!(&result.unwrap()[..], &messages[index][..]),
                Some(_) => prop_assert_eq!(result, Err(NoiseError::ReplayDetected)),
                None => prop_assert!(result.is_err()),
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(packet in prop::collection::vec(any::<u8>(), 0..100)) {
        let (_, mut bob) = sessions();
        prop_assert!(bob.open(&packet, START).is_err());
        prop_assert!(bob.open_in_place(BytesMut::from(&packet[..]), START).is_err());
        prop_assert_eq!(bob.seal(b"x", START).map(|packet| packet.len()), Ok(PACKET_OVERHEAD + 1));
    }
}
