//! What carriers and model sharing see of a running cluster.

use std::{fmt, sync::Weak};

use teale_relay_client::Security;
use teale_wire::{ClusterMessage, NodeId, PeerRecord};
use tokio::sync::mpsc;

use super::{link, shared::Shared};
use crate::{CarriedLink, ClusterEvent, Core, Input, LinkId, LinkPath, PeerView};

/// Messages of model sharing that wait for their driver. A link whose next one finds no place is not read meanwhile.
pub(crate) const SHARE_QUEUE: usize = 64;

/// A carrier's way to tell the cluster of links and peers. Does not keep the cluster alive.
#[derive(Clone)]
pub struct CarrierHost(Weak<Shared>);

impl fmt::Debug for CarrierHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CarrierHost")
    }
}

impl CarrierHost {
    pub(super) fn new(shared: Weak<Shared>) -> Self {
        Self(shared)
    }

    /// A link that a peer opened, or one that was opened unasked ([`CarriedLink::initiator`] says which).
    pub fn adopt(&self, carried: CarriedLink) {
        if let Some(shared) = self.0.upgrade() {
            link::spawn(&shared, carried);
        }
    }

    /// News of a discovery: these peers are there. What is found on the local network gets a link at once.
    pub fn peers_found(&self, records: Vec<PeerRecord>, path: LinkPath) {
        if let Some(shared) = self.0.upgrade() {
            shared.handle(Input::Peers { path, records });
            shared.changed();
        }
    }

    /// A peer is not there any more on this way. Links that are up stay.
    pub fn peers_lost(&self, peer: NodeId, path: LinkPath) {
        if let Some(shared) = self.0.upgrade() {
            shared.handle(Input::PeerLost { peer, path });
            shared.changed();
        }
    }

    /// Counts a handshake, packet or stranger that was refused, and tells of it.
    pub fn refused(&self, peer: NodeId, reason: String) {
        if let Some(shared) = self.0.upgrade() {
            shared.count_rejected();
            self.tell(ClusterEvent::Refused { node: peer, reason });
        }
    }

    /// Tells of something.
    pub fn tell(&self, event: ClusterEvent) {
        if let Some(shared) = self.0.upgrade() {
            let _ = shared.events.send(event); // Nobody listening is fine.
        }
    }

    /// Wants a link to a peer: opens one unless there is one.
    pub fn reach(&self, peer: NodeId) {
        if let Some(shared) = self.0.upgrade() {
            shared.handle(Input::Reach { peer });
        }
    }

    /// Peers, from memory.
    pub(super) fn peers(&self) -> Vec<PeerView> {
        self.0.upgrade().map(|shared| shared.look(Core::peers)).unwrap_or_default()
    }

    /// The link in use with a peer.
    pub fn link_of(&self, peer: NodeId) -> Option<(LinkId, LinkPath, Security)> {
        self.0.upgrade()?.look(|core| core.link_of(peer))
    }

    /// Sends a message of model sharing ahead of bulk, on the link in use with a peer.
    ///
    /// # Errors
    /// [`LinkGone`] when there is none.
    pub fn share_send(&self, peer: NodeId, message: ClusterMessage) -> Result<LinkId, LinkGone> {
        self.0.upgrade().ok_or(LinkGone)?.share_send(peer, message)
    }

    /// Sends a message on a link once nothing else waits there and there is room. Cancelling it sends nothing.
    ///
    /// # Errors
    /// [`LinkGone`] when the link is gone, also while it waits.
    pub async fn bulk(&self, link: LinkId, message: ClusterMessage) -> Result<(), LinkGone> {
        let mut message = Some(message);
        loop {
            // The cluster is not kept alive while room is waited for.
            let shared = self.0.upgrade().ok_or(LinkGone)?;
            let room = shared.bulk_room(link).ok_or(LinkGone)?;
            let notified = room.notified();
            if shared.bulk(link, &mut message)? {
                return Ok(());
            }
            drop(shared);
            notified.await;
        }
    }

    /// Gives model sharing's messages to whoever reads the receiver, from now on. Bounded by 64; links whose messages
    /// find no place are not read meanwhile, so keep reading. A second call takes them away from the first reader.
    pub fn take_sharing(&self) -> mpsc::Receiver<ShareNews> {
        let (sender, receiver) = mpsc::channel(SHARE_QUEUE);
        if let Some(shared) = self.0.upgrade() {
            shared.set_share(sender);
        }
        receiver
    }
}

/// What model sharing hears.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are messages, and a place for each is kept anyway"
)]
pub enum ShareNews {
    /// A message arrived.
    Message {
        /// Where.
        link: LinkId,
        /// From whom.
        peer: NodeId,
        /// How it came.
        path: LinkPath,
        /// How it was protected.
        security: Security,
        /// Whether answers to this node's own requests come on the same link.
        beside_answers: bool,
        /// What.
        message: ClusterMessage,
    },
    /// A link is gone; the last that is said of it.
    LinkDown {
        /// Which.
        link: LinkId,
        /// With whom.
        peer: NodeId,
    },
}

/// There is no such link, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link to the peer is gone")]
pub struct LinkGone;
