//! Writes GGUF v3 files (ggml's model format), little-endian, 32-byte aligned.
//!
//! The layout is the one of ggml's `docs/gguf.md`: header, key-value pairs, tensor descriptions, padding, tensor
//! data. Nothing here knows what the keys or the tensors mean.

/// Data alignment; the default of readers that find no `general.alignment`.
const ALIGNMENT: usize = 32;
/// The format's version.
const VERSION: u32 = 3;

/// A metadata value; only the types that a language model's file needs.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Type 4.
    U32(u32),
    /// Type 6.
    F32(f32),
    /// Type 7.
    Bool(bool),
    /// Type 8.
    Text(String),
    /// Type 9 of type 8.
    Texts(Vec<String>),
    /// Type 9 of type 6.
    F32s(Vec<f32>),
    /// Type 9 of type 5.
    I32s(Vec<i32>),
}

/// How a tensor's values are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Packing {
    /// Type 0: as they are.
    #[default]
    F32,
    /// Type 8: blocks of 32 bytes and a 16-bit scale. The first dimension must be a multiple of 32.
    Q8_0,
}

/// Values in one block of [`Packing::Q8_0`].
const BLOCK: usize = 32;

impl Packing {
    fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::Q8_0 => 8,
        }
    }

    fn bytes(self, values: usize) -> usize {
        match self {
            Self::F32 => values * 4,
            Self::Q8_0 => values / BLOCK * (BLOCK + 2),
        }
    }
}

/// A tensor of 32-bit floats.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name, below 64 bytes.
    pub name: String,
    /// Its shape, the fastest-running dimension first.
    pub shape: Vec<u64>,
    /// Its values in that order.
    pub data: Vec<f32>,
    /// How they are written.
    pub packing: Packing,
}

/// A whole file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct File {
    /// Metadata, in order.
    pub metadata: Vec<(String, Value)>,
    /// Tensors, in order.
    pub tensors: Vec<Tensor>,
}

impl File {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(b"GGUF");
        out.extend_from_slice(&VERSION.to_le_bytes());
        put_len(&mut out, self.tensors.len());
        put_len(&mut out, self.metadata.len());
        for (key, value) in &self.metadata {
            put_text(&mut out, key);
            put_value(&mut out, value);
        }
        let mut offset = 0_usize;
        for tensor in &self.tensors {
            put_text(&mut out, &tensor.name);
            let dimensions = u32::try_from(tensor.shape.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&dimensions.to_le_bytes());
            for size in &tensor.shape {
                out.extend_from_slice(&size.to_le_bytes());
            }
            out.extend_from_slice(&tensor.packing.number().to_le_bytes());
            put_len(&mut out, offset);
            offset = (offset + tensor.packing.bytes(tensor.data.len())).next_multiple_of(ALIGNMENT);
        }
        for tensor in &self.tensors {
            pad(&mut out);
            match tensor.packing {
                Packing::F32 => out.extend(tensor.data.iter().flat_map(|value| value.to_le_bytes())),
                Packing::Q8_0 => tensor.data.chunks(BLOCK).for_each(|block| put_q8_0(&mut out, block)),
            }
        }
        pad(&mut out);
        out
    }
}

/// One block: the scale as a 16-bit float, then each value as a multiple of it.
fn put_q8_0(out: &mut Vec<u8>, block: &[f32]) {
    let largest = block.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let (half, scale) = to_half(largest / 127.0);
    out.extend_from_slice(&half.to_le_bytes());
    let whole =
        |value: &f32| if scale == 0.0 { 0 } else { (value / scale).round().clamp(-127.0, 127.0) as i8 };
    out.extend(block.iter().map(|value| whole(value).to_le_bytes()[0]));
}

/// A small positive number as a 16-bit float, cut rather than rounded, and what that is worth. Below 2^-14 it is 0.
fn to_half(number: f32) -> (u16, f32) {
    let bits = number.to_bits();
    let exponent = (bits >> 23) as i32 - 112;
    if !(1..31).contains(&exponent) {
        return (0, 0.0);
    }
    let half = (exponent as u32) << 10 | (bits >> 13 & 0x3ff);
    (half as u16, f32::from_bits(bits >> 13 << 13))
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

fn put_len(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&(length as u64).to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_array(out: &mut Vec<u8>, element_type: u32, length: usize) {
    out.extend_from_slice(&9_u32.to_le_bytes());
    out.extend_from_slice(&element_type.to_le_bytes());
    put_len(out, length);
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U32(number) => {
            out.extend_from_slice(&4_u32.to_le_bytes());
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::F32(number) => {
            out.extend_from_slice(&6_u32.to_le_bytes());
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Bool(flag) => {
            out.extend_from_slice(&7_u32.to_le_bytes());
            out.push(u8::from(*flag));
        }
        Value::Text(text) => {
            out.extend_from_slice(&8_u32.to_le_bytes());
            put_text(out, text);
        }
        Value::Texts(texts) => {
            put_array(out, 8, texts.len());
            texts.iter().for_each(|text| put_text(out, text));
        }
        Value::F32s(numbers) => {
            put_array(out, 6, numbers.len());
            out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
        Value::I32s(numbers) => {
            put_array(out, 5, numbers.len());
            out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
    }
}
