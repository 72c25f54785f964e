//! Which addresses a switch may be sent to on another's word.

use std::net::IpAddr;

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
