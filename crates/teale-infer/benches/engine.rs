//! Tokens per second of one slot and of four, and of llama.cpp driven by hand. Ratios within one run.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench talks, and dies of what goes wrong")]

#[path = "../tests/common/plain.rs"]
mod plain;

use std::{path::Path, time::Instant};

use futures_util::{StreamExt, future::join_all};
use teale_cluster::Backend;
use teale_infer::{LlamaBackend, LlamaOptions};
use teale_wire::chat::{ChatMessage, ChatRequest};
use xtask::tiny_model::{self, Options};

const TOKENS: usize = 600;
const ROUNDS: usize = 5;
const PROMPT: &str = "What is a teal?";

fn main() {
    // `cargo test --benches` only wants to know whether it runs.
    let (tokens, rounds) =
        if std::env::args().any(|arg| arg == "--bench") { (TOKENS, ROUNDS) } else { (8, 1) };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.gguf");
    std::fs::write(&path, tiny_model::write(&Options::bench())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let mut options = LlamaOptions::new(&path);
    options.context = Some(2048);
    options.threads = Some(1);
    options.reuse_prefix = false;
    let backend = LlamaBackend::load(options).unwrap();
    let best = |work: &dyn Fn() -> f64| (0..rounds).map(|_| work()).fold(0.0, f64::max);
    let hand = best(&|| by_hand(&path, tokens));
    let one = best(&|| runtime.block_on(engine(&backend, 1, tokens)));
    let four = best(&|| runtime.block_on(engine(&backend, 4, tokens)));
    println!("llama.cpp by hand, 1 thread: {hand:8.0} tokens/s");
    println!("engine, 1 slot busy:         {one:8.0} tokens/s ({:.3} of by hand)", one / hand);
    println!("engine, 4 slots busy:        {four:8.0} tokens/s ({:.2} × one slot)", four / one);
}

/// Tokens per second of `busy` requests at once, the first token not counted.
async fn engine(backend: &LlamaBackend, busy: usize, tokens: usize) -> f64 {
    let requests = (0..busy).map(|_| async {
        let messages = vec![ChatMessage::text("user", PROMPT)];
        let max_tokens = Some(tokens as u64);
        let request = ChatRequest {
            model: "bench".into(),
            messages,
            temperature: Some(0.0),
            max_tokens,
            ..Default::default()
        };
        let mut stream = backend.start(request).unwrap();
        let mut used = 0;
        while let Some(chunk) = stream.next().await {
            used = chunk.unwrap().usage.map_or(used, |usage| usage.completion_tokens);
        }
        used
    });
    let start = Instant::now();
    let used: u64 = join_all(requests).await.into_iter().sum();
    used as f64 / start.elapsed().as_secs_f64()
}

fn by_hand(path: &Path, tokens: usize) -> f64 {
    plain::greedy_rate(path, &format!("<s><|user|>{PROMPT}<|end|><|assistant|>"), tokens)
}
