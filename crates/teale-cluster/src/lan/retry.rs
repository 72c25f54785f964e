//! When a peer is dialled again.

use std::time::Duration;

use super::bounds;

/// A peer's dialling history. Times are monotonic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retry {
    failures: u32,
    at: Duration,
}

impl Retry {
    /// Not before `at`.
    pub fn not_before(at: Duration) -> Self {
        Self { failures: 0, at }
    }

    /// When it may be dialled.
    pub fn at(&self) -> Duration {
        self.at
    }

    /// It could not be reached, or the link died young. `jitter` is 0 … 1.
    pub fn failed(&mut self, now: Duration, jitter: f64) {
        let pause = bounds::RETRY_FIRST.saturating_mul(1 << self.failures.min(10)).min(bounds::RETRY_LAST);
        self.failures = self.failures.saturating_add(1);
        self.at = now + pause.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0);
    }

    /// A link that lived for `life` is gone.
    pub fn ended(&mut self, now: Duration, life: Duration, jitter: f64) {
        if life >= bounds::STABLE_AFTER {
            self.failures = 0;
        }
        self.failed(now, jitter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_a_long_life_forgives() {
        let mut retry = Retry::default();
        let pauses: Vec<_> = (0..9)
            .map(|_| {
                retry.failed(Duration::ZERO, 0.5);
                retry.at().as_millis()
            })
            .collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        retry.ended(Duration::ZERO, Duration::from_secs(1), 0.5);
        assert_eq!(retry.at().as_secs(), 30);
        retry.ended(Duration::ZERO, bounds::STABLE_AFTER, 0.5);
        assert_eq!(retry.at().as_millis(), 500);
    }
}
