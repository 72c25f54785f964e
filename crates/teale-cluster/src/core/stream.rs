//! The messages of one answer on their way to the asker. Those of a resumable answer are numbered, and kept until the
//! asker says that it has them: whatever link comes, the answer goes on where the asker stands.

use std::collections::VecDeque;

use teale_wire::{ClusterMessage, InferenceChunk};

use super::{
    bounds,
    merge::{can_merge, merge, text_len},
};

#[derive(Debug, Default)]
pub(super) struct Stream {
    messages: VecDeque<ClusterMessage>,
    /// How many of them, from the front, were sent and are kept. None, where nothing is numbered.
    sent: usize,
    /// The number of the front message, where they are numbered.
    first: Option<u64>,
    /// Bytes of text in it.
    text: usize,
}

/// The asker claims to have what was never sent, or lacks what it said it had.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfStep;

fn text_of(message: &ClusterMessage) -> usize {
    match message {
        ClusterMessage::InferenceChunk(chunk) => text_len(&chunk.chunk),
        _ => 0,
    }
}

impl Stream {
    /// One whose messages are numbered and kept.
    pub(super) fn resumable() -> Self {
        Self { first: Some(0), ..Self::default() }
    }

    pub(super) fn is_resumable(&self) -> bool {
        self.first.is_some()
    }

    /// Whether nothing is left of it, sent or not.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes of text in it.
    pub(super) fn text(&self) -> usize {
        self.text
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.messages.len()
    }

    /// Whether its backend may make more while a link takes it.
    pub(super) fn has_room(&self) -> bool {
        self.messages.len() - self.sent < bounds::STREAM_WINDOW && self.may_grow()
    }

    /// Whether its backend may make more while no link takes it.
    pub(super) fn may_grow(&self) -> bool {
        self.first.is_none()
            || (self.messages.len() < bounds::RESUME_WINDOW && self.text < bounds::RESUME_TEXT)
    }

    /// Adds a chunk, joined with the last one where several wait.
    pub(super) fn push_chunk(&mut self, next: InferenceChunk) {
        let text = text_len(&next.chunk);
        if self.messages.len() - self.sent >= bounds::COALESCE_FROM
            && let Some(ClusterMessage::InferenceChunk(last)) = self.messages.back_mut()
            && can_merge(&last.chunk, &next.chunk, bounds::COALESCED_TEXT)
        {
            merge(&mut last.chunk, next.chunk);
            self.text += text;
            return;
        }
        self.push(ClusterMessage::InferenceChunk(next));
    }

    /// Adds a message of the answer.
    pub(super) fn push(&mut self, mut message: ClusterMessage) {
        if let Some(first) = self.first {
            let number = Some(first + self.messages.len() as u64);
            match &mut message {
                ClusterMessage::InferenceChunk(chunk) => chunk.seq = number,
                ClusterMessage::InferenceComplete(end) => end.seq = number,
                ClusterMessage::InferenceError(error) => error.seq = number,
                _ => {}
            }
        }
        self.text += text_of(&message);
        self.messages.push_back(message);
    }

    /// The next message to send.
    pub(super) fn next(&mut self) -> Option<ClusterMessage> {
        if self.first.is_none() {
            let message = self.messages.pop_front()?;
            self.text = self.text.saturating_sub(text_of(&message));
            return Some(message);
        }
        let message = self.messages.get(self.sent)?.clone();
        self.sent += 1;
        Some(message)
    }

    /// The asker has everything before `received`. What it had said before changes nothing.
    pub(super) fn acknowledge(&mut self, received: u64) -> Result<(), OutOfStep> {
        let first = self.first.ok_or(OutOfStep)?;
        let count = received.saturating_sub(first);
        if count > self.sent as u64 {
            return Err(OutOfStep);
        }
        self.drop_front(count);
        Ok(())
    }

    /// Goes on where the asker stands: everything from `received` on is sent again.
    pub(super) fn rewind(&mut self, received: u64) -> Result<(), OutOfStep> {
        let first = self.first.ok_or(OutOfStep)?;
        let count = received.checked_sub(first).ok_or(OutOfStep)?;
        if count > self.messages.len() as u64 {
            return Err(OutOfStep);
        }
        self.drop_front(count);
        self.sent = 0;
        Ok(())
    }

