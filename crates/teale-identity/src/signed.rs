//! The exact byte strings that get signed, each with its strict check.
//!
//! | what | signed bytes |
//! |---|---|
//! | registration | the 64 ASCII bytes of the node id |
//! | registration proof | `teale-relay-register-v1:` nonce `:` node id `:` wgPublicKey (or nothing) |
//! | offer, answer | from `:` to `:` session |
//! | contact record | `teale-contact-v1:` and the record's fields, one a line ([`ContactRecord::signed_text`]) |
//! | Noise static key | `teale-noise-static-v1:` and the 32 raw bytes of the X25519 key |
//!
//! No string of one row can be read as one of another: a registration is 64 hex digits and nothing else, an offer
//! begins with 64 hex digits and a colon, and the rest begin with prefixes of their own.
//!
//! Signatures are written as 128 lower-case hex digits and read in either case.

use teale_wire::{ContactRecord, NodeId, SessionId};

use crate::{Identity, IdentityError, X25519Public, verify, verify::verify_hex};

const REGISTER_PROOF_PREFIX: &str = "teale-relay-register-v1:";
const CONTACT_PREFIX: &str = "teale-contact-v1:";
const NOISE_STATIC_PREFIX: &[u8; 22] = b"teale-noise-static-v1:";

/// The hex signature of a registration.
pub fn register_signature(identity: &Identity) -> String {
    hex::encode(identity.sign(identity.node_id().to_string().as_bytes()))
}

/// Checks [`register_signature`]. It proves that the node made it once, not that the sender is the node: it never
/// changes, so anyone who saw it can send it. [`verify_register_proof`] is what proves presence.
///
/// # Errors
/// As [`verify`], and [`IdentityError::Malformed`] when the signature is not 128 hex digits.
pub fn verify_register(node: NodeId, signature_hex: &str) -> Result<(), IdentityError> {
    verify_hex(node, node.to_string().as_bytes(), signature_hex)
}

/// The hex proof that a registration is fresh: it answers the relay's challenge `nonce`. `wg_public_key` is the text
/// that goes into the registration, spelled as there.
pub fn register_proof(identity: &Identity, nonce: &str, wg_public_key: Option<&str>) -> String {
    hex::encode(identity.sign(register_proof_text(identity.node_id(), nonce, wg_public_key).as_bytes()))
}

/// Checks [`register_proof`].
///
/// # Errors
/// As [`verify_register`].
pub fn verify_register_proof(
    node: NodeId,
    nonce: &str,
    wg_public_key: Option<&str>,
    proof_hex: &str,
) -> Result<(), IdentityError> {
    verify_hex(node, register_proof_text(node, nonce, wg_public_key).as_bytes(), proof_hex)
}

/// The hex signature of an offer or an answer from this node to `to`.
pub fn offer_signature(identity: &Identity, to: NodeId, session: &SessionId) -> String {
    hex::encode(identity.sign(offer_text(identity.node_id(), to, session).as_bytes()))
}

/// Checks [`offer_signature`].
///
/// # Errors
/// As [`verify_register`].
pub fn verify_offer(
    from: NodeId,
    to: NodeId,
    session: &SessionId,
    signature_hex: &str,
) -> Result<(), IdentityError> {
    verify_hex(from, offer_text(from, to, session).as_bytes(), signature_hex)
}

/// Signs a contact record of this node: its node id, its key and its signature are filled in.
pub fn sign_contact(identity: &Identity, mut record: ContactRecord) -> ContactRecord {
    record.node_id = identity.node_id();
    record.wg_public_key = Some(identity.x25519_public().to_hex());
    record.signature = hex::encode(identity.sign(contact_text(&record).as_bytes()));
    record
}

/// Checks the signature of a contact record. It proves that the node said so once; whether it still holds is for
/// [`ContactRecord::expires_at`] to say, and who shows it is not proved at all.
///
/// # Errors
/// As [`verify_register`].
pub fn verify_contact(record: &ContactRecord) -> Result<(), IdentityError> {
    verify_hex(record.node_id, contact_text(record).as_bytes(), &record.signature)
}

/// The 64 raw signature bytes of the identity proof inside a Noise handshake.
pub fn noise_static_signature(identity: &Identity) -> [u8; 64] {
    identity.sign(&noise_static_bytes(&identity.x25519_public()))
}

/// Checks [`noise_static_signature`]: `node` vouches for the X25519 key `key`.
///
/// # Errors
/// As [`verify`].
pub fn verify_noise_static(
    node: NodeId,
    key: &X25519Public,
    signature: &[u8; 64],
) -> Result<(), IdentityError> {
    verify(node, &noise_static_bytes(key), signature)
}

fn register_proof_text(node: NodeId, nonce: &str, wg_public_key: Option<&str>) -> String {
    format!("{REGISTER_PROOF_PREFIX}{nonce}:{node}:{}", wg_public_key.unwrap_or_default())
}

fn contact_text(record: &ContactRecord) -> String {
    format!("{CONTACT_PREFIX}{}", record.signed_text())
}

fn offer_text(from: NodeId, to: NodeId, session: &SessionId) -> String {
    format!("{from}:{to}:{session}")
}

fn noise_static_bytes(key: &X25519Public) -> Vec<u8> {
    [NOISE_STATIC_PREFIX.as_slice(), key.as_bytes()].concat()
}
