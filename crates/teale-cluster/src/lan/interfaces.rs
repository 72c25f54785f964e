//! Which network interfaces count.

use std::{fmt, net::IpAddr};

/// Names of interfaces that join containers and virtual machines with their host; a `*` at the end stands for
/// anything. Two hosts behind their own bridges would see each other's useless addresses there.
const VIRTUAL: &[&str] = &[
    "docker*",
    "br-*",
    "veth*",
    "virbr*",
    "podman*",
    "cni*",
    "flannel*",
    "cali*",
    "vmnet*",
    "vboxnet*",
    "lxc*",
    "lxdbr*",
    "incusbr*",
    "vnet*",
    "tap*",
    "bridge1*",
    "vEthernet*",
];

/// An interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Whether it is the loopback.
    pub loopback: bool,
    /// Whether it is up.
    pub up: bool,
    /// Whether it has one other end only (a tunnel): multicast has no meaning there.
    pub point_to_point: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Why an interface is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skipped {
    /// A list of interfaces was given, and it is not on it.
    NotListed,
    /// It was excluded by name.
    Excluded,
    /// Containers and virtual machines.
    Virtual,
    /// The loopback.
    Loopback,
    /// It is down.
    Down,
    /// A tunnel.
    PointToPoint,
    /// No address.
    NoAddress,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotListed => "not among the interfaces given",
            Self::Excluded => "excluded by name",
            Self::Virtual => "a bridge of containers or virtual machines",
            Self::Loopback => "the loopback",
            Self::Down => "down",
            Self::PointToPoint => "a point-to-point link",
            Self::NoAddress => "no address",
        })
    }
}

/// What people said about interfaces. Names may end in `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceRules {
    /// Only these, if there are any; also virtual ones and the loopback.
    pub include: Vec<String>,
    /// Never these.
    pub exclude: Vec<String>,
}

impl InterfaceRules {
    /// Whether an interface counts; if not, why.
    ///
    /// # Errors
    /// The reason.
    pub fn judge(&self, nic: &Nic) -> Result<(), Skipped> {
        let named = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, &nic.name));
        if named(&self.exclude) {
            return Err(Skipped::Excluded);
        }
        if !self.include.is_empty() {
            if !named(&self.include) {
                return Err(Skipped::NotListed);
            }
        } else if nic.loopback {
            return Err(Skipped::Loopback);
        } else if VIRTUAL.iter().any(|pattern| matches(pattern, &nic.name)) {
            return Err(Skipped::Virtual);
        }
        if !nic.up {
            return Err(Skipped::Down);
        }
        if nic.point_to_point {
            return Err(Skipped::PointToPoint);
        }
        if nic.addresses.is_empty() { Err(Skipped::NoAddress) } else { Ok(()) }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn nic(name: &str) -> Nic {
        Nic {
            name: name.into(),
            loopback: name == "lo",
            up: true,
            point_to_point: name.starts_with("tun"),
            addresses: vec![Ipv4Addr::new(10, 0, 0, 1).into()],
        }
    }

    fn rules(include: &[&str], exclude: &[&str]) -> InterfaceRules {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        InterfaceRules { include: owned(include), exclude: owned(exclude) }
    }

    #[test]
    fn without_rules_bridges_tunnels_and_the_loopback_are_left_out() {
        let rules = InterfaceRules::default();
        for name in ["eth0", "wlan0", "enp3s0", "en0", "br0"] {
            assert_eq!(rules.judge(&nic(name)), Ok(()), "{name}");
        }
        for name in ["docker0", "br-8f1c", "veth12ab", "virbr0", "podman1", "cni0", "flannel.1"] {
            assert_eq!(rules.judge(&nic(name)), Err(Skipped::Virtual), "{name}");
        }
        assert_eq!(rules.judge(&nic("lo")), Err(Skipped::Loopback));
        assert_eq!(rules.judge(&nic("tun0")), Err(Skipped::PointToPoint));
        assert_eq!(rules.judge(&Nic { up: false, ..nic("eth0") }), Err(Skipped::Down));
        assert_eq!(rules.judge(&Nic { addresses: Vec::new(), ..nic("eth0") }), Err(Skipped::NoAddress));
    }

    #[test]
    fn a_list_allows_what_it_names_and_nothing_else() {
        let rules = rules(&["docker0", "lo", "en*"], &[]);
        for name in ["docker0", "lo", "en0"] {
            assert_eq!(rules.judge(&nic(name)), Ok(()), "{name}");
        }
        assert_eq!(rules.judge(&nic("eth0")), Err(Skipped::NotListed));
    }

    #[test]
    fn an_exclusion_beats_everything() {
        assert_eq!(rules(&["eth0"], &["eth*"]).judge(&nic("eth0")), Err(Skipped::Excluded));
    }
}
