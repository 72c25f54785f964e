//! The name of a v2 session: what both sides' starts make together.

use std::fmt;

use serde::{Serialize, Serializer};

use super::End;
use crate::WireError;

/// A session's id: a SHA-1 of two starts, written as 40 hex digits. Either case is read, lower case is written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid(End);

impl Sid {
    /// The sid with these bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(End::from_bytes(bytes))
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        self.0.as_bytes()
    }

    /// Reads 40 hex digits of either case; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        End::parse(text).ok().map(Self)
    }
}

impl std::str::FromStr for Sid {
    type Err = WireError;
    fn from_str(text: &str) -> Result<Self, WireError> {
        End::parse(text).map(Self)
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sid({})", self.0)
    }
}

impl Serialize for Sid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
