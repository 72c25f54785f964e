//! Streams: ordered and reliable as TCP's, with the ways in which those fail.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use bytes::Bytes;

use super::{
    Fabric, What,
    hosts::Owner,
    life::{Crash, State},
};
use crate::{
    Event, NodeId, PlugId, StreamEnd, StreamEvent, StreamId, WriteError,
    link::nanos,
    queue::{NEVER, Nanos},
    trace::Kind,
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

    fn push_piece(&mut self, id: StreamId, piece: Piece) {
        let size = if let Piece::Data(data) = &piece { data.len() } else { 0 };
        let arrival = self.arrival(id, size);
        let Some(end) = self.end_mut(id) else { return };
        end.last_arrival = arrival;
        end.bytes += size;
        end.flight.push_back((arrival, piece));
        self.schedule(id);
    }

    /// When something written now arrives: never before what was written earlier.
    fn arrival(&mut self, id: StreamId, size: usize) -> Nanos {
        let Some(stream) = self.streams[id.stream()].as_deref() else { return self.now };
        let last = stream.ends[id.side()].last_arrival;
        let mut at = self.now;
        for hop in 0..stream.path.len() {
            let Some(stream) = self.streams[id.stream()].as_deref() else { return at };
            let (out, into) = if id.side() == 0 {
                stream.path[hop]
            } else {
                let (out, into) = stream.path[stream.path.len() - 1 - hop];
                (into, out)
            };
            if out != into {
                at = self.on_line(out, into, |link, line, random| link.carry_surely(at, size, line, random));
            }
        }
        at.max(last)
    }

    /// Sees to it that what this end sent is looked at when the first of it arrives.
    fn schedule(&mut self, id: StreamId) {
        let now = self.now;
        let Some(end) = self.end_mut(id) else { return };
        let Some((arrival, _)) = end.flight.front() else { return };
        let at = (*arrival).max(now);
        if end.scheduled == NEVER && end.stuck.is_none() && !end.unread {
            end.scheduled = at;
            self.queue.push(at, What::Piece(id));
        }
    }

    /// Whether anything gets through at present.
    fn is_passable(&self, stream: &Stream) -> bool {
        !stream.stalled
            && !stream.severed
            && stream.path.iter().all(|(out, into)| self.is_joined(*out, *into))
            && stream.ends.iter().all(|end| self.state(end.node) != State::Down(Crash::Power))
    }

    /// The first piece that this end sent has arrived, if the way was open.
    pub(super) fn piece_due(&mut self, id: StreamId) -> Option<(NodeId, Event)> {
        let now = self.now;
        self.end_mut(id)?.scheduled = NEVER;
        let passable = self.streams[id.stream()].as_deref().is_some_and(|stream| self.is_passable(stream));
        let end = self.end_mut(id)?;
        if !passable {
            if matches!(end.flight.front(), Some((_, Piece::Reset(_)))) {
                end.flight.clear();
                end.bytes = 0;
                self.clean(id);
                return None;
            }
            end.stuck = Some(now);
            let at = now.saturating_add(nanos(self.rules.give_up));
            self.queue.push(at, What::Stuck(id));
            return None;
        }
        end.stuck = None;
        if end.flight.front().is_none_or(|(arrival, _)| *arrival > now) {
            self.schedule(id);
            return None;
        }
        let told = self.arrive(id);
        self.schedule(id);
        self.clean(id);
        told
    }

    /// Takes the first piece off and hands it to the other end, its system or its program.
    fn arrive(&mut self, id: StreamId) -> Option<(NodeId, Event)> {
        let there = id.other();
        let &End { node, life, reads, .. } = self.end(there)?;
        let state = self.state(node);
        if let (_, Piece::Syn(from, to)) = *self.end(id)?.flight.front()? {
            let listens = self.nodes[node.index()].listening.contains(&to.port());
            if !listens || matches!(state, State::Down(_)) {
                self.end_mut(there)?.life = Life::Gone;
                self.pop_piece(id);
                self.push_piece(there, Piece::Reset(StreamEnd::Refused));
                return None;
            }
            self.end_mut(there)?.life = Life::Open;
            self.end_mut(id)?.flight.front_mut()?.1 = Piece::Incoming(from, to);
            self.push_piece(there, Piece::Accepted);
            return self.arrive(id);
        }
        if life == Life::Gone {
            let piece = self.pop_piece(id)?;
            if matches!(piece, Piece::Data(_) | Piece::Fin) && self.end(id)?.life != Life::Gone {
                self.end_mut(id)?.flight.clear();
                self.end_mut(id)?.bytes = 0;
                self.push_piece(there, Piece::Reset(StreamEnd::Reset));
            }
            return None;
        }
        let front = &self.end(id)?.flight.front()?.1;
        let waits = state == State::Frozen || (!reads && matches!(front, Piece::Data(_) | Piece::Fin));
        if waits {
            self.end_mut(id)?.unread = true; // `kick` looks again.
            return None;
        }
        let event = match self.pop_piece(id)? {
            Piece::Syn(..) => return None,
            Piece::Incoming(from, to) => StreamEvent::Incoming { from, to },
            Piece::Accepted => {
                self.end_mut(there)?.life = Life::Open;
                StreamEvent::Opened
            }
            Piece::Data(data) => StreamEvent::Data(data),
            Piece::Fin => self.over(there, StreamEnd::Finished),
            Piece::Reset(end) => self.over(there, end),
        };
        self.tell(there, node, event)
    }

    /// An end is over. What the other still sends here meets a closed door.
    fn over(&mut self, id: StreamId, why: StreamEnd) -> StreamEvent {
        if let Some(end) = self.end_mut(id) {
            end.life = Life::Gone;
            end.flight.clear();
            end.bytes = 0;
        }
        StreamEvent::Closed(why)
    }

    fn tell(&mut self, id: StreamId, node: NodeId, event: StreamEvent) -> Option<(NodeId, Event)> {
        if self.trace.is_on() {
            let what = match &event {
                StreamEvent::Incoming { from, .. } => format!("accepts {id} < {from}"),
                StreamEvent::Opened => format!("has   {id} open"),
                StreamEvent::Data(data) => format!("reads {id} {}", self.trace.payload(data)),
                StreamEvent::Room => format!("has room on {id}"),
                StreamEvent::Closed(why) => format!("loses {id} ({why:?})"),
            };
            self.trace.line(self.now, node, format_args!("{what}"));
        }
        self.admit(node, Event::Stream(id, event)).map(|event| (node, event))
    }

    fn pop_piece(&mut self, id: StreamId) -> Option<Piece> {
        let window = self.rules.window;
        let end = self.end_mut(id)?;
        let (_, piece) = end.flight.pop_front()?;
        if let Piece::Data(data) = &piece {
            end.bytes -= data.len();
            if end.bytes <= window / 2 && std::mem::take(&mut end.wants_room) {
                let at = self.arrival(id.other(), 0);
                self.queue.push(at, What::Room(id));
            }
        }
        Some(piece)
    }

    pub(super) fn room_due(&mut self, id: StreamId) -> Option<(NodeId, Event)> {
        let node = self.end(id).filter(|end| end.life == Life::Open)?.node;
        self.tell(id, node, StreamEvent::Room)
    }

    /// Something was stuck a while ago; if it still is, this end gives up.
    pub(super) fn stuck_due(&mut self, id: StreamId) -> Option<(NodeId, Event)> {
        let (now, patience) = (self.now, nanos(self.rules.give_up));
        let end = self.end(id)?;
        let (node, life) = (end.node, end.life);
        let over = end.stuck.is_some_and(|since| now >= since.saturating_add(patience));
        if life == Life::Gone {
            if over {
                self.over(id, StreamEnd::TimedOut); // Its last words never get there.
                self.clean(id);
            }
            return None;
        }
        if !over && life != Life::Opening {
            return None;
        }
        let event = self.over(id, StreamEnd::TimedOut);
        self.clean(id);
        self.tell(id, node, event)
    }

    /// A keepalive: an end that does not reach the other for long gives up; one that reaches a host which does not
    /// know the stream learns it.
    pub(super) fn probe_due(&mut self, id: StreamId) -> Option<(NodeId, Event)> {
        let every = nanos(self.rules.keepalive?);
        let (now, patience) = (self.now, nanos(self.rules.give_up));
        let stream = self.streams.get(id.stream())?.as_deref()?;
        let passable = self.is_passable(stream);
        let stream = self.streams[id.stream()].as_deref_mut()?;
        let lives = [0, 1].map(|side| stream.ends[side].life);
        let since = if passable { None } else { Some(stream.unreachable.unwrap_or(now)) };
        stream.unreachable = since;
        self.queue.push(now.saturating_add(every), What::Probe(id));
        let over = since.is_some_and(|since| now >= since.saturating_add(patience));
        for side in [0, 1] {
            let here = StreamId::new(id.stream() as u32, side);
            if lives[side] != Life::Open {
                continue;
            }
            if over {
                let node = self.end(here)?.node;
                let event = self.over(here, StreamEnd::TimedOut);
                self.ready.push_back((node, Event::Stream(here, event)));
            } else if passable && lives[1 - side] == Life::Gone && self.end(here.other())?.flight.is_empty() {
                self.push_piece(here.other(), Piece::Reset(StreamEnd::Reset));
            }
        }
        self.clean(id);
        None
    }

    /// Forgets a stream of which nothing is left.
    fn clean(&mut self, id: StreamId) {
        let done =
            |stream: &Stream| stream.ends.iter().all(|end| end.life == Life::Gone && end.flight.is_empty());
        if self.streams[id.stream()].as_deref().is_some_and(done) {
            self.streams[id.stream()] = None;
        }
    }

    /// Looks again at what this end sent: something that held it up may be gone.
    fn kick(&mut self, id: StreamId) {
        let passable = self.streams.get(id.stream()).and_then(|stream| stream.as_deref());
        if passable.is_some_and(|stream| self.is_passable(stream))
            && let Some(end) = self.end_mut(id)
        {
            (end.stuck, end.unread) = (None, false);
            self.schedule(id);
        }
    }

    /// Looks again at all streams.
    pub(super) fn kick_streams(&mut self) {
        for stream in 0..self.streams.len() as u32 {
            if self.streams[stream as usize].is_some() {
                self.kick(StreamId::new(stream, 0));
                self.kick(StreamId::new(stream, 1));
            }
        }
    }

    /// A node went down: its ends are gone, and the others hear of it or do not.
    pub(super) fn orphan_streams(&mut self, node: NodeId, tell: bool) {
        for id in self.ends_of(node) {
            let Some(end) = self.end_mut(id).filter(|end| end.life != Life::Gone) else {
                continue;
            };
            end.life = Life::Gone;
            end.flight.clear();
            end.bytes = 0;
            if tell {
                self.push_piece(id, Piece::Reset(StreamEnd::Reset));
            }
            self.clean(id);
        }
    }

    /// The living ends of a node.
    pub(crate) fn ends_of(&self, node: NodeId) -> Vec<StreamId> {
        let all =
            (0..self.streams.len() as u32).flat_map(|stream| [0, 1].map(|side| StreamId::new(stream, side)));
        all.filter(|id| self.end(*id).is_some_and(|end| end.node == node && end.life != Life::Gone)).collect()
    }

    /// The node at the other end.
    pub(crate) fn far_node(&self, id: StreamId) -> Option<NodeId> {
        self.end(id.other()).map(|end| end.node)
    }

    pub(crate) fn break_stream(&mut self, id: StreamId) {
        for id in [id, id.other()] {
            let Some(end) = self.end(id).filter(|end| end.life != Life::Gone) else {
                continue;
            };
            let node = end.node;
            let event = self.over(id, StreamEnd::Reset);
            self.trace.mark(self.now, Kind::Stream, node, 1);
            self.ready.push_back((node, Event::Stream(id, event)));
        }
        self.clean(id);
    }

    pub(crate) fn set_stalled(&mut self, id: StreamId, stalled: bool) {
        if let Some(stream) = self.streams.get_mut(id.stream()).and_then(|stream| stream.as_deref_mut()) {
            stream.stalled = stalled;
            self.kick(id);
            self.kick(id.other());
        }
    }

    /// An end forgets the stream without a word; the other is half open.
    pub(crate) fn abandon(&mut self, id: StreamId) {
        if let Some(end) = self.end_mut(id) {
            end.life = Life::Gone;
            end.flight.clear();
            end.bytes = 0;
            self.clean(id);
        }
    }

    /// A NAT box lost its memory: streams through it are stuck for good.
    pub(crate) fn sever(&mut self, inside: PlugId) {
        for stream in self.streams.iter_mut().flatten() {
            if stream.path.iter().any(|(out, into)| *out == inside || *into == inside) {
                stream.severed = true;
            }
        }
    }
}
