//! The one-key envelope: `{"type": payload}`, shared by relay and cluster messages.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess},
};
use serde_json::value::RawValue;

use crate::{Fault, WireError, limits, scan};

/// An envelope taken apart: the type, and the payload's JSON text not yet looked into.
pub(crate) struct Envelope<'a> {
    pub(crate) kind: Cow<'a, str>,
    pub(crate) payload: &'a RawValue,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Envelope<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one object with exactly one key")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let Some(Key(kind)) = map.next_key()? else {
                    return Err(de::Error::invalid_length(0, &self));
                };
                let payload = map.next_value()?;
                if map.next_key::<de::IgnoredAny>()?.is_some() {
                    return Err(de::Error::invalid_length(2, &self));
                }
                Ok(Envelope { kind, payload })
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A key borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Envelope<'a> {
    /// Checks the size, then that the bytes are JSON of the envelope's form.
    pub(crate) fn open(bytes: &'a [u8], what: &'static str, limit: usize) -> Result<Self, WireError> {
        if bytes.len() > limit {
            return Err(WireError::TooBig { what, limit, got: Some(bytes.len()), fault: Fault::Peer });
        }
        let text =
            simdutf8::basic::from_utf8(bytes).map_err(|_| WireError::NotJson { line: 0, column: 0 })?;
        serde_json::from_str(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => WireError::NotAnEnvelope,
            _ => WireError::NotJson { line: error.line(), column: error.column() },
        })
    }
}

/// Refuses a payload whose tree would be out of proportion to its text.
pub(crate) fn few_values(raw: &str, too_many: fn(&str) -> bool) -> Result<(), WireError> {
    if scan::surely_few_values(raw) || !too_many(raw) {
        return Ok(());
    }
    Err(WireError::TooBig {
        what: "the number of JSON values",
        limit: limits::JSON_VALUES,
        got: None,
        fault: Fault::Peer,
    })
}

/// Whether a payload holds too many values, all of them counted.
pub(crate) fn too_many_values(raw: &str) -> bool {
    scan::values(raw) > limits::JSON_VALUES
}

/// Reads a payload of a known type; the error names the field.
pub(crate) fn payload<'de, T: Deserialize<'de>>(kind: &'static str, raw: &'de str) -> Result<T, WireError> {
    // Keeping track of the path costs time, so only a payload that is refused is read that way.
    serde_json::from_str(raw).map_err(|error| explain::<T>(kind, raw, &error))
}

#[cold]
fn explain<'de, T: Deserialize<'de>>(
    kind: &'static str,
    raw: &'de str,
    error: &serde_json::Error,
) -> WireError {
    if error.is_syntax() || error.is_eof() {
        return WireError::NotJson { line: error.line(), column: error.column() };
    }
    let mut json = serde_json::Deserializer::from_str(raw);
    let field = match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Err(error) => path(error.path()),
        Ok(_) => ".".into(),
    };
    WireError::WrongShape { kind, field, reason: reason(error) }
}

/// A path of our own field names: what could be a peer's word is left out.
fn path(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut out = String::new();
    for segment in path {
        let dot = if out.is_empty() { "" } else { "." };
        match segment {
            Segment::Seq { index } => out.push_str(&format!("[{index}]")),
            Segment::Map { key } if ours(key) => out.push_str(&format!("{dot}{key}")),
            _ => out.push_str(&format!("{dot}?")),
        }
    }
    if out.is_empty() { ".".into() } else { out }
}

/// Whether a key looks like a name of the protocol.
fn ours(key: &str) -> bool {
    key.len() <= 32 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// serde's reason with whatever it quotes of the peer's message taken out.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(&*text, |(text, _)| text);
    let text = match (text.find('"'), text.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}…{}", text.get(..first).unwrap_or_default(), text.get(last + 1..).unwrap_or_default())
        }
        _ => text.to_owned(),
    };
    // Numbers and truth values stand in backticks behind these words.
    ["integer `", "floating point `", "boolean `", "character `"].iter().fold(text, |text, word| {
        let Some((before, rest)) = text.split_once(word) else {
            return text;
        };
        let (_, after) = rest.split_once('`').unwrap_or_default();
        format!("{before}{}{after}", word.trim_end_matches(" `"))
    })
}

/// Writes `{"kind":payload}`, or `{"kind":{"_0":payload}}`, and checks the size.
pub(crate) fn write<T: Serialize + ?Sized>(
    (name, kind): (&'static str, &str),
    payload: &T,
    wrapped: bool,
    (what, limit): (&'static str, usize),
) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(256);
    out.push(b'{');
    // serde_json's own reasons and those of `bounded`: no remote text.
    let unwritable =
        |error: serde_json::Error| WireError::NotWritable { kind: name, reason: error.to_string() };
    serde_json::to_writer(&mut out, kind).map_err(unwritable)?;
    out.extend_from_slice(if wrapped { b":{\"_0\":" } else { b":" });
    serde_json::to_writer(&mut out, payload).map_err(unwritable)?;
    out.extend_from_slice(if wrapped { b"}}" } else { b"}" });
    if out.len() > limit {
        return Err(WireError::TooBig { what, limit, got: Some(out.len()), fault: Fault::Caller });
    }
    Ok(out)
}

/// Declares an enum of messages from a table of variants, payload types and wire names.
macro_rules! messages {
    (
        $(#[$doc:meta])*
        pub enum $name:ident {
            $( $(#[$variant_doc:meta])* $variant:ident($payload:ty) = $kind:literal, )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$variant_doc])* $variant($payload), )*
            /// A type this version does not know: kept, and written out again.
            Unknown {
                /// The type.
                kind: String,
                /// The payload.
                payload: serde_json::Value,
            },
        }

        impl $name {
            /// The message's type as it is written.
            pub fn kind(&self) -> &str {
                match self {
                    $( Self::$variant(_) => $kind, )*
                    Self::Unknown { kind, .. } => kind,
                }
            }

            fn read(kind: &str, raw: &str) -> Result<Self, $crate::WireError> {
                Ok(match kind {
                    $( $kind => Self::$variant($crate::envelope::payload($kind, raw)?), )*
                    _ => Self::Unknown {
                        kind: kind.to_owned(),
                        payload: $crate::envelope::payload("unknown type", raw)?,
                    },
                })
            }

            fn write(
                &self,
                wrapped: bool,
                size: (&'static str, usize),
            ) -> Result<Vec<u8>, $crate::WireError> {
                use $crate::envelope::write;
                match self {
                    $( Self::$variant(payload) => write(($kind, $kind), payload, wrapped, size), )*
                    Self::Unknown { kind, payload } => write(("unknown type", kind), payload, wrapped, size),
                }
            }
        }
    };
}
pub(crate) use messages;
