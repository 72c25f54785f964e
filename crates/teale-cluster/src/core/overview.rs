//! What the core shows of itself.

use std::collections::BTreeMap;

use teale_relay_client::Security;

use super::Core;
use crate::{ClusterStatus, LoadState, ModelInfo, ModelView, PeerView};

impl Core {
    /// Peers, sorted by id.
    pub fn peers(&self) -> Vec<PeerView> {
        let view = |(node, peer): (_, &super::roster::Peer)| {
            let link = self.links.of(node).map(|(_, link)| link);
            let silent = link.is_some_and(|link| !link.is_healthy());
            let backing_off = link.is_none() && peer.backing_off(self.now.monotonic);
            let reason = peer
                .refusal()
                .or_else(|| silent.then_some("misses heartbeats"))
                .or_else(|| backing_off.then_some("could not be reached"));
            PeerView {
                node,
                name: peer.name.clone(),
                path: link.map(|link| link.path),
                paths: peer.paths(self.now.monotonic).collect(),
                encrypted: link.is_some_and(|link| matches!(link.security, Security::Sealed { .. })),
                verified: link
                    .is_some_and(|link| matches!(link.security, Security::Sealed { verified: true, .. })),
                handshake: link.and_then(|link| match &link.security {
                    Security::Sealed { handshake_hash, .. } => Some(hex::encode(handshake_hash)),
                    Security::Plaintext => None,
                }),
                models: peer.models.clone(),
                latency_ms: link
                    .and_then(|link| link.pulse.latency())
                    .map(|time| time.as_secs_f64() * 1000.0),
                heartbeats: link.map_or(0, |link| link.pulse.peer_beats()),
                heartbeat_gap_ms: link
                    .and_then(|link| link.pulse.longest_gap())
                    .map(|time| time.as_secs_f64() * 1000.0),
                healthy: reason.is_none(),
                reason: reason.map(str::to_owned),
                in_flight: peer.in_flight,
            }
        };
        self.roster.iter().map(view).collect()
    }

    /// Models, own and remote, sorted by id.
    pub fn models(&self) -> Vec<ModelView> {
        let mut views: BTreeMap<&str, ModelView> = BTreeMap::new();
        for model in &self.own.models {
            let ModelInfo { id, state, context, size_bytes } = model;
            let state = match state {
                LoadState::Loading => "loading".into(),
                LoadState::Ready => "ready".into(),
                LoadState::Failed(reason) => format!("failed: {reason}"),
            };
            let (id_text, nodes) = (id.clone(), Vec::new());
            let view = ModelView {
                id: id_text,
                local: true,
                state,
                context: *context,
                size_bytes: *size_bytes,
                nodes,
            };
            views.insert(id, view);
        }
        for (node, peer) in self.roster.iter().filter(|(_, peer)| peer.refusal().is_none()) {
            for model in &peer.models {
                let view = views.entry(model).or_insert_with(|| ModelView {
                    id: model.clone(),
                    local: false,
                    state: "ready".into(),
                    context: None,
                    size_bytes: None,
                    nodes: Vec::new(),
                });
                view.nodes.push(node);
            }
        }
        views.into_values().collect()
    }

    /// Numbers.
    pub fn status(&self) -> ClusterStatus {
        let plaintext = self.links.iter().filter(|(_, link)| link.security == Security::Plaintext);
        ClusterStatus {
            slots: self.own.slots,
            slots_busy: self.slots_busy,
            queued: self.queue.len(),
            detached: self.jobs.values().filter(|job| job.waits_for_asker()).count(),
            links: self.links.len(),
            plaintext_links: plaintext.count(),
            rejected: self.counters.rejected,
            served: self.counters.served,
            asked: self.counters.asked,
        }
    }

    /// Chunks that arrived for requests nobody made.
    pub fn strays(&self) -> u64 {
        self.counters.strays
    }

    /// Counts a refusal that the carrier saw.
    pub fn count_rejected(&mut self) {
        self.counters.rejected += 1;
    }
}
