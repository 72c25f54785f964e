//! Who was found on the network, and where.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

use teale_identity::NodeId;

use super::{Advertisement, Target, bounds, dial_order};

/// What a new record changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A peer not known before.
    New(NodeId),
    /// A known peer; its record or addresses may have changed.
    Known(NodeId),
    /// No room for it.
    Full,
}

#[derive(Debug, Clone)]
struct Found {
    advertisement: Advertisement,
    addresses: Vec<SocketAddr>,
    /// Goes up with every instance that is new.
    number: u64,
}

/// Service instances by their full name, and where peers were reached. At most [`bounds::FOUND`] instances.
#[derive(Debug, Default)]
pub struct Book {
    found: BTreeMap<String, Found>,
    worked: HashMap<NodeId, SocketAddr>,
    /// Attempts at advertised peers that failed since the last one that worked.
    failed: HashMap<NodeId, usize>,
    /// Instances that were new, ever.
    numbers: u64,
}

impl Book {
    /// A service was resolved.
    pub fn found(
        &mut self,
        instance: &str,
        advertisement: Advertisement,
        mut addresses: Vec<SocketAddr>,
    ) -> News {
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(bounds::ADDRESSES);
        let peer = advertisement.id();
        if self.found.len() >= bounds::FOUND && !self.found.contains_key(instance) {
            return News::Full;
        }
        let is_new = !self.knows(peer);
        let number = self.found.get(instance).map_or(self.numbers, |found| found.number);
        self.numbers += u64::from(number == self.numbers);
        self.found.insert(instance.to_owned(), Found { advertisement, addresses, number });
        if is_new { News::New(peer) } else { News::Known(peer) }
    }

    /// A service said goodbye, or its record ran out: the peer, if no other instance names it.
    pub fn lost(&mut self, instance: &str) -> Option<NodeId> {
        let peer = self.found.remove(instance)?.advertisement.id();
        if self.knows(peer) {
            return None;
        }
        self.failed.remove(&peer);
        Some(peer)
    }

    /// An instance is about to name this peer: if it named another one until now, it did not keep its place, and
    /// that one is gone unless another instance names it.
    pub fn renamed(&mut self, instance: &str, peer: NodeId) -> Option<NodeId> {
        let before = self.found.get(instance)?.advertisement.id();
        if before == peer { None } else { self.lost(instance) }
    }

    /// A connection to the peer worked at this address.
    pub fn worked(&mut self, peer: NodeId, address: SocketAddr) {
        self.failed.remove(&peer);
        if self.worked.len() >= bounds::FOUND && !self.worked.contains_key(&peer) {
            let gone = self.worked.keys().find(|peer| !self.knows(**peer)).copied();
            match gone {
                Some(gone) => self.worked.remove(&gone),
                None => return,
            };
        }
        self.worked.insert(peer, address);
    }

    /// Whether somebody advertises this peer.
    pub fn knows(&self, peer: NodeId) -> bool {
        self.found.values().any(|found| found.advertisement.id() == peer)
    }

    /// None of its [`ways`](Self::ways) led to the peer: the next attempt is made at others, where there are more.
    pub fn failed(&mut self, peer: NodeId) {
        if self.knows(peer) {
            let failed = self.failed.entry(peer).or_default();
            *failed = failed.wrapping_add(1);
        }
    }

