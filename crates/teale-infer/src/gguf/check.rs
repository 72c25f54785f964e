//! Checks of a language model's metadata: what llama.cpp asserts, or would let a user's text trip over later.

use std::collections::HashSet;

use super::{GgufError, Value, error::shown, header::Header};

/// llama.cpp's `LLAMA_MAX_LAYERS`.
const MOST_LAYERS: u64 = 512;
/// llama.cpp's `LLAMA_MAX_EXPERTS`.
const MOST_EXPERTS: u64 = 1024;
/// No model is wider, and llama.cpp's sums of products stay within 64 bits.
const WIDEST: u64 = 1 << 20;
/// A token's type in `tokenizer.ggml.token_type`: a byte, spelt `<0xHH>`.
const BYTE: i64 = 6;

pub(super) fn model(header: &Header) -> Result<(), GgufError> {
    if header.architecture().is_empty() {
        return Err(missing("general.architecture"));
    }
    if !continues_text(header.architecture()) {
        return Err(wrong("general.architecture", "is of a model that does not continue text"));
    }
    floats(header)?;
    shape(header)?;
    experts(header)?;
    if let Some(scaling) = header.text(&of(header, "rope.scaling.type"))
        && !["none", "linear", "yarn", "longrope"].contains(&scaling)
    {
        return Err(wrong(of(header, "rope.scaling.type"), "is not a known kind of scaling"));
    }
    tokenizer(header)
}

fn of(header: &Header, key: &str) -> String {
    format!("{}.{key}", header.architecture())
}

fn missing(key: impl Into<String>) -> GgufError {
    GgufError::Missing(key.into())
}

fn wrong(key: impl Into<String>, problem: &'static str) -> GgufError {
    GgufError::Value { key: key.into(), problem }
}

/// Encoders and models of pictures or sound; llama.cpp loads them, but not for this.
fn continues_text(architecture: &str) -> bool {
    let other = ["clip", "gemma-embedding", "wavtokenizer-dec"].contains(&architecture);
    !(other || architecture.contains("bert") || architecture.starts_with("t5"))
}

/// Factors and bounds: all of them finite, none of the epsilons below 0.
fn floats(header: &Header) -> Result<(), GgufError> {
    for (key, value) in &header.metadata {
        let Value::Float(value) = value else { continue };
        if !value.is_finite() || (*value < 0.0 && key.ends_with("epsilon")) {
            return Err(wrong(shown(key.as_bytes()), "is out of range"));
        }
    }
    Ok(())
}

/// The sizes that every language model states.
fn shape(header: &Header) -> Result<(), GgufError> {
    for (name, most) in [
        ("context_length", u64::from(u32::MAX >> 1)),
        ("embedding_length", WIDEST),
        ("block_count", MOST_LAYERS),
    ] {
        let key = of(header, name);
        match header.number(&key) {
            None if header.get(&key).is_none() => return Err(missing(key)),
            Some(1..) if header.number(&key) <= Some(most) => {}
            _ => return Err(wrong(key, "is out of range")),
        }
    }
    let layers = header.number(&of(header, "block_count")).unwrap_or_default();
    if header.number(&of(header, "nextn_predict_layers")).unwrap_or_default() > layers {
        return Err(wrong(of(header, "nextn_predict_layers"), "is more than the layers there are"));
    }
    for name in ["attention.head_count", "attention.head_count_kv", "feed_forward_length"] {
        numbers_below(header, &of(header, name), layers, WIDEST)?;
    }
    for name in ["attention.key_length", "attention.value_length", "rope.dimension_count"] {
        let key = of(header, name);
        if header.get(&key).is_some() && !(1..=WIDEST).contains(&header.number(&key).unwrap_or_default()) {
            return Err(wrong(key, "is out of range"));
        }
    }
    llama_heads(header)
}

/// One number for all layers, or one for each.
fn numbers_below(header: &Header, key: &str, layers: u64, most: u64) -> Result<(), GgufError> {
    let fits = |number: i128| (0..=i128::from(most)).contains(&number);
    match header.get(key) {
        None => Ok(()),
        Some(Value::Integer(number)) if fits(*number) => Ok(()),
        Some(Value::Integers(numbers)) if numbers.len() as u64 >= layers => {
            let all = numbers.iter().all(|number| fits((*number).into()));
            if all { Ok(()) } else { Err(wrong(key, "is out of range")) }
        }
        Some(_) => Err(wrong(key, "is out of range")),
    }
}

