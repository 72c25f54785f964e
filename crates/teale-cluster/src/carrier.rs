//! What carries links: relays, the LAN, and whatever comes later look the same from here.
//!
//! A carrier hands over links of whole cluster messages, in order, with their protection settled. It never looks into
//! a message, and nothing above it knows what a link is made of.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use teale_relay_client::{Security, SessionError};
use teale_wire::NodeId;
use thiserror::Error;

use crate::LinkPath;

/// One open link as a carrier hands it over: ordered messages of one peer, proved or marked unproved.
pub struct CarriedLink {
    /// With whom, as far as `security` says that it was proved.
    pub peer: NodeId,
    /// Which way.
    pub path: LinkPath,
    /// Its protection.
    pub security: Security,
    /// Whether this node opened it.
    pub initiator: bool,
    /// Messages out. When both halves are dropped the link is closed.
    pub sender: Box<dyn LinkSender>,
    /// Messages in.
    pub receiver: Box<dyn LinkReceiver>,
}

impl fmt::Debug for CarriedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CarriedLink")
            .field("peer", &self.peer)
            .field("path", &self.path)
            .field("security", &self.security)
            .field("initiator", &self.initiator)
            .finish_non_exhaustive()
    }
}

/// A link's sending half.
#[async_trait]
pub trait LinkSender: Send + 'static {
    /// Sends one encoded cluster message; waits for room. Cancel-safe: a future dropped while it waits has sent
    /// nothing, and a message that was begun is finished in order by the carrier.
    ///
    /// # Errors
    /// [`LinkError::TooBig`] for a message that cannot be sent (the link goes on), otherwise why the link ended.
    async fn send(&mut self, message: Bytes) -> Result<(), LinkError>;

    /// Bytes one message may have.
    fn limit(&self) -> usize;

    /// Closes the link after what was sent before. Returns at once; nothing is sent after it.
    fn close(&mut self);
}

/// A link's receiving half.
#[async_trait]
pub trait LinkReceiver: Send + 'static {
    /// The next message. Cancelling it loses nothing.
    ///
    /// # Errors
    /// Why the link ended ([`LinkError::Closed`] for a normal end), once everything before it has been read.
    async fn recv(&mut self) -> Result<Bytes, LinkError>;
}

/// A way to peers.
#[async_trait]
pub trait Carrier: Send + Sync + 'static {
    /// Which way it is.
    fn path(&self) -> LinkPath;

    /// Whether an attempt to reach this peer makes sense at present, from memory.
    fn reaches(&self, peer: NodeId) -> bool;

    /// Opens a link to a peer, proof of identity included. Bounded in time by the carrier; dropping the future gives
    /// the attempt up.
    ///
    /// # Errors
    /// Why there is none.
    async fn open(&self, peer: NodeId) -> Result<CarriedLink, LinkError>;

    /// Says goodbye and lets go of everything. Links that are up have been closed before.
    async fn shutdown(&self);
}

/// A link that could not be opened, or that ended. Holds no remote text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A link of relayed sessions, or the rules all carriers share: handshake, policy, packets.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The caller's: the message does not fit the carrier.
    #[error("a message of {got} bytes does not fit the link: at most {limit} bytes")]
    TooBig {
        /// Its size.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// Nobody's: no way to the peer is known, or nothing answers there.
    #[error("the peer cannot be reached: {0}")]
    Unreachable(String),
    /// The peer's: it broke a rule, or is not who it should be.
    #[error("refused: {0}")]
    Refused(String),
    /// The network's: the link broke.
    #[error("the link broke: {0}")]
    Lost(String),
    /// Nothing came in time.
    #[error("nothing came in time")]
    Timeout,
    /// The peer or we closed it.
    #[error("the link is closed")]
    Closed,
}
