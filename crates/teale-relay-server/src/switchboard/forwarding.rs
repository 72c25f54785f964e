//! From node to node.

use std::time::Duration;

use teale_wire::{Extra, NodeId, PeekedKind, RelayMessage, SessionId, SessionRef};

use super::{DropReason, Output, Route, Switchboard, complaint::Complaint, slots::SocketId};
use crate::limits::COMPLAINT_INTERVAL;

impl Switchboard {
    pub(super) fn forward(&mut self, id: SocketId, route: Route<'_>) {
        let Route::Forward { kind, from, to, session, frames, len } = route else { return };
        match self.node_of(id) {
            Some(node) if node == from => {}
            Some(_) => return self.reject(id, Complaint::foreign_sender()),
            None => return self.reject(id, Complaint::register_first()),
        }
        let Some(target) = self.find(id, to) else {
            self.count_drops(DropReason::PeerNotFound, frames);
            return self.complain(id, Complaint::not_connected(to));
        };
        self.forwarded.frames += u64::from(frames);
        self.forwarded.bytes += len as u64;
        self.outputs.push_back(Output::Forward(target));
        match kind {
            PeekedKind::RelayOpen => self.open_session(id, target, session),
            PeekedKind::RelayClose => {
                self.close_session(id, target, &session);
            }
            _ => {}
        }
    }

    /// The socket a node is registered on.
    fn find(&mut self, asking: SocketId, node: NodeId) -> Option<SocketId> {
        if let Some((last_node, last)) = self.sockets.get(asking)?.last_route
            && last_node == node
            && self.node_of(last) == Some(node)
        {
            return Some(last);
        }
        let found = *self.nodes.get(&node)?;
        self.sockets.get_mut(asking)?.last_route = Some((node, found));
        Some(found)
    }

    fn open_session(&mut self, opener: SocketId, target: SocketId, session: SessionId) {
        let Some(sessions) = self.sockets.get(opener).map(|socket| &socket.sessions) else { return };
        if sessions.contains(target, &session) {
            return;
        }
        if sessions.opened() >= self.limits.sessions_per_node || self.session_count >= self.limits.sessions {
            let Some((peer, oldest)) = sessions.oldest_opened() else { return };
            self.close_session(opener, peer, &oldest);
        }
        self.session_order += 1;
        self.session_count += 1;
        if let Some(socket) = self.sockets.get_mut(opener) {
            socket.sessions.insert(target, session.clone(), Some(self.session_order));
        }
        // A session with oneself has one entry.
        if target != opener
            && let Some(socket) = self.sockets.get_mut(target)
        {
            socket.sessions.insert(opener, session, None);
        }
    }

    /// Forgets a session; false when it was not known.
    fn close_session(&mut self, a: SocketId, b: SocketId, session: &SessionId) -> bool {
        let known = self.sockets.get_mut(a).is_some_and(|socket| socket.sessions.remove(b, session));
        if known {
            self.session_count -= 1;
            if let Some(socket) = self.sockets.get_mut(b) {
                socket.sessions.remove(a, session);
            }
        }
        known
    }

    /// `gone` has left a session whose entry it no longer has: its peer is told.
    pub(super) fn end_session(
        &mut self,
        gone: NodeId,
        gone_id: SocketId,
        peer: SocketId,
        session: SessionId,
    ) {
        self.session_count -= 1;
        if let Some(socket) = self.sockets.get_mut(peer) {
            socket.sessions.remove(gone_id, &session);
        }
        if let Some(node) = self.node_of(peer) {
            self.send(peer, relay_close(gone, node, session));
        }
    }

    /// A session that lost a frame is closed on both sides, so that nobody takes what follows for the whole.
    pub(super) fn undelivered(&mut self, now: Duration, id: SocketId, target: SocketId, route: &Route<'_>) {
        let Route::Forward { from, to, session, .. } = route else { return };
        if self.close_session(id, target, session) {
            self.send(id, relay_close(*to, *from, session.clone()));
            self.send(target, relay_close(*from, *to, session.clone()));
        }
        let Some(socket) = self.sockets.get_mut(id) else { return };
        if socket.rates.notice_due(now, COMPLAINT_INTERVAL) {
            self.complain(id, Complaint::target_too_slow(*to, COMPLAINT_INTERVAL));
        }
    }
}

fn relay_close(from: NodeId, to: NodeId, session: SessionId) -> RelayMessage {
    RelayMessage::RelayClose(SessionRef { from, to, session, extra: Extra::new() })
}
