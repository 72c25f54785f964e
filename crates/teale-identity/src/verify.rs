//! The one way a signature is checked.

use ed25519_dalek::{Signature, VerifyingKey};
use teale_wire::NodeId;

use crate::IdentityError;

/// Checks an Ed25519 signature (RFC 8032, section 5.1.7) by `node` over `message`, strictly: the key and R must be
/// canonical and not of small order, S must be below the group order. A signature that passes here passes
/// everywhere, and there is no second spelling of it.
///
/// # Errors
/// [`IdentityError::Malformed`] when the id is no point on the curve or not its canonical encoding,
/// [`IdentityError::WeakKey`] when it has small order, [`IdentityError::BadSignature`] otherwise.
pub fn verify(node: NodeId, message: &[u8], signature: &[u8; 64]) -> Result<(), IdentityError> {
    let key = public_key(node)?;
    key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| IdentityError::BadSignature)
}

/// The same for a signature in hex. Either case is read: the text of a signature is itself never signed nor
/// compared, so its spelling decides nothing.
pub(crate) fn verify_hex(node: NodeId, message: &[u8], signature: &str) -> Result<(), IdentityError> {
    let mut bytes = [0; 64];
    hex::decode_to_slice(signature, &mut bytes).map_err(|_| IdentityError::Malformed("signature"))?;
    verify(node, message, &bytes)
}

fn public_key(node: NodeId) -> Result<VerifyingKey, IdentityError> {
    const WHAT: IdentityError = IdentityError::Malformed("node id");
    let key = VerifyingKey::from_bytes(node.as_bytes()).map_err(|_| WHAT)?;
    if key.is_weak() {
        return Err(IdentityError::WeakKey);
    }
    // dalek also takes y >= 2^255 - 19: the same point under a second name.
    if key.to_edwards().compress().as_bytes() != node.as_bytes() {
        return Err(WHAT);
    }
    Ok(key)
}
