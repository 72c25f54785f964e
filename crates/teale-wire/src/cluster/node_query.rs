//! Asking the other end of a connection who it is, before any handshake ("ours").

use serde::{Deserialize, Serialize};

use crate::{Extra, NodeId, bounded};

/// `nodeQuery` and its answer `nodeQueryResponse`: who speaks. Both in plaintext; the same two facts stand in the
/// LAN advertisement. Nothing here is proved: the handshake that follows proves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeQuery {
    /// Who.
    #[serde(rename = "nodeID")]
    pub node_id: NodeId,
    /// X25519 public key, hex; left out by a node that has none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded::opt_word")]
    pub wg: Option<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}
