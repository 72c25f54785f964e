//! Signals between two nodes on their way to a direct connection. A relay only passes them on.

use serde::{Deserialize, Serialize};

use crate::{Extra, NodeId, SessionId, bounded};

/// `offer` and `answer`: where a node can be reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Sender.
    #[serde(rename = "fromNodeID")]
    pub from: NodeId,
    /// Target.
    #[serde(rename = "toNodeID")]
    pub to: NodeId,
    /// Which attempt.
    #[serde(rename = "sessionID")]
    pub session: SessionId,
    /// Addresses.
    #[serde(rename = "connectionInfo")]
    pub connection_info: ConnectionInfo,
    /// Hex Ed25519 signature over `from:to:session`.
    #[serde(deserialize_with = "bounded::word")]
    pub signature: String,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where a node can be reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionInfo {
    /// As the world sees it.
    #[serde(rename = "publicIP", deserialize_with = "bounded::word")]
    pub public_ip: String,
    /// As the world sees it.
    #[serde(rename = "publicPort")]
    pub public_port: u16,
    /// On its own network.
    #[serde(
        rename = "localIP",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_word"
    )]
    pub local_ip: Option<String>,
    /// On its own network.
    #[serde(rename = "localPort", default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    /// `fullCone`, `restrictedCone`, `portRestricted`, `symmetric`, `unknown`.
    #[serde(rename = "natType", deserialize_with = "bounded::word")]
    pub nat_type: String,
    /// X25519 public key, hex.
    #[serde(
        rename = "wgPublicKey",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_word"
    )]
    pub wg_public_key: Option<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One more address to try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IceCandidate {
    /// Sender.
    #[serde(rename = "fromNodeID")]
    pub from: NodeId,
    /// Target.
    #[serde(rename = "toNodeID")]
    pub to: NodeId,
    /// Which attempt.
    #[serde(rename = "sessionID")]
    pub session: SessionId,
    /// The address.
    pub candidate: Candidate,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An address of an [`IceCandidate`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Address.
    #[serde(deserialize_with = "bounded::word")]
    pub ip: String,
    /// Port.
    pub port: u16,
    /// `host`, `serverReflexive` or `relayed`.
    #[serde(rename = "type", deserialize_with = "bounded::word")]
    pub kind: String,
    /// Higher is tried first.
    #[serde(deserialize_with = "bounded::whole")]
    pub priority: u32,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}
