//! What happens next: a binary heap in which things of the same moment keep the order in which they were put in.

use std::{cmp::Ordering, collections::BinaryHeap};

/// A moment: nanoseconds since the world began.
pub(crate) type Nanos = u64;

/// No moment at all.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// Things by moment, then by age.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Entry<T>>,
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
        Self { heap: BinaryHeap::new(), pushed: 0 }
    }

    pub(crate) fn push(&mut self, at: Nanos, item: T) {
        self.heap.push(Entry { at, number: self.pushed, item });
        self.pushed += 1;
    }

    /// The moment of the first thing.
    pub(crate) fn next_at(&self) -> Option<Nanos> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// The first thing, unless it is later than `limit`.
    pub(crate) fn pop_until(&mut self, limit: Nanos) -> Option<(Nanos, T)> {
        if self.next_at()? > limit {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.item))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
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
    fn a_slab_uses_its_places_again() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.take(a), Some('a'));
        assert_eq!(slab.take(a), None);
        assert_eq!(slab.insert('c'), a);
        assert_eq!(slab.take(b), Some('b'));
    }
}
