//! The relayed sessions of one socket, so that its peers can be told when it leaves.

use std::collections::BTreeMap;

use teale_wire::SessionId;

use super::SocketId;

/// Sessions that are open, by the socket at the other end and the session's id.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// The value is the order of opening for sessions this socket opened, `None` for those others opened.
    open: BTreeMap<(SocketId, SessionId), Option<u64>>,
    /// The sessions this socket opened, by that order.
    opened: BTreeMap<u64, (SocketId, SessionId)>,
}

impl Sessions {
    /// How many of them this socket opened.
    pub(super) fn opened(&self) -> usize {
        self.opened.len()
    }

    pub(super) fn contains(&self, peer: SocketId, session: &SessionId) -> bool {
        self.open.contains_key(&(peer, session.clone()))
    }

    pub(super) fn insert(&mut self, peer: SocketId, session: SessionId, order: Option<u64>) {
        self.remove(peer, &session);
        if let Some(order) = order {
            self.opened.insert(order, (peer, session.clone()));
        }
        self.open.insert((peer, session), order);
    }

    pub(super) fn remove(&mut self, peer: SocketId, session: &SessionId) -> bool {
        match self.open.remove(&(peer, session.clone())) {
            Some(order) => {
                order.and_then(|order| self.opened.remove(&order));
                true
            }
            None => false,
        }
    }

    /// The session this socket opened first.
    pub(super) fn oldest_opened(&self) -> Option<(SocketId, SessionId)> {
        self.opened.first_key_value().map(|(_, key)| key.clone())
    }

    /// Every session, ended.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (SocketId, SessionId)> + use<> {
        self.opened.clear();
        std::mem::take(&mut self.open).into_keys()
    }
}
