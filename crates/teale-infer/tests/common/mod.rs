//! What the engine's tests share.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod plain;

use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use teale_cluster::{Backend, BackendError, ChunkStream};
use teale_infer::{LlamaBackend, LlamaOptions};
use teale_wire::chat::{ChatChunk, ChatMessage, ChatRequest, Usage};

/// The committed model.
pub(crate) fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny.gguf")
}

/// The prompt that the committed model's template makes of one user message.
pub(crate) fn prompt(text: &str) -> String {
    format!("<s><|user|>{text}<|end|><|assistant|>")
}

/// The committed model on one thread.
pub(crate) fn backend(slots: usize) -> LlamaBackend {
    LlamaBackend::load(options(slots)).unwrap()
}

/// Options for the committed model.
pub(crate) fn options(slots: usize) -> LlamaOptions {
    let mut options = LlamaOptions::new(tiny());
    options.slots = slots;
    options.threads = Some(1);
    options
}

/// A greedy request of one user message.
pub(crate) fn greedy(text: &str, limit: u64) -> ChatRequest {
    ChatRequest {
        model: "tiny".to_owned(),
        messages: vec![ChatMessage::text("user", text)],
        temperature: Some(0.0),
        max_tokens: Some(limit),
        ..ChatRequest::default()
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) text: String,
    pub(crate) finish: String,
    pub(crate) usage: Usage,
}

/// Reads a stream to its end and checks the contract of `ChunkStream` on the way.
pub(crate) async fn hear(mut stream: ChunkStream) -> Result<Heard, BackendError> {
    let mut chunks: Vec<ChatChunk> = Vec::new();
    while let Some(item) = stream.next().await {
        chunks.push(item?);
    }
    let usage = chunks.pop().unwrap();
    assert!(usage.choices.is_empty(), "the last chunk is the usage");
    assert!(chunks.iter().all(|chunk| chunk.id == usage.id && chunk.created == usage.created));
    assert!(chunks.iter().all(|chunk| chunk.usage.is_none() && chunk.choices.len() == 1));
    assert_eq!(chunks[0].choices[0].delta.role.as_deref(), Some("assistant"));
    let (last, before) = chunks.split_last().unwrap();
    assert!(before.iter().all(|chunk| chunk.choices[0].finish_reason.is_none()));
    let text = chunks.iter().filter_map(|chunk| chunk.choices[0].delta.content.clone()).collect();
    Ok(Heard { text, finish: last.choices[0].finish_reason.clone().unwrap(), usage: usage.usage.unwrap() })
}

/// Asks and reads to the end.
pub(crate) async fn ask(backend: &LlamaBackend, request: ChatRequest) -> Result<Heard, BackendError> {
    hear(backend.start(request)?).await
}
