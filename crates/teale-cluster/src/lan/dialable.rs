//! Which addresses a record on the network may name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Whether another machine can be there: a port, and neither this machine itself, nor nobody, nor many. What else a
/// stranger names is dialled; all it gets is the first bytes of a handshake.
pub fn is_dialable(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let nowhere = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
    let odd = matches!(ip, IpAddr::V4(v4) if is_odd(v4));
    address.port() != 0 && !nowhere && !odd
}

/// "This network" (RFC 1122 §3.2.1.3), and what is reserved, the broadcast address with it (RFC 1112 §4).
fn is_odd(ip: Ipv4Addr) -> bool {
    let [first, ..] = ip.octets();
    first == 0 || first >= 240
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_addresses_of_another_machine_are_dialled() {
        let is = |text: &str| is_dialable(text.parse().unwrap());
        for text in [
            "10.0.0.1:1",
            "169.254.3.4:80",
            "8.8.8.8:11436",
            "[fe80::1]:5",
            "[fd00::1]:65535",
            "[2001:db8::1]:1",
        ] {
            assert!(is(text), "{text}");
        }
        for text in [
            "10.0.0.1:0",
            "127.0.0.1:22",
            "127.255.255.254:22",
            "0.0.0.0:1",
            "0.1.2.3:1",
            "224.0.0.251:5353",
            "239.255.255.250:1900",
            "240.0.0.1:1",
            "255.255.255.255:1",
            "[::]:1",
            "[::1]:22",
            "[ff02::fb]:5353",
            "[::ffff:127.0.0.1]:22",
            "[::ffff:255.255.255.255]:1",
        ] {
            assert!(!is(text), "{text}");
        }
    }
}
