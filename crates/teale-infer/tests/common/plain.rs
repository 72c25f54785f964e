//! llama.cpp driven by hand, without our engine: the judge of what greedy output must be.

use std::{
    num::NonZeroU32,
    path::Path,
    time::{Duration, Instant},
};

use llama_cpp_2::{
    context::params::LlamaContextParams,
    llama_backend::LlamaBackend,
    llama_batch::LlamaBatch,
    model::{LlamaModel, params::LlamaModelParams},
    sampling::LlamaSampler,
    token::LlamaToken,
};

/// Tokens per second of a greedy answer, prompt included, loading not.
#[allow(dead_code, reason = "only the bench asks")]
pub(crate) fn greedy_rate(path: &Path, prompt: &str, limit: usize) -> f64 {
    let (_, _, tokens, took) = run(path, prompt, limit);
    tokens as f64 / took.as_secs_f64()
}

/// The bytes of a greedy answer to `prompt` (special tokens parsed), and how many tokens prompt and answer took.
#[allow(dead_code, reason = "only the tests ask")]
pub(crate) fn greedy(path: &Path, prompt: &str, limit: usize) -> (Vec<u8>, usize, usize) {
    let (bytes, prompt, answer, _) = run(path, prompt, limit);
    (bytes, prompt, answer)
}

fn run(path: &Path, prompt: &str, limit: usize) -> (Vec<u8>, usize, usize, Duration) {
    // The type has no fields: whoever initialised llama.cpp first, this is the handle. It must not be dropped.
    let backend = std::mem::ManuallyDrop::new(LlamaBackend::init().unwrap_or(LlamaBackend {}));
    let model = LlamaModel::load_from_file(&backend, path, &LlamaModelParams::default()).unwrap();
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(2048))
        .with_n_batch(2048)
        .with_n_threads(1)
        .with_n_threads_batch(1);
    let mut context = model.new_context(&backend, params).unwrap();
    let vocab = model.vocab();
    let start = Instant::now();
    let tokens = vocab.tokenize(prompt.as_bytes(), false, true);
    let mut batch = LlamaBatch::new(2048, 1);
    let mut sampler = LlamaSampler::greedy();
    let mut answer: Vec<LlamaToken> = Vec::new();
    batch.add_sequence(&tokens, 0, false).unwrap();
    while answer.len() < limit {
        context.decode(&mut batch).unwrap();
        let token = sampler.sample(&context, batch.n_tokens() - 1);
        answer.push(token);
        if vocab.is_eog(token) {
            break;
        }
        let position = i32::try_from(tokens.len() + answer.len() - 1).unwrap();
        batch.clear();
        batch.add(token, position, &[0], true).unwrap();
    }
    let mut bytes = Vec::new();
    for token in &answer {
        vocab.token_to_piece_into(*token, &mut bytes, false, None);
    }
    (bytes, tokens.len(), answer.len(), start.elapsed())
}
