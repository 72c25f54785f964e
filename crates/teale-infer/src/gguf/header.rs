//! The header: metadata and the description of the tensors.

use std::{collections::HashMap, io::Read};

use super::{GgufError, check, error::shown, source::Source, tensor_type};

/// Keys of a header; real models have some fifty.
const MOST_KEYS: u64 = 1 << 16;
/// Tensors of a file; the largest models have some thousands.
const MOST_TENSORS: u64 = 1 << 20;
/// ggml's `GGML_MAX_NAME`, the closing zero included.
const LONGEST_TENSOR_NAME: usize = 64;
/// ggml's `GGML_MAX_DIMS`.
const MOST_DIMENSIONS: u32 = 4;
/// Where tensor data starts, unless `general.alignment` says otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;
/// Number of the type "array".
const ARRAY: u32 = 9;
/// Number of the type "text".
const TEXT: u32 = 8;

/// A metadata value, as far as it matters here.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any whole number, sign included.
    Integer(i128),
    /// A 32- or 64-bit float.
    Float(f64),
    /// A flag.
    Bool(bool),
    /// Text.
    Text(String),
    /// A list of texts, as bytes: tokens need not be UTF-8.
    Texts(Vec<Vec<u8>>),
    /// A list of whole numbers of at most 32 bits.
    Integers(Vec<i64>),
    /// Another list; only its length is kept.
    Other {
        /// The elements' type number.
        kind: u32,
        /// How many there are.
        length: u64,
    },
}

/// A header that passed every check.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    pub(super) metadata: HashMap<String, Value>,
    tensors: usize,
    tensor_bytes: u64,
}

impl Header {
    /// Reads and checks the header of a file of `size` bytes.
    ///
    /// # Errors
    /// What is wrong with the file; see [`GgufError`].
    pub fn read(reader: impl Read, size: u64) -> Result<Self, GgufError> {
        let mut source = Source::new(reader, size);
        if source.array::<4>("the magic number")? != *b"GGUF" {
            return Err(GgufError::NotGguf);
        }
        match source.u32("the version")? {
            2 | 3 => {}
            version if version.swap_bytes() <= 3 => return Err(GgufError::ByteOrder),
            version => return Err(GgufError::Version(version)),
        }
        let tensors = limited(source.u64("the tensor count")?, MOST_TENSORS, "tensor count")?;
        let keys = limited(source.u64("the key count")?, MOST_KEYS, "key count")?;
        let metadata = read_metadata(&mut source, keys)?;
        let alignment = alignment(&metadata)?;
        let tensor_bytes = read_tensors(&mut source, tensors, alignment)?;
        let start = source.position().next_multiple_of(alignment);
        source.need((start - source.position()).saturating_add(tensor_bytes), "the tensor data")?;
        let tensors = usize::try_from(tensors).unwrap_or(usize::MAX);
        let header = Self { metadata, tensors, tensor_bytes };
        check::model(&header)?;
        Ok(header)
    }

    /// A metadata value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// A metadata value that is text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A metadata value that is a whole number from 0.
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// `general.architecture`; [`Header::read`] saw to it that there is one.
    pub fn architecture(&self) -> &str {
        self.text("general.architecture").unwrap_or_default()
    }

    /// Tokens of context the model was trained for.
    pub fn context_length(&self) -> Option<u64> {
        self.number(&format!("{}.context_length", self.architecture()))
    }

    /// The model's chat template, Jinja.
    pub fn chat_template(&self) -> Option<&str> {
        self.text("tokenizer.chat_template")
    }

    /// How many tensors there are.
    pub fn tensors(&self) -> usize {
        self.tensors
    }

    /// Bytes of tensor data.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensor_bytes
    }
}

fn limited(value: u64, limit: u64, what: &'static str) -> Result<u64, GgufError> {
    if value > limit { Err(GgufError::TooMany { what, value, limit }) } else { Ok(value) }
}

fn read_metadata<R: Read>(source: &mut Source<R>, keys: u64) -> Result<HashMap<String, Value>, GgufError> {
    let mut metadata = HashMap::new();
    for _ in 0..keys {
        let key = source.text("the metadata")?;
        if key.is_empty() {
            return Err(GgufError::Value { key, problem: "is an empty key" });
        }
        let kind = source.u32("the metadata")?;
        let value = if kind == ARRAY { read_array(source, &key)? } else { read_scalar(source, &key, kind)? };
        let name = shown(key.as_bytes());
        if metadata.insert(key, value).is_some() {
            return Err(GgufError::Duplicate(name));
        }
    }
    Ok(metadata)
}

