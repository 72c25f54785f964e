//! How many connections there may be, in all and from one place.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use crate::RelayLimits;

/// Counts connections. An IPv6 host owns a /64, so its addresses count together.
#[derive(Debug)]
pub struct Admission {
    total: usize,
    by_place: HashMap<IpAddr, usize>,
    limit: usize,
    limit_per_place: usize,
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The relay has as many connections as it may.
    Full,
    /// This address has as many connections as it may.
    PerAddress,
}

impl Admission {
    /// Nobody there yet.
    pub fn new(limits: &RelayLimits) -> Self {
        Self {
            total: 0,
            by_place: HashMap::new(),
            limit: limits.sockets,
            limit_per_place: limits.sockets_per_ip,
        }
    }

    /// Counts a connection in.
    ///
    /// # Errors
    /// Which bound is reached; nothing is counted then.
    pub fn enter(&mut self, address: IpAddr) -> Result<(), Refusal> {
        if self.total >= self.limit {
            return Err(Refusal::Full);
        }
        let count = self.by_place.entry(place(address)).or_insert(0);
        if *count >= self.limit_per_place {
            return Err(Refusal::PerAddress);
        }
        *count += 1;
        self.total += 1;
        Ok(())
    }

    /// Counts a connection out that [`enter`](Self::enter) let in.
    pub fn leave(&mut self, address: IpAddr) {
        let place = place(address);
        if let Some(count) = self.by_place.get_mut(&place) {
            *count -= 1;
            self.total -= 1;
            if *count == 0 {
                self.by_place.remove(&place);
            }
        }
    }

    /// Connections at present.
    pub fn total(&self) -> usize {
        self.total
    }
}

fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_ipv6_network_count_together_and_leaving_frees_the_place() {
        let limits = RelayLimits { sockets: 3, sockets_per_ip: 2, ..RelayLimits::default() };
        let mut door = Admission::new(&limits);
        let a: IpAddr = "2001:db8::1".parse().unwrap();
        let b: IpAddr = "2001:db8::ffff:2".parse().unwrap();
        let c: IpAddr = "192.0.2.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(door.enter(a), Ok(()));
        assert_eq!(door.enter(b), Ok(()));
        assert_eq!(door.enter(a), Err(Refusal::PerAddress));
        assert_eq!(door.enter(c), Ok(()));
        assert_eq!(door.enter(mapped), Err(Refusal::Full));
        door.leave(b);
        assert_eq!(door.enter(mapped), Ok(()));
        assert_eq!(door.total(), 3);
        for address in [a, c, mapped] {
            door.leave(address);
        }
        assert_eq!(door.total(), 0);
        assert!(door.by_place.is_empty());
    }
}
