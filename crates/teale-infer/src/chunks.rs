//! Builds the chunks of one answer: the same id and time in all of them, the role in the first.

use std::time::{SystemTime, UNIX_EPOCH};

use teale_wire::{
    Extra,
    chat::{ChatChunk, ChunkChoice, Delta, Usage},
};

/// What all chunks of an answer share.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    id: String,
    created: u64,
    model: String,
    begun: bool,
}

impl Answer {
    /// A new answer of `model`, named at random.
    pub(crate) fn new(model: &str) -> Self {
        let mut name = [0_u8; 12];
        if getrandom::fill(&mut name).is_err() {
            tracing::warn!("the system gives no random numbers; answers will share an id");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = format!("chatcmpl-{}", hex::encode(name));
        Self { id, created: now.as_secs(), model: model.to_owned(), begun: false }
    }

    /// A piece of text.
    #[cfg(feature = "llama")]
    pub(crate) fn text(&mut self, content: String) -> ChatChunk {
        self.delta(Delta { content: Some(content), ..Delta::default() }, None)
    }

    /// The last chunk with a choice.
    pub(crate) fn finish(&mut self, reason: &str) -> ChatChunk {
        self.delta(Delta::default(), Some(reason.to_owned()))
    }

    /// Any piece; the role is added to the first.
    pub(crate) fn delta(&mut self, mut delta: Delta, finish_reason: Option<String>) -> ChatChunk {
        if !self.begun {
            self.begun = true;
            delta.role.get_or_insert_with(|| "assistant".to_owned());
        }
        let choice = ChunkChoice { index: 0, delta, finish_reason, extra: Extra::new() };
        self.chunk(vec![choice], None)
    }

    /// The chunk after the last choice.
    pub(crate) fn usage(&self, usage: Usage) -> ChatChunk {
        self.chunk(Vec::new(), Some(usage))
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<Usage>) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk".to_owned(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage,
            extra: Extra::new(),
        }
    }
}
