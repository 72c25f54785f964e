//! Who is where, and which links are opened: for requests, ahead of them, and for a better way than the present one.

use std::time::Duration;

use teale_relay_client::Security;
use teale_wire::{NodeId, PeerRecord};

use super::{
    CloseReason, Core, Output, Way, bounds,
    link::{Greeting, Link},
};
use crate::{ClusterEvent, LinkPath};

impl Core {
    pub(super) fn open_failed(&mut self, peer: NodeId, way: Way, reason: &str) {
        let (now, jitter) = (self.mono(), self.jitter());
        if way != Way::Any {
            if let Some(entry) = self.roster.get_mut(peer) {
                entry.bettering = false;
                entry.better.failed(now, jitter, bounds::BETTER_BACKOFF_MAX);
                let again = entry.better.at();
                self.wake_by(again);
            }
            tracing::debug!(%peer, reason, "no better link");
            return;
        }
        if self.links.of(peer).is_some() {
            if let Some(entry) = self.roster.get_mut(peer) {
                entry.opening = false;
            }
            return; // Another link came meanwhile.
        }
        if let Some(entry) = self.roster.get_mut(peer) {
            entry.opening = false;
            entry.failed(now, jitter);
        }
        tracing::debug!(%peer, reason, "no link");
        self.reroute_waiting_asks(peer, reason);
    }

    /// Opens a link unless one is there or on its way.
    pub(super) fn open(&mut self, peer: NodeId) {
        if let Some(entry) = self.roster.get_mut(peer)
            && !std::mem::replace(&mut entry.opening, true)
        {
            self.out.push_back(Output::Open { peer, way: Way::Any });
        }
    }

    /// Keeps links to some providers once this node is known to ask.
    pub(super) fn open_eager_links(&mut self) {
        if !self.eager || self.draining {
            return;
        }
        let now = self.mono();
        let kept = self.links.iter().filter(|(_, link)| !link.is_guest() && link.retiring.is_none()).count();
        let opening = self.roster.iter().filter(|(_, peer)| peer.opening).count();
        let room = bounds::EAGER_LINKS.saturating_sub(kept + opening);
        if room == 0 {
            return;
        }
        let wanted: Vec<NodeId> = self
            .roster
            .iter()
            .filter(|(id, peer)| {
                *id != self.config.node
                    && !peer.opening
                    && !peer.models.is_empty()
                    && peer.refusal().is_none()
                    && !peer.backing_off(now)
                    && self.links.of(*id).is_none()
            })
            .map(|(id, _)| id)
            .collect();
        for peer in self.sample(wanted, room) {
            self.open(peer);
        }
    }

    /// Looks for better links: to peers found on the local network there is always one. Of two nodes that find each
    /// other at once the one with the smaller id goes first.
    pub(super) fn open_better_links(&mut self) {
        if self.draining {
            return;
        }
        let now = self.mono();
        let near = |link: &Link| !link.is_guest() && link.path < LinkPath::Relay;
        let kept = self.links.iter().filter(|(_, link)| near(link)).count();
        let opening = self.roster.iter().filter(|(_, peer)| peer.bettering).count();
        let mut room = bounds::LAN_LINKS.saturating_sub(kept + opening);
        let mut wake = Duration::MAX;
        let mut wanted = Vec::new();
        for (id, peer) in self.roster.iter() {
            let lacks = peer.paths(now).next().is_some_and(|best| best < LinkPath::Relay)
                && !peer.bettering
                && !self.links.with(id).any(|(_, link)| near(link));
            if lacks && peer.better.waits(now) {
                wake = wake.min(peer.better.at());
            } else if lacks && room > 0 {
                room -= 1;
                wanted.push(id);
            }
        }
        for peer in wanted {
            if let Some(entry) = self.roster.get_mut(peer) {
                entry.bettering = true;
            }
            self.out.push_back(Output::Open { peer, way: Way::Better(LinkPath::Relay) });
        }
        self.wake_by(wake);
    }

    pub(super) fn peers_seen(&mut self, path: LinkPath, records: &[PeerRecord]) {
        let (now, me) = (self.mono(), self.config.node);
        for record in records.iter().filter(|record| record.node_id != me) {
            let id = record.node_id;
            if record.wg_public_key.is_some() {
                self.close_plaintext(id);
            }
            let links = &self.links;
            let is_linked = |peer| links.with(peer).any(|(_, link)| link.greeting == Greeting::Member);
            let was_there =
                self.roster.get(id).is_some_and(|peer| peer.paths(now).any(|known| known == path));
            let is_new = self.roster.discovered(record, path, now, is_linked);
            let Some(peer) = self.roster.get_mut(id) else { continue };
            if !was_there && path < LinkPath::Relay {
                peer.better.reset(if me < id { now } else { now + bounds::LAN_TURN });
            }
            if is_new {
                let (name, models) = (peer.name.clone(), peer.models.clone());
                self.event(ClusterEvent::Discovered { node: id, name, models });
            }
        }
        self.open_better_links();
        self.open_eager_links();
    }

    pub(super) fn peer_lost(&mut self, peer: NodeId, path: LinkPath) {
        if let Some(entry) = self.roster.get_mut(peer) {
            entry.lost(path);
        }
    }

    /// A peer that turns out to have a key is not spoken to in plaintext any more: whoever opened such a link before
    /// need not have been the peer.
    fn close_plaintext(&mut self, peer: NodeId) {
        let plain = self.links.with(peer).filter(|(_, link)| link.security == Security::Plaintext);
        for link in plain.map(|(id, _)| id).collect::<Vec<_>>() {
            self.close_link(link, CloseReason::Plaintext);
        }
    }
}
