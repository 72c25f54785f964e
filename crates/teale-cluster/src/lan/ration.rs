//! How often people are told of something that strangers can make happen.

use std::time::Duration;

use super::bounds;

/// [`bounds::WARNINGS`] at once, then one per [`bounds::WARN_EVERY`]. Times are monotonic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ration {
    taken: usize,
    /// Since when the next one is earned.
    since: Duration,
    left_out: u64,
}

impl Ration {
    /// Whether people are told now; if so, how many times they were not since they last were.
    pub fn take(&mut self, now: Duration) -> Option<u64> {
        let earned = now.saturating_sub(self.since).as_nanos() / bounds::WARN_EVERY.as_nanos();
        let earned = usize::try_from(earned).unwrap_or(usize::MAX);
        if earned >= self.taken {
            (self.taken, self.since) = (0, now);
        } else {
            self.taken -= earned;
            self.since += bounds::WARN_EVERY * u32::try_from(earned).unwrap_or(u32::MAX);
        }
        if self.taken >= bounds::WARNINGS {
            self.left_out += 1;
            return None;
        }
        self.taken += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_at_once_then_one_now_and_then_and_none_is_forgotten() {
        let mut ration = Ration::default();
        let start = Duration::from_secs(5000);
        for _ in 0..bounds::WARNINGS {
            assert_eq!(ration.take(start), Some(0));
        }
        (0..100).for_each(|_| assert_eq!(ration.take(start), None));
        assert_eq!(ration.take(start + bounds::WARN_EVERY), Some(100));
        assert_eq!(ration.take(start + bounds::WARN_EVERY), None);
        let told = |ration: &mut Ration, from: Duration| {
            (0..36_000)
                .filter(|tenth| ration.take(from + Duration::from_millis(100 * tenth)).is_some())
                .count()
        };
        let hour = told(&mut ration, start + 2 * bounds::WARN_EVERY);
        assert!((55..=65).contains(&hour), "{hour} in an hour");
        let later = start + Duration::from_secs(100_000);
        assert!(ration.take(later).is_some_and(|left_out| left_out > 100));
        assert_eq!(ration.take(later), Some(0), "calm is rewarded");
    }
}
