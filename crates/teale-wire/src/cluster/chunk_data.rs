//! The bytes of a chunk: base64 text where it was read, plain bytes where it is to be written.

use std::{borrow::Cow, fmt};

use base64_turbo::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::limits;

/// The bytes of a chunk. Reading one keeps its text as it came, a part of the message: whoever wants the bytes decodes
/// them straight to where they belong.
#[derive(Clone)]
pub struct ChunkData(Repr);

#[derive(Clone)]
enum Repr {
    /// Base64, not yet looked at; at most [`limits::CHUNK_TEXT`] bytes.
    Text(Bytes),
    /// The bytes themselves.
    Plain(Bytes),
}

/// The text is not padded standard base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not padded standard base64")]
pub struct NotBase64;

impl ChunkData {
    /// Takes bytes to be written.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(Repr::Plain(bytes.into()))
    }

    /// Takes text that was read; `None` when it is too long.
    pub(crate) fn from_text(text: Bytes) -> Option<Self> {
        (text.len() <= limits::CHUNK_TEXT).then_some(Self(Repr::Text(text)))
    }

    /// How many bytes there are, without decoding them.
    ///
    /// # Errors
    /// [`NotBase64`] when the text's length shows it. A text of the right length may still fail to decode.
    pub fn decoded_len(&self) -> Result<usize, NotBase64> {
        let text = match &self.0 {
            Repr::Plain(bytes) => return Ok(bytes.len()),
            Repr::Text(text) => text,
        };
        let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
        match text.len() % 4 {
            0 => Ok(text.len() / 4 * 3 - padding.min(text.len())),
            _ => Err(NotBase64),
        }
    }

    /// Decodes into `out`, whose contents are replaced; its memory is used again.
    ///
    /// # Errors
    /// [`NotBase64`]; `out` is then of no use.
    pub fn decode(&self, out: &mut Vec<u8>) -> Result<(), NotBase64> {
        out.clear();
        let text = match &self.0 {
            Repr::Plain(bytes) => {
                out.extend_from_slice(bytes);
                return Ok(());
            }
            Repr::Text(text) => text,
        };
        // The decoder wants room for a whole last group, and takes text without padding: that is refused here.
        let length = self.decoded_len()?;
        out.resize(text.len() / 4 * 3, 0);
        let written = STANDARD.decode_slice(text, out).map_err(|_| NotBase64)?;
        out.truncate(written);
        if written == length { Ok(()) } else { Err(NotBase64) }
    }

    /// Bytes the text takes.
    pub(super) fn text_len(&self) -> usize {
        match &self.0 {
            Repr::Text(text) => text.len(),
            Repr::Plain(bytes) => bytes.len().div_ceil(3) * 4,
        }
    }

    /// Appends the text; `None` when it cannot stand between quotes as it is.
    pub(super) fn append_text(&self, out: &mut Vec<u8>) -> Option<()> {
        match &self.0 {
            Repr::Text(text) => {
                let plain =
                    text.iter().all(|byte| (0x20..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\'));
                plain.then(|| out.extend_from_slice(text))
            }
            Repr::Plain(bytes) => {
                let start = out.len();
                out.resize(start + self.text_len(), 0);
                STANDARD.encode_slice(bytes, out.get_mut(start..)?).ok().map(|_| ())
            }
        }
    }

    fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            Repr::Text(text) => String::from_utf8_lossy(text),
            Repr::Plain(bytes) => STANDARD.encode(bytes).into(),
        }
    }
}

/// Equal when they are written alike.
impl PartialEq for ChunkData {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Text(a), Repr::Text(b)) | (Repr::Plain(a), Repr::Plain(b)) => a == b,
            _ => self.text() == other.text(),
        }
    }
}

impl fmt::Debug for ChunkData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkData({} bytes of text)", self.text_len())
    }
}

impl Serialize for ChunkData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for ChunkData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ChunkData;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "base64 text of at most {} bytes", limits::CHUNK_TEXT)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ChunkData, E> {
                let too_long =
                    || E::custom(format_args!("text of at most {} bytes is expected", limits::CHUNK_TEXT));
                if text.len() > limits::CHUNK_TEXT {
                    return Err(too_long());
                }
                ChunkData::from_text(Bytes::copy_from_slice(text.as_bytes())).ok_or_else(too_long)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}
