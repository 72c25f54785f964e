//! Heartbeats.

use serde::{Deserialize, Serialize};

use crate::{AppleDate, Extra, bounded};

/// `heartbeat` and `heartbeatAck`. Apple nodes need every field of seed 001, nulls included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// A UUID.
    #[serde(rename = "deviceID", deserialize_with = "bounded::word")]
    pub device_id: String,
    /// The sender's clock.
    pub timestamp: AppleDate,
    /// How hot.
    #[serde(rename = "thermalLevel")]
    pub thermal_level: ThermalLevel,
    /// 0 paused … 100 full speed.
    #[serde(rename = "throttleLevel", deserialize_with = "bounded::whole")]
    pub throttle_level: u32,
    /// Models that answer at once.
    #[serde(rename = "loadedModels", deserialize_with = "bounded::models")]
    pub loaded_models: Vec<String>,
    /// Whether tokens are being made.
    #[serde(rename = "isGenerating")]
    pub is_generating: bool,
    /// Requests that wait.
    #[serde(rename = "queueDepth", deserialize_with = "bounded::whole")]
    pub queue_depth: u32,
    /// Organisation.
    #[serde(rename = "organizationID", default, deserialize_with = "bounded::opt_word")]
    pub organization_id: Option<String>,
    /// Owner of several devices.
    #[serde(rename = "ownerUserID", default, deserialize_with = "bounded::opt_word")]
    pub owner_user_id: Option<String>,
    /// Measured speed.
    #[serde(
        rename = "ewmaTokensPerSecond",
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "bounded::opt_finite"
    )]
    pub ewma_tokens_per_second: Option<f64>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How hot a device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ThermalLevel {
    /// Cool.
    Nominal,
    /// Warm.
    Fair,
    /// Hot: slower.
    Serious,
    /// Too hot: no work.
    Critical,
    /// A level this version does not know.
    #[serde(untagged)]
    Other(String),
}
