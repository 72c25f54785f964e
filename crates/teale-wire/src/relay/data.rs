//! Relayed sessions: opening, closing, and the bytes they carry.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Extra, NodeId, SessionId, limits};

/// `relayOpen`, `relayReady` and `relayClose`: which session, between whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRef {
    /// Sender.
    #[serde(rename = "fromNodeID")]
    pub from: NodeId,
    /// Target.
    #[serde(rename = "toNodeID")]
    pub to: NodeId,
    /// Which session.
    #[serde(rename = "sessionID")]
    pub session: SessionId,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Bytes of a relayed session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayData {
    /// Sender.
    #[serde(rename = "fromNodeID")]
    pub from: NodeId,
    /// Target.
    #[serde(rename = "toNodeID")]
    pub to: NodeId,
    /// Which session.
    #[serde(rename = "sessionID")]
    pub session: SessionId,
    /// The bytes: written in base64 (standard alphabet, padded), read from that or an array of byte values.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_text_or_array")]
    pub data: Bytes,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl RelayData {
    /// The frame of [`RelayMessage::RelayData`](crate::RelayMessage::RelayData), written without detours.
    pub(crate) fn write(&self) -> Option<Vec<u8>> {
        if !self.extra.is_empty() || !plain(self.session.as_str()) {
            return None;
        }
        let mut out =
            String::with_capacity(limits::RELAY_DATA_OVERHEAD / 2 + self.data.len().div_ceil(3) * 4);
        use std::fmt::Write;
        write!(
            out,
            r#"{{"relayData":{{"fromNodeID":"{}","toNodeID":"{}","sessionID":"{}","data":""#,
            self.from,
            self.to,
            self.session.as_str()
        )
        .ok()?;
        STANDARD.encode_string(&self.data, &mut out);
        out.push_str("\"}}");
        Some(out.into_bytes())
    }
}

/// Whether JSON writes this text without an escape.
fn plain(text: &str) -> bool {
    text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
}

fn to_base64<S: Serializer>(data: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(data))
}

fn from_text_or_array<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Bytes;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bytes, as padded base64 or an array of byte values")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
            STANDARD.decode(text).map(Bytes::from).map_err(|_| E::custom("not padded standard base64"))
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Bytes, A::Error> {
            let mut bytes = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(4096));
            while let Some(byte) = seq.next_element::<u8>()? {
                bytes.push(byte);
            }
            Ok(bytes.into())
        }
    }
    deserializer.deserialize_any(Visitor)
}
