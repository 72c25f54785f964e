//! Introductions.

use serde::{Deserialize, Serialize};

use crate::{AppleDate, Extra, HardwareCapability, bounded};

/// `hello` and `helloAck`. Apple nodes need every field of seed 001, nulls included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The device.
    #[serde(rename = "deviceInfo")]
    pub device_info: DeviceInfo,
    /// 1.
    #[serde(rename = "protocolVersion", deserialize_with = "bounded::whole")]
    pub protocol_version: u32,
    /// Hex SHA-256 of the cluster's passcode.
    #[serde(rename = "clusterPasscodeHash", default, deserialize_with = "bounded::opt_word")]
    pub cluster_passcode_hash: Option<String>,
    /// Models that answer at once.
    #[serde(rename = "loadedModels", deserialize_with = "bounded::models")]
    pub loaded_models: Vec<String>,
    /// Owner of several devices.
    #[serde(rename = "ownerUserID", default, deserialize_with = "bounded::opt_word")]
    pub owner_user_id: Option<String>,
    /// Whether answers of this node can go on over another link ("ours").
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumable: bool,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The device of a [`Hello`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// A UUID.
    #[serde(deserialize_with = "bounded::word")]
    pub id: String,
    /// For people.
    #[serde(deserialize_with = "bounded::name")]
    pub name: String,
    /// The machine.
    pub hardware: HardwareCapability,
    /// First seen.
    #[serde(rename = "registeredAt")]
    pub registered_at: AppleDate,
    /// Last seen.
    #[serde(rename = "lastSeenAt")]
    pub last_seen_at: AppleDate,
    /// Whether this is the sender's own.
    #[serde(rename = "isCurrentDevice")]
    pub is_current_device: bool,
    /// Models that answer at once.
    #[serde(rename = "loadedModels", deserialize_with = "bounded::models")]
    pub loaded_models: Vec<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}
