//! What answers requests: the trait behind which an engine hides.

use std::{fmt, pin::Pin};

use futures_core::Stream;
use teale_wire::{
    ErrorCode,
    chat::{ChatChunk, ChatRequest},
};
use thiserror::Error;

/// A running answer. Dropping it cancels: the engine stops at its next step and frees the slot.
///
/// Chunks in order: the first carries the role; every `content` is whole UTF-8 characters; the last one with a
/// choice carries `finish_reason`; after it exactly one chunk with `choices: []` and the usage. The stream then
/// ends. An error is the last item. All chunks share `id` and `created`. A slow reader slows the engine's slot
/// (and only that) down: the stream buffers a bounded number of chunks.
pub type ChunkStream = Pin<Box<dyn Stream<Item = Result<ChatChunk, BackendError>> + Send>>;

/// Something that answers chat requests. Methods return at once; work happens in the stream.
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// The models it has, from memory.
    fn models(&self) -> Vec<ModelInfo>;

    /// How many requests it decodes at once. The cluster never starts more; it queues.
    fn slots(&self) -> usize;

    /// Starts one request. `request.model` is one of [`Backend::models`]' ids.
    ///
    /// # Errors
    /// What can be said without work: unknown model, not loaded, a field that cannot be served.
    fn start(&self, request: ChatRequest) -> Result<ChunkStream, BackendError>;
}

/// A model of a backend.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Its id on the network.
    pub id: String,
    /// Whether it can answer.
    pub state: LoadState,
    /// Tokens of context one request may use.
    pub context: Option<u32>,
    /// Size of its files.
    pub size_bytes: Option<u64>,
}

/// Whether a model can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadState {
    /// Being read into memory.
    Loading,
    /// Answers.
    Ready,
    /// Could not be loaded, with the reason.
    Failed(String),
}

/// Why a request failed, and whose fault it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The caller's: no such model here.
    #[error("no such model")]
    ModelNotFound,
    /// Nobody's: still loading (or failed to).
    #[error("the model is not loaded: {0}")]
    ModelNotLoaded(String),
    /// The caller's: prompt and answer do not fit.
    #[error("the prompt has {prompt} tokens, but the model's context holds {context}")]
    ContextLengthExceeded {
        /// Tokens of the prompt.
        prompt: u64,
        /// Tokens of the context.
        context: u64,
    },
    /// The caller's: a field that cannot be served.
    #[error("`{field}` cannot be served: {reason}")]
    InvalidRequest {
        /// The field.
        field: String,
        /// Why.
        reason: String,
    },
    /// The operator's: no slot free, shutting down, upstream away.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Ours.
    #[error("the engine failed: {0}")]
    Internal(String),
    /// It took too long.
    #[error("it took too long")]
    Timeout,
}

impl BackendError {
    /// The kind of `inferenceError` it becomes on the wire.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::ModelNotFound | Self::ModelNotLoaded(_) => ErrorCode::ModelNotLoaded,
            Self::ContextLengthExceeded { .. } => ErrorCode::ContextLengthExceeded,
            Self::InvalidRequest { .. } => ErrorCode::InvalidRequest,
            Self::Unavailable(_) => ErrorCode::Unavailable,
            Self::Internal(_) => ErrorCode::InternalError,
            Self::Timeout => ErrorCode::Timeout,
        }
    }

    /// What a peer is told: nothing of this machine's inside.
    pub(crate) fn public_text(&self) -> String {
        match self {
            Self::ModelNotLoaded(_) => "the model is not loaded".into(),
            Self::Unavailable(_) => "the node takes no work at present".into(),
            Self::Internal(_) => "the engine failed".into(),
            other => other.to_string(),
        }
    }
}
