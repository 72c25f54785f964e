//! The world without its machines: what is on its way, and to whom it comes next.

mod datagrams;
mod hosts;
mod life;
mod streams;

use std::{collections::VecDeque, net::SocketAddr};

use bytes::Bytes;

use self::{
    hosts::{Net, PairLine, Plug},
    life::Node,
    streams::Stream,
};
pub use self::{life::Crash, streams::StreamRules};
use crate::{
    Counters, Event, Link, NodeId, PlugId, StreamId,
    nat::{FixedMap, Table},
    queue::{Nanos, Queue, Slab},
    random::Random,
    trace::Trace,
};

/// Something due. Small, because worlds have many: what it is about lies elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    /// A node's deadline.
    Wake(NodeId),
    /// A datagram reaches the end of a hop.
    Packet(u32),
    /// The first piece that this end of a stream sent reaches the other.
    Piece(StreamId),
    /// This end of a stream may write again.
    Room(StreamId),
    /// Has what this end of a stream sent been stuck for too long?
    Stuck(StreamId),
    /// Does the other end still answer?
    Probe(StreamId),
}

/// A datagram on one hop.
#[derive(Debug)]
struct Packet {
    out: PlugId,
    into: PlugId,
    from: SocketAddr,
    to: SocketAddr,
    payload: Bytes,
}

#[derive(Debug)]
struct Nat {
    inside: PlugId,
    outside: PlugId,
    hairpin: bool,
    datagrams: Table,
    streams: Table,
}

/// Everything in a world that is not a machine.
#[derive(Debug)]
pub(crate) struct Fabric {
    pub(crate) now: Nanos,
    queue: Queue<What>,
    packets: Slab<Packet>,
    /// What is to be told at this very moment, before anything in the queue.
    ready: VecDeque<(NodeId, Event)>,
    nodes: Vec<Node>,
    plugs: Vec<Plug>,
    nets: Vec<Net>,
    nats: Vec<Nat>,
    links: Vec<Link>,
    /// Pairs of plugs with a link of their own.
    pairs: FixedMap<(PlugId, PlugId), PairLine>,
    streams: Vec<Option<Box<Stream>>>,
    rules: StreamRules,
    /// What waits for frozen nodes: how many bytes of datagrams, and what.
    frozen: FixedMap<NodeId, (usize, VecDeque<Event>)>,
    /// For links and NAT boxes.
    random: Random,
    /// For the machines, so that what they draw does not change what the network does.
    pub(crate) machines_random: Random,
    pub(crate) counters: Counters,
    pub(crate) trace: Trace,
}

impl Fabric {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let machines_random = random.fork();
        Self {
            now: 0,
            queue: Queue::new(),
            packets: Slab::new(),
            ready: VecDeque::new(),
            nodes: Vec::new(),
            plugs: Vec::new(),
            nets: Vec::new(),
            nats: Vec::new(),
            links: Vec::new(),
            pairs: FixedMap::default(),
            streams: Vec::new(),
            rules: StreamRules::default(),
            frozen: FixedMap::default(),
            random,
            machines_random,
            counters: Counters::default(),
            trace: Trace::default(),
        }
    }

    /// The next thing that a machine has to be told, if it happens until `limit`.
    pub(crate) fn advance(&mut self, limit: Nanos) -> Option<(NodeId, Event)> {
        loop {
            if let Some((node, event)) = self.ready.pop_front() {
                match self.admit(node, event) {
                    Some(event) => return Some((node, event)),
                    None => continue,
                }
            }
            let (at, what) = self.queue.pop_until(limit)?;
            self.now = at;
            self.counters.events += 1;
            let told = match what {
                What::Wake(node) => self.wake_due(node),
                What::Packet(slot) => self.packet_due(slot),
                What::Piece(end) => self.piece_due(end),
                What::Room(end) => self.room_due(end),
                What::Stuck(end) => self.stuck_due(end),
                What::Probe(end) => self.probe_due(end),
            };
            if told.is_some() {
                return told;
            }
        }
    }

    /// When something happens next, if anything is on its way.
    pub(crate) fn next_at(&self) -> Option<Nanos> {
        if self.ready.is_empty() { self.queue.next_at() } else { Some(self.now) }
    }

    /// Things on their way, timers included.
    pub(crate) fn pending(&self) -> usize {
        self.ready.len() + self.queue.len()
    }
}
