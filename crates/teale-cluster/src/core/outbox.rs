//! What waits to be sent on one link: control messages first, then the requests' answers in turn, then bulk.

use std::collections::{BTreeMap, VecDeque};

use teale_wire::{ClusterMessage, InferenceAck, InferenceChunk};

use super::{JobId, bounds, stream::Stream};

#[derive(Debug, Default)]
pub(super) struct Outbox {
    control: VecDeque<ClusterMessage>,
    streams: BTreeMap<JobId, Stream>,
    /// The streams that have something to send.
    turn: VecDeque<JobId>,
    bulk: VecDeque<ClusterMessage>,
}

/// What has room again for more.
pub(super) enum Room {
    Stream(JobId),
    Bulk,
}

/// A message taken out, and where room came by it.
pub(super) struct Taken {
    pub(super) message: ClusterMessage,
    pub(super) room: Option<Room>,
    /// An answer of which everything was sent and which grows no more until its asker acknowledges some of it.
    pub(super) stalled: Option<JobId>,
}

/// More control messages than [`bounds::CONTROL_QUEUE`] wait.
#[derive(Debug)]
pub(super) struct Overfull;

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.turn.is_empty() && self.bulk.is_empty()
    }

    /// Whether a piece of an answer, or an answer's end, still waits.
    pub(super) fn owes_answers(&self) -> bool {
        let answer = |message: &ClusterMessage| matches!(message, ClusterMessage::InferenceError(_));
        !self.turn.is_empty() || self.control.iter().any(answer)
    }

    pub(super) fn has_room(&self, job: JobId) -> bool {
        self.streams.get(&job).is_none_or(Stream::has_room)
    }

    /// A heartbeat's answer waits already: another one would say the same.
    pub(super) fn has_ack(&self) -> bool {
        self.control.iter().any(|message| matches!(message, ClusterMessage::HeartbeatAck(_)))
    }

    pub(super) fn push(&mut self, message: ClusterMessage) -> Result<(), Overfull> {
        if self.control.len() >= bounds::CONTROL_QUEUE {
            return Err(Overfull);
        }
        self.control.push_back(message);
        Ok(())
    }

    /// Queues how far an answer came; one that waits already says it instead.
    pub(super) fn push_received(&mut self, ack: InferenceAck) -> Result<(), Overfull> {
        for message in &mut self.control {
            if let ClusterMessage::InferenceAck(waiting) = message
                && waiting.request_id == ack.request_id
            {
                waiting.received = waiting.received.max(ack.received);
                return Ok(());
            }
        }
        self.push(ClusterMessage::InferenceAck(ack))
    }

    pub(super) fn bulk_has_room(&self) -> bool {
        self.bulk.len() < bounds::BULK_QUEUE
    }

    /// Adds a message that waits for everything else; only after [`Outbox::bulk_has_room`].
    pub(super) fn push_bulk(&mut self, message: ClusterMessage) {
        if self.bulk_has_room() {
            self.bulk.push_back(message);
        } else {
            tracing::error!(kind = message.kind(), "a bulk message without room is dropped");
        }
    }

    /// A request's answer goes out here from now on.
    pub(super) fn put_stream(&mut self, job: JobId, stream: Stream) {
        self.take_stream(job);
        if stream.has_unsent() {
            self.turn.push_back(job);
        }
        self.streams.insert(job, stream);
    }

    /// A request's answer goes out here no more.
    pub(super) fn take_stream(&mut self, job: JobId) -> Option<Stream> {
        let stream = self.streams.remove(&job)?;
        self.turn.retain(|other| *other != job);
        Some(stream)
    }

    pub(super) fn stream(&self, job: JobId) -> Option<&Stream> {
        self.streams.get(&job)
    }

    pub(super) fn stream_mut(&mut self, job: JobId) -> Option<&mut Stream> {
        self.streams.get_mut(&job)
    }

    pub(super) fn push_chunk(&mut self, job: JobId, next: InferenceChunk) {
        self.add(job, |stream| stream.push_chunk(next));
    }

    /// A message of a request that must not overtake its chunks.
    pub(super) fn push_stream(&mut self, job: JobId, message: ClusterMessage) {
        self.add(job, |stream| stream.push(message));
    }

    fn add(&mut self, job: JobId, push: impl FnOnce(&mut Stream)) {
        let stream = self.streams.entry(job).or_default();
        if !stream.has_unsent() {
            self.turn.push_back(job);
        }
        push(stream);
    }

    pub(super) fn pop(&mut self) -> Option<Taken> {
        if let Some(message) = self.control.pop_front() {
            return Some(Taken { message, room: None, stalled: None });
        }
        let Some(job) = self.turn.pop_front() else {
            let message = self.bulk.pop_front()?;
            return Some(Taken { message, room: Some(Room::Bulk), stalled: None });
        };
        let stream = self.streams.get_mut(&job)?;
        let was_full = !stream.has_room();
        let message = stream.next()?;
        let room = (was_full && stream.has_room()).then_some(Room::Stream(job));
        if stream.has_unsent() {
            self.turn.push_back(job);
        } else if !stream.is_resumable() {
            self.streams.remove(&job);
            return Some(Taken { message, room, stalled: None });
        }
        let stalled = (!stream.has_unsent() && !stream.may_grow()).then_some(job);
        Some(Taken { message, room, stalled })
    }
}
