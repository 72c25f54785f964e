//! Packets to addresses that a stranger named: few, and to nobody who could be harmed by them.
//!
//! `+pop`, `pop`, `popped` and the like make a switch send to whoever is named. Without a bound it would be a reflector (sheet
//! §3 and §6, "anti-reflection"). The bound must not become a cheap way to keep others out: those who proved their address
//! have a share that those who did not cannot use up, and of it each has a part. That nobody gets two packets within the
//! time is above all: who names a target first uses it up.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use teale_wire::telehash::Ipp;

use crate::{
    rate::{Rate, Rates},
    scope::Party,
};

/// One packet per target in this time.
pub(crate) const GAP: Duration = Duration::from_secs(10);
/// And so many to one party, whichever of its ports are named: there may be several switches behind one NAT. As many on the
/// word of those who proved their address as on that of all others.
const PER_PARTY: u32 = 4;
/// Packets per second on the word of those who proved their address …
const PROVEN_PER_SECOND: u32 = 40;
/// … of which one of them has so many at once and …
const PROVEN_BURST: u32 = 16;
/// … so many per second.
const PROVEN_EACH: u32 = 4;
/// Packets per second on the word of everybody else.
const UNPROVEN_PER_SECOND: u32 = 20;
/// Targets remembered: as many as can be within [`GAP`].
const TARGETS: usize = (PROVEN_PER_SECOND + UNPROVEN_PER_SECOND) as usize * 11;

/// Who named the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A peer that receives what is sent to its address.
    Proven(Ipp),
    /// A datagram, whose source may be made up.
    Unproven,
}

/// Why a packet is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Multicast, broadcast, unspecified, or this switch itself.
    Target,
    /// This target had one not long ago, or the asker, or all together, had too many.
    Rate,
}

/// What was sent on a stranger's word.
#[derive(Debug)]
pub(crate) struct Reflection {
    last: HashMap<Ipp, Duration>,
    parties: HashMap<(Party, bool), u32>,
    order: VecDeque<(Duration, Ipp, bool)>,
    proven: Rates,
    unproven: Rate,
}

impl Reflection {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            last: HashMap::new(),
            parties: HashMap::new(),
            order: VecDeque::new(),
            proven: Rates::new(now, PROVEN_BURST, PROVEN_EACH, PROVEN_PER_SECOND),
            unproven: Rate::new(now, UNPROVEN_PER_SECOND),
        }
    }

    /// Whether a packet may go to this target now; if so it counts.
    pub(crate) fn admit(
        &mut self,
        now: Duration,
        asker: Asker,
        target: Ipp,
        own: Option<Ipp>,
    ) -> Result<(), Refused> {
        if own == Some(target) || !is_one_host(target.ip()) {
            return Err(Refused::Target);
        }
        self.forget(now);
        let proven = matches!(asker, Asker::Proven(_));
        let party = (Party::of(target), proven);
        let here = self.parties.get(&party).copied().unwrap_or_default();
        if self.last.contains_key(&target) || here >= PER_PARTY || self.last.len() >= TARGETS {
            return Err(Refused::Rate);
        }
        let admitted = match asker {
            Asker::Proven(asker) => self.proven.admit(now, Party::of(asker)),
            Asker::Unproven => self.unproven.admit(now),
        };
        if !admitted {
            return Err(Refused::Rate);
        }
        self.last.insert(target, now);
        *self.parties.entry(party).or_default() += 1;
        self.order.push_back((now, target, proven));
        Ok(())
    }

    fn forget(&mut self, now: Duration) {
        while let Some((at, ipp, proven)) = self.order.front().copied()
            && at + GAP <= now
        {
            self.order.pop_front();
            self.last.remove(&ipp);
            let party = (Party::of(ipp), proven);
            if let Some(here) = self.parties.get_mut(&party) {
                *here -= 1;
                if *here == 0 {
                    self.parties.remove(&party);
                }
            }
        }
        self.let_go();
    }

    /// Gives memory back after a busy time, such as the first minute.
    fn let_go(&mut self) {
        if self.order.capacity() > 4 * self.order.len() + 32 {
            let some_more = 2 * self.order.len();
            self.order.shrink_to(some_more);
            self.last.shrink_to(some_more);
            self.parties.shrink_to(some_more);
        }
    }
}

