//! Streams: ordered and reliable as TCP's, with the ways in which those fail.

mod flow;
mod trouble;

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use bytes::Bytes;

use super::{Fabric, What, hosts::Owner};
use crate::{
    Event, NodeId, PlugId, StreamEnd, StreamEvent, StreamId, WriteError,
    link::nanos,
    queue::{NEVER, Nanos},
};

/// How streams behave, all of a world alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRules {
    /// Bytes that may be written and not yet read, each way. One write may go beyond.
    pub window: usize,
    /// How long what was written may stay undelivered because the way is cut, and how long connecting may take.
    pub give_up: Duration,
    /// How often an end looks whether the other still answers; after [`Self::give_up`] without it gives up. Without
    /// this a stream on which nothing is written notices nothing.
    pub keepalive: Option<Duration>,
    /// Cuts what is written into pieces of 1 to so many bytes, so that readers see messages in parts.
    pub segment: Option<usize>,
}

impl Default for StreamRules {
    /// 256 KiB under way, 60 s, no keepalive, pieces as written.
    fn default() -> Self {
        Self { window: 256 << 10, give_up: Duration::from_secs(60), keepalive: None, segment: None }
    }
}

#[derive(Debug)]
enum Piece {
    /// Asks for a stream; names the source as the target sees it, and the target as the target knows it.
    Syn(SocketAddr, SocketAddr),
    /// The target's system took it; its program has not heard yet.
    Incoming(SocketAddr, SocketAddr),
    /// The answer.
    Accepted,
    Data(Bytes),
    /// No more data.
    Fin,
    /// The other end is gone. Never sent twice: if it is lost, the stream stays half open.
    Reset(StreamEnd),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Opening,
    Open,
    Gone,
}

/// The way to an address.
struct Way {
    path: Vec<(PlugId, PlugId)>,
    target: NodeId,
    /// Source and target as the target's node sees them.
    from: SocketAddr,
    to: SocketAddr,
}

/// One end, and what it sent that the other has not read.
#[derive(Debug)]
struct End {
    node: NodeId,
    life: Life,
    /// Whether its program reads.
    reads: bool,
    /// Whether a write was refused.
    wants_room: bool,
    flight: VecDeque<(Nanos, Piece)>,
    /// Bytes in [`Self::flight`].
    bytes: usize,
    last_arrival: Nanos,
    /// The event in the queue that will look at [`Self::flight`].
    scheduled: Nanos,
    /// Since when it has been stuck.
    stuck: Option<Nanos>,
    /// Whether it waits for the other end's program to read.
    unread: bool,
}