    /// Where to dial a peer, in this order. Anybody may advertise any node: instances take turns, those known for
    /// longest first, so that one that names many addresses leaves the others theirs; and attempts that failed go on
    /// where the last one stopped, so that no number of instances keeps one out.
    pub fn ways(&self, peer: NodeId) -> Vec<SocketAddr> {
        let of_peer = self.found.values().filter(|found| found.advertisement.id() == peer);
        let mut of_peer: Vec<_> = of_peer.collect();
        of_peer.sort_unstable_by_key(|found| found.number);
        let worked = self.worked.get(&peer).copied();
        let worked = worked.filter(|worked| of_peer.iter().any(|found| found.addresses.contains(worked)));
        let turns = (0..bounds::ADDRESSES)
            .flat_map(|turn| of_peer.iter().filter_map(move |found| found.addresses.get(turn).copied()));
        let mut seen: HashSet<SocketAddr> = worked.into_iter().collect();
        let others: Vec<SocketAddr> = turns.filter(|address| seen.insert(*address)).collect();
        let room = bounds::ADDRESSES - usize::from(worked.is_some());
        let failed = self.failed.get(&peer).copied().unwrap_or(0);
        let first = if others.len() > room { failed.wrapping_mul(room) % others.len() } else { 0 };
        let others = others.iter().cycle().skip(first).take(room.min(others.len())).copied();
        let addresses: Vec<SocketAddr> = worked.into_iter().chain(others).collect();
        dial_order(&addresses, worked)
    }

    /// What to say when dialling it at an address: with the key that is named together with that address, by the
    /// instance known for longest. So a wrong key that a stranger names costs only the addresses it names.
    pub fn target(&self, peer: NodeId, address: SocketAddr) -> Option<Target> {
        let here = |found: &&Found| found.addresses.contains(&address);
        let advertisement = self.advertisement(peer, here)?;
        Some(match advertisement.node {
            Some(node) => Target::Node { node, wg: advertisement.wg.map(|wg| wg.to_hex()) },
            None => Target::Device(advertisement.id()),
        })
    }

    /// What it says of itself in one of these instances: the one with a key that is known for longest; if none of
    /// them names a key but another instance does, that one, so that leaving the key out gains nobody plaintext.
    fn advertisement(&self, peer: NodeId, wanted: impl Fn(&&Found) -> bool) -> Option<&Advertisement> {
        let of_peer = || self.found.values().filter(|found| found.advertisement.id() == peer);
        let keyed = || of_peer().filter(|found| found.advertisement.wg.is_some());
        let best = keyed().filter(|found| wanted(found)).min_by_key(|found| found.number);
        let best = best.or_else(|| keyed().min_by_key(|found| found.number)).or_else(|| of_peer().next());
        best.map(|found| &found.advertisement)
    }

    /// Everybody found.
    pub fn peers(&self) -> Vec<NodeId> {
        let mut peers: Vec<_> = self.found.values().map(|found| found.advertisement.id()).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    /// Instances known.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether nobody was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn record(node: u8, wg: bool) -> Advertisement {
        Advertisement {
            device_id: "d".into(),
            chip: String::new(),
            ram_gb: None,
            node: Some(NodeId::from_bytes([node; 32])),
            wg: wg.then_some(teale_identity::X25519Public([9; 32])),
        }
    }

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn a_peer_is_lost_with_its_last_instance() {
        let (mut book, peer) = (Book::default(), NodeId::from_bytes([1; 32]));
        assert_eq!(book.found("a", record(1, false), vec![at(1)]), News::New(peer));
        assert_eq!(book.found("a", record(1, false), vec![at(2)]), News::Known(peer));
        assert_eq!(book.found("b", record(1, true), vec![at(3)]), News::Known(peer));
        assert_eq!(book.ways(peer), [at(2), at(3)]);
        assert!(matches!(book.target(peer, at(2)), Some(Target::Node { wg: Some(_), .. })));
        book.worked(peer, at(3));
        assert_eq!(book.ways(peer), [at(3), at(2)]);
        assert_eq!(book.lost("b"), None);
        assert_eq!(book.lost("a"), Some(peer));
        assert_eq!(book.lost("a"), None);
        assert!(book.target(peer, at(2)).is_none() && book.is_empty());
    }

