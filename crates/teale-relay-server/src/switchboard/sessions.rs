//! The relayed sessions of one socket, so that its peers can be told when it leaves.

use std::collections::BTreeMap;

use teale_wire::SessionId;

use super::SocketId;

/// Sessions that are open, by the socket at the other end and the session's id.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// The value is the order of opening for sessions this socket opened, `None` for those others opened.
    open: BTreeMap<(SocketId, SessionId), Option<u64>>,
    opened: usize,
}

impl Sessions {
    /// How many of them this socket opened.
    pub(super) fn opened(&self) -> usize {
        self.opened
    }

    pub(super) fn contains(&self, peer: SocketId, session: &SessionId) -> bool {
        self.open.contains_key(&(peer, session.clone()))
    }

    pub(super) fn insert(&mut self, peer: SocketId, session: SessionId, order: Option<u64>) {
        self.remove(peer, &session);
        self.opened += usize::from(order.is_some());
        self.open.insert((peer, session), order);
    }

    pub(super) fn remove(&mut self, peer: SocketId, session: &SessionId) -> bool {
        match self.open.remove(&(peer, session.clone())) {
            Some(order) => {
                self.opened -= usize::from(order.is_some());
                true
            }
            None => false,
        }
    }

    /// The session this socket opened first. Looks at all of them: for use at the bound only.
    pub(super) fn oldest_opened(&self) -> Option<(SocketId, SessionId)> {
        let opened = self.open.iter().filter_map(|(key, order)| order.map(|order| (order, key)));
        opened.min_by_key(|(order, _)| *order).map(|(_, key)| key.clone())
    }

    /// Every session, ended.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (SocketId, SessionId)> + use<> {
        self.opened = 0;
        std::mem::take(&mut self.open).into_keys()
    }
}