/// llama.cpp divides by these for plain transformers. (Models without attention have none.)
fn llama_heads(header: &Header) -> Result<(), GgufError> {
    let key = of(header, "attention.head_count");
    let Some(heads) = header.number(&key) else { return Ok(()) };
    if heads == 0 {
        return if header.architecture() == "llama" { Err(wrong(key, "is 0")) } else { Ok(()) };
    }
    let width = header.number(&of(header, "embedding_length")).unwrap_or_default();
    let groups = header.number(&of(header, "attention.head_count_kv")).unwrap_or(heads);
    if heads > width {
        return Err(wrong(key, "is more than the embedding's width"));
    }
    if groups > 0 && heads % groups != 0 {
        return Err(wrong(of(header, "attention.head_count_kv"), "does not divide the head count"));
    }
    if header.architecture() == "llama" {
        if groups == 0 {
            return Err(wrong(of(header, "attention.head_count_kv"), "is 0"));
        }
        let size = header.number(&of(header, "attention.key_length")).unwrap_or(width / heads);
        let turned = header.number(&of(header, "rope.dimension_count")).unwrap_or(size);
        if !turned.is_multiple_of(2) || turned > size {
            return Err(wrong(of(header, "rope.dimension_count"), "does not fit the heads"));
        }
    }
    Ok(())
}

fn experts(header: &Header) -> Result<(), GgufError> {
    let number = |name: &str| header.number(&of(header, name)).unwrap_or_default();
    let used = match header.get(&of(header, "expert_used_count")) {
        Some(Value::Integers(numbers)) => {
            numbers.iter().copied().max().and_then(|most| u64::try_from(most).ok()).unwrap_or(u64::MAX)
        }
        _ => number("expert_used_count"),
    };
    let (experts, groups) = (number("expert_count"), number("expert_group_count"));
    if experts > MOST_EXPERTS {
        return Err(wrong(of(header, "expert_count"), "is out of range"));
    }
    if used > experts || (experts > 0 && used == 0) {
        return Err(wrong(of(header, "expert_used_count"), "does not fit the number of experts"));
    }
    let group_used = number("expert_group_used_count");
    let uneven =
        groups > 1 && (experts.checked_rem(groups) != Some(0) || group_used == 0 || group_used >= groups);
    if (groups > 0 && groups >= experts) || uneven {
        return Err(wrong(of(header, "expert_group_count"), "does not fit the number of experts"));
    }
    Ok(())
}

fn tokenizer(header: &Header) -> Result<(), GgufError> {
    const TOKENS: &str = "tokenizer.ggml.tokens";
    let model = header.text("tokenizer.ggml.model").ok_or_else(|| missing("tokenizer.ggml.model"))?;
    if ["no_vocab", "none"].contains(&model) {
        return Err(wrong("tokenizer.ggml.model", "says that there is no tokenizer"));
    }
    if ["bert", "test"].contains(&model) {
        return Err(wrong("tokenizer.ggml.model", "is a kind that no chat model has"));
    }
    let tokens = match header.get(TOKENS) {
        Some(Value::Texts(tokens)) if !tokens.is_empty() => tokens,
        Some(_) => return Err(wrong(TOKENS, "is not a list of texts")),
        None => return Err(missing(TOKENS)),
    };
    let mut known = HashSet::with_capacity(tokens.len());
    if !tokens.iter().filter(|token| !token.is_empty()).all(|token| known.insert(token.as_slice())) {
        return Err(wrong(TOKENS, "has the same token twice"));
    }
    if tokens.iter().any(|token| token.contains(&0)) {
        return Err(wrong(TOKENS, "has a token with a zero byte"));
    }
    lists(header, tokens)?;
    if model == "llama" && !(0..=u8::MAX).all(|byte| spelt(byte, &known)) {
        return Err(wrong(TOKENS, "lacks tokens for single bytes"));
    }
    Ok(())
}

/// Whether a tokenizer of the SentencePiece kind can fall back to this byte.
fn spelt(byte: u8, known: &HashSet<&[u8]>) -> bool {
    known.contains(format!("<0x{byte:02X}>").as_bytes()) || known.contains([byte].as_slice())
}

/// The lists beside the tokens: as long as those, and byte tokens spelt as bytes.
fn lists(header: &Header, tokens: &[Vec<u8>]) -> Result<(), GgufError> {
    const SCORES: &str = "tokenizer.ggml.scores";
    const TYPES: &str = "tokenizer.ggml.token_type";
    let length = |value: &Value| match value {
        Value::Integers(numbers) => numbers.len() as u64,
        Value::Other { length, .. } => *length,
        _ => 0,
    };
    if header.get(SCORES).is_some_and(|scores| length(scores) < tokens.len() as u64) {
        return Err(wrong(SCORES, "is shorter than the list of tokens"));
    }
    match header.get(TYPES) {
        None => Ok(()),
        Some(Value::Integers(types)) if types.len() >= tokens.len() => {
            let mut bytes =
                types.iter().zip(tokens).filter(|(kind, _)| **kind == BYTE).map(|(_, token)| token);
            if bytes.all(|token| is_byte_name(token)) {
                Ok(())
            } else {
                Err(wrong(TYPES, "calls a token a byte that is not spelt as one"))
            }
        }
        Some(_) => Err(wrong(TYPES, "is shorter than the list of tokens")),
    }
}

fn is_byte_name(token: &[u8]) -> bool {
    matches!(token, [b'<', b'0', b'x', high, low, b'>'] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}
