//! Keeping lines: who is in the buckets, pings, and saying goodbye to the silent.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{Rng, RngExt};
use teale_wire::telehash::{End, Ipp, Telex};

use super::{Level, Own, Switch, asks::For, bounds, dialing::Why};
use crate::{
    buckets::{Buckets, Offer},
    end_of_switch,
    scope::{Party, plausible},
};

impl Switch {
    /// A peer with a confirmed line: it gets a place in its bucket, if there is one. One that others may be told of takes
    /// the place of one that they may not.
    pub(super) fn place(&mut self, now: Duration, peer: Ipp) {
        let added = match self.buckets.offer(peer) {
            Offer::Added => true,
            Offer::Full(_) if self.listed(now, peer) => self.displace(now, peer),
            Offer::Full(_) | Offer::Crowded | Offer::Known | Offer::Own => false,
        };
        if added {
            self.keep(now, peer);
            self.introduce(now, peer);
        }
    }

    fn displace(&mut self, now: Duration, peer: Ipp) -> bool {
        let Some(own) = self.own else { return false };
        let bucket = own.end.bucket(end_of_switch(peer));
        let there = self.buckets.iter().filter(|entry| own.end.bucket(entry.end) == bucket);
        let weak = there.map(|entry| entry.ipp).find(|ipp| !self.listed(now, *ipp));
        let Some(weak) = weak else { return false };
        self.buckets.replace(weak, peer) == Offer::Added
    }

