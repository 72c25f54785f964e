//! Nobody gets through a handshake without the keys, and nobody with the keys gets through under another name.
//!
//! Input: one byte that picks the scene, then what the stranger sends.

use std::{sync::LazyLock, time::Duration};

use teale_identity::{Identity, NodeId, X25519Public, signed};
use teale_noise::{
    AwaitingReply, IdentityProof, NoiseError, Now, ReplayGuard, TimestampSource, initiate, respond,
};

const NOW: Now = Now { unix: Duration::from_secs(1_713_100_000), monotonic: Duration::ZERO };
/// The first vector's message 1: the one packet that may pass, since it was made with alice's key.
const RECORDED: &[u8] = include_bytes!("../../seeds/noise_handshake/recorded_message_1");

/// The two nodes of the first vector.
static ALICE: LazyLock<Identity> =
    LazyLock::new(|| Identity::from_seed(std::array::from_fn(|byte| byte as u8)));
static BOB: LazyLock<Identity> = LazyLock::new(|| Identity::from_seed([0x42; 32]));

/// Plays one scene.
pub fn run(data: &[u8]) {
    let Some((scene, bytes)) = data.split_first() else {
        return;
    };
    let proof = if scene & 0x80 == 0 { IdentityProof::Required } else { IdentityProof::Optional };
    match scene & 0x7f {
        0 => strange_initiation(bytes, proof),
        1 => strange_reply(bytes, proof),
        2 => altered_packets(bytes, proof),
        _ => strange_payload(bytes, proof),
    }
}

/// Any bytes as message 1.
fn strange_initiation(packet: &[u8], proof: IdentityProof) {
    if let Ok(incoming) = respond(&BOB, ALICE.node_id(), packet, proof) {
        assert_eq!(packet, RECORDED.get(1..).unwrap_or_default());
        assert_eq!(incoming.peer(), (ALICE.node_id(), true));
    }
}

/// Any bytes as message 2.
fn strange_reply(packet: &[u8], proof: IdentityProof) {
    let (waiting, _) = start(proof);
    assert!(waiting.finish(packet, NOW).is_err());
}

/// Genuine messages, each with some of its bytes changed: first half of the changes to message 1, second to message 2.
fn altered_packets(changes: &[u8], proof: IdentityProof) {
    let (first_changes, second_changes) = changes.split_at(changes.len() / 2);
    let (waiting, first) = start(proof);
    let altered = alter(&first, first_changes);
    let read = respond(&BOB, ALICE.node_id(), &altered, proof);
    assert_eq!(read.is_ok(), altered == first);

    let Ok(incoming) = respond(&BOB, ALICE.node_id(), &first, proof) else {
        panic!("a genuine message is read")
    };
    let Ok((session, second)) = incoming.accept(&mut ReplayGuard::default(), NOW) else {
        panic!("a genuine message is accepted")
    };
    let altered = alter(&second, second_changes);
    match waiting.finish(&altered, NOW) {
        Ok(other) => {
            assert_eq!(altered, second);
            assert_eq!(other.handshake_hash(), session.handshake_hash());
        }
        Err(_) => assert_ne!(altered, second),
    }
}

/// A peer that holds alice's keys puts any bytes into the payload.
fn strange_payload(payload: &[u8], proof: IdentityProof) {
    let mut packet = vec![0; payload.len() + 97];
    let Some(written) = snow_initiation(payload, &mut packet) else {
        return;
    };
    packet.truncate(written);
    let read = respond(&BOB, ALICE.node_id(), &packet, proof).map(|incoming| incoming.peer());
    match verdict(payload) {
        Some(verified) if verified || proof == IdentityProof::Optional => {
            assert_eq!(read, Ok((ALICE.node_id(), verified)));
        }
        _ => assert!(matches!(read, Err(NoiseError::InvalidMessage | NoiseError::HandshakeFailed(_)))),
    }
}

/// 0x01 and message 1 with this payload, made by snow alone. `None` where a Noise message cannot hold it.
fn snow_initiation(payload: &[u8], packet: &mut [u8]) -> Option<usize> {
    let suite = "Noise_IK_25519_ChaChaPoly_BLAKE2s".parse().ok()?;
    let secret = ALICE.x25519_secret();
    let theirs = BOB.x25519_public();
    let builder =
        snow::Builder::with_resolver(suite, Box::new(Randomness)).local_private_key(secret.as_slice());
    let mut state = builder.ok()?.remote_public_key(theirs.as_bytes()).ok()?.build_initiator().ok()?;
    let (kind, message) = packet.split_first_mut()?;
    *kind = 1;
    state.write_message(payload, message).ok().map(|written| 1 + written)
}

/// What a payload of alice's is: unreadable or wrong (`None`), bare, or proven.
fn verdict(payload: &[u8]) -> Option<bool> {
    let nanos = u32::from_be_bytes(*payload.get(8..)?.first_chunk()?);
    if nanos > 999_999_999 || payload.len() > 1024 {
        return None;
    }
    match payload.get(12..)? {
        [] => Some(false),
        [1, proof @ ..] => {
            let (node, rest) = proof.split_first_chunk::<32>()?;
            let signature = rest.first_chunk::<64>()?;
            let key: X25519Public = ALICE.x25519_public();
            let named = NodeId::from_bytes(*node) == ALICE.node_id();
            (named && signed::verify_noise_static(ALICE.node_id(), &key, signature).is_ok()).then_some(true)
        }
        _ => None,
    }
}

fn start(proof: IdentityProof) -> (AwaitingReply, Vec<u8>) {
    let stamps = TimestampSource::new();
    match initiate(&ALICE, BOB.node_id(), BOB.x25519_public(), proof, &stamps, NOW) {
        Ok((waiting, packet)) => (waiting, packet.to_vec()),
        Err(error) => panic!("a handshake starts: {error}"),
    }
}

/// Pairs of place and difference.
fn alter(packet: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut altered = packet.to_vec();
    for change in changes.chunks_exact(2) {
        if let [place, difference] = change {
            let place = usize::from(*place) % altered.len();
            if let Some(byte) = altered.get_mut(place) {
                *byte ^= difference;
            }
        }
    }
    altered
}

/// snow's own primitives, with a fixed ephemeral key: what is tested does not depend on it.
struct Randomness;

impl snow::resolvers::CryptoResolver for Randomness {
    fn resolve_rng(&self) -> Option<Box<dyn snow::types::Random>> {
        Some(Box::new(Self))
    }
    fn resolve_dh(&self, choice: &snow::params::DHChoice) -> Option<Box<dyn snow::types::Dh>> {
        snow::resolvers::DefaultResolver.resolve_dh(choice)
    }
    fn resolve_hash(&self, choice: &snow::params::HashChoice) -> Option<Box<dyn snow::types::Hash>> {
        snow::resolvers::DefaultResolver.resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &snow::params::CipherChoice) -> Option<Box<dyn snow::types::Cipher>> {
        snow::resolvers::DefaultResolver.resolve_cipher(choice)
    }
}

impl snow::types::Random for Randomness {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        dest.fill(0x5a);
        Ok(())
    }
}
