//! Node ids: the 32 bytes of an Ed25519 public key, as text.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::WireError;

/// The name of a node: its Ed25519 public key, 32 bytes, written as 64 lower-case hex digits.
///
/// That the bytes are a point on the curve is not checked here; `teale-identity` does when it verifies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 32]);

impl NodeId {
    /// Digits in the text form.
    pub const TEXT_LEN: usize = 64;

    /// The id of the node with this public key.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 lower-case hex digits.
    ///
    /// # Errors
    /// [`WireError::NodeId`] for anything else, upper-case digits included: an id is signed as text, so each
    /// node has one spelling only.
    pub fn parse(text: &[u8]) -> Result<Self, WireError> {
        let text: &[u8; Self::TEXT_LEN] = text.try_into().map_err(|_| WireError::NodeId)?;
        // Without branches, so that the digits are read side by side.
        let mut digits = [0_u8; Self::TEXT_LEN];
        let mut wrong = 0;
        for (digit, byte) in digits.iter_mut().zip(text) {
            let (number, letter) = (byte.wrapping_sub(b'0'), byte.wrapping_sub(b'a'));
            wrong |= u8::from(number > 9) & u8::from(letter > 5);
            *digit = if number <= 9 { number } else { letter.wrapping_add(10) };
        }
        if wrong != 0 {
            return Err(WireError::NodeId);
        }
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks().0) {
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }

    /// The first 16 digits and three dots, as a relay's `/peers` shows nodes.
    pub fn short(&self) -> String {
        format!("{}...", hex::encode(&self.0[..8]))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; Self::TEXT_LEN];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.short())
    }
}

impl FromStr for NodeId {
    type Err = WireError;
    fn from_str(text: &str) -> Result<Self, WireError> {
        Self::parse(text.as_bytes())
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = NodeId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a node id, 64 lower-case hex digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<NodeId, E> {
                NodeId::parse(text.as_bytes()).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}
