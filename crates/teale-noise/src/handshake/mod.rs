//! The handshake: two messages, one state each that is consumed by the next.

mod payload;
mod replay_guard;
mod suite;
#[cfg(test)]
mod vectors;

use std::fmt;

use bytes::Bytes;
use snow::HandshakeState;
use teale_identity::{Identity, NodeId, X25519Public};
use zeroize::Zeroize;

pub use self::{payload::IdentityProof, replay_guard::ReplayGuard};
use self::{
    payload::{Expected, PAYLOAD_MAX},
    suite::Entropy,
};
use crate::{
    NoiseError, Session,
    clock::{Now, Timestamp, TimestampSource},
    packet::{INITIATION_BYTE, REPLY_BYTE},
    session::SplitKeys,
};

/// AEAD tag, in bytes.
const TAG: usize = 16;
/// Message 1 without its payload: ephemeral key, sealed static key, tag of the payload.
const INITIATION_OVERHEAD: usize = 32 + 32 + TAG + TAG;
/// Message 2 without its payload: ephemeral key, tag of the payload.
const REPLY_OVERHEAD: usize = 32 + TAG;

/// The other end, as far as the handshake has shown it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) verified: bool,
    pub(crate) key: X25519Public,
}

/// Message 1 is written; message 2 is awaited. Dropping it forgets the ephemeral key.
#[must_use = "the handshake ends when this is dropped"]
pub struct AwaitingReply {
    state: Box<HandshakeState>,
    node: NodeId,
    key: X25519Public,
    proof: IdentityProof,
}

/// Message 1 was read and checked; nothing has been answered. Dropping it refuses the handshake in silence.
#[must_use = "the handshake ends when this is dropped"]
pub struct Incoming {
    state: Box<HandshakeState>,
    peer: Peer,
    timestamp: Timestamp,
    reply: ReplyPayload,
}

/// What the reply's payload will say of us, made while our identity was at hand; the time comes first.
struct ReplyPayload(Vec<u8>);

/// Starts a handshake with the node `peer`, whose X25519 key is said to be `peer_key`. Returns the packet for the
/// carrier: 0x01 and message 1.
///
/// The message always proves our own identity; `proof` says what is asked of the peer. Its timestamp comes from
/// `stamps`, which every handshake of this identity in this process shares.
///
/// # Errors
/// [`NoiseError::InvalidPublicKey`] for a `peer_key` of small order, [`NoiseError::NoRandomness`].
pub fn initiate(
    me: &Identity,
    peer: NodeId,
    peer_key: X25519Public,
    proof: IdentityProof,
    stamps: &TimestampSource,
    now: Now,
) -> Result<(AwaitingReply, Bytes), NoiseError> {
    let payload = payload::write(stamps.next(now.unix), Some(me));
    initiate_with(me, peer, peer_key, proof, &payload, Entropy::System)
}

fn initiate_with(
    me: &Identity,
    node: NodeId,
    key: X25519Public,
    proof: IdentityProof,
    payload: &[u8],
    entropy: Entropy,
) -> Result<(AwaitingReply, Bytes), NoiseError> {
    let mut state = Box::new(suite::initiator(me, &key, entropy)?);
    let packet = write_message(&mut state, INITIATION_BYTE, INITIATION_OVERHEAD, payload)?;
    Ok((AwaitingReply { state, node, key, proof }, packet))
}

/// Reads a packet with message 1 that came to us and, as the carrier says, from `peer`.
///
/// Nothing is remembered and nothing answered yet: see [`Incoming::accept`].
///
/// # Errors
/// [`NoiseError::InvalidMessage`] when it is no such packet, [`NoiseError::InvalidPublicKey`] for keys of small
/// order, [`NoiseError::HandshakeFailed`] when it was not made for our key or `peer` is not who made it.
pub fn respond(
    me: &Identity,
    peer: NodeId,
    packet: &[u8],
    proof: IdentityProof,
) -> Result<Incoming, NoiseError> {
    respond_with(me, Expected::Node(peer, proof), packet, reply_payload(me), Entropy::System)
}

/// Reads a packet with message 1 where the carrier does not say whose it is: [`Incoming::peer`] is who the sender
/// proves to be. A sender that proves nothing is nobody, and refused.
///
/// # Errors
/// As [`respond`].
pub fn respond_to_anyone(me: &Identity, packet: &[u8]) -> Result<Incoming, NoiseError> {
    respond_with(me, Expected::Anyone, packet, reply_payload(me), Entropy::System)
}

fn reply_payload(me: &Identity) -> ReplyPayload {
    ReplyPayload(payload::write(Timestamp::ZERO, Some(me)))
}

fn respond_with(
    me: &Identity,
    expected: Expected,
    packet: &[u8],
    reply: ReplyPayload,
    entropy: Entropy,
) -> Result<Incoming, NoiseError> {
    let mut state = Box::new(suite::responder(me, entropy)?);
    let payload = read_message(&mut state, INITIATION_BYTE, INITIATION_OVERHEAD, packet)?;
    let key = remote_static(&state)?;
    let (timestamp, node, verified) = payload::read(&payload, &key, expected)?;
    Ok(Incoming { state, peer: Peer { node, verified, key }, timestamp, reply })
}

