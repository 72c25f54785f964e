//! Inference backends: what answers a chat request.
//!
//! Place in the stack: above `teale-cluster`, whose [`Backend`](teale_cluster::Backend) trait both backends here
//! implement; below `teale-node`, which chooses one. This crate must never know the network: no links, no peers, no
//! relay. (The other server of [`UpstreamBackend`] is an engine that happens to be reached by HTTP.)
//!
//! * `LlamaBackend` (feature `llama`, on by default): llama.cpp in this process. Several requests are decoded
//!   together in one context; a dropped stream frees its slot at the next decoding step.
//! * [`UpstreamBackend`]: any server with OpenAI's `/v1/chat/completions`.
//! * [`gguf`]: model files' headers, checked before llama.cpp sees them.
//! * [`text`]: characters stay whole, stop texts stay out.
//!
//! The contract: a stream's chunks have the shape that [`teale_cluster::ChunkStream`] promises; a caller's mistake
//! is never the engine's; every buffer is bounded; no call blocks, except the ones documented to.
#![cfg_attr(feature = "llama", doc = "```no_run")]
#![cfg_attr(not(feature = "llama"), doc = "```ignore")]
//! use futures_util::StreamExt;
//! use teale_cluster::Backend;
//! use teale_infer::{LlamaBackend, LlamaOptions};
//! use teale_wire::chat::{ChatMessage, ChatRequest};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let backend = LlamaBackend::load(LlamaOptions::new("model.gguf"))?;
//! let messages = vec![ChatMessage::text("user", "What is a teal?")];
//! let mut answer = backend.start(ChatRequest { model: "model".into(), messages, ..Default::default() })?;
//! while let Some(chunk) = answer.next().await {
//!     for choice in chunk?.choices {
//!         print!("{}", choice.delta.content.unwrap_or_default());
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod chunks;
pub mod gguf;
#[cfg(feature = "llama")]
mod llama;
pub mod text;
mod upstream;

#[cfg(feature = "llama")]
pub use llama::{
    Activity, DEFAULT_CONTEXT, DEFAULT_SLOTS, LlamaBackend, LlamaOptions, LoadError, MOST_SLOTS, QUEUE,
};
pub use upstream::{Event, SseError, SseParser, UpstreamBackend, UpstreamError, UpstreamOptions};
