//! X25519 public keys.

use std::fmt;

use x25519_dalek::{PublicKey, StaticSecret};

use crate::IdentityError;

/// An X25519 public key (`wgPublicKey`; RFC 7748), 32 bytes, written as 64 lower-case hex digits.
///
/// Any 32 bytes can be held; [`X25519Public::check`] tells the few that no honest node has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct X25519Public(pub [u8; 32]);

impl X25519Public {
    /// Reads 64 hex digits, in either case: unlike a node id this key is nowhere compared as text.
    ///
    /// # Errors
    /// [`IdentityError::Malformed`] for anything else.
    pub fn parse_hex(text: &str) -> Result<Self, IdentityError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| IdentityError::Malformed("X25519 public key"))?;
        Ok(Self(bytes))
    }

    /// Writes 64 lower-case hex digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Refuses the points of small order: whatever the other side's secret, the shared secret with them is zero
    /// (RFC 7748, section 6.1). Costs one scalar multiplication.
    ///
    /// # Errors
    /// [`IdentityError::WeakKey`].
    pub fn check(&self) -> Result<(), IdentityError> {
        // Clamping makes every scalar a multiple of 8, so any scalar takes a point of order 1, 2, 4 or 8 to zero.
        let probe = StaticSecret::from([0; 32]);
        if probe.diffie_hellman(&PublicKey::from(self.0)).was_contributory() {
            Ok(())
        } else {
            Err(IdentityError::WeakKey)
        }
    }
}

impl fmt::Display for X25519Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for X25519Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "X25519Public({}...)", hex::encode(&self.0[..8]))
    }
}
