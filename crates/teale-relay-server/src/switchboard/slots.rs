//! The sockets, by small ids that are never mistaken for a later socket's.

use std::time::Duration;

use teale_wire::NodeId;

use super::{rate::Rates, registration::Registration, sessions::Sessions};

/// Names a socket while it lives. The place may be used again, with another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId {
    index: u32,
    generation: u32,
}

impl SocketId {
    /// A small number that no other living socket has: an index for a table of the caller's.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// What the relay knows of one socket.
#[derive(Debug)]
pub(super) struct Socket {
    /// What the `node` query parameter named.
    pub(super) claimed: Option<NodeId>,
    /// The challenge's nonce.
    pub(super) nonce: String,
    /// Since when it has no registration.
    pub(super) unregistered_since: Duration,
    /// The last sign of life.
    pub(super) heard: Duration,
    /// The key of its one timer.
    pub(super) timer: Duration,
    pub(super) rates: Rates,
    pub(super) last_discover: Option<Duration>,
    pub(super) registration: Option<Box<Registration>>,
    pub(super) sessions: Sessions,
    /// Where its last frame went: bursts go to one target.
    pub(super) last_route: Option<(NodeId, SocketId)>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    socket: Option<Box<Socket>>,
}

/// A table of sockets.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    count: usize,
}

impl Slots {
    /// `None` when `limit` sockets are there.
    pub(super) fn insert(&mut self, socket: Socket, limit: usize) -> Option<SocketId> {
        if self.count >= limit {
            return None;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot::default());
                index
            }
        };
        let slot = self.slots.get_mut(index as usize)?;
        slot.socket = Some(Box::new(socket));
        self.count += 1;
        Some(SocketId { index, generation: slot.generation })
    }

    pub(super) fn get(&self, id: SocketId) -> Option<&Socket> {
        let slot = self.slots.get(id.index())?;
        if slot.generation == id.generation { slot.socket.as_deref() } else { None }
    }

    pub(super) fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        let slot = self.slots.get_mut(id.index())?;
        if slot.generation == id.generation { slot.socket.as_deref_mut() } else { None }
    }

    pub(super) fn remove(&mut self, id: SocketId) -> Option<Box<Socket>> {
        let slot = self.slots.get_mut(id.index())?;
        if slot.generation != id.generation {
            return None;
        }
        let socket = slot.socket.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        self.count -= 1;
        Some(socket)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}
