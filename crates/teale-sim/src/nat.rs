//! A NAT box as RFC 4787 describes them: which mapping a packet gets, which packets get in, how long both last.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, DefaultHasher},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    counters::Lost,
    link::nanos,
    queue::{NEVER, Nanos},
    random::Random,
};

/// A map whose order, should anybody look at it, is the same in every run.
pub(crate) type FixedMap<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// Which part of the other side's address a NAT box looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dependence {
    /// None: RFC 4787 calls it endpoint-independent.
    Endpoint,
    /// The address: address-dependent.
    Address,
    /// Address and port: address- and port-dependent.
    AddressAndPort,
}

/// Which outside port a new mapping gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortChoice {
    /// The inside port if it is free, else the next free one above it.
    Preserve,
    /// One after the other.
    Sequential,
    /// Any.
    Random,
}

/// How a NAT box behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatConfig {
    /// Two packets of one inside address get the same mapping if this part of their targets is the same.
    pub mapping: Dependence,
    /// A packet gets in if something went out through the mapping to a target with which this part of its source is
    /// the same.
    pub filtering: Dependence,
    /// The outside port of a new mapping.
    pub ports: PortChoice,
    /// How long a mapping lasts without a packet from inside. RFC 4787 wants at least two minutes; boxes are found
    /// that forget after 30 seconds.
    pub timeout: Duration,
    /// Whether packets from outside prolong it too.
    pub inbound_refresh: bool,
    /// Whether an inside node reaches another one by the outside address; it then sees the outside address as source.
    pub hairpin: bool,
    /// Mappings at once. At the bound a packet that needs another one is dropped.
    pub limit: usize,
}

impl NatConfig {
    /// Endpoint-independent mapping and filtering; keeps the port, lasts two minutes, hairpins.
    pub const FULL_CONE: Self = Self {
        mapping: Dependence::Endpoint,
        filtering: Dependence::Endpoint,
        ports: PortChoice::Preserve,
        timeout: Duration::from_secs(120),
        inbound_refresh: false,
        hairpin: true,
        limit: 16_384,
    };
    /// As [`Self::FULL_CONE`], but lets in only addresses that were sent to.
    pub const RESTRICTED_CONE: Self = Self { filtering: Dependence::Address, ..Self::FULL_CONE };
    /// As [`Self::FULL_CONE`], but lets in only addresses with ports that were sent to.
    pub const PORT_RESTRICTED: Self = Self { filtering: Dependence::AddressAndPort, ..Self::FULL_CONE };
    /// A new mapping, with any port, for each target; lets in only that target; no hairpin.
    pub const SYMMETRIC: Self = Self {
        mapping: Dependence::AddressAndPort,
        filtering: Dependence::AddressAndPort,
        ports: PortChoice::Random,
        hairpin: false,
        ..Self::FULL_CONE
    };

    /// With this time-out.
    #[must_use]
    pub const fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// With this choice of ports.
    #[must_use]
    pub const fn ports(self, ports: PortChoice) -> Self {
        Self { ports, ..self }
    }

    /// With or without hairpinning.
    #[must_use]
    pub const fn hairpin(self, hairpin: bool) -> Self {
        Self { hairpin, ..self }
    }

    /// With so many mappings at once.
    #[must_use]
    pub const fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }
}

/// First port a box gives out.
const PORT_FIRST: u16 = 1024;
/// Targets remembered per mapping; beyond it the one not sent to for longest is forgotten.
const PEERS: usize = 4096;

/// The part of a target that a mapping depends on.
type Part = (Option<IpAddr>, Option<u16>);

fn part(dependence: Dependence, address: SocketAddr) -> Part {
    match dependence {
        Dependence::Endpoint => (None, None),
        Dependence::Address => (Some(address.ip()), None),
        Dependence::AddressAndPort => (Some(address.ip()), Some(address.port())),
    }
}

#[derive(Debug)]
struct Mapping {
    inside: SocketAddr,
    part: Part,
    /// When it was last of use; [`NEVER`] for one that stays.
    used: Nanos,
    /// Who was sent to, as far as the filter asks, and when last.
    peers: FixedMap<Part, Nanos>,
}

/// The mappings of a box for one transport.
#[derive(Debug)]
pub(crate) struct Table {
    config: NatConfig,
    by_inside: FixedMap<(SocketAddr, Part), u16>,
    by_port: FixedMap<u16, Mapping>,
    next_port: u16,
    /// Mappings there may be before the dead ones are looked for.
    sweep_at: usize,
}

