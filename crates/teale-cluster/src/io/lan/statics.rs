//! Peers given by address: dialled until they answer, and again whenever their link is gone.

use std::{sync::Arc, time::Duration};

use teale_relay_client::Security;
use teale_wire::{AppleDate, Extra, HardwareCapability, NodeCapabilities, NodeId, PeerRecord};
use tokio::time::Instant;

use super::{dial, inner::Inner};
use crate::{
    LinkError, LinkPath,
    lan::{Retry, Target, address_node_id},
};

/// A link that came from the other side, or was opened for a request, is looked for this often.
const LOOK: Duration = Duration::from_secs(1);

/// Keeps a link to one of them, until the end.
pub(super) async fn keep(inner: Arc<Inner>, number: usize) {
    let mut retry = Retry::default();
    loop {
        let began = Instant::now();
        match connect(&inner, number).await {
            Ok(node) => {
                gone(&inner, node).await;
                retry.ended(inner.now().monotonic, began.elapsed(), rand::random());
                inner.host.peers_lost(node, LinkPath::Lan);
            }
            Err(error) => {
                let message = error.to_string();
                let mut state = inner.state();
                if let Some(known) = state.statics.get_mut(number) {
                    if known.error.as_ref() != Some(&message) {
                        tracing::warn!(peer = %known.peer, error = message, "a peer given by address is not reached");
                    }
                    known.error = Some(message);
                }
                drop(state);
                retry.failed(inner.now().monotonic, rand::random());
            }
        }
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = tokio::time::sleep_until(inner.instant(retry.at())) => {}
        }
    }
}

async fn connect(inner: &Arc<Inner>, number: usize) -> Result<NodeId, LinkError> {
    let (peer, sealed_before) = {
        let state = inner.state();
        let Some(known) = state.statics.get(number) else { return Err(LinkError::Closed) };
        (known.peer.clone(), known.sealed_before)
    };
    let addresses = dial::resolve(&peer).await?;
    let target =
        |address| Target::Address { nameless: address_node_id(address), expected: peer.node, sealed_before };
    let connecting = dial::first(inner, &addresses, target);
    let (address, carried) = tokio::select! {
        () = inner.stop.cancelled() => return Err(LinkError::Closed),
        connected = connecting => connected?,
    };
    let (node, security) = (carried.peer, carried.security);
    let sealed = matches!(security, Security::Sealed { .. });
    let mut state = inner.state();
    if let Some(known) = state.statics.get_mut(number) {
        (known.node, known.address, known.error) = (Some(node), Some(address), None);
        known.sealed_before |= sealed;
    }
    drop(state);
    tracing::info!(%peer, %node, "a peer given by address is there");
    let key = inner.terms.policy.known.get(node).filter(|_| sealed);
    inner.host.adopt(carried);
    let wg = key.map(|known| known.key.to_hex());
    inner.host.peers_found(vec![record(node, wg, &peer.to_string(), unknown_hardware())], LinkPath::Lan);
    Ok(node)
}

/// Waits until no link to the node is left.
async fn gone(inner: &Inner, node: NodeId) {
    loop {
        let changed = inner.links_changed.notified();
        if !inner.state().live.contains_key(&node) {
            return;
        }
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = changed => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// A peer in the form in which carriers tell of peers.
pub(super) fn record(
    node: NodeId,
    wg: Option<String>,
    name: &str,
    hardware: HardwareCapability,
) -> PeerRecord {
    PeerRecord {
        node_id: node,
        public_key: node,
        wg_public_key: wg,
        display_name: name.to_owned(),
        capabilities: NodeCapabilities {
            max_model_size_gb: hardware.ram_for_models_gb(),
            hardware,
            loaded_models: Vec::new(),
            is_available: true,
            ptn_ids: None,
            swappable_models: None,
            max_concurrent_requests: None,
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

pub(super) fn unknown_hardware() -> HardwareCapability {
    hardware(String::new(), 0.0)
}

pub(super) fn hardware(chip_name: String, total_ram_gb: f64) -> HardwareCapability {
    HardwareCapability {
        chip_family: "unknown".into(),
        chip_name,
        total_ram_gb,
        gpu_core_count: 0,
        memory_bandwidth_gbs: 0.0,
        tier: 2,
        gpu_backend: None,
        platform: None,
        gpu_vram_gb: None,
        extra: Extra::new(),
    }
}
