//! Which addresses a switch may be sent to on another's word.

use std::net::{IpAddr, Ipv6Addr};

use teale_wire::telehash::Ipp;

use crate::reflection::is_one_host;

/// How far an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Machine,
    Site,
    World,
}

fn reach(ip: IpAddr) -> Reach {
    let (machine, site) = match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            // 100.64.0.0/10 is shared by carriers (RFC 6598).
            (ip.is_loopback(), ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64))
        }
        IpAddr::V6(ip) => (ip.is_loopback(), ip.is_unique_local() || ip.is_unicast_link_local()),
    };
    if machine {
        Reach::Machine
    } else if site {
        Reach::Site
    } else {
        Reach::World
    }
}

/// Who stands behind an address, for everything that is shared out among strangers: an IPv4 address, or the 64 bits of IPv6
/// that one subscriber has. Ports are free, so they count for nothing; but on one machine's loopback all are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party(IpAddr, u16);

impl Party {
    /// Of a switch.
    pub fn of(ipp: Ipp) -> Self {
        match ipp.ip() {
            ip if ip.is_loopback() => Self(ip, ipp.port()),
            IpAddr::V6(ip) => Self(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(), 0),
            ip => Self(ip, 0),
        }
    }
}

/// Whether an address can be that of a switch in the same DHT as ours. Nobody out in the world makes us send to our own
/// machine or site, and the families do not mix.
pub fn plausible(ipp: Ipp, own: Option<Ipp>) -> bool {
    is_one_host(ipp.ip())
        && own.is_none_or(|own| own.is_v4() == ipp.is_v4() && reach(ipp.ip()) >= reach(own.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_the_lower_half_of_ipv6_are_free() {
        let same =
            |one: &str, other: &str| Party::of(one.parse().unwrap()) == Party::of(other.parse().unwrap());
        assert!(same("9.9.9.9:1", "9.9.9.9:2") && !same("9.9.9.9:1", "9.9.9.8:1"));
        assert!(
            same("[2001:db8::1]:1", "[2001:db8::ffff:0:0:2]:2")
                && !same("[2001:db8::1]:1", "[2001:db8:0:1::1]:1")
        );
        assert!(!same("127.0.0.1:1", "127.0.0.1:2") && !same("[::1]:1", "[::1]:2"));
    }

    #[test]
    fn the_world_does_not_point_into_a_site() {
        let plausible = |ipp: &str, own: &str| plausible(ipp.parse().unwrap(), own.parse().ok());
        assert!(plausible("8.8.8.8:1", "9.9.9.9:1"));
        for inside in ["127.0.0.1:1", "10.1.2.3:1", "192.168.1.1:1", "169.254.1.1:1", "100.64.0.1:1"] {
            assert!(!plausible(inside, "9.9.9.9:1"), "{inside}");
            assert!(plausible(inside, "127.0.0.1:2"), "{inside}");
            assert!(plausible(inside, ""), "{inside}");
        }
        assert!(plausible("10.9.9.9:1", "192.168.1.1:1") && !plausible("127.0.0.1:1", "192.168.1.1:1"));
        assert!(!plausible("[2001:db8::1]:1", "9.9.9.9:1"));
        assert!(!plausible("[fd00::1]:1", "[2001:db8::1]:1"));
        for nobody in ["0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1", "[ff02::1]:1"] {
            assert!(!plausible(nobody, ""), "{nobody}");
        }
    }
}
