//! IP:PORT as text: the name of a switch.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::WireError;

/// The longest spelling of an [`Ipp`], in bytes: an IPv6 address in brackets with a port.
const LONGEST: usize = 47;

/// The public address of a switch, as TeleHash writes it: `1.2.3.4:5678`, or `[2001:db8::1]:5678` (ours; the pages
/// leave IPv6 open).
///
/// A switch's place in the DHT is the SHA-1 of exactly this text, so an IPv4 address has one spelling only: decimal,
/// without leading zeros. Port 0 is none, and an IPv4 address in IPv6 clothes is that IPv4 address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipp(SocketAddr);

impl Ipp {
    /// The switch at this address; `None` for port 0.
    pub fn new(address: SocketAddr) -> Option<Self> {
        (address.port() != 0).then(|| Self(SocketAddr::new(address.ip().to_canonical(), address.port())))
    }

    /// Reads the text form. No name is ever looked up.
    ///
    /// # Errors
    /// [`WireError::Ipp`] for anything else, another spelling of an IPv4 address included.
    pub fn parse(text: &str) -> Result<Self, WireError> {
        if text.len() > LONGEST || text.contains('%') {
            return Err(WireError::Ipp);
        }
        let address: SocketAddr = text.parse().map_err(|_| WireError::Ipp)?;
        let ipp = Self::new(address).ok_or(WireError::Ipp)?;
        // The standard library takes `01` for a port.
        let port_fits = text.rsplit(':').next().is_some_and(|port| !port.starts_with('0'));
        if port_fits { Ok(ipp) } else { Err(WireError::Ipp) }
    }

    /// The same for sockets.
    pub fn socket_addr(self) -> SocketAddr {
        self.0
    }

    /// The address alone.
    pub fn ip(self) -> IpAddr {
        self.0.ip()
    }

    /// The port, never 0.
    pub fn port(self) -> u16 {
        self.0.port()
    }

    /// Whether it belongs to the DHT of IPv4: the two do not mix.
    pub fn is_v4(self) -> bool {
        self.0.is_ipv4()
    }
}

impl fmt::Display for Ipp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Ipp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ipp({self})")
    }
}

impl FromStr for Ipp {
    type Err = WireError;
    fn from_str(text: &str) -> Result<Self, WireError> {
        Self::parse(text)
    }
}

impl Serialize for Ipp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ipp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Ipp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("IP:PORT")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ipp, E> {
                Ipp::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_each() {
        for good in ["1.2.3.4:5678", "127.0.0.1:1", "255.255.255.255:65535", "[2001:db8::1]:42424"] {
            assert_eq!(Ipp::parse(good).unwrap().to_string(), good);
        }
        assert_eq!(Ipp::parse("[2001:DB8:0::1]:7").unwrap().to_string(), "[2001:db8::1]:7");
        assert_eq!(Ipp::parse("[::ffff:1.2.3.4]:7").unwrap().to_string(), "1.2.3.4:7");
    }

    #[test]
    fn everything_else_is_refused() {
        let bad = [
            "",
            "nonsense",
            "1.2.3.4",
            "1.2.3.4:",
            "1.2.3.4:0",
            "1.2.3.4:00",
            "1.2.3.4:065",
            "1.2.3.4:65536",
            "1.2.3.4:-1",
            "01.2.3.4:5",
            "1.2.3:5",
            "1.2.3.4.5:5",
            " 1.2.3.4:5",
            "1.2.3.4:5 ",
            "1.2.3.4:+5",
            "telehash.org:42424",
            "::1:5",
            "[::1]",
            "[fe80::1%1]:5",
            "[fe80::1%eth0]:5",
            "1.2.3.4:5\0",
        ];
        for text in bad {
            assert_eq!(Ipp::parse(text), Err(WireError::Ipp), "{text:?}");
        }
    }

    #[test]
    fn port_zero_is_no_switch() {
        assert_eq!(Ipp::new("1.2.3.4:0".parse().unwrap()), None);
    }
}
