//! The reliable part of a session: both directions, and the names they go by.

use std::time::Duration;

use bytes::Bytes;
use teale_wire::telehash::{Packet, Sid};

use super::{bounds, inbound::Inbound, outbound::Outbound, ports::CloseReason};

/// Two starts have met: packets have a sid and a seq now.
#[derive(Debug)]
pub(super) struct Channel {
    own_start: String,
    peer_start: String,
    sids: [Sid; 2],
    /// The answer to the peer's `start`, byte for byte, for when it was lost.
    reply: Option<Bytes>,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
}

impl Channel {
    /// Both sids name it; the first one is written.
    pub(super) fn new(own_start: String, peer_start: String, sids: [Sid; 2]) -> Self {
        let (inbound, outbound) = (Inbound::default(), Outbound::new());
        Self { own_start, peer_start, sids, reply: None, inbound, outbound }
    }

    pub(super) fn own_start(&self) -> &str {
        &self.own_start
    }

    pub(super) fn peer_start(&self) -> &str {
        &self.peer_start
    }

    pub(super) fn sids(&self) -> [Sid; 2] {
        self.sids
    }

    pub(super) fn reply(&self) -> Option<&Bytes> {
        self.reply.as_ref()
    }

    /// The answer to the peer's `start`: our first packet, seq 0.
    ///
    /// # Errors
    /// None in practice: there are numbers left.
    pub(super) fn answer(&mut self, now: Duration, packet: Packet) -> Result<Option<Bytes>, CloseReason> {
        let packet = Packet { start: Some(self.own_start.clone()), ..packet };
        self.reply = self.transmit(now, packet)?;
        Ok(self.reply.clone())
    }

    /// Numbers a packet and adds what was received so far, where that fits. `None` if the packet fits no datagram.
    ///
    /// # Errors
    /// There are no numbers left.
    pub(super) fn transmit(&mut self, now: Duration, packet: Packet) -> Result<Option<Bytes>, CloseReason> {
        let elicits = !packet.is_bookkeeping();
        let seq = self.outbound.next_seq().ok_or(CloseReason::Exhausted)?;
        let receipt = self.inbound.receipt();
        let mut packet = Packet { sid: Some(self.sids[0]), seq: Some(seq), receipt, ..packet };
        let bytes = match packet.encode() {
            Ok(bytes) => {
                self.inbound.reported(now);
                bytes
            }
            Err(_) => {
                packet.receipt = None;
                match packet.encode() {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        tracing::debug!(%error, "a packet was not sent");
                        return Ok(None);
                    }
                }
            }
        };
        self.outbound.sent(now, bytes.clone(), elicits);
        debug_assert!(self.outbound.unconfirmed() <= bounds::WINDOW + 1);
        Ok(Some(bytes))
    }
}
