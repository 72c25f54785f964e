//! A running answer: the buffer between the core and whoever reads it.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use futures_core::Stream;
use teale_relay_client::Security;
use teale_wire::{NodeId, chat::ChatChunk};
use tokio::sync::Notify;

use super::shared::Shared;
use crate::{
    AskError, AskId, LinkPath,
    core::merge::{can_merge, merge, text_len},
};

/// Chunks of an answer of the own backend kept for a slow reader; the backend waits meanwhile.
const LOCAL_WINDOW: usize = 32;
/// From so many chunks on, the next ones are joined with the last.
const JOIN_FROM: usize = 256;
/// Text of a joined chunk, in bytes.
const JOINED_TEXT: usize = 16 << 10;
/// Chunks kept for a reader that does not read. A remote provider cannot be slowed down: beyond it the answer ends.
const MOST_CHUNKS: usize = 4096;
/// Text kept for a reader that does not read, fields unknown to us included, in bytes.
const MOST_TEXT: usize = 8 << 20;

/// Who answers, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) node: Option<NodeId>,
    pub(super) path: LinkPath,
    pub(super) security: Option<Security>,
}

#[derive(Default)]
struct State {
    source: Option<Source>,
    chunks: VecDeque<ChatChunk>,
    text: usize,
    end: Option<Result<(), AskError>>,
    waker: Option<Waker>,
}

/// Filled by the core's driver, emptied by the [`Answer`]. Bounded by [`MOST_CHUNKS`] and [`MOST_TEXT`].
#[derive(Default)]
pub(super) struct AnswerBuffer {
    state: Mutex<State>,
    room: Notify,
}

/// Bytes of a chunk that its maker chose at length.
fn weight(chunk: &ChatChunk) -> usize {
    let plain = chunk.extra.is_empty()
        && chunk.usage.as_ref().is_none_or(|usage| usage.extra.is_empty())
        && chunk.choices.iter().all(|choice| choice.extra.is_empty() && choice.delta.extra.is_empty());
    let names = if plain { 0 } else { serde_json::to_string(chunk).map_or(MOST_TEXT, |json| json.len()) };
    let words = chunk.choices.iter().map(|choice| {
        let word = |word: &Option<String>| word.as_ref().map_or(0, String::len);
        word(&choice.delta.role) + word(&choice.finish_reason)
    });
    text_len(chunk) + chunk.id.len() + chunk.object.len() + words.sum::<usize>() + names
}

/// The reader fell too far behind.
pub(super) struct Overrun;

impl AnswerBuffer {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    pub(super) fn begin(&self, source: Source) {
        self.with(|state| state.source = Some(source));
    }

    pub(super) fn push(&self, chunk: ChatChunk) -> Result<(), Overrun> {
        self.with(|state| {
            if state.text + weight(&chunk) > MOST_TEXT {
                return Err(Overrun);
            }
            if state.chunks.len() >= JOIN_FROM
                && let Some(last) = state.chunks.back_mut()
                && can_merge(last, &chunk, JOINED_TEXT)
            {
                state.text += text_len(&chunk);
                merge(last, chunk);
                return Ok(());
            }
            if state.chunks.len() >= MOST_CHUNKS {
                return Err(Overrun);
            }
            state.text += weight(&chunk);
            state.chunks.push_back(chunk);
            Ok(())
        })
    }

    pub(super) fn end(&self, result: Result<(), AskError>) {
        self.with(|state| state.end.get_or_insert(result).is_ok());
    }

    /// Waits until the reader has taken enough for the own backend to go on.
    pub(super) async fn room(&self) {
        loop {
            let notified = self.room.notified();
            if self.has_room() {
                return;
            }
            notified.await;
        }
    }

    fn has_room(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.chunks.len() < LOCAL_WINDOW || state.end.is_some()
    }

    fn poll_start(&self, cx: &mut Context<'_>) -> Poll<Result<Source, AskError>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (state.source, &state.end) {
            (Some(source), end) if !state.chunks.is_empty() || end.is_some() => Poll::Ready(Ok(source)),
            (_, Some(Err(error))) => Poll::Ready(Err(error.clone())),
            (_, Some(Ok(()))) => Poll::Ready(Err(AskError::LinkLost("the answer never began".into()))),
            _ => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next chunk, then the end; an error is said once, after the chunks before it.
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<ChatChunk, AskError>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chunk) = state.chunks.pop_front() {
            state.text = state.text.saturating_sub(weight(&chunk));
            let has_room = state.chunks.len() < LOCAL_WINDOW;
            drop(state);
            if has_room {
                self.room.notify_one();
            }
            return Poll::Ready(Some(Ok(chunk)));
        }
        match state.end.take() {
            Some(result) => {
                state.end = Some(Ok(()));
                Poll::Ready(result.err().map(Err))
            }
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_over(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).end.is_some()
    }
}

/// A request that was asked; dropping it cancels.
pub(super) struct Pending {
    pub(super) ask: AskId,
    pub(super) buffer: Arc<AnswerBuffer>,
    pub(super) shared: Weak<Shared>,
}

impl Pending {
    pub(super) async fn started(self) -> Result<Answer, AskError> {
        let source = std::future::poll_fn(|cx| self.buffer.poll_start(cx)).await?;
        let Source { node, path, security } = source;
        Ok(Answer { node, path, security, pending: self })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.buffer.is_over()
            && let Some(shared) = self.shared.upgrade()
        {
            shared.cancel(self.ask);
            self.buffer.end(Ok(()));
            self.buffer.room.notify_one();
        }
    }
}

/// A running answer: a stream of chunks as [`ChunkStream`](crate::ChunkStream) describes, usage chunk included
/// whenever the provider told the usage. Dropping it cancels, also on a remote provider.
///
/// A reader that stops reading slows the own backend down. A remote provider goes on; what it sends is kept up to
/// 8 MiB of text, then the answer ends with an error.
pub struct Answer {
    /// Who answers; `None` for this node itself.
    pub node: Option<NodeId>,
    /// How the answer travels.
    pub path: LinkPath,
    /// How it is protected; `None` for this node itself.
    pub security: Option<Security>,
    pending: Pending,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("node", &self.node).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Stream for Answer {
    type Item = Result<ChatChunk, AskError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pending.buffer.poll_next(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_nobody_knows_count_against_the_bound() {
        let field = serde_json::json!("x".repeat(1 << 20));
        let buffer = AnswerBuffer::default();
        let pushed = (0..MOST_CHUNKS).take_while(|_| {
            let mut chunk = ChatChunk {
                id: "a".into(),
                object: "chat.completion.chunk".into(),
                created: 0,
                model: "m".into(),
                choices: Vec::new(),
                usage: None,
                extra: teale_wire::Extra::new(),
            };
            chunk.extra.insert("reasoning".into(), field.clone());
            buffer.push(chunk).is_ok()
        });
        assert!(pushed.count() < 8);
    }
}
