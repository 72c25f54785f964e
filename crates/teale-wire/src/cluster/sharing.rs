//! Sharing model files between nodes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::chunk_data::ChunkData;
use crate::{Dialect, Extra, TransferId, bounded};

/// `modelQuery`: does the peer offer this model? The id `*` asks for the list of what it offers ("ours").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelQuery {
    /// Which model.
    #[serde(rename = "modelID", deserialize_with = "bounded::model")]
    pub model_id: String,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `modelQueryResponse`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelQueryResponse {
    /// Which model.
    #[serde(rename = "modelID", deserialize_with = "bounded::model")]
    pub model_id: String,
    /// Whether it may be fetched.
    pub available: bool,
    /// Size of all its files, in bytes.
    #[serde(
        rename = "totalSizeBytes",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_whole64"
    )]
    pub total_size_bytes: Option<u64>,
    /// Its files ("ours"). Deployed peers send none, and without hashes nothing is fetched from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::files")]
    pub files: Vec<ModelFile>,
    /// What is offered, in answer to `*` ("ours").
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::offers")]
    pub models: Vec<ModelOffer>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A model in the list of what a node offers ("ours").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelOffer {
    /// Its id.
    #[serde(rename = "modelID", deserialize_with = "bounded::model")]
    pub model_id: String,
    /// Size of all its files, in bytes.
    #[serde(rename = "totalSizeBytes", deserialize_with = "bounded::whole64")]
    pub total_size_bytes: u64,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A file of a [`ModelQueryResponse`] ("ours").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Its plain name.
    #[serde(rename = "fileName", deserialize_with = "bounded::word")]
    pub file_name: String,
    /// Its size, in bytes.
    #[serde(rename = "sizeBytes", deserialize_with = "bounded::whole64")]
    pub size_bytes: u64,
    /// Hex SHA-256 of it.
    #[serde(deserialize_with = "bounded::word")]
    pub sha256: String,
    /// Size of a block, in bytes, a multiple of 64: what `blockStates` speaks of.
    #[serde(
        rename = "blockSizeBytes",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_whole64"
    )]
    pub block_size_bytes: Option<u64>,
    /// The chaining values of SHA-256 (32 bytes each, words in big-endian order) after each block but the last: what
    /// lets a reader check each block by itself, and the last one against `sha256`. Base64 on the wire.
    #[serde(
        rename = "blockStates",
        default,
        skip_serializing_if = "Option::is_none",
        with = "bounded::opt_base64"
    )]
    pub block_states: Option<Bytes>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `modelTransferRequest`: send the model's files, or a part of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelTransferRequest {
    /// Names the transfer.
    #[serde(rename = "transferID")]
    pub transfer_id: TransferId,
    /// Which model.
    #[serde(rename = "modelID", deserialize_with = "bounded::model")]
    pub model_id: String,
    /// Where to begin in files that are partly there ("ours").
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::resume_points")]
    pub resume: Vec<ResumePoint>,
    /// Send only this ("ours").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<FileRange>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where to begin in one file ("ours").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResumePoint {
    /// Which file.
    #[serde(rename = "fileName", deserialize_with = "bounded::word")]
    pub file_name: String,
    /// Bytes that are there already.
    #[serde(deserialize_with = "bounded::whole64")]
    pub offset: u64,
}

/// A part of one file ("ours").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileRange {
    /// Which file.
    #[serde(rename = "fileName", deserialize_with = "bounded::word")]
    pub file_name: String,
    /// Its first byte.
    #[serde(deserialize_with = "bounded::whole64")]
    pub offset: u64,
    /// How many bytes.
    #[serde(deserialize_with = "bounded::whole64")]
    pub length: u64,
}

