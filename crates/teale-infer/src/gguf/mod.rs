//! GGUF headers, read with suspicion before llama.cpp sees the file.
//!
//! llama.cpp aborts the whole process on some malformed files; what it would abort on, and what it would only report
//! as "failed to load", is found here first and named. Only the header is read, never the tensor data. Layout: ggml,
//! `docs/gguf.md`, version 3 (2 differs in nothing that is read here).

mod check;
mod error;
mod header;
mod source;
mod tensor_type;

pub use error::GgufError;
pub use header::{Header, Value};
