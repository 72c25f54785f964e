//! How streams fail: ends that give up, keepalives, nodes that die, and what a test does to them.

use super::{Life, Piece};
use crate::{
    Event, NodeId, PlugId, StreamEnd, StreamId,
    fabric::{Fabric, What},
    link::nanos,
    trace::Kind,
};

impl Fabric {
    /// Something was stuck a while ago; if it still is, this end gives up.
    pub(in crate::fabric) fn stuck_due(&mut self, id: StreamId) -> Option<(NodeId, Event)> {
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
    pub(in crate::fabric) fn probe_due(&mut self, id: StreamId) -> Option<(NodeId, Event)> {
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

    /// A node went down: its ends are gone, and the others hear of it or do not.
    pub(in crate::fabric) fn orphan_streams(&mut self, node: NodeId, tell: bool) {
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
