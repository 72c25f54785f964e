//! What the cluster shows of itself: to people, to the API, to tests.

use std::time::Duration;

use serde::Serialize;
use teale_relay_client::Security;
use teale_wire::NodeId;

/// How a link reaches its peer; the smaller, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkPath {
    /// No link: this node itself.
    Own,
    /// A TCP connection on the local network.
    Lan,
    /// A relayed session.
    Relay,
}

/// A peer, as this node sees it.
#[derive(Debug, Clone, Serialize)]
pub struct PeerView {
    /// Who.
    pub node: NodeId,
    /// For people.
    pub name: String,
    /// The link in use, if there is one.
    pub path: Option<LinkPath>,
    /// The ways on which it is known to be there, the best first.
    pub paths: Vec<LinkPath>,
    /// Whether the link is sealed.
    pub encrypted: bool,
    /// Whether the peer proved its id.
    pub verified: bool,
    /// The sealed link's handshake hash in hex: the same on both sides, unless somebody sits in between.
    pub handshake: Option<String>,
    /// Models that answer at once.
    pub models: Vec<String>,
    /// Round trip of the last heartbeat, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Heartbeats of the peer that arrived on the link.
    pub heartbeats: u64,
    /// The longest time between two of them, in milliseconds. A peer sends one every 5, 15 or 30 seconds.
    pub heartbeat_gap_ms: Option<f64>,
    /// Whether routing would use it, and if not, why.
    pub healthy: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Requests of ours in flight there.
    pub in_flight: usize,
}

/// A model, and who has it.
#[derive(Debug, Clone, Serialize)]
pub struct ModelView {
    /// Its id.
    pub id: String,
    /// Whether this node has it.
    pub local: bool,
    /// `ready`, `loading`, `failed: …`.
    pub state: String,
    /// Context in tokens, where known.
    pub context: Option<u32>,
    /// Size in bytes, where known.
    pub size_bytes: Option<u64>,
    /// Remote nodes that have it.
    pub nodes: Vec<NodeId>,
}

/// Numbers for `status` and metrics.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ClusterStatus {
    /// Slots of the own backend.
    pub slots: usize,
    /// Of them busy.
    pub slots_busy: usize,
    /// Requests that wait for a slot.
    pub queued: usize,
    /// Requests of peers whose link died, and ends of answers that their askers do not have yet.
    pub detached: usize,
    /// Links up.
    pub links: usize,
    /// Links in plaintext.
    pub plaintext_links: usize,
    /// Handshakes and packets refused since the start.
    pub rejected: u64,
    /// Requests served to others since the start.
    pub served: u64,
    /// Requests asked of others since the start.
    pub asked: u64,
}

/// News, for `demo`, logs and tests. Sent on a bounded broadcast: a slow reader misses some, nobody waits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClusterEvent {
    /// Registered with a relay.
    Registered {
        /// Its URL.
        relay: String,
    },
    /// Lost a relay.
    RelayLost {
        /// Its URL.
        relay: String,
        /// Why.
        reason: String,
        /// When the next attempt follows.
        retry_in: Duration,
    },
    /// A relay told of a peer not known before.
    Discovered {
        /// Who.
        node: NodeId,
        /// For people.
        name: String,
        /// Its models.
        models: Vec<String>,
    },
    /// A link is up.
    LinkUp {
        /// With whom.
        node: NodeId,
        /// How.
        path: LinkPath,
        /// Its protection.
        security: Security,
        /// Whether we opened it.
        initiator: bool,
    },
    /// A link is gone.
    LinkDown {
        /// With whom.
        node: NodeId,
        /// How it went.
        path: LinkPath,
        /// Why.
        reason: String,
    },
    /// A handshake, packet or message was refused.
    Refused {
        /// Of whom.
        node: NodeId,
        /// Why: a [`SessionError`](teale_relay_client::SessionError) or [`WireError`](teale_wire::WireError) in words.
        reason: String,
    },
    /// A request of ours goes on over another link.
    Moved {
        /// With whom.
        node: NodeId,
        /// The way it goes on.
        path: LinkPath,
    },
    /// Somebody else shows this node's own id: its identity file was copied.
    CopiedIdentity {
        /// Where it was seen, as the carrier names places.
        place: String,
    },
    /// A request got its slot at the own backend, or was sent to a peer for the first time.
    Started {
        /// Where: `None` for the own backend.
        node: Option<NodeId>,
        /// How long it waited on this node: for a slot, or for a link.
        waited: Duration,
    },
    /// A request of a peer ended.
    Served {
        /// Whose.
        node: NodeId,
        /// The model.
        model: String,
        /// Tokens of the answer.
        tokens: u64,
        /// `None` when it went well.
        error: Option<String>,
    },
}
