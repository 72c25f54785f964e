//! What rides inside a handshake message: the time, and the proof of who sends it.

use teale_identity::{Identity, NodeId, X25519Public, signed};

use crate::{NoiseError, clock::Timestamp};

/// Tag byte of an identity proof.
const PROOF_TAG: u8 = 0x01;
/// Tag, Ed25519 key, signature.
const PROOF_LEN: usize = 1 + 32 + 64;
/// The longest payload that is read, in bytes. Beyond what is known today there is room for later fields.
pub(super) const PAYLOAD_MAX: usize = 1024;

/// Whether a peer must prove its node id inside the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdentityProof {
    /// It must (default).
    #[default]
    Required,
    /// A peer that offers no proof is taken and marked unverified. A proof that is there must be right all the same.
    Optional,
}

/// Writes a payload; without `me` a bare one.
pub(super) fn write(time: Timestamp, me: Option<&Identity>) -> Vec<u8> {
    let mut payload = Vec::with_capacity(Timestamp::LEN + PROOF_LEN);
    payload.extend_from_slice(&time.to_bytes());
    if let Some(me) = me {
        payload.push(PROOF_TAG);
        payload.extend_from_slice(me.node_id().as_bytes());
        payload.extend_from_slice(&signed::noise_static_signature(me));
    }
    payload
}

/// Whom a payload should be from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    /// This node; whether it has to prove it.
    Node(NodeId, IdentityProof),
    /// Whoever it proves to be.
    Anyone,
}

/// Reads the payload of a message whose sender has the static key `key`. Returns its time, its sender, and whether
/// the sender is proven. Bytes after the proof are left to later versions.
pub(super) fn read(
    payload: &[u8],
    key: &X25519Public,
    expected: Expected,
) -> Result<(Timestamp, NodeId, bool), NoiseError> {
    let (time, rest) = payload.split_first_chunk().ok_or(NoiseError::InvalidMessage)?;
    let time = Timestamp::from_bytes(*time).ok_or(NoiseError::InvalidMessage)?;
    if rest.is_empty() {
        return match expected {
            Expected::Node(peer, IdentityProof::Optional) => Ok((time, peer, false)),
            Expected::Node(_, IdentityProof::Required) | Expected::Anyone => {
                Err(NoiseError::HandshakeFailed("the peer does not prove its identity"))
            }
        };
    }
    let (&[tag], rest) = rest.split_first_chunk().ok_or(NoiseError::InvalidMessage)?;
    let (node, rest) = rest.split_first_chunk::<32>().ok_or(NoiseError::InvalidMessage)?;
    let (signature, _later) = rest.split_first_chunk::<64>().ok_or(NoiseError::InvalidMessage)?;
    if tag != PROOF_TAG {
        return Err(NoiseError::InvalidMessage);
    }
    let node = NodeId::from_bytes(*node);
    if let Expected::Node(peer, _) = expected
        && node != peer
    {
        return Err(NoiseError::HandshakeFailed("the peer proves another node id than expected"));
    }
    signed::verify_noise_static(node, key, signature)
        .map_err(|_| NoiseError::HandshakeFailed("the identity proof does not verify"))?;
    Ok((time, node, true))
}
