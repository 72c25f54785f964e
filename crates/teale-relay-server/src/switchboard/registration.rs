//! Joining and leaving.

use std::time::Duration;

use teale_identity::signed;
use teale_wire::{Extra, NodeCapabilities, NodeId, Register, RegisterAck, RelayMessage};

use super::{Switchboard, complaint::Complaint, slots::SocketId, weight::weight};
use crate::websocket::CloseCode;

/// A node on its socket.
#[derive(Debug)]
pub(super) struct Registration {
    register: Register,
    /// The node answered this socket's challenge.
    proven: bool,
    expires: Duration,
    /// Where it stands in the list of registered sockets.
    pub(super) position: usize,
    /// About how long it is as JSON, in bytes.
    pub(super) size: usize,
}

impl Registration {
    pub(super) fn node(&self) -> NodeId {
        self.register.node_id
    }

    pub(super) fn display_name(&self) -> &str {
        &self.register.display_name
    }

    pub(super) fn wg_public_key(&self) -> Option<&str> {
        self.register.wg_public_key.as_deref()
    }

    pub(super) fn capabilities(&self) -> &NodeCapabilities {
        &self.register.capabilities
    }

    pub(super) fn expires(&self) -> Duration {
        self.expires
    }

    /// Whether this socket has shown the same signatures before: nodes register again every few seconds, and what
    /// was verified once need not be again.
    fn has_shown(&self, register: &Register) -> bool {
        let known = &self.register;
        known.signature == register.signature
            && (register.proof.is_none()
                || (register.proof == known.proof && register.wg_public_key == known.wg_public_key))
    }
}

impl Switchboard {
    pub(super) fn register(&mut self, now: Duration, id: SocketId, mut register: Register, size: usize) {
        // Nobody is told of these, so they are not kept.
        register.extra = Extra::new();
        match self.check(id, &register, size) {
            Ok(proven) => self.accept(now, id, register, proven, size),
            Err(why) => self.reject(id, Complaint::invalid_register(why)),
        }
    }

    /// Whether the registration may be, and whether it is proven.
    fn check(&self, id: SocketId, register: &Register, size: usize) -> Result<bool, &'static str> {
        let node = register.node_id;
        let Some(socket) = self.sockets.get(id) else { return Err("The socket is gone") };
        if size > self.limits.unregistered_frame_bytes || weight(register) > self.limits.registration_bytes {
            return Err("The registration is too long");
        }
        if register.public_key != node {
            return Err("publicKey and nodeID differ");
        }
        if socket.claimed.is_some_and(|claimed| claimed != node) {
            return Err("nodeID differs from the one in the address");
        }
        let known = socket.registration.as_deref();
        if known.is_some_and(|known| known.node() != node) {
            return Err("This socket is registered for another node");
        }
        if !known.is_some_and(|known| known.has_shown(register)) {
            signed::verify_register(node, &register.signature)
                .map_err(|_| "The signature does not verify")?;
            if let Some(proof) = &register.proof {
                let wg = register.wg_public_key.as_deref();
                signed::verify_register_proof(node, &socket.nonce, wg, proof)
                    .map_err(|_| "The proof does not answer this socket's challenge")?;
            }
        }
        // What a socket has proved it need not prove again.
        let proven = register.proof.is_some() || known.is_some_and(|known| known.proven);
        if self.require_proof && !proven {
            return Err("This relay requires a proof: answer its challenge");
        }
        let elsewhere = self.nodes.get(&node).filter(|other| **other != id);
        let elsewhere = elsewhere.and_then(|other| self.sockets.get(*other)?.registration.as_deref());
        if !proven && elsewhere.is_some_and(|other| other.proven) {
            return Err("The node is registered on another socket, which has proved to be it");
        }
        Ok(proven)
    }

    fn accept(&mut self, now: Duration, id: SocketId, mut register: Register, proven: bool, size: usize) {
        let node = register.node_id;
        let expires = now + self.limits.registration_ttl;
        let ttl_seconds = u32::try_from(self.limits.registration_ttl.as_secs()).unwrap_or(u32::MAX);
        if let Some(other) = self.nodes.get(&node).copied().filter(|other| *other != id) {
            self.close(other, CloseCode::RESTART, "the node registered on another socket");
        }
        let position = self.listed.len();
        let Some(socket) = self.sockets.get_mut(id) else { return };
        match &mut socket.registration {
            Some(known) => {
                // A refresh without proof keeps the proof, so that it is recognised when it comes again.
                if register.proof.is_none() && register.wg_public_key == known.register.wg_public_key {
                    register.proof = known.register.proof.take();
                }
                **known = Registration { register, proven, expires, position: known.position, size };
            }
            None => {
                let registration = Registration { register, proven, expires, position, size };
                socket.registration = Some(Box::new(registration));
                self.listed.push(id);
                self.nodes.insert(node, id);
                self.outputs.push_back(super::Output::Admitted(id));
            }
        }
        let registered_at = self.date(now);
        let ack = RegisterAck { node_id: node, registered_at, ttl_seconds, extra: Extra::new() };
        self.send(id, RelayMessage::RegisterAck(ack));
    }

    /// The node on this socket, if any, is no longer registered; its peers are told.
    pub(super) fn leave(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        let Some(registration) = socket.registration.take() else { return };
        let sessions = socket.sessions.drain();
        let node = registration.node();
        self.nodes.remove(&node);
        self.listed.swap_remove(registration.position);
        if let Some(moved) = self.listed.get(registration.position).copied() {
            self.set_position(moved, registration.position);
        }
        for (peer, session) in sessions {
            self.end_session(node, id, peer, session);
        }
    }

    pub(super) fn set_position(&mut self, id: SocketId, position: usize) {
        let socket = self.sockets.get_mut(id);
        if let Some(registration) = socket.and_then(|socket| socket.registration.as_mut()) {
            registration.position = position;
        }
    }
}