    /// A peer is to hear from us from now on.
    pub(super) fn keep(&mut self, now: Duration, peer: Ipp) {
        let next = now + self.ping_period();
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.next_ping = peer.next_ping.min(next);
        }
    }

    fn ping_period(&mut self) -> Duration {
        let least = bounds::PING_EVERY - bounds::PING_JITTER;
        least + (bounds::PING_JITTER * 2).mul_f64(self.rng.random())
    }

    /// Tells a new peer of ourselves, so that it may tell others, and what it is to pass on to us.
    fn introduce(&mut self, now: Duration, peer: Ipp) {
        let telex = self.telling_self(peer, Telex::default());
        let telex = self.with_taps(peer, telex);
        // The first ping says it again.
        _ = self.send(now, peer, telex);
    }

    /// Adds our own address for a peer that may not know yet that we want to be told of.
    fn telling_self(&mut self, peer: Ipp, mut telex: Telex) -> Telex {
        let full = self.config.level == Level::Full;
        if let (Some(own), Some(peer), true) = (self.own, self.peers.get_mut(peer), full)
            && peer.told_self < bounds::TELL_SELF
        {
            peer.told_self += 1;
            telex.see = Some(vec![own.ipp]);
        }
        telex
    }

    fn ping(&mut self, now: Duration, peer: Ipp, own: Own) {
        let signals = [("+end".to_owned(), own.end.to_string())].into();
        let telex = self.telling_self(peer, Telex { signals, ..Telex::default() });
        let telex = self.with_taps(peer, telex);
        if self.send(now, peer, telex).is_ok() {
            self.asks.insert(now, peer, own.end, For::Ping);
        }
    }

    /// Once a second: forgets the silent, pings those kept, and looks whether anybody is left.
    pub(super) fn sweep(&mut self, now: Duration) {
        self.asks.expire(now);
        let lost = self.peers.expire(now);
        for peer in &lost {
            self.buckets.remove(*peer);
            self.taps.remove(*peer);
            self.lose_taps(now, *peer);
        }
        if !lost.is_empty() {
            self.fill_buckets(now);
        }
        if std::mem::take(&mut self.doubt) {
            self.reconsider_own(now);
        }
        if self.peers.lines() == 0 {
            self.nobody_left(now);
        }
        self.send_pings(now);
    }

    /// Offers free places to peers that found none when they came.
    pub(super) fn fill_buckets(&mut self, now: Duration) {
        let homeless =
            |peer: &super::peers::Peer| peer.handshake.confirmed() && peer.next_ping == Duration::MAX;
        let offered = self.peers.iter().filter(|(_, peer)| homeless(peer)).map(|(ipp, _)| ipp);
        for peer in offered.collect::<Vec<_>>() {
            self.place(now, peer);
        }
    }

    fn send_pings(&mut self, now: Duration) {
        let Some(own) = self.own else { return };
        let due = self.peers.iter().filter(|(_, peer)| peer.next_ping <= now).map(|(ipp, _)| ipp);
        for peer in due.collect::<Vec<_>>() {
            let kept = self.buckets.contains(peer) || self.own_taps.is_at(peer);
            let next = if kept { now + self.ping_period() } else { Duration::MAX };
            if let Some(peer) = self.peers.get_mut(peer) {
                peer.next_ping = next;
            }
            if kept {
                self.ping(now, peer, own);
            }
        }
    }

    /// Peers with a line say that we have another address. At least two must agree, and more than those who say what we
    /// think; what one host says counts once, unless all of this happens on one machine.
    fn reconsider_own(&mut self, now: Duration) {
        let Some(own) = self.own.filter(|_| self.config.own.is_none()) else { return };
        let mut votes: BTreeMap<Ipp, BTreeSet<Party>> = BTreeMap::new();
        for (ipp, peer) in self.peers.iter() {
            // Whoever comes to us may want to tell us something; whom we asked was our own choice.
            if let Some(says) = peer.says.filter(|_| peer.asked && peer.handshake.confirmed()) {
                votes.entry(says).or_default().insert(Party::of(ipp));
            }
        }
        let ours = votes.get(&own.ipp).map_or(0, BTreeSet::len);
        let best = votes.iter().max_by_key(|(_, voters)| voters.len());
        if let Some((best, voters)) = best
            && voters.len() >= bounds::ADDRESS_VOTES.max(ours + 1)
            && plausible(*best, Some(own.ipp))
        {
            let best = *best;
            self.go_online(now, best);
        }
    }

    /// Takes an address: everybody with a line finds a new place around it, and hears of it.
    pub(super) fn move_to(&mut self, now: Duration, ipp: Ipp) {
        let own = Own::at(ipp);
        self.own = Some(own);
        self.buckets = Buckets::new(own.end);
        for (_, peer) in self.peers.iter_mut() {
            (peer.next_ping, peer.told_self) = (Duration::MAX, 0);
        }
        self.fill_buckets(now);
        // Those with a tap of ours that found no place are pinged too.
        let tapped: Vec<Ipp> =
            self.peers.iter().map(|(ipp, _)| ipp).filter(|ipp| self.own_taps.is_at(*ipp)).collect();
        for peer in tapped {
            self.keep(now, peer);
        }
    }

    /// Dials for buckets that nobody fills: of a newcomer one after the other, from the far ones on, later now and then one
    /// anywhere.
    pub(super) fn refresh(&mut self, now: Duration) {
        let Some(own) = self.own.filter(|_| self.seeding.online() && now >= self.next_refresh) else {
            return;
        };
        let joining = self.refreshes < bounds::JOIN_REFRESHES;
        let period = if joining { bounds::JOIN_REFRESH_EVERY } else { bounds::REFRESH_EVERY };
        self.next_refresh = now + period.mul_f64(self.rng.random_range(0.9..1.1));
        let mut place = [0; 20];
        self.rng.fill_bytes(&mut place);
        if joining {
            place[0] = beside(own.end.as_bytes()[0], self.refreshes, place[0]);
            self.refreshes += 1;
        }
        self.start_dial(now, End::from_bytes(place), Why::Refresh);
    }
}

/// A first byte that differs from this one in its bit `n` and agrees before it; behind it is what chance gave.
fn beside(byte: u8, n: u32, chance: u8) -> u8 {
    let (before, differs) = (!(0xff >> n), 0x80 >> n);
    (byte & before) | (!byte & differs) | (chance & !(before | differs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_beside_are_in_the_far_buckets_one_after_the_other() {
        let own = End::from_bytes([0b1011_0010; 20]);
        for n in 0..bounds::JOIN_REFRESHES {
            for chance in [0, 0x5a, 0xff] {
                let mut place = [chance; 20];
                place[0] = beside(own.as_bytes()[0], n, chance);
                assert_eq!(own.bucket(End::from_bytes(place)), Some(159 - n as u8));
            }
        }
    }
}
