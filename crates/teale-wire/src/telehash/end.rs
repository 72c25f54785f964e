//! Ends: the 160-bit numbers that telexes are aimed at, and that place switches in the DHT.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::WireError;

/// A place in the DHT: a SHA-1, written as 40 hex digits. Either case is read, lower case is written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End([u8; 20]);

/// How far two ends are apart: their XOR, compared as one big number (Kademlia).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distance([u8; 20]);

impl End {
    /// Digits in the text form.
    pub const TEXT_LEN: usize = 40;

    /// The end with these bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Reads 40 hex digits of either case.
    ///
    /// # Errors
    /// [`WireError::End`] for anything else.
    pub fn parse(text: &str) -> Result<Self, WireError> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| WireError::End)?;
        Ok(Self(bytes))
    }

    /// How far it is from another one.
    pub fn distance(self, other: Self) -> Distance {
        Distance(std::array::from_fn(|n| self.0[n] ^ other.0[n]))
    }

    /// The bucket another end falls into: the index of the highest bit in which they differ, 159 far, 0 near; `None`
    /// for itself.
    pub fn bucket(self, other: Self) -> Option<u8> {
        let Distance(bytes) = self.distance(other);
        let first = bytes.iter().position(|byte| *byte != 0)?;
        let bits = (bytes.len() - 1 - first) as u32 * 8 + bytes[first].ilog2();
        u8::try_from(bits).ok()
    }

    /// The end farthest from it: every bit the other way round.
    pub fn far(self) -> Self {
        Self(self.0.map(|byte| !byte))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; Self::TEXT_LEN];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "End({self})")
    }
}

impl fmt::Debug for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Distance({})", hex::encode(self.0))
    }
}

impl FromStr for End {
    type Err = WireError;
    fn from_str(text: &str) -> Result<Self, WireError> {
        Self::parse(text)
    }
}

impl Serialize for End {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = End;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("40 hex digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<End, E> {
                End::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

    #[test]
    fn either_case_is_read_and_lower_case_written() {
        let end = End::parse(&ABC.to_uppercase()).unwrap();
        assert_eq!(end.to_string(), ABC);
        assert_eq!(end.far().to_string(), "5666c1c9b8f97e9545c1da8e87af3d93632f2762");
        for bad in ["", "a9", &ABC[1..], &format!("{ABC}0"), &ABC.replace('a', "g")] {
            assert_eq!(End::parse(bad), Err(WireError::End), "{bad:?}");
        }
    }

    #[test]
    fn buckets_are_the_highest_bit_that_differs() {
        let end = |byte: u8, at: usize| {
            let mut bytes = [0; 20];
            bytes[at] = byte;
            End::from_bytes(bytes)
        };
        let zero = End::from_bytes([0; 20]);
        assert_eq!(zero.bucket(zero), None);
        assert_eq!(zero.bucket(end(1, 19)), Some(0));
        assert_eq!(zero.bucket(end(0x80, 19)), Some(7));
        assert_eq!(zero.bucket(end(0x81, 0)), Some(159));
        assert!(zero.distance(end(1, 18)) > zero.distance(end(0xff, 19)));
    }
}
