//! Signals that were processed a moment ago ("at most once every 10 seconds").

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use teale_wire::telehash::{End, Signals};

use super::bounds::{DUPLICATE_WINDOW, DUPLICATES};
use crate::end_of;

/// A set of signals by its hash, whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(End);

impl Key {
    /// The hash of the signals with their values, sorted; written so that no two sets look alike.
    pub(super) fn of(signals: &Signals) -> Self {
        let mut text = Vec::with_capacity(256);
        for text_of in signals.iter().flat_map(|(key, value)| [key, value]) {
            text.extend_from_slice(&text_of.len().to_be_bytes());
            text.extend_from_slice(text_of.as_bytes());
        }
        Self(end_of(text))
    }
}

/// The sets of signals processed within the window.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    known: BTreeSet<Key>,
    order: VecDeque<(Duration, Key)>,
}

impl Duplicates {
    /// Whether these were processed within the window.
    pub(super) fn contains(&mut self, now: Duration, key: Key) -> bool {
        self.forget(now);
        self.known.contains(&key)
    }

    /// They are processed now. Doing it again within the window does not make it longer.
    pub(super) fn insert(&mut self, now: Duration, key: Key) {
        self.forget(now);
        if self.known.insert(key) {
            self.order.push_back((now, key));
        }
        if self.order.len() > DUPLICATES {
            self.forget_oldest();
        }
    }

    fn forget(&mut self, now: Duration) {
        while self.order.front().is_some_and(|(at, _)| *at + DUPLICATE_WINDOW <= now) {
            self.forget_oldest();
        }
        if self.order.capacity() > 4 * self.order.len() + 64 {
            self.order.shrink_to(2 * self.order.len());
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Key {
        Key::of(&[("+a".to_owned(), n.to_string())].into())
    }

    #[test]
    fn once_in_ten_seconds() {
        let mut duplicates = Duplicates::default();
        duplicates.insert(Duration::ZERO, key(1));
        duplicates.insert(Duration::from_secs(9), key(1));
        assert!(duplicates.contains(Duration::from_millis(9_999), key(1)));
        assert!(!duplicates.contains(Duration::from_secs(5), key(2)));
        assert!(!duplicates.contains(DUPLICATE_WINDOW, key(1)), "counted from the first time");
    }

    #[test]
    fn many_are_bounded() {
        let mut duplicates = Duplicates::default();
        for n in 0..50_000 {
            duplicates.insert(Duration::ZERO, key(n));
        }
        assert_eq!((duplicates.known.len(), duplicates.order.len()), (DUPLICATES, DUPLICATES));
        assert!(!duplicates.contains(Duration::ZERO, key(0)));
        assert!(duplicates.contains(Duration::ZERO, key(49_999)));
    }

    #[test]
    fn no_two_sets_look_alike() {
        let set = |pairs: &[(&str, &str)]| {
            Key::of(&pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
        };
        assert_ne!(set(&[("+a", "b+c")]), set(&[("+ab", "+c")]));
        assert_ne!(set(&[("+a", "b"), ("+c", "d")]), set(&[("+a", "b+cd")]));
        assert_eq!(set(&[("+a", "b"), ("+c", "d")]), set(&[("+c", "d"), ("+a", "b")]));
    }
}