    fn drop_front(&mut self, count: u64) {
        for _ in 0..count {
            if let Some(message) = self.messages.pop_front() {
                self.text = self.text.saturating_sub(text_of(&message));
                self.sent = self.sent.saturating_sub(1);
                self.first = self.first.map(|first| first + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use teale_wire::{
        Extra, InferenceComplete, RequestId,
        chat::{ChatChunk, ChunkChoice, Delta},
    };

    use super::*;

    fn id() -> RequestId {
        RequestId::from_random([1; 16])
    }

    fn chunk(text: &str) -> InferenceChunk {
        let delta = Delta { role: None, content: Some(text.into()), extra: Extra::new() };
        let chunk = ChatChunk {
            id: "c".into(),
            object: "chat.completion.chunk".into(),
            created: 1,
            model: "m".into(),
            choices: vec![ChunkChoice { index: 0, delta, finish_reason: None, extra: Extra::new() }],
            usage: None,
            extra: Extra::new(),
        };
        InferenceChunk { request_id: id(), chunk, seq: None, extra: Extra::new() }
    }

    fn seq(message: &ClusterMessage) -> Option<u64> {
        match message {
            ClusterMessage::InferenceChunk(chunk) => chunk.seq,
            ClusterMessage::InferenceComplete(end) => end.seq,
            _ => None,
        }
    }

    fn drained(stream: &mut Stream) -> Vec<Option<u64>> {
        std::iter::from_fn(|| stream.next()).map(|message| seq(&message)).collect()
    }

    #[test]
    fn what_is_sent_is_kept_until_the_asker_has_it() {
        let mut stream = Stream::resumable();
        (0..3).for_each(|_| stream.push_chunk(chunk("a")));
        assert_eq!(drained(&mut stream), [Some(0), Some(1), Some(2)]);
        assert!(!stream.has_unsent() && !stream.is_empty());
        stream.acknowledge(2).unwrap();
        stream.acknowledge(1).unwrap();
        assert_eq!(stream.acknowledge(4), Err(OutOfStep));
        stream.rewind(2).unwrap();
        assert_eq!(drained(&mut stream), [Some(2)]);
        assert_eq!((stream.rewind(1), stream.rewind(4)), (Err(OutOfStep), Err(OutOfStep)));
        stream.acknowledge(3).unwrap();
        let end = InferenceComplete {
            request_id: id(),
            tokens_in: None,
            tokens_out: None,
            seq: None,
            extra: Extra::new(),
        };
        stream.push(ClusterMessage::InferenceComplete(end));
        assert_eq!(drained(&mut stream), [Some(3)]);
        stream.acknowledge(4).unwrap();
        assert!(stream.is_empty() && stream.text == 0);
    }

    #[test]
    fn a_plain_stream_keeps_and_numbers_nothing() {
        let mut stream = Stream::default();
        (0..3).for_each(|_| stream.push_chunk(chunk("a")));
        assert_eq!(drained(&mut stream), [None; 3]);
        assert!(stream.is_empty() && stream.has_room() && stream.text == 0);
    }

    #[test]
    fn only_what_was_not_sent_is_joined() {
        let mut stream = Stream::resumable();
        for _ in 0..10 {
            stream.push_chunk(chunk("a"));
            stream.next();
        }
        assert_eq!(stream.messages.len(), 10);
        (0..20).for_each(|_| stream.push_chunk(chunk("b")));
        assert_eq!(stream.messages.len(), 10 + bounds::COALESCE_FROM);
        assert_eq!(stream.text, 30);
    }

    #[test]
    fn an_asker_that_says_nothing_stops_the_backend() {
        let mut stream = Stream::resumable();
        while stream.has_room() {
            stream.push_chunk(chunk("a"));
            stream.next();
        }
        assert_eq!(stream.messages.len(), bounds::RESUME_WINDOW);
        stream.acknowledge(1).unwrap();
        assert!(stream.has_room());
        let mut stream = Stream::resumable();
        stream.push_chunk(chunk(&"x".repeat(bounds::RESUME_TEXT)));
        assert!(!stream.may_grow());
    }
}
