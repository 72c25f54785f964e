//! Which of the latest counters were seen.

/// How many of the latest counters are told apart.
pub(crate) const WINDOW: u64 = 2048;
const WORDS: usize = (WINDOW / 64) as usize;

/// The latest [`WINDOW`] counters up to the highest one seen, a bit for each (RFC 6479 describes the method).
/// Older ones count as seen.
pub(crate) struct ReplayWindow {
    /// The counter after the highest seen; 0 when none was.
    end: u64,
    /// Bit `counter % WINDOW`, for the counters in `end - WINDOW .. end`.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    pub(crate) const fn new() -> Self {
        Self { end: 0, seen: [0; WORDS] }
    }

    /// Whether this counter was not seen and is not too old to tell.
    pub(crate) fn is_new(&self, counter: u64) -> bool {
        if counter >= self.end {
            return true;
        }
        let age = self.end - counter;
        let (word, bit) = place(counter);
        age <= WINDOW && self.seen.get(word).is_some_and(|seen| seen & bit == 0)
    }

    /// Marks a counter that [`is_new`](Self::is_new) as seen.
    pub(crate) fn mark(&mut self, counter: u64) {
        if counter >= self.end {
            self.advance(counter);
        }
        let (word, bit) = place(counter);
        if let Some(seen) = self.seen.get_mut(word) {
            *seen |= bit;
        }
    }

    /// Makes `counter` the highest, and forgets what falls out at the other end.
    fn advance(&mut self, counter: u64) {
        if counter - self.end >= WINDOW {
            self.seen = [0; WORDS];
        } else {
            for passed in self.end..counter {
                let (word, bit) = place(passed);
                if let Some(seen) = self.seen.get_mut(word) {
                    *seen &= !bit;
                }
            }
            let (word, bit) = place(counter);
            if let Some(seen) = self.seen.get_mut(word) {
                *seen &= !bit;
            }
        }
        // Never overflows: the last counter is not used (`session::COUNTER_LIMIT`).
        self.end = counter.saturating_add(1);
    }

    /// The counter after the highest seen.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }
}

fn place(counter: u64) -> (usize, u64) {
    (((counter % WINDOW) / 64) as usize, 1 << (counter % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The rule itself: the highest counter and a set of all that were seen.
    #[derive(Default)]
    struct Naive(BTreeSet<u64>);

    impl Naive {
        fn is_new(&self, counter: u64) -> bool {
            let recent = self.0.last().is_none_or(|&highest| highest.saturating_sub(counter) < WINDOW);
            recent && !self.0.contains(&counter)
        }
    }

    fn steps() -> impl Strategy<Value = Vec<i64>> {
        let step = prop_oneof![
            8 => -4_i64..6,
            2 => -2100_i64..-2000,
            2 => 1_i64..3000,
            1 => 2040_i64..2056,
            1 => Just(1_i64 << 33),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn the_window_is_the_naive_rule(start in prop_oneof![Just(0_u64), 0_u64..5000, Just(1 << 40)], steps in steps()) {
            let (mut window, mut naive) = (ReplayWindow::new(), Naive::default());
            let mut counter = start;
            for step in steps {
                counter = counter.saturating_add_signed(step);
                prop_assert_eq!(window.is_new(counter), naive.is_new(counter), "counter {}", counter);
                if window.is_new(counter) {
                    window.mark(counter);
                    naive.0.insert(counter);
                }
                prop_assert_eq!(window.end(), naive.0.last().map_or(0, |highest| highest + 1));
            }
        }
    }

    #[test]
    fn the_window_holds_exactly_its_size() {
        let mut window = ReplayWindow::new();
        window.mark(WINDOW - 1);
        assert!(window.is_new(0));
        window.mark(WINDOW);
        assert!(!window.is_new(0));
        assert!(window.is_new(1));
        assert!(!window.is_new(WINDOW - 1));
    }
}
