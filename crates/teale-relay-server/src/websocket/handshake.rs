//! The upgrade (RFC 6455 §4.2).

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

/// What every server appends to the client's key before hashing.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The client's request is not one for a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// `Sec-WebSocket-Key` is not 16 bytes of base64.
    #[error("Sec-WebSocket-Key has to be 16 bytes of base64")]
    Key,
}

/// `Sec-WebSocket-Accept` for a client's `Sec-WebSocket-Key`.
///
/// # Errors
/// [`UpgradeError::Key`].
pub fn accept_key(key: &[u8]) -> Result<String, UpgradeError> {
    let mut nonce = [0; 18];
    if key.len() != 24 || STANDARD.decode_slice(key, &mut nonce).ok() != Some(16) {
        return Err(UpgradeError::Key);
    }
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    Ok(STANDARD.encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_with_the_key_of_the_rfc() {
        // RFC 6455, section 1.3.
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ"), Err(UpgradeError::Key));
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZSE="), Err(UpgradeError::Key));
        assert_eq!(accept_key(b"!!!!IHNhbXBsZSBub25jZQ=="), Err(UpgradeError::Key));
    }
}