/// Whether an address can be that of one switch.
pub(crate) fn is_one_host(ip: IpAddr) -> bool {
    let broadcast =
        matches!(ip, IpAddr::V4(v4) if v4.is_broadcast() || v4.octets()[0] == 0 || v4.octets()[0] >= 240);
    !(ip.is_unspecified() || ip.is_multicast() || broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: Duration = Duration::ZERO;

    fn ipp(n: u32) -> Ipp {
        Ipp::parse(&format!("10.{}.{}.{}:7", n >> 16, n >> 8 & 255, n & 255)).unwrap()
    }

    fn friend(n: u32) -> Asker {
        Asker::Proven(Ipp::parse(&format!("11.0.0.{n}:7")).unwrap())
    }

    #[test]
    fn one_packet_per_target_in_ten_seconds() {
        let mut reflection = Reflection::new(ZERO);
        let mut admit = |asker, millis| reflection.admit(Duration::from_millis(millis), asker, ipp(1), None);
        assert_eq!(admit(friend(1), 0), Ok(()));
        assert_eq!(admit(friend(2), 9_999), Err(Refused::Rate));
        assert_eq!(admit(Asker::Unproven, 9_999), Err(Refused::Rate));
        assert_eq!(admit(friend(2), 10_000), Ok(()));
    }

    #[test]
    fn the_ports_of_one_victim_do_not_add_up() {
        let mut reflection = Reflection::new(ZERO);
        let victim = |port: u16| Ipp::new(([9, 9, 9, 9], port).into()).unwrap();
        let mut admitted = |now| {
            let ports = 1..=1000_u16;
            ports
                .filter(|n| reflection.admit(now, friend(u32::from(n % 200)), victim(*n), None).is_ok())
                .count()
        };
        assert_eq!(admitted(ZERO), PER_PARTY as usize);
        assert_eq!(admitted(GAP), PER_PARTY as usize);
        // Strangers have used up theirs; those who are known have not.
        let mut reflection = Reflection::new(ZERO);
        let mut admit = |asker, port| reflection.admit(ZERO, asker, victim(port), None).is_ok();
        assert_eq!((1..=20).filter(|port| admit(Asker::Unproven, *port)).count(), PER_PARTY as usize);
        assert!(admit(friend(1), 1000));
    }

    #[test]
    fn all_targets_together_are_bounded() {
        let mut reflection = Reflection::new(ZERO);
        for n in 0..200_000 {
            let now = Duration::from_millis(u64::from(n) / 10);
            _ = reflection.admit(
                now,
                if n % 2 == 0 { friend(n % 250) } else { Asker::Unproven },
                ipp(n),
                None,
            );
            assert!(reflection.last.len() <= TARGETS && reflection.order.len() == reflection.last.len());
            assert!(reflection.parties.len() <= TARGETS);
        }
        assert!(reflection.last.len() > TARGETS / 2);
        assert_eq!(reflection.admit(Duration::from_secs(60), friend(1), ipp(1), None), Ok(()));
        assert_eq!((reflection.last.len(), reflection.parties.len()), (1, 1));
    }

    #[test]
    fn neither_strangers_nor_one_peer_keep_the_others_out() {
        let mut reflection = Reflection::new(ZERO);
        let mut admitted = |asker, from: u32| {
            (from..from + 1000).filter(|n| reflection.admit(ZERO, asker, ipp(*n), None).is_ok()).count()
        };
        assert_eq!(admitted(Asker::Unproven, 0), UNPROVEN_PER_SECOND as usize);
        assert_eq!(admitted(friend(1), 1000), PROVEN_BURST as usize);
        assert_eq!(admitted(friend(2), 2000), PROVEN_BURST as usize);
        assert_eq!(admitted(friend(3), 3000), (PROVEN_PER_SECOND - 2 * PROVEN_BURST) as usize);
    }

    #[test]
    fn nobody_is_harmed() {
        let mut reflection = Reflection::new(ZERO);
        let own = Ipp::parse("10.0.0.9:7").unwrap();
        for target in ["224.0.0.1:7", "255.255.255.255:7", "0.0.0.0:7", "[ff02::1]:7", "[::]:7", "10.0.0.9:7"]
        {
            let target = Ipp::parse(target).unwrap();
            assert_eq!(
                reflection.admit(ZERO, friend(1), target, Some(own)),
                Err(Refused::Target),
                "{target}"
            );
        }
    }
}
