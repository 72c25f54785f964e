//! Who is there?

use std::time::Duration;

use rand::RngExt;
use teale_wire::{Discover, DiscoverFilter, DiscoverResponse, Extra, PeerRecord, RelayMessage, limits};

use super::{
    Switchboard,
    complaint::Complaint,
    registration::Registration,
    slots::{Socket, SocketId},
};
use crate::limits::DISCOVER_SLACK;

/// What the relay adds to a registration when it tells of it, at most, in bytes.
const RECORD_OVERHEAD: usize = 256;

impl Switchboard {
    pub(super) fn discover(&mut self, now: Duration, id: SocketId, discover: &Discover) {
        if self.node_of(id) != Some(discover.requesting_node_id) {
            return self.reject(id, Complaint::foreign_sender());
        }
        let Some(socket) = self.sockets.get_mut(id) else { return };
        let interval = self.limits.discover_interval.saturating_sub(DISCOVER_SLACK);
        let next = socket.last_discover.map_or(Duration::ZERO, |last| last + interval);
        if now < next {
            return self.complain(id, Complaint::discover_too_soon(next - now));
        }
        socket.last_discover = Some(now);
        let peers = self.sample(id, discover.filter.as_ref());
        self.send(id, RelayMessage::DiscoverResponse(DiscoverResponse { peers, extra: Extra::new() }));
    }

    /// A uniform sample of the matching nodes, in random order: the list is shuffled only as far as it is read.
    fn sample(&mut self, asking: SocketId, filter: Option<&DiscoverFilter>) -> Vec<PeerRecord> {
        let most = filter.and_then(|filter| filter.max_peers);
        let most =
            most.map_or(limits::DISCOVER_PEERS_DEFAULT, |most| most as usize).min(limits::DISCOVER_PEERS);
        let mut room = limits::RELAY_FRAME - RECORD_OVERHEAD;
        let mut found = Vec::new();
        for next in 0..self.listed.len() {
            if found.len() >= most {
                break;
            }
            let chosen = self.rng.random_range(next..self.listed.len());
            let Some(id) = self.listed.get(chosen).copied() else { break };
            self.listed.swap(next, chosen);
            self.set_position(id, next);
            if let Some(moved) = self.listed.get(chosen).copied() {
                self.set_position(moved, chosen);
            }
            let Some(socket) = self.sockets.get(id).filter(|_| id != asking) else { continue };
            let Some(registration) = &socket.registration else { continue };
            if filter.is_some_and(|filter| !matches(filter, registration)) {
                continue;
            }
            let Some(left) = room.checked_sub(registration.size + RECORD_OVERHEAD) else { break };
            room = left;
            found.push(self.record(socket, registration));
        }
        found
    }

    fn record(&self, socket: &Socket, registration: &Registration) -> PeerRecord {
        PeerRecord {
            node_id: registration.node(),
            public_key: registration.node(),
            wg_public_key: registration.wg_public_key().map(str::to_owned),
            display_name: registration.display_name().to_owned(),
            capabilities: registration.capabilities().clone(),
            last_seen: self.date(socket.heard),
            nat_type: "unknown".into(),
            endpoints: Vec::new(),
            extra: Extra::new(),
        }
    }
}

fn matches(filter: &DiscoverFilter, registration: &Registration) -> bool {
    let capabilities = registration.capabilities();
    let hardware = &capabilities.hardware;
    filter.model_id.as_ref().is_none_or(|model| capabilities.loaded_models.contains(model))
        && filter.min_ram_gb.is_none_or(|least| hardware.total_ram_gb >= least)
        && filter.min_tier.is_none_or(|worst| hardware.tier <= worst)
}
