//! When a session is sealed, with which key, and when it is refused.

use teale_identity::{NodeId, X25519Public};
use teale_noise::{IdentityProof, NoiseError};

use crate::{
    SessionError,
    known_peers::{KnownKey, KnownPeers, Recall},
};

/// Whether plaintext is ever acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encryption {
    /// Plaintext only with a peer that never advertised a key, with a warning and a counter.
    #[default]
    Preferred,
    /// Never.
    Required,
}

/// How a session is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Sealed end to end.
    Sealed {
        /// Whether the peer proved its node id inside the handshake.
        verified: bool,
        /// Equal on both sides.
        handshake_hash: [u8; 32],
    },
    /// Readable by the relay.
    Plaintext,
}

/// What a session we open is going to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Sealed.
    Seal {
        /// The key the handshake is started with.
        key: X25519Public,
        /// What is asked of the peer.
        proof: IdentityProof,
    },
    /// In plaintext.
    Plaintext,
}

/// The rules, and the memory they rest on: one policy for every carrier of a node.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whether plaintext is ever acceptable.
    pub encryption: Encryption,
    /// Whether peers must prove their identity.
    pub identity_proof: IdentityProof,
    /// The memory of peers' keys.
    pub known: KnownPeers,
}

impl Policy {
    /// How to open a session with a node whose key is said to be `advertised` (hex), by a relay or on the LAN.
    ///
    /// That word is taken where there is one: the identity proof decides whether it was true. Where there
    /// is none but the node is remembered with a key, that key is used.
    ///
    /// # Errors
    /// [`SessionError::Noise`] for a key that cannot be read, [`SessionError::PlaintextRefused`].
    pub fn plan(&self, peer: NodeId, advertised: Option<&str>) -> Result<Plan, SessionError> {
        let proof = self.proof(peer);
        if let Some(text) = advertised {
            let key = X25519Public::parse_hex(text).map_err(|_| NoiseError::InvalidPublicKey)?;
            self.known.advertise(peer, key);
            return Ok(Plan::Seal { key, proof });
        }
        match self.known.recall(peer) {
            Recall::Key(KnownKey { key, .. }) => Ok(Plan::Seal { key, proof }),
            Recall::Never | Recall::Full => self.plaintext(peer).map(|()| Plan::Plaintext),
        }
    }

    /// Whether a session with this node may be in plaintext.
    ///
    /// # Errors
    /// [`SessionError::PlaintextRefused`] with the reason.
    pub fn plaintext(&self, peer: NodeId) -> Result<(), SessionError> {
        if self.encryption == Encryption::Required {
            return Err(SessionError::PlaintextRefused("encryption is required"));
        }
        match self.known.recall(peer) {
            Recall::Never => Ok(()),
            Recall::Key(_) => Err(SessionError::PlaintextRefused("the peer is known to have a key")),
            Recall::Full => Err(SessionError::PlaintextRefused("the memory of keys is full")),
        }
    }

    /// Who proved its key once has to prove it every time.
    pub fn proof(&self, peer: NodeId) -> IdentityProof {
        match self.known.get(peer) {
            Some(KnownKey { proved: true, .. }) => IdentityProof::Required,
            _ => self.identity_proof,
        }
    }

    /// A handshake with the node ended well, with this key.
    pub fn learn(&self, peer: NodeId, key: X25519Public, verified: bool) {
        if verified {
            self.known.prove(peer, key);
        } else {
            self.known.advertise(peer, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(encryption: Encryption, identity_proof: IdentityProof) -> Policy {
        Policy { encryption, identity_proof, known: KnownPeers::new() }
    }

    const PEER: NodeId = NodeId::from_bytes([7; 32]);
    const KEY: X25519Public = X25519Public([9; 32]);

    #[test]
    fn preferred_talks_plaintext_only_with_a_peer_never_seen_with_a_key() {
        let policy = policy(Encryption::Preferred, IdentityProof::Required);
        assert_eq!(policy.plan(PEER, None), Ok(Plan::Plaintext));
        let sealed = Plan::Seal { key: KEY, proof: IdentityProof::Required };
        assert_eq!(policy.plan(PEER, Some(&KEY.to_hex())), Ok(sealed));
        assert_eq!(policy.plan(PEER, None), Ok(sealed), "the remembered key is used");
        assert!(matches!(policy.plaintext(PEER), Err(SessionError::PlaintextRefused(_))));
    }

    #[test]
    fn required_refuses_plaintext() {
        let policy = policy(Encryption::Required, IdentityProof::Required);
        assert!(matches!(policy.plan(PEER, None), Err(SessionError::PlaintextRefused(_))));
        assert!(matches!(policy.plaintext(PEER), Err(SessionError::PlaintextRefused(_))));
    }

    #[test]
    fn a_key_that_cannot_be_read_is_an_error_and_never_plaintext() {
        let policy = policy(Encryption::Preferred, IdentityProof::Required);
        assert_eq!(policy.plan(PEER, Some("00")), Err(SessionError::Noise(NoiseError::InvalidPublicKey)));
    }

    #[test]
    fn a_peer_that_proved_itself_once_has_to_prove_itself_again() {
        let policy = policy(Encryption::Preferred, IdentityProof::Optional);
        assert_eq!(policy.proof(PEER), IdentityProof::Optional);
        policy.learn(PEER, KEY, true);
        assert_eq!(policy.proof(PEER), IdentityProof::Required);
    }
}