impl Table {
    pub(crate) fn new(config: NatConfig) -> Self {
        Self {
            config,
            by_inside: FixedMap::default(),
            by_port: FixedMap::default(),
            next_port: PORT_FIRST,
            sweep_at: 64,
        }
    }

    fn is_alive(&self, mapping: &Mapping, now: Nanos) -> bool {
        mapping.used == NEVER || now < mapping.used.saturating_add(nanos(self.config.timeout))
    }

    /// A packet from inside: the outside port it leaves with.
    pub(crate) fn outbound(
        &mut self,
        now: Nanos,
        inside: SocketAddr,
        target: SocketAddr,
        random: &mut Random,
    ) -> Result<u16, Lost> {
        let key = (inside, part(self.config.mapping, target));
        let known = self.by_inside.get(&key).copied();
        let alive =
            known.filter(|port| self.by_port.get(port).is_some_and(|known| self.is_alive(known, now)));
        let port = match alive {
            Some(port) => port,
            None => self.create(now, key, random).ok_or(Lost::NatFull)?,
        };
        let peer = part(self.config.filtering, target);
        if let Some(mapping) = self.by_port.get_mut(&port) {
            if mapping.used != NEVER {
                mapping.used = now;
            }
            mapping.remember(peer, now, nanos(self.config.timeout));
        }
        Ok(port)
    }

    /// A packet from outside: the inside address it is for.
    pub(crate) fn inbound(&mut self, now: Nanos, port: u16, source: SocketAddr) -> Result<SocketAddr, Lost> {
        let timeout = nanos(self.config.timeout);
        let peer = part(self.config.filtering, source);
        let mapping = self.by_port.get(&port).filter(|mapping| self.is_alive(mapping, now));
        let inside = mapping.ok_or(Lost::Filtered)?.inside;
        let refresh = self.config.inbound_refresh;
        let mapping = self.by_port.get_mut(&port).ok_or(Lost::Filtered)?;
        if mapping.used == NEVER {
            return Ok(inside);
        }
        let sent = mapping.peers.get_mut(&peer).filter(|sent| now < sent.saturating_add(timeout));
        let sent = sent.ok_or(Lost::Filtered)?;
        if refresh {
            (*sent, mapping.used) = (now, now);
        }
        Ok(inside)
    }

    /// A mapping that stays, for everybody.
    pub(crate) fn forward(&mut self, port: u16, inside: SocketAddr) {
        let part = (None, None);
        self.by_inside.insert((inside, part), port);
        self.by_port.insert(port, Mapping { inside, part, used: NEVER, peers: FixedMap::default() });
    }

    /// Forgets what is not meant to stay.
    pub(crate) fn reboot(&mut self) {
        self.by_port.retain(|_, mapping| mapping.used == NEVER);
        let by_port = &self.by_port;
        self.by_inside.retain(|_, port| by_port.contains_key(port));
    }

    /// Mappings that live now.
    pub(crate) fn len(&self, now: Nanos) -> usize {
        self.by_port.values().filter(|mapping| self.is_alive(mapping, now)).count()
    }

    fn create(&mut self, now: Nanos, key: (SocketAddr, Part), random: &mut Random) -> Option<u16> {
        if self.by_port.len() >= self.sweep_at.min(self.config.limit) {
            self.sweep(now);
        }
        if self.by_port.len() >= self.config.limit {
            return None;
        }
        let port = self.free_port(now, key.0.port(), random)?;
        if let Some(port) = self.by_inside.insert(key, port) {
            self.by_port.remove(&port); // Its own old mapping, which is dead.
        }
        let mapping = Mapping { inside: key.0, part: key.1, used: now, peers: FixedMap::default() };
        if let Some(old) = self.by_port.insert(port, mapping) {
            let old = (old.inside, old.part);
            if old != key {
                self.by_inside.remove(&old);
            }
        }
        Some(port)
    }

