//! Events in the last minute.

use std::time::Duration;

const SECONDS: usize = 60;

/// Counts events by the second, for a minute, and in all.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    seconds: [u64; SECONDS],
    newest: u64,
    total: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self { seconds: [0; SECONDS], newest: 0, total: 0 }
    }
}

impl Meter {
    pub(crate) fn count(&mut self, now: Duration, events: u32) {
        let second = now.as_secs();
        if second > self.newest {
            let skipped = (second - self.newest).min(SECONDS as u64);
            for passed in 0..skipped {
                if let Some(slot) = self.seconds.get_mut(slot(second - passed)) {
                    *slot = 0;
                }
            }
            self.newest = second;
        }
        self.total += u64::from(events);
        if let Some(slot) = self.seconds.get_mut(slot(second)) {
            *slot += u64::from(events);
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Events in the 60 seconds that end with the present one.
    pub(crate) fn per_minute(&self, now: Duration) -> u64 {
        let second = now.as_secs();
        (self.newest.saturating_sub(SECONDS as u64 - 1)..=self.newest)
            .filter(|counted| second.saturating_sub(*counted) < SECONDS as u64)
            .filter_map(|counted| self.seconds.get(slot(counted)))
            .sum()
    }
}

fn slot(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_is_older_than_a_minute() {
        let mut meter = Meter::default();
        for second in 0..100 {
            meter.count(Duration::from_secs(second), 1);
        }
        assert_eq!(meter.total(), 100);
        assert_eq!(meter.per_minute(Duration::from_secs(99)), 60);
        assert_eq!(meter.per_minute(Duration::from_secs(109)), 50);
        assert_eq!(meter.per_minute(Duration::from_secs(1000)), 0);
        meter.count(Duration::from_secs(1000), 1);
        assert_eq!(meter.per_minute(Duration::from_secs(1000)), 1);
        assert_eq!(meter.per_minute(Duration::from_secs(1059)), 1);
        assert_eq!(meter.per_minute(Duration::from_secs(1060)), 0);
    }
}
