//! What to load and how, and why it may fail.

use std::{path::PathBuf, time::Duration};

use thiserror::Error;

use crate::gguf::GgufError;

/// Requests decoded together, if nobody says otherwise.
pub const DEFAULT_SLOTS: usize = 4;
/// The most requests decoded together; llama.cpp's own bound is 256 sequences.
pub const MOST_SLOTS: usize = 64;
/// Tokens of context per request, if nobody says otherwise and the model was trained for as many.
pub const DEFAULT_CONTEXT: u32 = 4096;
/// Tokens of all slots together: llama.cpp counts positions in 31 bits.
const MOST_TOKENS: u32 = i32::MAX as u32;
/// Tokens one decoding step may take.
pub(super) const BATCH: usize = 512;
/// How long one decoding step should take at most.
pub(super) const STEP: Duration = Duration::from_millis(50);

/// A model to load.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LlamaOptions {
    /// The GGUF file. Of a model in several files, the first.
    pub path: PathBuf,
    /// The model's id on the network; the file's stem by default.
    pub id: String,
    /// Requests decoded together, 1 … [`MOST_SLOTS`].
    pub slots: usize,
    /// Tokens of context that each request may use. `None`: [`DEFAULT_CONTEXT`], or what the model was trained
    /// for if that is less.
    pub context: Option<u32>,
    /// Threads that compute. `None`: as many as the machine runs at once; for a model below 64 MiB, one while a single
    /// token is computed.
    pub threads: Option<u32>,
    /// Layers to put on a GPU. `None`: all, where the build has a GPU back end and the machine a GPU.
    pub gpu_layers: Option<u32>,
    /// Whether a request may use what a slot still remembers of an earlier prompt with the same beginning.
    pub reuse_prefix: bool,
}

impl LlamaOptions {
    /// The defaults for a file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self {
            path,
            id,
            slots: DEFAULT_SLOTS,
            context: None,
            threads: None,
            gpu_layers: None,
            reuse_prefix: true,
        }
    }

    pub(super) fn check(&self) -> Result<(), LoadError> {
        if self.slots == 0 || self.slots > MOST_SLOTS {
            return Err(LoadError::Options("slots must be between 1 and 64"));
        }
        if self.context == Some(0) || self.threads == Some(0) {
            return Err(LoadError::Options("context and threads must be 1 or more"));
        }
        let slots = u32::try_from(self.slots).unwrap_or(u32::MAX);
        if self.context.is_some_and(|context| context.checked_mul(slots).is_none_or(|all| all > MOST_TOKENS))
        {
            return Err(LoadError::Options("context times slots must be below 2^31 tokens"));
        }
        if self.id.is_empty() {
            return Err(LoadError::Options("the model needs an id"));
        }
        Ok(())
    }
}

/// Why a model could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The caller's: options that make no sense.
    #[error("{0}")]
    Options(&'static str),
    /// There is no such file.
    #[error("there is no file {}", .0.display())]
    NotFound(PathBuf),
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::ErrorKind,
    },
    /// The file is no model that can be run.
    #[error("{}: {error}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: GgufError,
    },
    /// The file is fine, but this build of llama.cpp does not know its kind of model.
    #[error("models of architecture `{0}` are not supported")]
    Architecture(String),
    /// The model, or its context, does not fit into memory.
    #[error("not enough memory: {0}")]
    OutOfMemory(String),
    /// The model's chat template cannot be used.
    #[error("the model's chat template is broken: {0}")]
    Template(String),
    /// llama.cpp refused, in its own words.
    #[error("llama.cpp cannot load it: {0}")]
    Engine(String),
    /// Dropped while loading.
    #[error("loading was given up")]
    Cancelled,
}
