//! What waits to be sent on one link: control messages first, then the requests' answers in turn, then bulk.

use std::collections::{BTreeMap, VecDeque};

use teale_wire::{ClusterMessage, InferenceChunk};

use super::{
    JobId, bounds,
    merge::{can_merge, merge},
};

#[derive(Debug, Default)]
pub(super) struct Outbox {
    control: VecDeque<ClusterMessage>,
    streams: BTreeMap<JobId, VecDeque<ClusterMessage>>,
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
}

/// More control messages than [`bounds::CONTROL_QUEUE`] wait.
#[derive(Debug)]
pub(super) struct Overfull;

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.turn.is_empty() && self.bulk.is_empty()
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

    /// Whether a piece of an answer, or an answer's end, still waits.
    pub(super) fn owes_answers(&self) -> bool {
        let answer = |message: &ClusterMessage| matches!(message, ClusterMessage::InferenceError(_));
        !self.turn.is_empty() || self.control.iter().any(answer)
    }

    pub(super) fn has_room(&self, job: JobId) -> bool {
        self.streams.get(&job).is_none_or(|stream| stream.len() < bounds::STREAM_WINDOW)
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

    pub(super) fn push_chunk(&mut self, job: JobId, next: InferenceChunk) {
        if let Some(stream) = self.streams.get_mut(&job)
            && stream.len() >= bounds::COALESCE_FROM
            && let Some(ClusterMessage::InferenceChunk(last)) = stream.back_mut()
            && can_merge(&last.chunk, &next.chunk, bounds::COALESCED_TEXT)
        {
            merge(&mut last.chunk, next.chunk);
            return;
        }
        self.push_stream(job, ClusterMessage::InferenceChunk(next));
    }

    /// A message of a request that must not overtake its chunks.
    pub(super) fn push_stream(&mut self, job: JobId, message: ClusterMessage) {
        let stream = self.streams.entry(job).or_default();
        if stream.is_empty() {
            self.turn.push_back(job);
        }
        stream.push_back(message);
    }

    /// Forgets what a request still had to say.
    pub(super) fn drop_stream(&mut self, job: JobId) {
        if self.streams.remove(&job).is_some() {
            self.turn.retain(|other| *other != job);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Taken> {
        if let Some(message) = self.control.pop_front() {
            return Some(Taken { message, room: None });
        }
        let Some(job) = self.turn.pop_front() else {
            let message = self.bulk.pop_front()?;
            return Some(Taken { message, room: Some(Room::Bulk) });
        };
        let stream = self.streams.get_mut(&job)?;
        let was_full = stream.len() >= bounds::STREAM_WINDOW;
        let message = stream.pop_front()?;
        if stream.is_empty() {
            self.streams.remove(&job);
        } else {
            self.turn.push_back(job);
        }
        Some(Taken { message, room: was_full.then_some(Room::Stream(job)) })
    }
}
