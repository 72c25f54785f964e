//! Who is kept for the DHT: at most so many switches per distance, the old and living ones first (Kademlia §2.2).

use teale_wire::telehash::{End, Ipp};

use crate::{hash::end_of_switch, scope::Party};

/// Switches in one bucket.
pub(crate) const BUCKET: usize = 20;
/// Of these, so many at one address: its ports are free.
const BUCKET_PER_PARTY: usize = 2;

/// One switch in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) ipp: Ipp,
    pub(crate) end: End,
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It is in now.
    Added,
    /// It was in already; it is the youngest now.
    Known,
    /// The bucket is full: this is its oldest one. If that is dead, [`Buckets::replace`] it.
    Full(Ipp),
    /// Too many with the same address are in.
    Crowded,
    /// It is this switch itself.
    Own,
}

/// Switches by their distance from one's own end: 160 buckets, in each the one heard longest ago first.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    own: Option<End>,
    buckets: Vec<Vec<Entry>>,
}

impl Buckets {
    /// Empty, around an end.
    pub(crate) fn new(own: End) -> Self {
        Self { own: Some(own), buckets: Vec::new() }
    }

    fn index(&self, end: End) -> Option<usize> {
        self.own?.bucket(end).map(usize::from)
    }

    /// Whether a new one with this end would find room.
    pub(crate) fn wants(&self, end: End) -> bool {
        self.index(end)
            .is_some_and(|index| self.buckets.get(index).is_none_or(|bucket| bucket.len() < BUCKET))
    }

    /// Whether it is in.
    pub(crate) fn contains(&self, ipp: Ipp) -> bool {
        let bucket = self.index(end_of_switch(ipp)).and_then(|index| self.buckets.get(index));
        bucket.is_some_and(|bucket| bucket.iter().any(|entry| entry.ipp == ipp))
    }

    /// A living switch was heard.
    pub(crate) fn offer(&mut self, ipp: Ipp) -> Offer {
        let end = end_of_switch(ipp);
        let Some(index) = self.index(end) else { return Offer::Own };
        if self.buckets.len() <= index {
            self.buckets.resize_with(index + 1, Vec::new);
        }
        let bucket = &mut self.buckets[index];
        if let Some(at) = bucket.iter().position(|entry| entry.ipp == ipp) {
            let entry = bucket.remove(at);
            bucket.push(entry);
            return Offer::Known;
        }
        let party = Party::of(ipp);
        if bucket.iter().filter(|entry| Party::of(entry.ipp) == party).count() >= BUCKET_PER_PARTY {
            return Offer::Crowded;
        }
        match bucket.first() {
            Some(oldest) if bucket.len() >= BUCKET => Offer::Full(oldest.ipp),
            _ => {
                bucket.push(Entry { ipp, end });
                Offer::Added
            }
        }
    }

    /// A switch is gone; whether it was in.
    pub(crate) fn remove(&mut self, ipp: Ipp) -> bool {
        let Some(index) = self.index(end_of_switch(ipp)) else { return false };
        let Some(bucket) = self.buckets.get_mut(index) else { return false };
        let before = bucket.len();
        bucket.retain(|entry| entry.ipp != ipp);
        before != bucket.len()
    }

    /// Puts a new one in the place of a dead one.
    pub(crate) fn replace(&mut self, dead: Ipp, new: Ipp) -> Offer {
        self.remove(dead);
        self.offer(new)
    }

    /// All of them, the far buckets last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.buckets.iter().flatten()
    }

    /// The nearest to an end among those that `fit`, nearest first, at most `count`.
    ///
    /// Only a few buckets are looked at: all of one are nearer than all of the next one in [`Self::outward`].
    pub(crate) fn nearest(&self, end: End, count: usize, fit: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut nearest = Vec::with_capacity(count);
        let mut sorted = Vec::with_capacity(BUCKET);
        for bucket in self.outward(end) {
            sorted.clear();
            sorted.extend(bucket.iter().map(|entry| (entry.end.distance(end), *entry)));
            sorted.sort_unstable_by_key(|(distance, _)| *distance);
            let fitting = sorted.iter().map(|(_, entry)| *entry).filter(|entry| fit(entry));
            nearest.extend(fitting.take(count - nearest.len()));
            if nearest.len() >= count {
                break;
            }
        }
        nearest
    }

    /// The buckets by their distance from an end. Where the end differs from our own in bit `n`, whoever is in bucket `n`
    /// differs from us in the same highest bit, so he is nearer to it than we are, and the more so the higher the bit.
    fn outward(&self, end: End) -> impl Iterator<Item = &Vec<Entry>> {
        let own = self.own.unwrap_or(end);
        let differs = move |bit: &usize| {
            let byte = end.as_bytes().len() - 1 - bit / 8;
            (own.as_bytes()[byte] ^ end.as_bytes()[byte]) >> (bit % 8) & 1 == 1
        };
        let bits = 0..self.buckets.len();
        let nearer = bits.clone().rev().filter(differs);
        let farther = bits.filter(move |bit| !differs(bit));
        nearer.chain(farther).map(|bit| &self.buckets[bit])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash::end_of;

    fn ipp(n: u16) -> Ipp {
        Ipp::parse(&format!("10.{}.{}.1:{}", n >> 8, n & 255, 1000 + n)).unwrap()
    }

    #[test]
    fn a_full_bucket_keeps_its_old_ones() {
        let mut buckets = Buckets::new(end_of("own"));
        let far: Vec<Ipp> =
            (0..200).map(ipp).filter(|ipp| buckets.index(end_of_switch(*ipp)) == Some(159)).collect();
        for ipp in &far[..BUCKET] {
            assert_eq!(buckets.offer(*ipp), Offer::Added);
        }
        assert_eq!(buckets.offer(far[BUCKET]), Offer::Full(far[0]));
        assert_eq!(buckets.offer(far[0]), Offer::Known);
        assert_eq!(buckets.offer(far[BUCKET]), Offer::Full(far[1]));
        assert_eq!(buckets.replace(far[1], far[BUCKET]), Offer::Added);
        assert!(buckets.contains(far[BUCKET]) && !buckets.contains(far[1]));
        assert_eq!(buckets.iter().count(), BUCKET);
    }

    #[test]
    fn one_address_has_two_places_of_a_bucket_whatever_its_ports() {
        let mut buckets = Buckets::new(end_of("own"));
        let ports: Vec<Ipp> = (1..400).map(|port| Ipp::new(([9, 9, 9, 9], port).into()).unwrap()).collect();
        for ipp in &ports {
            buckets.offer(*ipp);
        }
        assert!(buckets.buckets.iter().all(|bucket| bucket.len() <= BUCKET_PER_PARTY));
        let last = buckets.buckets[159].last().unwrap().ipp;
        assert_eq!(buckets.offer(last), Offer::Known);
        let other = (0..).map(ipp).find(|ipp| buckets.index(end_of_switch(*ipp)) == Some(159)).unwrap();
        assert_eq!(buckets.offer(other), Offer::Added);
    }

    proptest! {
        #[test]
        fn the_nearest_are_the_nearest(numbers in prop::collection::btree_set(0u16..500, 0..60), count in 0usize..8) {
            let mut buckets = Buckets::new(end_of("own"));
            for n in &numbers {
                buckets.offer(ipp(*n));
            }
            let target = end_of("target");
            let mut all: Vec<Entry> = buckets.iter().copied().collect();
            all.sort_by_key(|entry| entry.end.distance(target));
            all.truncate(count);
            prop_assert_eq!(buckets.nearest(target, count, |_| true), all);
        }
    }
}
