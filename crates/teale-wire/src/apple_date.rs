//! Dates as Apple's Foundation writes them into JSON.

use serde::{Deserialize, Serialize};

use crate::bounded;

/// Seconds between 1970-01-01 and 2001-01-01, both 00:00:00 UTC.
const UNIX_OFFSET: f64 = 978_307_200.0;

/// A moment: seconds since 2001-01-01T00:00:00Z, a JSON number.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AppleDate(#[serde(serialize_with = "bounded::finite")] f64);

impl AppleDate {
    /// From seconds since 1970-01-01T00:00:00Z.
    pub fn from_unix_seconds(seconds: f64) -> Self {
        Self(seconds - UNIX_OFFSET)
    }

    /// From seconds since 2001-01-01T00:00:00Z, as on the wire.
    pub const fn from_reference_seconds(seconds: f64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix_seconds(self) -> f64 {
        self.0 + UNIX_OFFSET
    }

    /// Seconds since 2001-01-01T00:00:00Z, as on the wire.
    pub const fn reference_seconds(self) -> f64 {
        self.0
    }
}
