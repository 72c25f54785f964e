//! Another server that speaks OpenAI's chat completions over HTTP.
//!
//! The server's answers are brought into the shape that [`teale_cluster::ChunkStream`] promises, whatever they leave
//! out; its errors are sorted into [`teale_cluster::BackendError`]'s kinds. Request fields are passed through.

mod backend;
mod failure;
mod options;
mod shape;
mod sse;
mod wire;

pub use backend::UpstreamBackend;
pub use options::{UpstreamError, UpstreamOptions};
pub use sse::{Event, SseError, SseParser};
