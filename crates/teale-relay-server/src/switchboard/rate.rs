//! Token buckets that may go into debt: what arrived is served, and the debt is paid before more is read.

use std::time::Duration;

use crate::RelayLimits;

/// A bucket of tokens. A fresh one is full.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
}

impl Bucket {
    fn take(&mut self, amount: f64, elapsed: f64, rate: f64, burst: f64) -> f64 {
        self.level = (self.level + elapsed * rate).min(burst) - amount;
        // Seconds until the debt is paid.
        if self.level >= 0.0 { 0.0 } else { -self.level / rate.max(f64::MIN_POSITIVE) }
    }
}

/// What one socket may send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    messages: Bucket,
    bytes: Bucket,
    updated: Duration,
    last_notice: Option<Duration>,
}

/// The longest pause, whatever the debt.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Rates {
    pub(super) fn new(now: Duration, limits: &RelayLimits) -> Self {
        Self {
            messages: Bucket { level: f64::from(limits.messages_burst) },
            bytes: Bucket { level: limits.bytes_burst as f64 },
            updated: now,
            last_notice: None,
        }
    }

    /// Counts frames. Afterwards the socket has to rest for so long.
    pub(super) fn count(
        &mut self,
        now: Duration,
        frames: u32,
        bytes: usize,
        limits: &RelayLimits,
    ) -> Option<Duration> {
        let elapsed = now.saturating_sub(self.updated).as_secs_f64();
        self.updated = now.max(self.updated);
        let messages = self.messages.take(
            f64::from(frames),
            elapsed,
            f64::from(limits.messages_per_second),
            f64::from(limits.messages_burst),
        );
        let bytes =
            self.bytes.take(bytes as f64, elapsed, limits.bytes_per_second as f64, limits.bytes_burst as f64);
        let rest = messages.max(bytes);
        (rest > 0.0).then(|| Duration::try_from_secs_f64(rest).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE))
    }

    /// Whether it is time for another complaint about this socket's pace.
    pub(super) fn notice_due(&mut self, now: Duration, interval: Duration) -> bool {
        let due = self.last_notice.is_none_or(|last| now.saturating_sub(last) >= interval);
        if due {
            self.last_notice = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_long_run_average_and_allows_the_burst() {
        let limits = RelayLimits { messages_per_second: 10, messages_burst: 3, ..RelayLimits::default() };
        let mut rates = Rates::new(Duration::ZERO, &limits);
        for _ in 0..3 {
            assert_eq!(rates.count(Duration::ZERO, 1, 1, &limits), None);
        }
        assert_eq!(rates.count(Duration::ZERO, 1, 1, &limits), Some(Duration::from_millis(100)));
        assert_eq!(rates.count(Duration::from_millis(200), 1, 1, &limits), None);
        assert_eq!(rates.count(Duration::from_secs(100), 1, 1, &limits), None);
        assert_eq!(rates.count(Duration::from_secs(100), 1, 1, &limits), None);
        assert_eq!(rates.count(Duration::from_secs(100), 1, 1, &limits), None);
        assert!(rates.count(Duration::from_secs(100), 1, 1, &limits).is_some());
    }

    #[test]
    fn counts_bytes_apart_from_messages() {
        let limits = RelayLimits { bytes_per_second: 1000, bytes_burst: 1000, ..RelayLimits::default() };
        let mut rates = Rates::new(Duration::ZERO, &limits);
        assert_eq!(rates.count(Duration::ZERO, 1, 1000, &limits), None);
        assert_eq!(rates.count(Duration::ZERO, 1, 500, &limits), Some(Duration::from_millis(500)));
        assert_eq!(rates.count(Duration::ZERO, 1, 1 << 40, &limits), Some(LONGEST_PAUSE));
    }
}
