//! Makes a small llama-architecture model for tests: random weights from a fixed seed, one token per byte, a chat
//! template. It says nothing sensible, but it says it in letters, differs with every prompt, and stops by itself.
//!
//! The same options give the same bytes on every machine: only integers and single IEEE additions,
//! multiplications and divisions are used, in a fixed order.
//!
//! How the gibberish stays readable: a few dimensions of the residual stream, which no layer writes to, carry the
//! class of the last letter, and the output head knows which classes may follow. The other dimensions are random
//! in every part; they choose the letter.

use std::path::PathBuf;

use crate::gguf::{File, Packing, Tensor, Value};

/// Tokens 0, 1, 2: unknown, begin, end.
const SPECIALS: [&str; 3] = ["<unk>", "<s>", "</s>"];
/// The first of 256 byte tokens.
const FIRST_BYTE: usize = SPECIALS.len();
/// The token of a space: the tokenizer of the format turns spaces into U+2581 before it looks for tokens.
const SPACE: usize = FIRST_BYTE + 256;
/// Control tokens of the chat template, after the space.
const ROLES: [&str; 4] = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"];
/// The token that ends a turn.
const END: usize = SPACE + ROLES.len();
/// How many tokens there are.
const VOCABULARY: usize = END + 1;

/// The chat template, in the metadata of the file.
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}\
{% if message['role'] not in ['system', 'user', 'assistant', 'tool'] %}{{ raise_exception('unknown role') }}{% endif %}\
{% if message['role'] == 'tool' %}<|user|>{% else %}{{ '<|' + message['role'] + '|>' }}{% endif %}\
{{ message['content'] }}<|end|>{% endfor %}\
{% if add_generation_prompt %}<|assistant|>{% endif %}";

/// Size and seed of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Width of the residual stream; a multiple of 2 × `heads`.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward part.
    pub feed_forward: usize,
    /// Tokens of context.
    pub context: u32,
    /// Where the random numbers start.
    pub seed: u64,
    /// Whether the model ever ends its turn; benches want one that does not.
    pub ends: bool,
    /// Whether the matrices are written as Q8_0, as models in use are; width and feed-forward part are then multiples
    /// of 32.
    pub quantised: bool,
}

impl Options {
    /// The committed test model, about half a megabyte.
    pub fn tiny() -> Self {
        Self {
            width: 64,
            layers: 2,
            heads: 4,
            feed_forward: 128,
            context: 2048,
            seed: 11,
            ends: true,
            quantised: false,
        }
    }

    /// A model that keeps one core busy for less than a millisecond per token, for benches. It never stops by itself.
    pub fn bench() -> Self {
        Self {
            width: 192,
            layers: 4,
            heads: 3,
            feed_forward: 512,
            context: 2048,
            seed: 11,
            ends: false,
            quantised: false,
        }
    }
}

const USAGE: &str = "\
cargo xtask tiny-model [--bench] [--seed N] [--out FILE]

  --bench      the larger model of the benches instead of the tests' one
  --seed N     other random weights
  --out FILE   where to write (default: crates/teale-infer/tests/data/tiny.gguf)";

/// Where the committed model lies.
pub fn committed_path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/teale-infer/tests/data/tiny.gguf"))
}

/// `cargo xtask tiny-model`.
///
/// # Errors
/// A message for the person at the terminal: bad arguments, or the file cannot be written.
pub fn command(args: &[String]) -> Result<(), String> {
    let mut options = Options::tiny();
    let mut out = committed_path();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n\n{USAGE}"));
        match arg.as_str() {
            "--bench" => options = Options { seed: options.seed, ..Options::bench() },
            "--seed" => options.seed = value()?.parse().map_err(|_| "--seed needs a number".to_owned())?,
            "--out" => out = value()?.into(),
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(());
            }
            other => return Err(format!("unknown argument `{other}`\n\n{USAGE}")),
        }
    }
    let bytes = write(&options);
    std::fs::write(&out, &bytes).map_err(|error| format!("cannot write {}: {error}", out.display()))?;
    println!("{}: {} bytes", out.display(), bytes.len());
    Ok(())
}

/// The model as the bytes of a GGUF file.
pub fn write(options: &Options) -> Vec<u8> {
    file(options).to_bytes()
}

