//! Asking a relay who is there.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;

use crate::{AppleDate, Extra, NodeCapabilities, NodeId, bounded, limits};

/// Who is there?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Discover {
    /// Who asks.
    #[serde(rename = "requestingNodeID")]
    pub requesting_node_id: NodeId,
    /// Which peers are wanted; all of them without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<DiscoverFilter>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Narrows a [`Discover`]. Every field given must hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DiscoverFilter {
    /// Must be among the peer's loaded models.
    #[serde(
        rename = "modelID",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_model"
    )]
    pub model_id: Option<String>,
    /// At least so many gigabytes of memory.
    #[serde(
        rename = "minRAMGB",
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "bounded::opt_finite"
    )]
    pub min_ram_gb: Option<f64>,
    /// Tier at most this (1 is best).
    #[serde(
        rename = "minTier",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_whole"
    )]
    pub min_tier: Option<u32>,
    /// At most so many peers, 50 unless said.
    #[serde(
        rename = "maxPeers",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_whole"
    )]
    pub max_peers: Option<u32>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// These are there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiscoverResponse {
    /// In random order. Records that cannot be read are left out: a relay that checks nothing may pass on anything,
    /// and one broken registration must not hide everybody else. At most [`limits::DISCOVER_PEERS`] are read.
    #[serde(deserialize_with = "readable_records")]
    pub peers: Vec<PeerRecord>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One node as a relay describes it. All of it is the relay's word: nothing here is proved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// Who.
    #[serde(rename = "nodeID")]
    pub node_id: NodeId,
    /// The same again.
    #[serde(rename = "publicKey")]
    pub public_key: NodeId,
    /// X25519 public key, hex, or null.
    #[serde(rename = "wgPublicKey", default, deserialize_with = "bounded::opt_word")]
    pub wg_public_key: Option<String>,
    /// For people.
    #[serde(rename = "displayName", deserialize_with = "bounded::name")]
    pub display_name: String,
    /// Machine and models.
    pub capabilities: NodeCapabilities,
    /// When the relay last heard of it.
    #[serde(rename = "lastSeen")]
    pub last_seen: AppleDate,
    /// `fullCone`, `restrictedCone`, `portRestricted`, `symmetric`, `unknown`.
    #[serde(rename = "natType", default = "unknown_nat", deserialize_with = "bounded::word")]
    pub nat_type: String,
    /// Reserved; relays send an empty list.
    #[serde(default)]
    pub endpoints: Vec<serde_json::Value>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

fn readable_records<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PeerRecord>, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Vec<PeerRecord>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of peers")
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut records = Vec::new();
            while let Some(raw) = seq.next_element::<&RawValue>()? {
                if records.len() < limits::DISCOVER_PEERS
                    && let Ok(record) = serde_json::from_str(raw.get())
                {
                    records.push(record);
                }
            }
            Ok(records)
        }
    }
    deserializer.deserialize_seq(Visitor)
}

fn unknown_nat() -> String {
    "unknown".into()
}

/// `peerJoined` and `peerLeft`: deprecated, accepted and ignored, never sent by us.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerNotice {
    /// Who.
    #[serde(rename = "nodeID")]
    pub node_id: NodeId,
    /// For people.
    #[serde(rename = "displayName", default, deserialize_with = "bounded::name")]
    pub display_name: String,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}