fn read_scalar<R: Read>(source: &mut Source<R>, key: &str, kind: u32) -> Result<Value, GgufError> {
    const WITHIN: &str = "the metadata";
    Ok(match kind {
        0 => Value::Integer(u8::from_le_bytes(source.array(WITHIN)?).into()),
        1 => Value::Integer(i8::from_le_bytes(source.array(WITHIN)?).into()),
        2 => Value::Integer(u16::from_le_bytes(source.array(WITHIN)?).into()),
        3 => Value::Integer(i16::from_le_bytes(source.array(WITHIN)?).into()),
        4 => Value::Integer(source.u32(WITHIN)?.into()),
        5 => Value::Integer(i32::from_le_bytes(source.array(WITHIN)?).into()),
        6 => Value::Float(f32::from_le_bytes(source.array(WITHIN)?).into()),
        7 => Value::Bool(u8::from_le_bytes(source.array(WITHIN)?) != 0),
        TEXT => Value::Text(source.text(WITHIN)?),
        10 => Value::Integer(source.u64(WITHIN)?.into()),
        11 => Value::Integer(i64::from_le_bytes(source.array(WITHIN)?).into()),
        12 => Value::Float(f64::from_le_bytes(source.array(WITHIN)?)),
        kind => return Err(GgufError::UnknownType { key: shown(key.as_bytes()), kind }),
    })
}

fn read_array<R: Read>(source: &mut Source<R>, key: &str) -> Result<Value, GgufError> {
    const WITHIN: &str = "a list of the metadata";
    let kind = source.u32(WITHIN)?;
    let length = source.u64(WITHIN)?;
    let width = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        TEXT | 10..=12 => 8, // a text takes at least its length
        kind => return Err(GgufError::UnknownType { key: shown(key.as_bytes()), kind }),
    };
    let bytes = length.saturating_mul(width);
    source.need(bytes, WITHIN)?;
    match kind {
        TEXT => (0..length).map(|_| source.bytes(WITHIN)).collect::<Result<_, _>>().map(Value::Texts),
        4 => (0..length)
            .map(|_| source.u32(WITHIN).map(i64::from))
            .collect::<Result<_, _>>()
            .map(Value::Integers),
        5 => {
            let element = |_| source.array(WITHIN).map(|bytes| i64::from(i32::from_le_bytes(bytes)));
            (0..length).map(element).collect::<Result<_, _>>().map(Value::Integers)
        }
        kind => {
            source.skip(bytes, WITHIN)?;
            Ok(Value::Other { kind, length })
        }
    }
}

fn alignment(metadata: &HashMap<String, Value>) -> Result<u64, GgufError> {
    let problem =
        || GgufError::Value { key: "general.alignment".to_owned(), problem: "is not a power of two" };
    match metadata.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::Integer(number)) => match u32::try_from(*number) {
            Ok(number) if number.is_power_of_two() => Ok(number.into()),
            _ => Err(problem()),
        },
        Some(_) => Err(problem()),
    }
}

/// Bytes of tensor data that the descriptions ask for.
fn read_tensors<R: Read>(source: &mut Source<R>, count: u64, alignment: u64) -> Result<u64, GgufError> {
    const WITHIN: &str = "the tensor descriptions";
    let mut names = std::collections::HashSet::new();
    let mut end = 0_u64;
    let mut last = 0_u64;
    for _ in 0..count {
        let name = source.text(WITHIN)?;
        let wrong = |problem| GgufError::Tensor { name: shown(name.as_bytes()), problem };
        if name.len() >= LONGEST_TENSOR_NAME {
            return Err(wrong("has a name of 64 bytes or more"));
        }
        let dimensions = source.u32(WITHIN)?;
        if dimensions > MOST_DIMENSIONS {
            return Err(wrong("has more than four dimensions"));
        }
        let shape: Vec<u64> = (0..dimensions).map(|_| source.u64(WITHIN)).collect::<Result<_, _>>()?;
        let kind = source.u32(WITHIN)?;
        let size = tensor_bytes(&shape, kind).map_err(wrong)?;
        if source.u64(WITHIN)? != end {
            return Err(wrong("does not start where the one before it ends"));
        }
        last = end.checked_add(size).ok_or_else(|| wrong("is too large"))?;
        end = last.checked_next_multiple_of(alignment).ok_or_else(|| wrong("is too large"))?;
        if last > source.left() {
            return Err(GgufError::Truncated { within: "the tensor data", missing: last - source.left() });
        }
        if !names.insert(name.clone()) {
            return Err(GgufError::Duplicate(shown(name.as_bytes())));
        }
    }
    Ok(last)
}

fn tensor_bytes(shape: &[u64], kind: u32) -> Result<u64, &'static str> {
    let (values, bytes) = tensor_type::block(kind).ok_or("has an unknown type")?;
    let row = shape.first().copied().unwrap_or(1);
    if shape.contains(&0) {
        return Err("has a dimension of size 0");
    }
    if row % values != 0 {
        return Err("has rows that are no multiple of its type's block");
    }
    let elements = shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
    let elements = elements.filter(|elements| i64::try_from(*elements).is_ok()).ok_or("is too large")?;
    (elements / values).checked_mul(bytes).ok_or("is too large")
}