impl AwaitingReply {
    /// Reads the packet with message 2. Its sender holds the key the handshake was started with; where it proves
    /// another node id, or none though one is required, the handshake is over.
    ///
    /// # Errors
    /// As [`respond`].
    pub fn finish(mut self, packet: &[u8], now: Now) -> Result<Session, NoiseError> {
        let payload = read_message(&mut self.state, REPLY_BYTE, REPLY_OVERHEAD, packet)?;
        let (_, _, verified) = payload::read(&payload, &self.key, Expected::Node(self.node, self.proof))?;
        let peer = Peer { node: self.node, verified, key: self.key };
        session(&mut self.state, peer, now)
    }

    /// The node the handshake is with.
    pub fn peer(&self) -> NodeId {
        self.node
    }
}

impl Incoming {
    /// The initiator, and whether it proved its id.
    pub fn peer(&self) -> (NodeId, bool) {
        (self.peer.node, self.peer.verified)
    }

    /// The initiator's static key.
    pub fn peer_key(&self) -> X25519Public {
        self.peer.key
    }

    /// The initiator's clock when it wrote message 1.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Checks the timestamp against the guard and answers: returns the session and the packet for the carrier, 0x02
    /// and message 2. The guard learns the timestamp only when all of this succeeded.
    ///
    /// # Errors
    /// [`NoiseError::ReplayDetected`] when a message with this or a later timestamp was accepted from this key,
    /// [`NoiseError::NoRandomness`].
    pub fn accept(mut self, guard: &mut ReplayGuard, now: Now) -> Result<(Session, Bytes), NoiseError> {
        if !guard.is_new(&self.peer.key, self.timestamp) {
            return Err(NoiseError::ReplayDetected);
        }
        let payload = self.reply.at(now.unix.into());
        let packet = write_message(&mut self.state, REPLY_BYTE, REPLY_OVERHEAD, &payload)?;
        let session = session(&mut self.state, self.peer, now)?;
        guard.record(self.peer.key, self.timestamp, now);
        Ok((session, packet))
    }
}

impl ReplyPayload {
    fn at(self, time: Timestamp) -> Vec<u8> {
        let mut payload = self.0;
        if let Some(start) = payload.first_chunk_mut() {
            *start = time.to_bytes();
        }
        payload
    }
}

fn write_message(
    state: &mut HandshakeState,
    kind: u8,
    overhead: usize,
    payload: &[u8],
) -> Result<Bytes, NoiseError> {
    let mut packet = vec![0; 1 + overhead + payload.len()];
    let (first, message) = packet.split_first_mut().ok_or(NoiseError::InvalidMessage)?;
    *first = kind;
    let written = state.write_message(payload, message)?;
    packet.truncate(1 + written);
    Ok(packet.into())
}

fn read_message(
    state: &mut HandshakeState,
    kind: u8,
    overhead: usize,
    packet: &[u8],
) -> Result<Vec<u8>, NoiseError> {
    let Some((&first, message)) = packet.split_first() else { return Err(NoiseError::InvalidMessage) };
    let room = message.len().checked_sub(overhead).ok_or(NoiseError::InvalidMessage)?;
    if first != kind || room > PAYLOAD_MAX {
        return Err(NoiseError::InvalidMessage);
    }
    let mut payload = vec![0; room];
    let read = state.read_message(message, &mut payload)?;
    payload.truncate(read);
    Ok(payload)
}

fn remote_static(state: &HandshakeState) -> Result<X25519Public, NoiseError> {
    let key = state.get_remote_static().and_then(|key| key.try_into().ok());
    key.map(X25519Public).ok_or(NoiseError::InvalidPublicKey)
}

fn session(state: &mut HandshakeState, peer: Peer, now: Now) -> Result<Session, NoiseError> {
    let hash = state.get_handshake_hash().try_into();
    let hash = hash.map_err(|_| NoiseError::HandshakeFailed("the handshake hash is not 32 bytes"))?;
    let (mut initiator_sends, mut responder_sends) = state.dangerously_get_raw_split();
    let keys = if state.is_initiator() {
        SplitKeys { send: &initiator_sends, receive: &responder_sends }
    } else {
        SplitKeys { send: &responder_sends, receive: &initiator_sends }
    };
    let session = Session::new(&keys, peer, hash, now.monotonic);
    initiator_sends.zeroize();
    responder_sends.zeroize();
    session
}

impl fmt::Debug for AwaitingReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitingReply").field("peer", &self.node).finish_non_exhaustive()
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (peer, verified) = self.peer();
        let mut shown = f.debug_struct("Incoming");
        shown.field("peer", &peer).field("verified", &verified).finish_non_exhaustive()
    }
}
