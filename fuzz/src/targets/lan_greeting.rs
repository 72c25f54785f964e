//! What a stranger on the local network can say before there is a link: a TXT record, first frames, an answer.
//!
//! Input: one byte, then by its remainder modulo 3
//! 0: TXT strings, each a length byte and so many bytes `KEY=VALUE` (RFC 6763 §6.1);
//! 1: frames to the side that was connected to, each a big-endian u16 length and so many bytes;
//! 2: the same to the side that connected; here the byte's upper half says whom it meant to reach.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use teale_cluster::lan::{Advertisement, Answering, Book, Dialling, News, Next, Target, Terms, bounds};
use teale_identity::{Identity, NodeId};
use teale_noise::{IdentityProof, Now};
use teale_relay_client::{Encryption, KnownPeers, Policy, Security};
use teale_wire::limits;

/// Plays one conversation.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    match kind % 3 {
        0 => record(rest),
        1 => answering(rest),
        _ => dialling(rest, kind / 64),
    }
}

fn record(mut data: &[u8]) {
    let mut strings = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let (string, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        strings.push(string);
        data = rest;
    }
    let pairs = strings.iter().filter_map(|string| {
        let cut = string.iter().position(|byte| *byte == b'=');
        let (key, value) = string.split_at(cut.unwrap_or(string.len()));
        Some((std::str::from_utf8(key).ok()?, value.get(1..)))
    });
    let Ok(read) = Advertisement::parse(pairs) else {
        return;
    };
    assert!(read.device_id.len() <= limits::WORD && read.chip.len() <= limits::WORD);
    assert!(read.wg.is_none() || read.node.is_some(), "a key belongs to a node");
    let written = read.properties();
    let again = Advertisement::parse(written.iter().map(|(key, value)| (*key, Some(value.as_bytes()))));
    let Ok(again) = again else { panic!("what was read can be read again") };
    assert_eq!((again.id(), again.wg, again.ram_gb), (read.id(), read.wg, read.ram_gb));
    let mut book = Book::default();
    assert_eq!(book.found("a", read.clone(), Vec::new()), News::New(read.id()));
    assert_eq!(book.lost("a"), Some(read.id()));
}

fn terms() -> Terms {
    Terms {
        identity: Arc::new(Identity::from_seed([1; 32])),
        policy: Policy {
            encryption: Encryption::Preferred,
            identity_proof: IdentityProof::Required,
            known: KnownPeers::new(),
        },
    }
}

const NOW: Now = Now { unix: Duration::from_secs(1_713_100_000), monotonic: Duration::ZERO };

fn frames(mut data: &[u8]) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (frame, rest) = rest.split_at(rest.len().min(length));
        frames.push(Bytes::copy_from_slice(frame));
        data = rest;
    }
    frames
}

fn answering(data: &[u8]) {
    let terms = terms();
    let mut state = Answering::start(NOW);
    assert!(state.deadline() <= bounds::GREETING_WITHIN);
    for frame in frames(data) {
        match state.frame(&terms, &frame, NOW) {
            Ok(Next::Wait(next, _)) => state = next,
            Ok(Next::Open(opened)) => {
                assert_ne!(opened.peer, terms.identity.node_id(), "a link of the node to itself");
                return;
            }
            Err(error) => {
                let _ = (error.fault(), error.to_string());
                return;
            }
        }
    }
}

fn dialling(data: &[u8], whom: u8) {
    let terms = terms();
    let (bob, nameless) = (Identity::from_seed([2; 32]), NodeId::from_bytes([9; 32]));
    let expected = (whom == 3).then(|| bob.node_id());
    let target = match whom {
        0 => Target::Node { node: bob.node_id(), wg: Some(bob.x25519_public().to_hex()) },
        _ => Target::Address { nameless, expected, sealed_before: whom == 2 },
    };
    let Ok(Next::Wait(mut state, _)) = Dialling::start(&terms, target, NOW) else {
        return;
    };
    for frame in frames(data) {
        match state.frame(&terms, &frame, NOW) {
            Ok(Next::Wait(next, _)) => state = next,
            Ok(Next::Open(opened)) => {
                // Nobody here holds a key that answers a handshake.
                assert_eq!(opened.security, Security::Plaintext);
                assert_eq!((whom, opened.peer), (1, nameless), "plaintext only where nothing else was known");
                return;
            }
            Err(error) => {
                let _ = (error.fault(), error.to_string());
                return;
            }
        }
    }
}
