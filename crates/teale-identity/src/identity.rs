//! The node's own key pair.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use teale_wire::NodeId;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{IdentityError, X25519Public};

/// A node's secret key and everything derived from it. Share it in an `Arc`: it is deliberately not `Clone`.
///
/// The secret is wiped when this is dropped, and `Debug` shows the node id only.
pub struct Identity {
    signing: SigningKey,
    node_id: NodeId,
    x25519_public: X25519Public,
}

impl Identity {
    /// Bytes of a seed.
    pub const SEED_LEN: usize = 32;

    /// From the 32 seed bytes: the Ed25519 private key (RFC 8032, section 5.1.5) and, as they are, the X25519
    /// private key (RFC 7748, section 5). The caller's own copy is the caller's to wipe.
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(&seed);
        let x25519 = StaticSecret::from(seed);
        seed.zeroize();
        Self {
            node_id: NodeId::from_bytes(signing.verifying_key().to_bytes()),
            x25519_public: X25519Public(PublicKey::from(&x25519).to_bytes()),
            signing,
        }
    }

    /// A fresh one from the operating system's randomness.
    ///
    /// # Errors
    /// [`IdentityError::NoRandomness`].
    pub fn generate() -> Result<Self, IdentityError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|_| IdentityError::NoRandomness)?;
        Ok(Self::from_seed(*seed))
    }

    /// The public name.
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// The X25519 public key, `wgPublicKey` on the wire.
    pub fn x25519_public(&self) -> X25519Public {
        self.x25519_public
    }

    /// The X25519 private scalar before clamping (= the seed), for a Diffie-Hellman handshake only. Whoever holds
    /// it is this node.
    pub fn x25519_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.signing.to_bytes())
    }

    /// Signs raw bytes. The strings that the protocol knows are in [`crate::signed`]; sign nothing that a stranger
    /// chose without a prefix that names its purpose.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }
}

impl ZeroizeOnDrop for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.node_id).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_held_by_types_that_wipe_themselves() {
        fn wipes<T: ZeroizeOnDrop>() {}
        wipes::<SigningKey>();
        wipes::<StaticSecret>();
        wipes::<Zeroizing<[u8; 32]>>();
    }
}
