//! Packets to addresses that a stranger named: few, and to nobody who could be harmed by them.
//!
//! `+pop`, `pop`, `popped` and answers to `start` make a switch send to whoever is named. Without a bound it would be a
//! reflector (sheet §3 and §6, "anti-reflection").

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use teale_wire::telehash::Ipp;

/// One packet per target in this time.
pub(crate) const GAP: Duration = Duration::from_secs(10);

/// Packets per second to all targets together.
pub(crate) const PER_SECOND: u32 = 50;

/// Targets remembered: as many as [`PER_SECOND`] allows within [`GAP`].
const TARGETS: usize = PER_SECOND as usize * 10;

/// Why a packet is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Multicast, broadcast, unspecified, or this switch itself.
    Target,
    /// This target had one not long ago, or all together had too many.
    Rate,
}

/// What was sent on a stranger's word.
#[derive(Debug, Default)]
pub(crate) struct Reflection {
    last: HashMap<Ipp, Duration>,
    order: VecDeque<(Duration, Ipp)>,
    second: (u64, u32),
}

impl Reflection {
    /// Whether a packet may go to this target now; if so it counts.
    pub(crate) fn admit(&mut self, now: Duration, target: Ipp, own: Option<Ipp>) -> Result<(), Refused> {
        if own == Some(target) || !is_one_host(target.ip()) {
            return Err(Refused::Target);
        }
        self.forget(now);
        if self.second.0 != now.as_secs() {
            self.second = (now.as_secs(), 0);
        }
        if self.last.contains_key(&target) || self.second.1 >= PER_SECOND || self.last.len() >= TARGETS {
            return Err(Refused::Rate);
        }
        self.second.1 += 1;
        self.last.insert(target, now);
        self.order.push_back((now, target));
        Ok(())
    }

    fn forget(&mut self, now: Duration) {
        while let Some((at, ipp)) = self.order.front().copied()
            && at + GAP <= now
        {
            self.order.pop_front();
            self.last.remove(&ipp);
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

    fn ipp(n: u32) -> Ipp {
        Ipp::parse(&format!("10.{}.{}.{}:7", n >> 16, n >> 8 & 255, n & 255)).unwrap()
    }

    #[test]
    fn one_packet_per_target_in_ten_seconds() {
        let mut reflection = Reflection::default();
        assert_eq!(reflection.admit(Duration::ZERO, ipp(1), None), Ok(()));
        assert_eq!(reflection.admit(Duration::from_millis(9_999), ipp(1), None), Err(Refused::Rate));
        assert_eq!(reflection.admit(GAP, ipp(1), None), Ok(()));
    }

    #[test]
    fn all_targets_together_are_bounded() {
        let mut reflection = Reflection::default();
        let admitted = (0..100_000).filter(|n| {
            let now = Duration::from_millis(u64::from(*n) / 10);
            reflection.admit(now, ipp(*n), None).is_ok()
        });
        assert_eq!(admitted.count(), PER_SECOND as usize * 10);
        assert!(reflection.last.len() <= TARGETS && reflection.order.len() <= TARGETS);
    }

    #[test]
    fn nobody_is_harmed() {
        let mut reflection = Reflection::default();
        let own = Ipp::parse("10.0.0.9:7").unwrap();
        for target in ["224.0.0.1:7", "255.255.255.255:7", "0.0.0.0:7", "[ff02::1]:7", "[::]:7", "10.0.0.9:7"]
        {
            let target = Ipp::parse(target).unwrap();
            assert_eq!(reflection.admit(Duration::ZERO, target, Some(own)), Err(Refused::Target), "{target}");
        }
    }
}
