//! One running request: its tokens, its text, its way out.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use llama_cpp_2::{sampling::LlamaSampler, token::LlamaToken};
use teale_cluster::BackendError;
use teale_wire::{
    Extra,
    chat::{ChatChunk, Usage},
};
use tokio::sync::mpsc;

use crate::{
    chunks::Answer,
    text::{Found, StopFilter, Utf8Filter},
};

use super::request::Sampling;

/// Chunks a reader may lag behind.
pub(super) const BUFFER: usize = 64;
/// Chunks one decoding step may produce: text, the finish, the usage.
const PER_STEP: usize = 3;

/// What a stream carries.
pub(super) type Item = Result<ChatChunk, BackendError>;

/// A place in the engine's queue; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes one of `limit` places.
    pub(super) fn take(taken: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let more = |count: usize| (count < limit).then_some(count + 1);
        taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A request whose prompt is ready.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) prompt: Vec<LlamaToken>,
    pub(super) sampling: Sampling,
    pub(super) stops: Vec<String>,
    /// Tokens of answer, if limited.
    pub(super) limit: Option<u64>,
    pub(super) answer: Answer,
    pub(super) chunks: mpsc::Sender<Item>,
    /// Kept until the request has a slot.
    pub(super) place: Place,
}

/// A request in a slot.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) sampler: LlamaSampler,
    answer: Answer,
    chunks: mpsc::Sender<Item>,
    utf8: Utf8Filter,
    stop: StopFilter,
    prompt_tokens: u64,
    generated: u64,
    limit: u64,
}

/// What a sampled token meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It belongs to the answer; go on.
    Continue,
    /// The answer is over.
    Finished,
}

impl Running {
    /// Begins a job, and gives its prompt. `context` is what one slot holds.
    pub(super) fn new(job: Job, sampler: LlamaSampler, context: u32) -> (Self, Vec<LlamaToken>) {
        let prompt_tokens = job.prompt.len() as u64;
        drop(job.place); // a slot is better than a place in the queue
        let room = u64::from(context).saturating_sub(prompt_tokens);
        let running = Self {
            sampler,
            answer: job.answer,
            chunks: job.chunks,
            utf8: Utf8Filter::default(),
            stop: StopFilter::new(&job.stops),
            prompt_tokens,
            generated: 0,
            limit: job.limit.unwrap_or(u64::MAX).min(room),
        };
        (running, job.prompt)
    }

    /// Whether nobody listens any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.chunks.is_closed()
    }

    /// Whether the reader has room for all that one step may produce.
    pub(super) fn has_room(&self) -> bool {
        self.chunks.capacity() >= PER_STEP
    }

    /// The bytes of a sampled token, or none when it ends the answer.
    pub(super) fn token(&mut self, bytes: Option<&[u8]>) -> After {
        self.generated += 1;
        let Some(bytes) = bytes else {
            self.finish("stop");
            return After::Finished;
        };
        let text = self.utf8.push(bytes);
        match self.stop.push(&text) {
            Found::Text(text) => self.text(text),
            Found::Stop(text) => {
                self.text(text);
                self.end("stop");
                return After::Finished;
            }
        }
        if self.generated >= self.limit {
            self.finish("length");
            return After::Finished;
        }
        After::Continue
    }

    /// The request failed.
    pub(super) fn fail(self, error: BackendError) {
        self.send(Err(error));
    }

    /// Gives out what was held back, and ends.
    fn finish(&mut self, reason: &str) {
        let rest = self.utf8.finish();
        match self.stop.push(&rest) {
            Found::Text(text) => {
                let held = self.stop.finish();
                self.text(text + &held);
                self.end(reason);
            }
            Found::Stop(text) => {
                self.text(text);
                self.end("stop");
            }
        }
    }

    fn text(&mut self, text: String) {
        if !text.is_empty() {
            let chunk = self.answer.text(text);
            self.send(Ok(chunk));
        }
    }

    fn end(&mut self, reason: &str) {
        let finish = self.answer.finish(reason);
        self.send(Ok(finish));
        let usage = self.answer.usage(Usage {
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.generated,
            total_tokens: self.prompt_tokens + self.generated,
            extra: Extra::new(),
        });
        self.send(Ok(usage));
    }

    fn send(&self, item: Item) {
        // `has_room` was true before the step; a closed channel is found by `is_cancelled`.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.chunks.try_send(item) {
            tracing::error!("a chunk was lost: the step was not reserved");
        }
    }
}