    /// A port without a living mapping.
    fn free_port(&mut self, now: Nanos, inside: u16, random: &mut Random) -> Option<u16> {
        let ports = u32::from(u16::MAX - PORT_FIRST) + 1;
        let first = match self.config.ports {
            PortChoice::Preserve => inside.max(PORT_FIRST),
            PortChoice::Sequential => self.next_port,
            PortChoice::Random => PORT_FIRST + random.below(u64::from(ports)) as u16,
        };
        let nth = |n: u32| PORT_FIRST + ((u32::from(first - PORT_FIRST) + n) % ports) as u16;
        let is_free = |port: &u16| !self.by_port.get(port).is_some_and(|known| self.is_alive(known, now));
        let port = (0..ports).map(nth).find(is_free)?;
        self.next_port = if port == u16::MAX { PORT_FIRST } else { port + 1 };
        Some(port)
    }

    fn sweep(&mut self, now: Nanos) {
        let timeout = nanos(self.config.timeout);
        self.by_port.retain(|_, known| known.used == NEVER || now < known.used.saturating_add(timeout));
        let by_port = &self.by_port;
        self.by_inside.retain(|_, port| by_port.contains_key(port));
        self.sweep_at = (2 * self.by_port.len()).max(64);
    }
}

impl Mapping {
    fn remember(&mut self, peer: Part, now: Nanos, timeout: Nanos) {
        let full = self.peers.len() >= PEERS;
        match self.peers.entry(peer) {
            Entry::Occupied(mut known) => *known.get_mut() = now,
            Entry::Vacant(_) if full => {
                self.peers.retain(|_, sent| now < sent.saturating_add(timeout));
                if self.peers.len() >= PEERS
                    && let Some(oldest) = self.peers.iter().min_by_key(|(peer, sent)| (**sent, **peer))
                {
                    let oldest = *oldest.0;
                    self.peers.remove(&oldest);
                }
                self.peers.insert(peer, now);
            }
            Entry::Vacant(place) => drop(place.insert(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    struct Box {
        table: Table,
        random: Random,
    }

    impl Box {
        fn new(config: NatConfig) -> Self {
            Self { table: Table::new(config), random: Random::new(3) }
        }

        fn out(&mut self, second: Nanos, inside: &str, target: &str) -> Result<u16, Lost> {
            self.table.outbound(second * SECOND, at(inside), at(target), &mut self.random)
        }

        fn enters(&mut self, second: Nanos, port: u16, source: &str) -> bool {
            self.table.inbound(second * SECOND, port, at(source)).is_ok()
        }
    }

    const INSIDE: &str = "10.0.0.2:5000";

    #[test]
    fn the_mapping_depends_on_what_the_box_looks_at() {
        // Same target, other port of the target, other address.
        for (mapping, distinct) in
            [(Dependence::Endpoint, 1), (Dependence::Address, 2), (Dependence::AddressAndPort, 3)]
        {
            let mut nat = Box::new(NatConfig { mapping, ..NatConfig::FULL_CONE });
            let mut ports: Vec<u16> = ["1.1.1.1:1", "1.1.1.1:1", "1.1.1.1:2", "2.2.2.2:1"]
                .map(|target| nat.out(0, INSIDE, target).unwrap())
                .to_vec();
            ports.sort_unstable();
            ports.dedup();
            assert_eq!(ports.len(), distinct, "{mapping:?}");
        }
    }

    #[test]
    fn the_filter_lets_in_whom_the_box_was_asked_to_send_to() {
        let sources = ["1.1.1.1:1", "1.1.1.1:2", "2.2.2.2:1"];
        for (config, expected) in [
            (NatConfig::FULL_CONE, [true, true, true]),
            (NatConfig::RESTRICTED_CONE, [true, true, false]),
            (NatConfig::PORT_RESTRICTED, [true, false, false]),
            (NatConfig::SYMMETRIC, [true, false, false]),
        ] {
            let mut nat = Box::new(config);
            let port = nat.out(0, INSIDE, "1.1.1.1:1").unwrap();
            assert_eq!(sources.map(|source| nat.enters(1, port, source)), expected, "{config:?}");
            assert!(!nat.enters(1, port ^ 1, "1.1.1.1:1"), "a port without a mapping");
        }
    }

    #[test]
    fn a_mapping_lasts_its_time_since_the_last_packet_from_inside() {
        let mut nat = Box::new(NatConfig::FULL_CONE.timeout(Duration::from_secs(30)));
        let port = nat.out(0, INSIDE, "1.1.1.1:1").unwrap();
        assert!(nat.enters(29, port, "1.1.1.1:1"));
        assert!(!nat.enters(30, port, "1.1.1.1:1"), "packets from outside do not prolong it");
        assert_eq!(nat.out(31, INSIDE, "1.1.1.1:1"), Ok(port));
        assert_eq!(nat.out(60, INSIDE, "1.1.1.1:1"), Ok(port));
        assert!(nat.enters(89, port, "1.1.1.1:1"));

        let config = NatConfig { inbound_refresh: true, ..NatConfig::PORT_RESTRICTED };
        let mut nat = Box::new(config.timeout(Duration::from_secs(30)));
        let port = nat.out(0, INSIDE, "1.1.1.1:1").unwrap();
        assert!([20, 40, 60].iter().all(|second| nat.enters(*second, port, "1.1.1.1:1")));
        assert!(!nat.enters(90, port, "1.1.1.1:1"));
    }

    #[test]
    fn a_filter_forgets_a_target_on_its_own() {
        let mut nat = Box::new(NatConfig::RESTRICTED_CONE.timeout(Duration::from_secs(30)));
        let port = nat.out(0, INSIDE, "1.1.1.1:1").unwrap();
        assert_eq!(nat.out(20, INSIDE, "2.2.2.2:2"), Ok(port));
        assert!(!nat.enters(35, port, "1.1.1.1:1"));
        assert!(nat.enters(35, port, "2.2.2.2:9"));
    }

    #[test]
    fn ports_are_kept_counted_or_drawn() {
        let mut keeps = Box::new(NatConfig::FULL_CONE);
        assert_eq!(keeps.out(0, INSIDE, "1.1.1.1:1"), Ok(5000));
        assert_eq!(keeps.out(0, "10.0.0.3:5000", "1.1.1.1:1"), Ok(5001), "taken");
        assert_eq!(keeps.out(0, "10.0.0.3:80", "1.1.1.1:1"), Ok(1024), "never a reserved one");
        let mut counts = Box::new(NatConfig::SYMMETRIC.ports(PortChoice::Sequential));
        let ports = ["1.1.1.1:1", "1.1.1.1:2", "1.1.1.1:3"].map(|target| counts.out(0, INSIDE, target));
        assert_eq!(ports, [Ok(1024), Ok(1025), Ok(1026)]);
        let mut draws = Box::new(NatConfig::SYMMETRIC);
        let ports = ["1.1.1.1:1", "1.1.1.1:2"].map(|target| draws.out(0, INSIDE, target).unwrap());
        assert!(ports[0].abs_diff(ports[1]) > 1);
    }

    #[test]
    fn a_full_box_drops_until_a_mapping_dies() {
        let mut nat = Box::new(NatConfig::SYMMETRIC.limit(2));
        assert!(nat.out(0, INSIDE, "1.1.1.1:1").is_ok());
        assert!(nat.out(60, INSIDE, "1.1.1.1:2").is_ok());
        assert_eq!(nat.out(60, INSIDE, "1.1.1.1:3"), Err(Lost::NatFull));
        assert!(nat.out(60, INSIDE, "1.1.1.1:2").is_ok(), "what it has goes on");
        assert!(nat.out(121, INSIDE, "1.1.1.1:3").is_ok());
        assert_eq!(nat.table.len(121 * SECOND), 2);
    }

    #[test]
    fn a_reboot_forgets_all_but_forwarded_ports() {
        let mut nat = Box::new(NatConfig::PORT_RESTRICTED);
        nat.table.forward(80, at("10.0.0.9:8080"));
        let port = nat.out(0, INSIDE, "1.1.1.1:1").unwrap();
        nat.table.reboot();
        assert!(!nat.enters(1, port, "1.1.1.1:1"));
        assert_eq!(nat.table.inbound(1, 80, at("9.9.9.9:9")), Ok(at("10.0.0.9:8080")));
    }

    #[test]
    fn a_dead_mappings_port_serves_the_next() {
        let mut nat = Box::new(NatConfig::FULL_CONE.timeout(Duration::from_secs(30)));
        assert_eq!(nat.out(0, INSIDE, "1.1.1.1:1"), Ok(5000));
        assert_eq!(nat.out(40, "10.0.0.3:5000", "1.1.1.1:1"), Ok(5000));
        assert_eq!(nat.out(40, INSIDE, "1.1.1.1:1"), Ok(5001), "its own was given away");
        assert!(nat.enters(41, 5000, "1.1.1.1:1") && nat.enters(41, 5001, "1.1.1.1:1"));
    }
}