/// The model before it is written, for tests that break it first.
pub fn file(options: &Options) -> File {
    let mut tensors = tensors(options);
    for tensor in tensors.iter_mut().filter(|tensor| options.quantised && tensor.shape.len() == 2) {
        tensor.packing = Packing::Q8_0;
    }
    File { metadata: metadata(options), tensors }
}

fn metadata(options: &Options) -> Vec<(String, Value)> {
    let number = |value: usize| Value::U32(u32::try_from(value).unwrap_or(u32::MAX));
    let text = |value: &str| Value::Text(value.to_owned());
    let pairs = [
        ("general.architecture", text("llama")),
        ("general.name", text("teale tiny test model")),
        ("general.file_type", Value::U32(if options.quantised { 7 } else { 0 })),
        ("llama.context_length", Value::U32(options.context)),
        ("llama.embedding_length", number(options.width)),
        ("llama.block_count", number(options.layers)),
        ("llama.feed_forward_length", number(options.feed_forward)),
        ("llama.attention.head_count", number(options.heads)),
        ("llama.attention.head_count_kv", number(options.heads)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.dimension_count", number(options.width / options.heads)),
        ("llama.rope.freq_base", Value::F32(10000.0)),
        ("llama.vocab_size", number(VOCABULARY)),
        ("tokenizer.ggml.model", text("llama")),
        ("tokenizer.ggml.tokens", Value::Texts(tokens())),
        ("tokenizer.ggml.scores", Value::F32s(vec![0.0; VOCABULARY])),
        ("tokenizer.ggml.token_type", Value::I32s(token_types())),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
        ("tokenizer.ggml.eos_token_id", Value::U32(2)),
        ("tokenizer.ggml.unknown_token_id", Value::U32(0)),
        ("tokenizer.ggml.eot_token_id", number(END)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
        ("tokenizer.ggml.add_eos_token", Value::Bool(false)),
        ("tokenizer.ggml.add_space_prefix", Value::Bool(false)),
        ("tokenizer.chat_template", text(TEMPLATE)),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn tokens() -> Vec<String> {
    let specials = SPECIALS.iter().map(|text| (*text).to_owned());
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let space = std::iter::once("\u{2581}".to_owned());
    let roles = ROLES.iter().map(|text| (*text).to_owned());
    specials.chain(bytes).chain(space).chain(roles).collect()
}

/// 1 ordinary, 2 unknown, 3 control, 6 byte.
fn token_types() -> Vec<i32> {
    let kind = |token: usize| match token {
        0 => 2,
        1 | 2 => 3,
        SPACE => 1,
        token if token < SPACE => 6,
        _ => 3,
    };
    (0..VOCABULARY).map(kind).collect()
}

fn tensors(options: &Options) -> Vec<Tensor> {
    let mut random = Random(options.seed);
    let (width, wide) = (options.width, options.feed_forward);
    let mut tensors = vec![
        tensor("token_embd.weight", &[width, VOCABULARY], embedding(width, &mut random)),
        tensor("output_norm.weight", &[width], vec![1.0; width]),
        tensor("output.weight", &[width, VOCABULARY], output_head(options, &mut random)),
    ];
    // Uniform in ±a has variance a²/3; these keep each part's output near the size of the residual stream.
    let (narrow_scale, wide_scale) = (1.7 / root(width), 2.5 / root(wide));
    for layer in 0..options.layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        tensors.push(tensor(&name("attn_norm"), &[width], vec![1.0; width]));
        for part in ["attn_q", "attn_k", "attn_v"] {
            let data = random.matrix(width * width, 2.0 * narrow_scale);
            tensors.push(tensor(&name(part), &[width, width], data));
        }
        let data = keep_classes(random.matrix(width * width, 2.0 * narrow_scale), width);
        tensors.push(tensor(&name("attn_output"), &[width, width], data));
        tensors.push(tensor(&name("ffn_norm"), &[width], vec![1.0; width]));
        for part in ["ffn_gate", "ffn_up"] {
            tensors.push(tensor(&name(part), &[width, wide], random.matrix(width * wide, narrow_scale)));
        }
        let data = keep_classes(random.matrix(width * wide, wide_scale), wide);
        tensors.push(tensor(&name("ffn_down"), &[wide, width], data));
    }
    tensors
}

fn tensor(name: &str, shape: &[usize], data: Vec<f32>) -> Tensor {
    Tensor {
        name: name.to_owned(),
        shape: shape.iter().map(|size| *size as u64).collect(),
        data,
        packing: Packing::F32,
    }
}

/// Silences the rows of a layer's output that would write over the class dimensions.
fn keep_classes(mut data: Vec<f32>, row: usize) -> Vec<f32> {
    data.iter_mut().take(CLASSES * row).for_each(|value| *value = 0.0);
    data
}

/// One row per token: its class in the first dimensions, random numbers in the others.
fn embedding(width: usize, random: &mut Random) -> Vec<f32> {
    let row = |token: usize| {
        let mut row = random.matrix(width, 1.0);
        let class = class(token) as usize;
        for (dimension, value) in row.iter_mut().take(CLASSES).enumerate() {
            *value = if dimension == class { 6.0 } else { 0.0 };
        }
        row
    };
    (0..VOCABULARY).flat_map(row).collect()
}

/// One row per token: which classes may come before it, and random numbers that choose within the class.
fn output_head(options: &Options, random: &mut Random) -> Vec<f32> {
    let noise = 3.5 / root(options.width);
    let mut row = |next: usize| {
        let mut row = random.matrix(options.width, noise);
        for (before, value) in CLASS_LIST.into_iter().zip(&mut row) {
            *value = affinity(before, class(next), options.ends);
        }
        row
    };
    (0..VOCABULARY).flat_map(&mut row).collect()
}

/// What kind of letter a token is; its number is its dimension in the embedding.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Vowel,
    Consonant,
    Space,
    Stop,
    End,
    Other,
}

const CLASS_LIST: [Class; CLASSES] =
    [Class::Vowel, Class::Consonant, Class::Space, Class::Stop, Class::End, Class::Other];
const CLASSES: usize = 6;

fn class(token: usize) -> Class {
    match token {
        SPACE => Class::Space,
        END => Class::End,
        token if (FIRST_BYTE..SPACE).contains(&token) => {
            match u8::try_from(token - FIRST_BYTE).unwrap_or(0) {
                b'a' | b'e' | b'i' | b'o' | b'u' => Class::Vowel,
                b'a'..=b'z' => Class::Consonant,
                b'.' | b',' | b'!' | b'?' => Class::Stop,
                _ => Class::Other,
            }
        }
        _ => Class::Other,
    }
}

/// How well a token of class `next` follows one of class `before`.
fn affinity(before: Class, next: Class, ends: bool) -> f32 {
    match (before, next) {
        (_, Class::Other) => -4.0,
        (Class::Stop, Class::End) if ends => 0.7,
        (_, Class::End) => -4.0,
        (Class::Vowel, Class::Consonant) | (Class::Consonant, Class::Vowel) => 0.5,
        (Class::Vowel | Class::Consonant, Class::Space) => 1.1,
        (Class::Vowel | Class::Consonant, Class::Stop) => 0.0,
        (Class::Stop, Class::Space) => 1.2,
        (Class::Space | Class::End | Class::Other, Class::Consonant | Class::Vowel) => 0.5,
        _ => -1.0,
    }
}

/// The square root by Newton's steps, so that no library's rounding is involved.
fn root(value: usize) -> f32 {
    let value = value as f32;
    let mut guess = value;
    for _ in 0..40 {
        guess = (guess + value / guess) / 2.0;
    }
    guess
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// `length` values, uniform between −`scale` and `scale`.
    fn matrix(&mut self, length: usize, scale: f32) -> Vec<f32> {
        let mut value = || {
            let whole = (self.next() >> 40) as u32; // 24 bits: exact in a float
            (whole as f32 / 8_388_608.0 - 1.0) * scale
        };
        (0..length).map(|_| value()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_model_is_reproduced_byte_for_byte() {
        let committed = std::fs::read(committed_path()).unwrap();
        assert!(committed.len() < 1_000_000, "{} bytes", committed.len());
        assert!(committed == write(&Options::tiny()), "run `cargo xtask tiny-model`");
    }

    #[test]
    fn another_seed_gives_another_model() {
        let other = Options { seed: 8, ..Options::tiny() };
        assert!(write(&Options::tiny()) != write(&other));
    }
}
