//! llama.cpp in this process.
//!
//! Two threads per model: one tokenises prompts, one (the engine) owns the context and decodes. Requests share the
//! context, each in a slot of its own with a guaranteed part of it (separate KV streams, so no request can take
//! another's room). A step decodes one token of every writing slot and pieces of the prompts of the reading ones;
//! the pieces are sized so that a step takes about 50 ms, so no stream stalls and a cancel is quick.
//!
//! Greedy answers do not depend on what else runs, with one exception: llama.cpp adds numbers in another order for
//! another batch shape, so where two tokens are nearly tied the choice may flip. The same holds for prefix reuse.

mod answer;
mod backend;
mod engine;
mod library;
mod loading;
mod log;
mod options;
mod prompt;
mod request;
mod sampler;
mod schedule;
mod slot;
mod strftime;
mod template;

pub use backend::{Activity, LlamaBackend, QUEUE};
pub use options::{DEFAULT_CONTEXT, DEFAULT_SLOTS, LlamaOptions, LoadError, MOST_SLOTS};
