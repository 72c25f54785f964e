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
/// As the engine chooses, which is one for one token of models as small as these.
const THREADS: Option<u32> = None;
const PROMPT: &str = "What is a teal?";

fn main() {
    // `cargo test --benches` only wants to know whether it runs.
    let (tokens, rounds) =
        if std::env::args().any(|arg| arg == "--bench") { (TOKENS, ROUNDS) } else { (8, 1) };
    // One that stays in the processor's caches, and one that is read from memory for every step: that is where
    // decoding together pays.
    let large = Options { width: 384, layers: 6, heads: 6, feed_forward: 1536, ..Options::bench() };
    for (options, tokens) in [(Options::bench(), tokens), (large, tokens / 6 + 8)] {
        // Models in use are quantised. With 32-bit floats llama.cpp's routine for a few columns at once can be slower
        // than one column after the other, so that decoding together gains nothing.
        for quantised in [true, false] {
            compare(&Options { quantised, ..options.clone() }, tokens, rounds);
        }
    }
}

fn compare(model: &Options, tokens: usize, rounds: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.gguf");
    let bytes = tiny_model::write(model);
    let packing = if model.quantised { "Q8_0" } else { "F32" };
    println!("a model of {} MB, {packing}", bytes.len() >> 20);
    std::fs::write(&path, bytes).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let mut options = LlamaOptions::new(&path);
    options.context = Some(2048);
    options.threads = THREADS;
    options.reuse_prefix = false;
    let backend = LlamaBackend::load(options).unwrap();
    let best = |work: &dyn Fn() -> f64| {
        let rates = (0..rounds).map(|_| {
            let before = cpu_seconds();
            let start = Instant::now();
            let rate = work();
            // What the clock says, and what it would say if the machine had nothing else to do.
            let busy = before.zip(cpu_seconds()).map(|(before, after)| after - before);
            let undisturbed =
                busy.filter(|busy| *busy > 0.0).map(|busy| rate * start.elapsed().as_secs_f64() / busy);
            (rate, undisturbed.unwrap_or(rate))
        });
        rates.fold((0.0, 0.0), |best: (f64, f64), rate| (best.0.max(rate.0), best.1.max(rate.1)))
    };
    let hand = best(&|| by_hand(&path, tokens));
    let one = best(&|| runtime.block_on(engine(&backend, 1, tokens)));
    let four = best(&|| runtime.block_on(engine(&backend, 4, tokens)));
    for (clock, pick) in [("s", 0), ("s of CPU", 1)] {
        let rate = |(wall, cpu): (f64, f64)| if pick == 0 { wall } else { cpu };
        let (hand, one, four) = (rate(hand), rate(one), rate(four));
        println!("llama.cpp by hand, 1 thread: {hand:8.0} tokens/{clock}");
        println!("engine, 1 slot busy:         {one:8.0} tokens/{clock} ({:.3} of by hand)", one / hand);
        println!("engine, 4 slots busy:        {four:8.0} tokens/{clock} ({:.2} × one slot)", four / one);
    }
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

/// Processor time of this process so far, in steps of 10 ms; `None` where it is not told.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name, which may hold anything: the state, ten more fields, then user and system time in ticks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}
