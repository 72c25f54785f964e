//! How the next token is chosen.

use llama_cpp_2::sampling::LlamaSampler;

use super::request::Sampling;

/// Temperatures below this are greedy: logits divided by much less are no longer finite.
const COLDEST: f32 = 1e-6;

/// llama.cpp's chain in llama.cpp's order: penalties, top_k, top_p, min_p, temperature, then the draw.
///
/// Penalties count what was generated, not the prompt (as OpenAI describes them); the sampler is only ever told of
/// generated tokens.
pub(super) fn chain(sampling: &Sampling, vocabulary: i32, context: u32) -> LlamaSampler {
    let mut chain = Vec::new();
    if sampling.presence != 0.0 || sampling.frequency != 0.0 {
        let memory = i32::try_from(context).unwrap_or(i32::MAX);
        chain.push(LlamaSampler::penalties(vocabulary, memory, 1.0, sampling.frequency, sampling.presence));
    }
    if sampling.temperature < COLDEST {
        chain.push(LlamaSampler::greedy());
        return LlamaSampler::chain(chain, true);
    }
    if sampling.top_k > 0 {
        chain.push(LlamaSampler::top_k(sampling.top_k));
    }
    if sampling.top_p < 1.0 {
        chain.push(LlamaSampler::top_p(sampling.top_p, 1));
    }
    if sampling.min_p > 0.0 {
        chain.push(LlamaSampler::min_p(sampling.min_p, 1));
    }
    chain.push(LlamaSampler::temp(sampling.temperature));
    chain.push(LlamaSampler::dist(sampling.seed.unwrap_or_else(random_seed)));
    LlamaSampler::chain(chain, true)
}

fn random_seed() -> u32 {
    // All ones has a meaning of its own: "seed from the clock", which serves where the system has no random numbers.
    getrandom::u32().unwrap_or(u32::MAX)
}
