//! Where peers say they can be reached, told by something outside the local network: a DHT, say.
//!
//! Whoever tells has checked that the peer itself said so. Must never dial: it remembers, within bounds, for a time.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use teale_identity::NodeId;

use super::{Target, bounds, is_dialable};

#[derive(Debug, Clone)]
struct Hint {
    wg: Option<String>,
    addresses: Vec<SocketAddr>,
    until: Duration,
}

/// Addresses of peers, at most [`bounds::HINTS`] peers; beyond it the one that ends first makes room.
#[derive(Debug, Default)]
pub struct Hints(BTreeMap<NodeId, Hint>);

impl Hints {
    /// A peer's own word; it takes the place of what the peer said before. Peers that nothing is known of any more.
    pub fn add(
        &mut self,
        peer: NodeId,
        wg: Option<String>,
        mut addresses: Vec<SocketAddr>,
        until: Duration,
    ) -> Vec<NodeId> {
        // Loopback is a machine too: whoever tells may know that the peer is on this one.
        addresses
            .retain(|address| is_dialable(*address) || (address.ip().is_loopback() && address.port() != 0));
        addresses.truncate(bounds::ADDRESSES);
        if addresses.is_empty() {
            return self.0.remove(&peer).map(|_| peer).into_iter().collect();
        }
        self.0.insert(peer, Hint { wg, addresses, until });
        if self.0.len() <= bounds::HINTS {
            return Vec::new();
        }
        let first = self.0.iter().min_by_key(|(_, hint)| hint.until).map(|(peer, _)| *peer);
        first.inspect(|first| drop(self.0.remove(first))).into_iter().collect()
    }

    fn get(&self, now: Duration, peer: NodeId) -> Option<&Hint> {
        self.0.get(&peer).filter(|hint| now < hint.until)
    }

    /// Whether something is known of the peer.
    pub fn knows(&self, now: Duration, peer: NodeId) -> bool {
        self.get(now, peer).is_some()
    }

    /// Where to dial it.
    pub fn ways(&self, now: Duration, peer: NodeId) -> Vec<SocketAddr> {
        self.get(now, peer).map(|hint| hint.addresses.clone()).unwrap_or_default()
    }

    /// What to say when dialling it at an address.
    pub fn target(&self, now: Duration, peer: NodeId, address: SocketAddr) -> Option<Target> {
        let hint = self.get(now, peer).filter(|hint| hint.addresses.contains(&address))?;
        Some(Target::Node { node: peer, wg: hint.wg.clone() })
    }

    /// Forgets what has ended: those peers.
    pub fn expire(&mut self, now: Duration) -> Vec<NodeId> {
        let ended: Vec<_> =
            self.0.iter().filter(|(_, hint)| hint.until <= now).map(|(peer, _)| *peer).collect();
        for peer in &ended {
            self.0.remove(peer);
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(60);

    fn peer(n: u16) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_hint_is_good_for_its_time() {
        let mut hints = Hints::default();
        assert!(hints.add(peer(1), Some("ab".into()), vec![address("192.0.2.1:7")], LATER).is_empty());
        assert_eq!(hints.ways(Duration::ZERO, peer(1)), [address("192.0.2.1:7")]);
        let target = hints.target(Duration::ZERO, peer(1), address("192.0.2.1:7"));
        assert_eq!(target, Some(Target::Node { node: peer(1), wg: Some("ab".into()) }));
        assert_eq!(hints.target(Duration::ZERO, peer(1), address("192.0.2.1:8")), None);
        assert!(!hints.knows(LATER, peer(1)) && hints.ways(LATER, peer(1)).is_empty());
        assert_eq!(hints.expire(LATER), [peer(1)]);
    }

    #[test]
    fn what_cannot_be_dialled_is_left_out() {
        let mut hints = Hints::default();
        let bad = ["0.0.0.0:7", "224.0.0.1:7", "255.255.255.255:7", "[::]:7", "[ff02::1]:7", "192.0.2.1:0"];
        assert!(hints.add(peer(1), None, bad.map(address).to_vec(), LATER).is_empty());
        assert!(!hints.knows(Duration::ZERO, peer(1)));
        hints.add(peer(2), None, vec![address("192.0.2.1:7")], LATER);
        assert_eq!(hints.add(peer(2), None, Vec::new(), LATER), [peer(2)], "it says now that it is nowhere");
    }

    #[test]
    fn strangers_do_not_fill_memory() {
        let mut hints = Hints::default();
        for n in 0..5000 {
            let many = (1..200).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
            let gone = hints.add(peer(n), None, many, LATER + Duration::from_secs(n.into()));
            let room = usize::from(n) < bounds::HINTS;
            assert_eq!(gone.len(), usize::from(!room), "whoever makes room is named");
        }
        assert_eq!(hints.0.len(), bounds::HINTS);
        assert!(hints.0.values().all(|hint| hint.addresses.len() <= bounds::ADDRESSES));
        assert!(hints.knows(Duration::ZERO, peer(4999)), "those that last longest stay");
    }
}
