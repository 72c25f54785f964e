//! Model sharing's messages on their way through: control messages and bulk out, everything of it in.

use teale_relay_client::Security;
use teale_wire::{ClusterMessage, NodeId};

use super::{Core, LinkId, Output};
use crate::LinkPath;

/// Whether a message belongs to model sharing.
pub(crate) fn is_sharing(message: &ClusterMessage) -> bool {
    let kind = message.kind();
    matches!(kind, "modelQuery" | "modelQueryResponse") || kind.starts_with("modelTransfer")
}

impl Core {
    /// Whether a link takes another [`Input::Bulk`](super::Input::Bulk); `None` without such a link.
    pub fn bulk_has_room(&self, link: LinkId) -> Option<bool> {
        self.links.get(link).map(|link| link.outbox.bulk_has_room())
    }

    /// The link in use with a peer, and how it goes.
    pub fn link_of(&self, peer: NodeId) -> Option<(LinkId, LinkPath, Security)> {
        self.links.of(peer).map(|(id, link)| (id, link.path, link.security))
    }

    pub(super) fn reach(&mut self, peer: NodeId) {
        if self.links.of(peer).is_none() && !self.draining {
            self.open(peer);
        }
    }

    pub(super) fn share_send(&mut self, peer: NodeId, message: ClusterMessage) {
        match self.links.of(peer) {
            Some((link, _)) => self.send(link, message),
            None => self.out.push_back(Output::ShareUnsent { peer }),
        }
    }

    pub(super) fn bulk(&mut self, link: LinkId, message: ClusterMessage) {
        if let Some(entry) = self.links.get_mut(link) {
            entry.outbox.push_bulk(message);
            self.out.push_back(Output::Transmit(link));
        }
    }

    /// A message of model sharing came. Where there is a passcode, only members are heard.
    pub(super) fn share_received(&mut self, id: LinkId, message: ClusterMessage) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let (peer, path, security) = (link.peer, link.path, link.security);
        let beside_answers = !link.asks.is_empty();
        if self.config.passcode.is_some() && link.greeting != super::link::Greeting::Member {
            tracing::debug!(%peer, "model sharing before the passcode is known");
            return;
        }
        self.out.push_back(Output::Share { link: id, peer, path, security, beside_answers, message });
    }
}
