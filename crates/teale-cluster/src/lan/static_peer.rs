//! A peer given by address: `HOST[:PORT]`, or `NODEID@HOST[:PORT]` for that node and no other.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use teale_identity::NodeId;
use thiserror::Error;

use super::bounds;

/// The longest host name, in bytes (RFC 1035 §2.3.4).
const HOST: usize = 253;

/// A peer given by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticPeer {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who has to be there, if that was said.
    pub node: Option<NodeId>,
}

/// Why a text names no peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StaticPeerError {
    /// What stands before the `@`.
    #[error("what stands before `@` is not a node id, 64 lower-case hex digits")]
    Node,
    /// No host, or one that cannot be.
    #[error("a host name or IP address is expected; an IPv6 address with a port stands in brackets")]
    Host,
    /// Not a port.
    #[error("the port is a number from 1 to 65535")]
    Port,
}

impl FromStr for StaticPeer {
    type Err = StaticPeerError;

    fn from_str(text: &str) -> Result<Self, StaticPeerError> {
        let (node, place) = match text.trim().rsplit_once('@') {
            Some((node, place)) => {
                (Some(NodeId::parse(node.as_bytes()).map_err(|_| StaticPeerError::Node)?), place)
            }
            None => (None, text.trim()),
        };
        let (host, port) = if let Some(inner) = place.strip_prefix('[') {
            let (host, rest) = inner.split_once(']').ok_or(StaticPeerError::Host)?;
            let address = host.split('%').next().unwrap_or_default();
            address.parse::<Ipv6Addr>().map_err(|_| StaticPeerError::Host)?;
            match rest {
                "" => (host, None),
                _ => (host, Some(rest.strip_prefix(':').ok_or(StaticPeerError::Host)?)),
            }
        } else if place.matches(':').count() > 1 {
            place.parse::<Ipv6Addr>().map_err(|_| StaticPeerError::Host)?;
            (place, None)
        } else {
            match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            }
        };
        let strange = |c: char| c.is_whitespace() || c.is_control() || "/?#@[]".contains(c);
        if host.is_empty() || host.len() > HOST || host.contains(strange) {
            return Err(StaticPeerError::Host);
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(StaticPeerError::Port)?,
            None => bounds::PORT,
        };
        Ok(Self { host: host.to_owned(), port, node })
    }
}

impl fmt::Display for StaticPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = self.node {
            write!(f, "{node}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn hosts_ports_and_nodes_are_read() {
        let node = "0".repeat(64);
        for (text, shown) in [
            ("alice", "alice:11436".to_owned()),
            ("alice.home:7", "alice.home:7".to_owned()),
            ("10.0.0.1:7", "10.0.0.1:7".to_owned()),
            ("fd00::1", "[fd00::1]:11436".to_owned()),
            ("[fe80::1%eth0]:7", "[fe80::1%eth0]:7".to_owned()),
            (&format!("{node}@alice:7"), format!("{node}@alice:7")),
        ] {
            let peer: StaticPeer = text.parse().unwrap();
            assert_eq!(peer.to_string(), shown);
            assert_eq!(shown.parse(), Ok(peer));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for text in ["", ":7", "a b:7", "a/b:7", "[fd00::1", "[x]:1", "1:2:3"] {
            assert_eq!(text.parse::<StaticPeer>(), Err(StaticPeerError::Host), "{text:?}");
        }
        for text in ["a:0", "a:65536", "a:", "http://x", "[fd00::1]:x"] {
            assert_eq!(text.parse::<StaticPeer>(), Err(StaticPeerError::Port), "{text:?}");
        }
        assert_eq!("me@alice:7".parse::<StaticPeer>(), Err(StaticPeerError::Node));
    }
}
