//! Time as the handshake sees it: a reading of both clocks, and the timestamps that go into messages.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A reading of two clocks: wall time for the wire, monotonic time since some start for lifetimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall time since 1970-01-01T00:00:00Z.
    pub unix: Duration,
    /// Since a fixed start, the same for all calls that concern one session; it never goes back.
    pub monotonic: Duration,
}

/// The time in a handshake message: 8 bytes of unix seconds and 4 bytes of nanoseconds, big-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: u64,
    nanos: u32,
}

impl Timestamp {
    /// Bytes on the wire.
    pub const LEN: usize = 12;

    /// Before every other one.
    pub(crate) const ZERO: Self = Self { seconds: 0, nanos: 0 };

    /// `None` when the nanoseconds make a whole second: a timestamp has one spelling.
    pub(crate) fn from_bytes(bytes: [u8; Self::LEN]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, nanos @ ..] = bytes;
        let nanos = u32::from_be_bytes(nanos);
        (nanos < 1_000_000_000)
            .then_some(Self { seconds: u64::from_be_bytes([a, b, c, d, e, f, g, h]), nanos })
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let [a, b, c, d, e, f, g, h] = self.seconds.to_be_bytes();
        let [i, j, k, l] = self.nanos.to_be_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    /// Whole seconds since 1970.
    pub fn unix_seconds(self) -> u64 {
        self.seconds
    }

    /// The nanoseconds beyond them.
    pub fn subsec_nanos(self) -> u32 {
        self.nanos
    }
}

impl From<Duration> for Timestamp {
    fn from(unix: Duration) -> Self {
        Self { seconds: unix.as_secs(), nanos: unix.subsec_nanos() }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.seconds, self.nanos)
    }
}

/// Gives each handshake that one identity starts a later timestamp than the one before, also when the wall clock
/// stands still or was set back: a responder refuses anything else as a replay.
///
/// Have one per identity and process, shared by everything that starts handshakes (all its relays and links). A
/// process that starts again after its clock was set back is refused by the peers that remember it until the clock
/// has caught up. Good until the year 2554.
#[derive(Debug, Default)]
pub struct TimestampSource {
    /// Nanoseconds since 1970 of the last one given out.
    last: AtomicU64,
}

impl TimestampSource {
    /// Nothing given out yet.
    pub const fn new() -> Self {
        Self { last: AtomicU64::new(0) }
    }

    /// `unix`, or one nanosecond after the last one, whichever is later.
    pub fn next(&self, unix: Duration) -> Timestamp {
        let wall = u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX);
        let later = |last: u64| wall.max(last.saturating_add(1));
        let last =
            match self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(later(last))) {
                Ok(last) | Err(last) => last,
            };
        Duration::from_nanos(later(last)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_only_grow() {
        let source = TimestampSource::new();
        let clock = [5_000_000_000, 5_000_000_000, 1_000_000_000, 7_000_000_001, 6_999_999_999];
        let given: Vec<_> = clock.map(|nanos| source.next(Duration::from_nanos(nanos))).into();
        assert_eq!(format!("{given:?}"), "[5.000000000, 5.000000001, 5.000000002, 7.000000001, 7.000000002]");
    }

    #[test]
    fn a_whole_second_of_nanoseconds_is_no_timestamp() {
        let mut bytes = Timestamp::from(Duration::new(1_713_100_000, 999_999_999)).to_bytes();
        assert_eq!(bytes, [0, 0, 0, 0, 0x66, 0x1b, 0xd4, 0xe0, 0x3b, 0x9a, 0xc9, 0xff]);
        assert!(Timestamp::from_bytes(bytes).is_some());
        bytes[9..].copy_from_slice(&[0x9a, 0xca, 0x00]);
        assert_eq!(Timestamp::from_bytes(bytes), None);
    }
}
