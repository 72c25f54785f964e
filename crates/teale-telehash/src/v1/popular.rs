//! Which ends are dialed most (the page's second way of dampening; off unless wanted).

use std::{collections::BTreeMap, time::Duration};

use teale_wire::telehash::End;

use super::bounds::{POPULAR_DIALS, POPULAR_ENDS, POPULAR_WINDOW};

/// Dials within the present window.
#[derive(Debug, Default)]
pub(super) struct Popular {
    since: Duration,
    dials: BTreeMap<End, u32>,
}

impl Popular {
    /// Counts a dial; whether its end is popular now.
    pub(super) fn count(&mut self, now: Duration, end: End) -> bool {
        if now.saturating_sub(self.since) >= POPULAR_WINDOW {
            self.since = now;
            self.dials.clear();
        }
        if self.dials.len() >= POPULAR_ENDS && !self.dials.contains_key(&end) {
            return false;
        }
        let dials = self.dials.entry(end).or_default();
        *dials = dials.saturating_add(1);
        *dials > POPULAR_DIALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::end_of;

    #[test]
    fn more_than_a_hundred_in_ten_seconds() {
        let mut popular = Popular::default();
        let now = POPULAR_WINDOW;
        let first = (0..POPULAR_DIALS + 5).position(|_| popular.count(now, end_of("a")));
        assert_eq!(first, Some(100));
        assert!(!popular.count(now, end_of("b")));
        assert!(!popular.count(now + POPULAR_WINDOW, end_of("a")));
        for n in 0..5000 {
            popular.count(now + POPULAR_WINDOW, end_of(n.to_string()));
        }
        assert_eq!(popular.dials.len(), POPULAR_ENDS);
    }
}
