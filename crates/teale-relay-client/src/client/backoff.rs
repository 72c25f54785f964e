//! The pauses between connection attempts.

use std::time::Duration;

use rand::{RngExt, rngs::StdRng};

use crate::bounds;

/// Doubles from [`bounds::BACKOFF_FIRST`] to [`bounds::BACKOFF_LAST`]; each pause is between half and all of that,
/// so that the clients of a relay that comes back do not all come at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) fn next(&mut self, rng: &mut StdRng) -> Duration {
        let ceiling =
            bounds::BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16)).min(bounds::BACKOFF_LAST);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(rng.random_range(0.5..=1.0))
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_start_over_after_a_reset() {
        let mut rng = StdRng::from_seed([1; 32]);
        let mut backoff = Backoff::default();
        for ceiling in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let pause = backoff.next(&mut rng);
            let ceiling = Duration::from_secs(ceiling);
            assert!(pause >= ceiling / 2 && pause <= ceiling, "{pause:?} of {ceiling:?}");
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= bounds::BACKOFF_FIRST);
    }
}
