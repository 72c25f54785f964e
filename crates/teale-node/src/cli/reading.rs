//! An answer while it is read: its text, and how fast it came.

use std::time::Instant;

use teale_wire::chat::{ChatChunk, Usage};

/// What has been read of an answer.
#[derive(Debug)]
pub(super) struct Reading {
    asked: Instant,
    first: Option<Instant>,
    last: Instant,
    /// The model that answers, as it names itself.
    pub(super) model: String,
    /// The text so far.
    pub(super) text: String,
    /// Why it ended.
    pub(super) finish_reason: Option<String>,
    /// What it cost.
    pub(super) usage: Option<Usage>,
}

impl Reading {
    /// Nothing yet, of an answer asked for at `asked`.
    pub(super) fn new(asked: Instant) -> Self {
        Self {
            asked,
            first: None,
            last: asked,
            model: String::new(),
            text: String::new(),
            finish_reason: None,
            usage: None,
        }
    }

    /// Takes a chunk; returns its text.
    pub(super) fn take(&mut self, chunk: ChatChunk) -> String {
        self.usage = chunk.usage.or(self.usage.take());
        if self.model.is_empty() {
            self.model = chunk.model;
        }
        let Some(choice) = chunk.choices.into_iter().next() else { return String::new() };
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        let text = choice.delta.content.unwrap_or_default();
        if !text.is_empty() {
            self.last = Instant::now();
            self.first.get_or_insert(self.last);
            self.text.push_str(&text);
        }
        text
    }

    /// Milliseconds from the question to the first text.
    pub(super) fn first_token_ms(&self) -> Option<f64> {
        self.first.map(|first| (first - self.asked).as_secs_f64() * 1e3)
    }

    /// Tokens of the answer a second, from the question to the last text: several tokens may arrive at once, so
    /// that the time between them says little.
    pub(super) fn tokens_per_second(&self) -> Option<f64> {
        let tokens = self.usage.as_ref()?.completion_tokens;
        let seconds = (self.last - self.asked).as_secs_f64();
        (tokens > 0 && seconds > 0.0).then(|| tokens as f64 / seconds)
    }
}
