//! Who was heard lately. A `pop` is relayed to nobody else.

use std::{collections::BTreeMap, time::Duration};

use teale_wire::telehash::Ipp;

use super::bounds;

/// The switches heard within [`bounds::IDLE`], at most [`bounds::ACQUAINTANCES`], those heard longest ago forgotten first.
#[derive(Debug, Default)]
pub(super) struct Acquaintances {
    heard: BTreeMap<Ipp, (Duration, u64)>,
    order: BTreeMap<(Duration, u64), Ipp>,
    count: u64,
}

impl Acquaintances {
    pub(super) fn hear(&mut self, now: Duration, ipp: Ipp) {
        self.count += 1;
        let moment = (now, self.count);
        if let Some(before) = self.heard.insert(ipp, moment) {
            self.order.remove(&before);
        }
        self.order.insert(moment, ipp);
        if self.order.len() > bounds::ACQUAINTANCES
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.heard.remove(&oldest);
        }
    }

    pub(super) fn heard_within(&self, now: Duration, time: Duration, ipp: Ipp) -> bool {
        self.heard.get(&ipp).is_some_and(|(at, _)| now < *at + time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silent_are_forgotten_first() {
        let ipp = |n: u32| Ipp::new((n.to_be_bytes(), 7).into()).unwrap();
        let mut acquaintances = Acquaintances::default();
        acquaintances.hear(Duration::ZERO, ipp(0));
        for n in 1..=bounds::ACQUAINTANCES as u32 {
            acquaintances.hear(Duration::ZERO, ipp(n));
        }
        let lately = |now, n| acquaintances.heard_within(now, bounds::IDLE, ipp(n));
        assert!(!lately(Duration::ZERO, 0) && lately(Duration::ZERO, 1) && !lately(bounds::IDLE, 1));
        assert_eq!(acquaintances.heard.len(), bounds::ACQUAINTANCES);
    }
}
