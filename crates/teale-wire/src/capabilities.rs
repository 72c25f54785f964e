//! What a node says about its machine and its models.

use serde::{Deserialize, Serialize};

use crate::{Extra, bounded};

/// A node's machine, models and memberships, as it registers them with a relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeCapabilities {
    /// The machine.
    pub hardware: HardwareCapability,
    /// Models that answer at once.
    #[serde(rename = "loadedModels", deserialize_with = "bounded::models")]
    pub loaded_models: Vec<String>,
    /// The largest model the node could load, in gigabytes.
    #[serde(rename = "maxModelSizeGB", serialize_with = "bounded::finite")]
    pub max_model_size_gb: f64,
    /// Whether the node takes requests at present.
    #[serde(rename = "isAvailable")]
    pub is_available: bool,
    /// Private networks the node claims to be in. A claim only: certificates prove membership.
    #[serde(
        rename = "ptnIDs",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_ptn_ids"
    )]
    pub ptn_ids: Option<Vec<String>>,
    /// Models the node could load on request.
    #[serde(
        rename = "swappableModels",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_models"
    )]
    pub swappable_models: Option<Vec<String>>,
    /// Requests the node serves at once.
    #[serde(
        rename = "maxConcurrentRequests",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_whole"
    )]
    pub max_concurrent_requests: Option<u32>,
    /// Tokens of context one request may use.
    #[serde(
        rename = "effectiveContext",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_whole"
    )]
    pub effective_context: Option<u32>,
    /// Whether the machine is on mains power.
    #[serde(rename = "onACPower", default, skip_serializing_if = "Option::is_none")]
    pub on_ac_power: Option<bool>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A machine. Family, back end and platform are open sets: unknown values are kept as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HardwareCapability {
    /// `m1` … `m4Ultra`, `nvidiaGPU`, `amdGPU`, `intelCPU`, `amdCPU`, `armGeneric`, `unknown`, …
    #[serde(rename = "chipFamily", deserialize_with = "bounded::word")]
    pub chip_family: String,
    /// The chip's name as people know it.
    #[serde(rename = "chipName", deserialize_with = "bounded::name")]
    pub chip_name: String,
    /// Memory in gigabytes.
    #[serde(rename = "totalRAMGB", serialize_with = "bounded::finite")]
    pub total_ram_gb: f64,
    /// GPU cores; 0 without a GPU.
    #[serde(rename = "gpuCoreCount", deserialize_with = "bounded::whole")]
    pub gpu_core_count: u32,
    /// Memory bandwidth in gigabytes a second.
    #[serde(rename = "memoryBandwidthGBs", serialize_with = "bounded::finite")]
    pub memory_bandwidth_gbs: f64,
    /// 1 backbone, 2 desktop, 3 tablet, 4 phone; gateways say 0.
    #[serde(deserialize_with = "bounded::whole")]
    pub tier: u32,
    /// `metal`, `cuda`, `rocm`, `vulkan`, `sycl`, `cpu`.
    #[serde(
        rename = "gpuBackend",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_word"
    )]
    pub gpu_backend: Option<String>,
    /// `macOS`, `iOS`, `linux`, `windows`, `android`, `freebsd`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded::opt_word")]
    pub platform: Option<String>,
    /// Memory of the GPU in gigabytes.
    #[serde(
        rename = "gpuVRAMGB",
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "bounded::opt_finite"
    )]
    pub gpu_vram_gb: Option<f64>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl HardwareCapability {
    /// Gigabytes left for models: all but 4, at least 1.
    pub fn ram_for_models_gb(&self) -> f64 {
        (self.total_ram_gb - 4.0).max(1.0)
    }
}
