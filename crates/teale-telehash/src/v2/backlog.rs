//! What waits for a session's window: packets, and bodies that are cut into packets only when they go.

use std::collections::VecDeque;

use bytes::Bytes;
use teale_wire::telehash::Packet;

use super::bounds;

/// A request or response on its way out. Its packets share a tid, the last one says `done`.
#[derive(Debug)]
pub(super) struct Outgoing {
    tid: String,
    /// The packet that begins it, until it has gone.
    head: Option<Packet>,
    head_room: usize,
    rest_room: usize,
    body: Bytes,
}

impl Outgoing {
    /// `head` has the tid and all keys of the first packet; `None` if it does not fit.
    pub(super) fn new(head: Packet, body: Bytes) -> Option<Self> {
        let tid = head.tid.clone()?;
        let room = |packet: Packet| {
            let room = Packet { done: true, ..packet }.room().ok()?;
            room.checked_sub(bounds::TRANSPORT_ROOM)
        };
        let head_room = room(head.clone())?;
        let rest_room = room(Packet { tid: head.tid.clone(), ..Packet::default() })?;
        Some(Self { tid, head: Some(head), head_room, rest_room, body })
    }

    /// The next packet; the one that says `done` is the last.
    fn next(&mut self) -> Packet {
        let (packet, room) = match self.head.take() {
            Some(head) => (head, self.head_room),
            None => (Packet { tid: Some(self.tid.clone()), ..Packet::default() }, self.rest_room),
        };
        let body = self.body.split_to(room.min(self.body.len()));
        Packet { done: self.body.is_empty(), body, ..packet }
    }
}

/// Packets first, then bodies in turn.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    packets: VecDeque<Packet>,
    bodies: VecDeque<Outgoing>,
}

impl Backlog {
    /// Takes a packet; false if too many wait.
    pub(super) fn push(&mut self, packet: Packet) -> bool {
        let room = self.packets.len() < bounds::WAITING;
        if room {
            self.packets.push_back(packet);
        }
        room
    }

    /// The same for a packet somebody else sent.
    pub(super) fn push_relayed(&mut self, packet: Packet) -> bool {
        self.has_room_for_relayed() && self.push(packet)
    }

    /// Whether it would take one.
    pub(super) fn has_room_for_relayed(&self) -> bool {
        self.packets.len() < bounds::WAITING_RELAYED
    }

    /// Takes a body. How many there are at once is bounded by those who count threads.
    pub(super) fn push_body(&mut self, body: Outgoing) {
        self.bodies.push_back(body);
    }

    /// Bodies under way.
    pub(super) fn bodies(&self) -> usize {
        self.bodies.len()
    }

    /// What is left of them, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bodies.iter().map(|body| body.body.len()).sum()
    }

    /// Forgets what is left of a thread.
    pub(super) fn forget(&mut self, tid: &str) {
        self.bodies.retain(|body| body.tid != tid);
    }

    /// What goes next.
    pub(super) fn next(&mut self) -> Option<Packet> {
        if let Some(packet) = self.packets.pop_front() {
            return Some(packet);
        }
        let mut body = self.bodies.pop_front()?;
        let packet = body.next();
        if !packet.done {
            self.bodies.push_back(body);
        }
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use teale_wire::telehash::Req;

    use super::*;

    fn outgoing(tid: &str, len: usize) -> Outgoing {
        let head =
            Packet { tid: Some(tid.into()), req: Some(Req::new("PUT", "http://x/")), ..Packet::default() };
        Outgoing::new(head, vec![7; len].into()).unwrap()
    }

    #[test]
    fn bodies_take_turns_and_end_with_done() {
        let mut backlog = Backlog::default();
        backlog.push_body(outgoing("a", 3000));
        backlog.push_body(outgoing("b", 0));
        let packets: Vec<Packet> = std::iter::from_fn(|| backlog.next()).collect();
        let tids: Vec<_> = packets.iter().map(|packet| packet.tid.as_deref().unwrap()).collect();
        assert_eq!(tids, ["a", "b", "a", "a"]);
        assert_eq!(packets.iter().map(|packet| packet.done).collect::<Vec<_>>(), [false, true, false, true]);
        assert_eq!(packets.iter().map(|packet| packet.body.len()).sum::<usize>(), 3000);
        assert!(packets.iter().all(|packet| packet.room().unwrap() >= bounds::TRANSPORT_ROOM));
        assert!(packets[2].req.is_none());
    }

    #[test]
    fn a_head_that_fits_no_packet_is_refused() {
        let req = Some(Req::new("GET", "x".repeat(1300)));
        let head = Packet { tid: Some("1".into()), req, ..Packet::default() };
        assert!(Outgoing::new(head, Bytes::new()).is_none());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut backlog = Backlog::default();
        let relayed = (0..100).filter(|_| backlog.push_relayed(Packet::default())).count();
        let all = (0..1000).filter(|_| backlog.push(Packet::default())).count();
        assert_eq!((relayed, relayed + all), (bounds::WAITING_RELAYED, bounds::WAITING));
    }
}
