//! What happens next: a binary heap in which things of the same moment keep the order in which they were put in.
//!
//! Only the present millisecond is a heap, small enough for the processor's cache; what is later lies in unsorted
//! slices until its time has come.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap},
};

/// A moment: nanoseconds since the world began.
pub(crate) type Nanos = u64;

/// No moment at all.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// A slice is so many bits of nanoseconds long: about a millisecond.
const SLICE: u32 = 20;

/// Things by moment, then by age.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// Everything up to the end of slice [`Self::present`].
    heap: BinaryHeap<Entry<T>>,
    present: u64,
    /// Everything after it.
    later: BTreeMap<u64, Vec<Entry<T>>>,
    len: usize,
    pushed: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Nanos,
    number: u64,
    item: T,
}

impl<T> Entry<T> {
    fn key(&self) -> u128 {
        u128::from(self.at) << 64 | u128::from(self.number)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    /// The earliest is the greatest: the heap of the library gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), present: 0, later: BTreeMap::new(), len: 0, pushed: 0 }
    }

    pub(crate) fn push(&mut self, at: Nanos, item: T) {
        let entry = Entry { at, number: self.pushed, item };
        (self.pushed, self.len) = (self.pushed + 1, self.len + 1);
        let slice = at >> SLICE;
        if slice <= self.present {
            self.heap.push(entry);
        } else {
            self.later.entry(slice).or_default().push(entry);
        }
    }

    /// The moment of the first thing.
    pub(crate) fn next_at(&self) -> Option<Nanos> {
        let later = || self.later.first_key_value()?.1.iter().map(|entry| entry.at).min();
        self.heap.peek().map(|entry| entry.at).or_else(later)
    }

    /// The first thing, unless it is later than `limit`.
    pub(crate) fn pop_until(&mut self, limit: Nanos) -> Option<(Nanos, T)> {
        if self.heap.is_empty() {
            let (slice, entries) = self.later.pop_first()?;
            (self.present, self.heap) = (slice, BinaryHeap::from(entries));
        }
        if self.heap.peek()?.at > limit {
            return None;
        }
        self.len -= 1;
        self.heap.pop().map(|entry| (entry.at, entry.item))
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// Things with a small number each; numbers of things taken out are used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn insert(&mut self, item: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.items[slot as usize] = Some(item);
            return slot;
        }
        self.items.push(Some(item));
        (self.items.len() - 1) as u32
    }

    pub(crate) fn take(&mut self, slot: u32) -> Option<T> {
        let item = self.items.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_of_one_moment_keep_their_order() {
        let mut queue = Queue::new();
        for (at, item) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b'), (5, 'e')] {
            queue.push(at, item);
        }
        let order: String = std::iter::from_fn(|| queue.pop_until(NEVER)).map(|(_, item)| item).collect();
        assert_eq!(order, "abcde");
    }

    #[test]
    fn nothing_comes_before_its_moment() {
        let mut queue = Queue::new();
        queue.push(10, ());
        assert_eq!(queue.pop_until(9), None);
        assert_eq!(queue.pop_until(10), Some((10, ())));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn near_and_far_things_come_in_order() {
        let mut random = crate::Random::new(5);
        let (mut queue, mut expected) = (Queue::new(), BTreeMap::new());
        let (mut number, mut now) = (0_u64, 0);
        for _ in 0..20_000 {
            if random.chance(0.52) {
                let bits = random.below(36);
                let at = now + random.below(1 << bits);
                queue.push(at, number);
                expected.insert((at, number), ());
                number += 1;
            } else {
                let limit = now + random.below(1 << 22);
                let first = expected.first_key_value().map(|(key, ())| *key);
                assert_eq!(queue.next_at(), first.map(|(at, _)| at));
                let due = first.filter(|(at, _)| *at <= limit);
                assert_eq!(queue.pop_until(limit), due);
                if let Some(due) = due {
                    expected.remove(&due);
                    now = due.0;
                }
            }
            assert_eq!(queue.len(), expected.len());
        }
    }

    #[test]
    fn a_slab_uses_its_places_again() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.take(a), Some('a'));
        assert_eq!(slab.take(a), None);
        assert_eq!(slab.insert('c'), a);
        assert_eq!(slab.take(b), Some('b'));
    }
}
