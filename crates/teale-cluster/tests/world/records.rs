//! Machines, models and peers, as the core hears of them.

use teale_cluster::{LoadState, ModelInfo};
use teale_wire::{AppleDate, Extra, HardwareCapability, NodeCapabilities, NodeId, PeerRecord};

use super::{MODEL, Node};

pub fn hardware() -> HardwareCapability {
    HardwareCapability {
        chip_family: "intelCPU".into(),
        chip_name: "test".into(),
        total_ram_gb: 16.0,
        gpu_core_count: 0,
        memory_bandwidth_gbs: 40.0,
        tier: 2,
        gpu_backend: Some("cpu".into()),
        platform: Some("linux".into()),
        gpu_vram_gb: None,
        extra: Extra::new(),
    }
}

pub fn ready(id: &str) -> ModelInfo {
    ModelInfo { id: id.into(), state: LoadState::Ready, context: Some(2048), size_bytes: Some(1) }
}

pub fn record(node: &Node) -> PeerRecord {
    record_of(node.id, if node.slots > 0 { &[MODEL] } else { &[] }, node.slots)
}

pub fn record_of(id: NodeId, models: &[&str], slots: usize) -> PeerRecord {
    PeerRecord {
        node_id: id,
        public_key: id,
        wg_public_key: None,
        display_name: "a node".into(),
        capabilities: NodeCapabilities {
            hardware: hardware(),
            loaded_models: models.iter().map(|model| (*model).to_owned()).collect(),
            max_model_size_gb: 12.0,
            is_available: !models.is_empty(),
            ptn_ids: None,
            swappable_models: None,
            max_concurrent_requests: Some(slots as u32),
            effective_context: None,
            on_ac_power: None,
            extra: Extra::new(),
        },
        last_seen: AppleDate::from_unix_seconds(0.0),
        nat_type: "unknown".into(),
        endpoints: Vec::new(),
        extra: Extra::new(),
    }
}
