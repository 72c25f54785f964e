//! The relay messages as one type.

use super::{
    Challenge, Discover, DiscoverResponse, IceCandidate, Offer, PeerNotice, Register, RegisterAck, RelayData,
    RelayErrorMessage, SessionRef,
};
use crate::{
    WireError,
    envelope::{self, Envelope, messages},
    limits,
    peek::too_many_values_in_relay_data,
};

messages! {
    /// One frame between a node and a relay.
    pub enum RelayMessage {
        /// Relay to node, right after the upgrade ("ours"; old clients ignore it).
        Challenge(Challenge) = "challenge",
        /// Node to relay.
        Register(Box<Register>) = "register",
        /// Relay to node.
        RegisterAck(RegisterAck) = "registerAck",
        /// Node to relay.
        Discover(Discover) = "discover",
        /// Relay to node.
        DiscoverResponse(DiscoverResponse) = "discoverResponse",
        /// Node to node.
        Offer(Offer) = "offer",
        /// Node to node.
        Answer(Offer) = "answer",
        /// Node to node.
        IceCandidate(IceCandidate) = "iceCandidate",
        /// Node to node.
        RelayOpen(SessionRef) = "relayOpen",
        /// Node to node.
        RelayReady(SessionRef) = "relayReady",
        /// Node to node.
        RelayData(RelayData) = "relayData",
        /// Node to node.
        RelayClose(SessionRef) = "relayClose",
        /// Relay to node. Deprecated.
        PeerJoined(PeerNotice) = "peerJoined",
        /// Relay to node. Deprecated.
        PeerLeft(PeerNotice) = "peerLeft",
        /// Relay to node.
        Error(RelayErrorMessage) = "error",
    }
}

const WHAT: &str = "a relay frame";

impl RelayMessage {
    /// Reads one frame's JSON text.
    ///
    /// # Errors
    /// [`WireError::TooBig`] above [`limits::RELAY_FRAME`], else what is wrong with the text and where.
    pub fn parse(frame: &[u8]) -> Result<Self, WireError> {
        let envelope = Envelope::open(frame, WHAT, limits::RELAY_FRAME)?;
        let raw = envelope.payload.get();
        let too_many = if envelope.kind == "relayData" {
            too_many_values_in_relay_data
        } else {
            envelope::too_many_values
        };
        envelope::few_values(raw, too_many)?;
        Self::read(&envelope.kind, raw)
    }

    /// Writes the frame's JSON text.
    ///
    /// # Errors
    /// [`WireError::TooBig`] (the caller's fault) above [`limits::RELAY_FRAME`].
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        if let Self::RelayData(data) = self
            && data.data.len() <= limits::RELAY_PAYLOAD
            && let Some(frame) = data.write()
        {
            return Ok(frame);
        }
        self.write(false, (WHAT, limits::RELAY_FRAME))
    }
}
