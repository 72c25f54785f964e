//! Joining a relay: challenge, register, acknowledgement, errors.

use serde::{Deserialize, Serialize};

use crate::{AppleDate, Extra, NodeCapabilities, NodeId, bounded};

/// The relay's first word: what a registration's `proof` has to sign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Challenge {
    /// 32 lower-case hex digits (16 random bytes).
    #[serde(deserialize_with = "bounded::word")]
    pub nonce: String,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A node introduces itself. Again before the TTL ends, this is the refresh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Register {
    /// Who.
    #[serde(rename = "nodeID")]
    pub node_id: NodeId,
    /// The same again.
    #[serde(rename = "publicKey")]
    pub public_key: NodeId,
    /// X25519 public key, hex; nodes without one cannot be spoken to in secret.
    #[serde(
        rename = "wgPublicKey",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_word"
    )]
    pub wg_public_key: Option<String>,
    /// For people.
    #[serde(rename = "displayName", deserialize_with = "bounded::name")]
    pub display_name: String,
    /// Machine and models.
    pub capabilities: NodeCapabilities,
    /// Hex Ed25519 signature over the 64 ASCII bytes of the node id.
    #[serde(deserialize_with = "bounded::word")]
    pub signature: String,
    /// Hex Ed25519 signature over the challenge ("ours"; see `teale_identity::signed::register_proof`).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded::opt_word")]
    pub proof: Option<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The relay took the registration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegisterAck {
    /// Who is registered.
    #[serde(rename = "nodeID")]
    pub node_id: NodeId,
    /// Since when.
    #[serde(rename = "registeredAt")]
    pub registered_at: AppleDate,
    /// For how many seconds, unless refreshed.
    #[serde(rename = "ttlSeconds", deserialize_with = "bounded::whole")]
    pub ttl_seconds: u32,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A relay's complaint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayErrorMessage {
    /// What kind.
    pub code: RelayErrorCode,
    /// In words. For `peer_not_found` exactly `Peer <nodeID> is not connected`: gateways read the id out of it.
    #[serde(deserialize_with = "bounded::complaint")]
    pub message: String,
    /// When to try again.
    #[serde(
        rename = "retryAfterSeconds",
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "bounded::opt_finite"
    )]
    pub retry_after_seconds: Option<f64>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The kinds of complaint a relay has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayErrorCode {
    /// The target is not connected.
    PeerNotFound,
    /// Not JSON.
    InvalidJson,
    /// JSON, but not a message that may be sent now by this node.
    InvalidMessage,
    /// A registration that proves nothing.
    InvalidRegister,
    /// Too many, too fast.
    RateLimited,
    /// A type the relay does not serve.
    UnsupportedMessage,
    /// A code this version does not know.
    #[serde(untagged)]
    Other(String),
}