    #[test]
    fn strangers_that_advertise_a_known_peer_do_not_hide_its_address() {
        let (mut book, peer) = (Book::default(), NodeId::from_bytes([1; 32]));
        let _ = book.found("peer", record(1, true), vec![at(60_000)]);
        for stranger in 0..20_u16 {
            let first = 1 + stranger * 100;
            let many = (first..first + 16).map(at).collect();
            let _ = book.found(&format!("a{stranger}"), record(1, true), many);
        }
        assert_eq!(book.ways(peer).len(), bounds::ADDRESSES);
        assert!(book.ways(peer).contains(&at(60_000)), "{:?}", book.ways(peer));
        let _ = book.found("peer", record(1, true), vec![at(60_001)]);
        assert!(book.ways(peer).contains(&at(60_001)), "its place stays with the instance");
        book.worked(peer, at(1916));
        assert_eq!(book.ways(peer)[0], at(1916), "what worked is tried, whoever names it");
    }

    #[test]
    fn no_number_of_strangers_keeps_a_peer_out_for_long() {
        let (mut book, peer) = (Book::default(), NodeId::from_bytes([1; 32]));
        for stranger in 0..60_u16 {
            let many = (0..16).map(|n| at(1 + stranger * 16 + n)).collect();
            let _ = book.found(&format!("a{stranger}"), record(1, true), many);
        }
        let _ = book.found("peer", record(1, true), vec![at(60_000)]);
        let attempts = (1..20).find(|_| {
            let there = book.ways(peer).contains(&at(60_000));
            book.failed(peer);
            there
        });
        assert_eq!(attempts, Some(4), "each instance has had one address tried by then");
        book.worked(peer, at(60_000));
        assert_eq!(book.ways(peer)[0], at(60_000));
        assert!(book.failed.is_empty());
        book.failed(NodeId::from_bytes([2; 32]));
        assert!(book.failed.is_empty(), "nobody advertises that one");
    }

    #[test]
    fn a_strangers_key_is_used_at_the_strangers_addresses_only() {
        let (mut book, peer) = (Book::default(), NodeId::from_bytes([1; 32]));
        let (own, wrong) = (teale_identity::X25519Public([9; 32]), teale_identity::X25519Public([8; 32]));
        let _ = book.found("peer", record(1, true), vec![at(1)]);
        let lie = Advertisement { wg: Some(wrong), ..record(1, true) };
        let _ = book.found("a stranger", lie, vec![at(1), at(2)]);
        let _ = book.found("keyless", record(1, false), vec![at(3)]);
        let key = |port| match book.target(peer, at(port)) {
            Some(Target::Node { wg, .. }) => wg,
            other => panic!("{other:?}"),
        };
        assert_eq!(key(1), Some(own.to_hex()));
        assert_eq!(key(2), Some(wrong.to_hex()));
        assert_eq!(key(3), Some(own.to_hex()), "never plaintext, as long as anybody names a key");
    }

    #[test]
    fn a_peer_whose_instance_names_another_now_is_gone() {
        let mut book = Book::default();
        let (one, two) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        assert_eq!(book.renamed("a", one), None);
        let _ = book.found("a", record(1, true), vec![at(1)]);
        assert_eq!(book.renamed("a", one), None, "the same again");
        assert_eq!(book.renamed("a", two), Some(one));
        assert_eq!(book.found("a", record(2, true), vec![at(1)]), News::New(two));
        assert_eq!(book.peers(), [two]);
        let _ = book.found("b", record(2, true), vec![at(1)]);
        assert_eq!(book.renamed("a", one), None, "another instance names it still");
    }

    #[test]
    fn instances_are_bounded() {
        let mut book = Book::default();
        for number in 0..bounds::FOUND {
            assert_ne!(book.found(&number.to_string(), record(1, false), vec![at(1)]), News::Full);
        }
        assert_eq!(book.found("more", record(2, false), vec![at(1)]), News::Full);
        assert!(
            matches!(book.found("0", record(1, false), vec![at(2)]), News::Known(_)),
            "a known one stays"
        );
    }
}
