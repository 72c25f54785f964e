//! What the ends of streams sent, and how it arrives: in order, once, when the way is open and the reader reads.

use super::{End, Life, Piece, Stream};
use crate::{
    Event, NodeId, StreamEnd, StreamEvent, StreamId,
    fabric::{
        Fabric, What,
        life::{Crash, State},
    },
    link::nanos,
    queue::{NEVER, Nanos},
};

impl Fabric {
    pub(super) fn push_piece(&mut self, id: StreamId, piece: Piece) {
        let size = if let Piece::Data(data) = &piece { data.len() } else { 0 };
        let arrival = self.arrival(id, size);
        let Some(end) = self.end_mut(id) else { return };
        end.last_arrival = arrival;
        end.bytes += size;
        end.flight.push_back((arrival, piece));
        self.schedule(id);
    }

    /// When something written now arrives: never before what was written earlier.
    pub(super) fn arrival(&mut self, id: StreamId, size: usize) -> Nanos {
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
    pub(super) fn schedule(&mut self, id: StreamId) {
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
    pub(super) fn is_passable(&self, stream: &Stream) -> bool {
        !stream.stalled
            && !stream.severed
            && stream.path.iter().all(|(out, into)| self.is_joined(*out, *into))
            && stream.ends.iter().all(|end| self.state(end.node) != State::Down(Crash::Power))
    }

    /// The first piece that this end sent has arrived, if the way was open.
    pub(in crate::fabric) fn piece_due(&mut self, id: StreamId) -> Option<(NodeId, Event)> {
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
    pub(super) fn arrive(&mut self, id: StreamId) -> Option<(NodeId, Event)> {
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
    pub(super) fn over(&mut self, id: StreamId, why: StreamEnd) -> StreamEvent {
        if let Some(end) = self.end_mut(id) {
            end.life = Life::Gone;
            end.flight.clear();
            end.bytes = 0;
        }
        StreamEvent::Closed(why)
    }

    pub(super) fn tell(&mut self, id: StreamId, node: NodeId, event: StreamEvent) -> Option<(NodeId, Event)> {
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

    pub(super) fn pop_piece(&mut self, id: StreamId) -> Option<Piece> {
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

    pub(in crate::fabric) fn room_due(&mut self, id: StreamId) -> Option<(NodeId, Event)> {
        let node = self.end(id).filter(|end| end.life == Life::Open)?.node;
        self.tell(id, node, StreamEvent::Room)
    }

    /// Forgets a stream of which nothing is left.
    pub(super) fn clean(&mut self, id: StreamId) {
        let done =
            |stream: &Stream| stream.ends.iter().all(|end| end.life == Life::Gone && end.flight.is_empty());
        if self.streams[id.stream()].as_deref().is_some_and(done) {
            self.streams[id.stream()] = None;
        }
    }

    /// Looks again at what this end sent: something that held it up may be gone.
    pub(super) fn kick(&mut self, id: StreamId) {
        let passable = self.streams.get(id.stream()).and_then(|stream| stream.as_deref());
        if passable.is_some_and(|stream| self.is_passable(stream))
            && let Some(end) = self.end_mut(id)
        {
            (end.stuck, end.unread) = (None, false);
            self.schedule(id);
        }
    }

    /// Looks again at all streams.
    pub(in crate::fabric) fn kick_streams(&mut self) {
        for stream in 0..self.streams.len() as u32 {
            if self.streams[stream as usize].is_some() {
                self.kick(StreamId::new(stream, 0));
                self.kick(StreamId::new(stream, 1));
            }
        }
    }
}