impl End {
    fn new(node: NodeId) -> Self {
        Self {
            node,
            life: Life::Opening,
            reads: true,
            wants_room: false,
            flight: VecDeque::new(),
            bytes: 0,
            last_arrival: 0,
            scheduled: NEVER,
            stuck: None,
            unread: false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Stream {
    /// The hops from the first end to the second.
    path: Vec<(PlugId, PlugId)>,
    ends: [End; 2],
    /// The test holds it still.
    stalled: bool,
    /// A NAT box on the way forgot it.
    severed: bool,
    /// Since when the way has been cut, as far as a keepalive saw.
    unreachable: Option<Nanos>,
}

impl Fabric {
    pub(crate) fn set_rules(&mut self, rules: StreamRules) {
        self.rules = rules;
    }

    pub(crate) fn connect(&mut self, node: NodeId, port: u16, to: SocketAddr) -> StreamId {
        let id = StreamId::new(self.streams.len() as u32, 0);
        self.streams.push(None);
        if self.trace.is_on() {
            self.trace.line(self.now, node, format_args!("connects {id} > {to}"));
        }
        let Some(Way { path, target, from, to }) = self.find_path(node, port, to) else {
            let event = Event::Stream(id, StreamEvent::Closed(StreamEnd::Unreachable));
            self.ready.push_back((node, event));
            return id;
        };
        let ends = [End::new(node), End::new(target)];
        let stream = Stream { path, ends, stalled: false, severed: false, unreachable: None };
        self.streams[id.stream()] = Some(Box::new(stream));
        self.push_piece(id, Piece::Syn(from, to));
        let give_up = self.now.saturating_add(nanos(self.rules.give_up));
        self.queue.push(give_up, What::Stuck(id));
        if let Some(every) = self.rules.keepalive {
            self.queue.push(self.now + nanos(every), What::Probe(id));
        }
        id
    }

    /// The hops to an address, through NAT boxes, whose node it is, and both addresses as seen from there.
    fn find_path(&mut self, node: NodeId, port: u16, to: SocketAddr) -> Option<Way> {
        let mut out = self.way_out(node, to.ip())?;
        let (mut from, mut to) = (SocketAddr::new(self.plugs[out.index()].ip, port), to);
        let mut path = Vec::new();
        loop {
            let into = self.next_hop(out, to.ip())?;
            path.push((out, into));
            let mut enters = None;
            match self.plugs[into.index()].owner {
                Owner::Node(target) => return Some(Way { path, target, from, to }),
                Owner::NatInside(id) => {
                    let nat = &mut self.nats[id.index()];
                    let ip = self.plugs[nat.outside.index()].ip;
                    let port = nat.streams.outbound(self.now, from, to, &mut self.random).ok()?;
                    (from, out) = (SocketAddr::new(ip, port), nat.outside);
                    if to.ip() == ip {
                        enters = nat.hairpin.then_some(id);
                        enters?;
                    }
                }
                Owner::NatOutside(id) => enters = Some(id),
            }
            if let Some(id) = enters {
                let nat = &mut self.nats[id.index()];
                (to, out) = (nat.streams.inbound(self.now, to.port(), from).ok()?, nat.inside);
            }
        }
    }

    fn end(&self, id: StreamId) -> Option<&End> {
        self.streams.get(id.stream())?.as_deref().map(|stream| &stream.ends[id.side()])
    }

    fn end_mut(&mut self, id: StreamId) -> Option<&mut End> {
        self.streams.get_mut(id.stream())?.as_deref_mut().map(|stream| &mut stream.ends[id.side()])
    }

    /// An end of this node that is open.
    fn own_open(&mut self, node: NodeId, id: StreamId) -> Option<&mut End> {
        self.end_mut(id).filter(|end| end.node == node && end.life == Life::Open)
    }

    pub(crate) fn write(&mut self, node: NodeId, id: StreamId, mut data: Bytes) -> Result<(), WriteError> {
        let (window, segment) = (self.rules.window, self.rules.segment);
        let end = self.own_open(node, id).ok_or(WriteError::NotOpen)?;
        if end.bytes >= window {
            end.wants_room = true;
            return Err(WriteError::Full);
        }
        if self.trace.is_on() {
            let what = self.trace.payload(&data);
            self.trace.line(self.now, node, format_args!("writes {id} {what}"));
        }
        while let Some(most) = segment.filter(|most| data.len() > (*most).max(1)) {
            let cut = 1 + self.random.below(most.max(1) as u64) as usize;
            let piece = data.split_to(cut);
            self.push_piece(id, Piece::Data(piece));
        }
        self.push_piece(id, Piece::Data(data));
        Ok(())
    }

    /// Closes an end: the other is told after everything written before. What is still on its way here is lost.
    pub(crate) fn close(&mut self, node: NodeId, id: StreamId) {
        self.end_here(node, id, Piece::Fin, "closes");
    }

    /// Breaks an end off: the other is told at once, and loses what it has not read.
    pub(crate) fn reset(&mut self, node: NodeId, id: StreamId) {
        if let Some(end) = self.end_mut(id).filter(|end| end.node == node) {
            end.flight.clear();
            end.bytes = 0;
        }
        self.end_here(node, id, Piece::Reset(StreamEnd::Reset), "resets");
    }

    fn end_here(&mut self, node: NodeId, id: StreamId, last: Piece, verb: &str) {
        let Some(end) = self.end_mut(id).filter(|end| end.node == node && end.life != Life::Gone) else {
            return;
        };
        end.life = Life::Gone;
        if self.trace.is_on() {
            self.trace.line(self.now, node, format_args!("{verb} {id}"));
        }
        self.push_piece(id, last);
    }

    pub(crate) fn set_reading(&mut self, node: NodeId, id: StreamId, reads: bool) {
        if let Some(end) = self.end_mut(id).filter(|end| end.node == node) {
            end.reads = reads;
            self.kick(id.other());
        }
    }
}
