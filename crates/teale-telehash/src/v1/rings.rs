//! Which ring an address gets: random to everybody else, yet not something to remember.
//!
//! The ring of an address is a keyed hash of it, so a flood of made-up addresses that drives a real peer's record out of
//! memory does not break the line it is about to open: it gets the same ring again.

use std::time::Duration;

use rand::{Rng, rngs::StdRng};
use sha1::{Digest, Sha1};
use teale_wire::telehash::{Ipp, RING_MAX};

use super::bounds::RING_EPOCH;

/// The source of all rings of one switch.
pub(super) struct Rings {
    secret: [u8; 32],
}

impl Rings {
    pub(super) fn new(rng: &mut StdRng) -> Self {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        Self { secret }
    }

    /// The ring for an address, 1 to [`RING_MAX`].
    pub(super) fn ring(&self, ipp: Ipp, now: Duration) -> u16 {
        let epoch = now.as_secs() / RING_EPOCH.as_secs();
        let mut hash = Sha1::new();
        hash.update(self.secret);
        hash.update(epoch.to_be_bytes());
        match ipp.ip() {
            std::net::IpAddr::V4(ip) => hash.update(ip.octets()),
            std::net::IpAddr::V6(ip) => hash.update(ip.octets()),
        }
        hash.update(ipp.port().to_be_bytes());
        let digest: [u8; 20] = hash.finalize().into();
        // 32768 values, all as likely.
        u16::from_be_bytes([digest[0], digest[1]]) % RING_MAX + 1
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn rings_are_in_range_and_independent() {
        let rings = Rings::new(&mut StdRng::from_seed([1; 32]));
        let other = Rings::new(&mut StdRng::from_seed([2; 32]));
        let mut seen = std::collections::BTreeSet::new();
        let mut same = 0;
        for port in 1..=4096 {
            let ipp = Ipp::new(([10, 0, 0, 1], port).into()).unwrap();
            let ring = rings.ring(ipp, Duration::ZERO);
            assert!((1..=RING_MAX).contains(&ring));
            assert_eq!(ring, rings.ring(ipp, RING_EPOCH - Duration::from_secs(1)));
            same += u32::from(ring == other.ring(ipp, Duration::ZERO));
            seen.insert(ring);
        }
        assert!(seen.len() > 3_700, "{} of 4096 differ", seen.len());
        assert!(same < 5, "another switch gives other rings");
    }
}
