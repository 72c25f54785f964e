//! Session and request ids: UUIDs in practice, text on the wire.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits;

/// Letters, digits and dashes of a UUID.
const UUID_LEN: usize = 36;

/// An id's text. A UUID needs no allocation and has one spelling, so equal ids are equal bytes.
#[derive(Clone)]
enum Repr {
    /// Lower-case ASCII.
    Uuid([u8; UUID_LEN]),
    Text(Box<str>),
}

impl Repr {
    fn from_random(bytes: [u8; 16]) -> Self {
        let mut text = [0; UUID_LEN];
        uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().encode_lower(&mut text);
        Self::Uuid(text)
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(uuid) = lower_uuid(text.as_bytes()) {
            return Some(Self::Uuid(uuid));
        }
        (!text.is_empty() && text.len() <= limits::TEXT_ID).then(|| Self::Text(text.into()))
    }

    fn as_str(&self) -> &str {
        match self {
            // ASCII by construction, so the default is never taken.
            Self::Uuid(text) => std::str::from_utf8(text).unwrap_or_default(),
            Self::Text(text) => text,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Uuid(text) => text,
            Self::Text(text) => text.as_bytes(),
        }
    }
}

/// The lower-case spelling of 8-4-4-4-12 hex digits.
fn lower_uuid(text: &[u8]) -> Option<[u8; UUID_LEN]> {
    let mut lower: [u8; UUID_LEN] = text.try_into().ok()?;
    // Without branches, so that the bytes are read side by side: this runs for every relayed frame.
    let (mut wrong, mut dashes) = (0, 0);
    for byte in &mut lower {
        let letter = *byte | 0x20;
        let is_letter = u8::from(letter.wrapping_sub(b'a') < 6);
        let is_digit = u8::from(byte.wrapping_sub(b'0') < 10);
        let is_dash = u8::from(*byte == b'-');
        wrong |= 1 ^ (is_letter | is_digit | is_dash);
        dashes += is_dash;
        // The bit that makes a letter small.
        *byte |= is_letter << 5;
    }
    let placed = [lower[8], lower[13], lower[18], lower[23]] == [b'-'; 4];
    (wrong == 0 && dashes == 4 && placed).then_some(lower)
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// A UUID is read in either case and written in lower case, so both spellings are equal and hash alike;
        /// any other text is kept as it is. Never empty, at most [`limits::TEXT_ID`] bytes. A UUID takes no
        /// allocation.
        #[derive(Clone)]
        pub struct $name(Repr);

        impl $name {
            /// A fresh random UUID (version 4) from 16 random bytes.
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(Repr::from_random(bytes))
            }

            /// Takes a peer's spelling; `None` when it is empty or longer than [`limits::TEXT_ID`].
            pub fn parse(text: &str) -> Option<Self> {
                Repr::parse(text).map(Self)
            }

            /// The text as it is written.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.as_bytes() == other.0.as_bytes()
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.0.as_bytes().cmp(other.0.as_bytes())
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.as_bytes().hash(state);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = IdLength;
            fn from_str(text: &str) -> Result<Self, IdLength> {
                Self::parse(text).ok_or(IdLength)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(IdVisitor).map(Self)
            }
        }
    };
}

/// An id is empty, or longer than [`limits::TEXT_ID`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id has 1 to {} bytes", limits::TEXT_ID)]
pub struct IdLength;

struct IdVisitor;

impl de::Visitor<'_> for IdVisitor {
    type Value = Repr;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an id of 1 to {} bytes", limits::TEXT_ID)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Repr, E> {
        Repr::parse(text).ok_or_else(|| E::custom(IdLength))
    }
}

text_id!(
    /// Names one relayed session between two nodes.
    SessionId
);
text_id!(
    /// Names one request between a consumer and a provider.
    RequestId
);
text_id!(
    /// Names one transfer of model files between two nodes.
    TransferId
);

impl SessionId {
    /// [`parse`](Self::parse) for text not yet known to be UTF-8.
    pub(crate) fn parse_bytes(text: &[u8]) -> Option<Self> {
        match lower_uuid(text) {
            Some(uuid) => Some(Self(Repr::Uuid(uuid))),
            None => Self::parse(std::str::from_utf8(text).ok()?),
        }
    }
}