/// `modelTransferChunk`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelTransferChunk {
    /// Of which transfer.
    #[serde(rename = "transferID")]
    pub transfer_id: TransferId,
    /// Of which file.
    #[serde(rename = "fileName", deserialize_with = "bounded::word")]
    pub file_name: String,
    /// Its place in the file, in bytes.
    #[serde(deserialize_with = "bounded::whole64")]
    pub offset: u64,
    /// The bytes, at most [`limits::CHUNK`](crate::limits::CHUNK).
    pub data: ChunkData,
    /// Whether the file ends here.
    #[serde(rename = "isLastChunk")]
    pub is_last_chunk: bool,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `modelTransferComplete`: everything that was asked for has been sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelTransferComplete {
    /// Of which transfer.
    #[serde(rename = "transferID")]
    pub transfer_id: TransferId,
    /// Of which model.
    #[serde(rename = "modelID", deserialize_with = "bounded::model")]
    pub model_id: String,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `modelTransferCancel` ("ours"): no more of this transfer, from either side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelTransferCancel {
    /// Which transfer.
    #[serde(rename = "transferID")]
    pub transfer_id: TransferId,
    /// Why the sender ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<CancelReason>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Why a sender ends a transfer ("ours").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// Too many transfers run: try again later.
    Busy,
    /// There is no such model, file or range.
    NotFound,
    /// Models are not shared over this path.
    NotAllowed,
    /// The file cannot be read, or changed since it was hashed.
    Failed,
    /// A reason this version does not know.
    #[serde(untagged)]
    Other(#[serde(deserialize_with = "bounded::word")] String),
}

impl ModelTransferChunk {
    /// The message, written without detours; `None` when it takes the usual way.
    pub(super) fn write(&self, dialect: Dialect) -> Option<Vec<u8>> {
        if !self.extra.is_empty() || !plain(self.transfer_id.as_str()) || !plain(&self.file_name) {
            return None;
        }
        let (open, close) = match dialect {
            Dialect::Flat => ("", "}}"),
            Dialect::Wrapped => ("{\"_0\":", "}}}"),
        };
        use std::io::Write;
        let fixed = 160 + self.transfer_id.as_str().len() + self.file_name.len();
        let mut out = Vec::with_capacity(fixed + self.data.text_len());
        write!(
            out,
            r#"{{"modelTransferChunk":{open}{{"transferID":"{}","fileName":"{}","offset":{},"data":""#,
            self.transfer_id.as_str(),
            self.file_name,
            self.offset
        )
        .ok()?;
        self.data.append_text(&mut out)?;
        write!(out, r#"","isLastChunk":{}{close}"#, self.is_last_chunk).ok()?;
        Some(out)
    }

    /// A message written just as [`write`](Self::write) writes it in the flat dialect, its data not copied; `None` for
    /// any other, which takes the usual way.
    pub(super) fn read(message: &Bytes) -> Option<Self> {
        let mut rest = Rest { text: message, at: 0 };
        rest.word(br#"{"modelTransferChunk":{"transferID":""#)?;
        let transfer_id = TransferId::parse(rest.plain()?)?;
        rest.word(br#","fileName":""#)?;
        let file_name = rest.plain()?;
        if file_name.len() > crate::limits::WORD {
            return None;
        }
        let file_name = file_name.to_owned();
        rest.word(br#","offset":"#)?;
        let offset = rest.number()?;
        rest.word(br#","data":""#)?;
        let (from, to) = (rest.at, rest.at + memchr::memchr2(b'"', b'\\', rest.text.get(rest.at..)?)?);
        rest.at = to;
        rest.word(br#"","isLastChunk":"#)?;
        let is_last_chunk = match rest.text.get(rest.at..)? {
            b"true}}" => true,
            b"false}}" => false,
            _ => return None,
        };
        let data = ChunkData::from_text(message.slice(from..to))?;
        Some(Self { transfer_id, file_name, offset, data, is_last_chunk, extra: Extra::new() })
    }
}

/// Whether JSON writes this text without an escape.
fn plain(text: &str) -> bool {
    text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
}

/// What is left of a message.
struct Rest<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.text.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    /// Text without escapes, and the quote behind it.
    fn plain(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..)?;
        let text = std::str::from_utf8(rest.get(..memchr::memchr(b'"', rest)?)?).ok()?;
        self.at += text.len() + 1;
        plain(text).then_some(text)
    }

    /// A whole number of at most 15 digits, written as JSON writes it.
    fn number(&mut self) -> Option<u64> {
        let rest = self.text.get(self.at..)?;
        let digits = rest.get(..rest.iter().position(|byte| !byte.is_ascii_digit())?)?;
        if digits.len() > 15 || (digits.len() > 1 && digits.starts_with(b"0")) {
            return None;
        }
        self.at += digits.len();
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}
