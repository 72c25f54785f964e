//! What a client is told at its start.

use std::{fmt, sync::Arc};

use teale_identity::Identity;
use teale_noise::IdentityProof;
use teale_wire::NodeCapabilities;

use crate::{ClientConfig, Encryption, KnownPeers, url_without_credentials};

/// How to reach one relay, and as whom.
#[derive(Clone)]
pub struct RelayConfig {
    /// `ws://HOST[:PORT]/ws` or `wss://…`.
    pub url: String,
    /// Who we are.
    pub identity: Arc<Identity>,
    /// For people.
    pub display_name: String,
    /// Machine and models.
    pub capabilities: NodeCapabilities,
    /// Whether plaintext sessions are allowed.
    pub encryption: Encryption,
    /// Whether peers must prove their identity.
    pub identity_proof: IdentityProof,
    /// The memory of peers' keys. Share one among all relays of a node.
    pub known_peers: KnownPeers,
    /// Certificates (PEM) to trust for `wss` beside the system's.
    pub extra_ca_pem: Option<String>,
}

impl RelayConfig {
    /// A configuration with the defaults: encryption preferred, proof required, an empty memory, no extra CA.
    pub fn new(
        url: impl Into<String>,
        identity: Arc<Identity>,
        display_name: impl Into<String>,
        capabilities: NodeCapabilities,
    ) -> Self {
        Self {
            url: url.into(),
            identity,
            display_name: display_name.into(),
            capabilities,
            encryption: Encryption::default(),
            identity_proof: IdentityProof::default(),
            known_peers: KnownPeers::new(),
            extra_ca_pem: None,
        }
    }

    pub(super) fn core(&self) -> ClientConfig {
        ClientConfig {
            identity: self.identity.clone(),
            display_name: self.display_name.clone(),
            capabilities: self.capabilities.clone(),
            encryption: self.encryption,
            identity_proof: self.identity_proof,
            known_peers: self.known_peers.clone(),
        }
    }
}

impl fmt::Debug for RelayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayConfig")
            .field("url", &url_without_credentials(&self.url))
            .field("node", &self.identity.node_id())
            .field("display_name", &self.display_name)
            .field("encryption", &self.encryption)
            .field("identity_proof", &self.identity_proof)
            .finish_non_exhaustive()
    }
}
