//! Everybody we have heard or sent to within a minute.
//!
//! Two classes: those with a confirmed line, and strangers. Strangers can be made up by the million, so one too many
//! drives out the stranger known longest, and never a peer with a line.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use teale_wire::telehash::{Ipp, Telex};

use super::{
    bounds::{LINE_IDLE, LINES, STRANGERS},
    line::{self, Handshake},
    rings::Rings,
    window::Window,
};

/// What is known of one switch.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) handshake: Handshake,
    pub(super) window: Window,
    /// When something valid came, or when it was first met.
    pub(super) heard: Duration,
    /// It has told of itself on a line, so it may be told of to others.
    pub(super) visible: bool,
    /// How often we told it of ourselves.
    pub(super) told_self: u8,
    /// Whether it got our address as a hint.
    pub(super) hinted: bool,
    /// Which address it says we have, if it is another one than ours.
    pub(super) says: Option<Ipp>,
    /// When it hears from us next, if it is kept.
    pub(super) next_ping: Duration,
    /// When it last got a telex for the sake of `_br` alone.
    pub(super) acknowledged: Duration,
    /// Which of the records that were ever made this is.
    serial: u64,
}

impl Peer {
    /// Heard within the time of a line, and not behind in what it confirms (the page's first way of dampening).
    pub(super) fn healthy(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard) < LINE_IDLE && self.window.open()
    }
}

/// Why a telex is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Line(line::Refused),
    /// Too many lines, in all or at its address.
    Full,
    Flood,
}

/// What a telex that was taken has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Without the line: signals only.
    Unproven,
    /// With the line.
    Proven,
    /// With the line, for the first time.
    Confirmed,
}

/// The table of peers.
pub(super) struct Peers {
    peers: BTreeMap<Ipp, Peer>,
    rings: Rings,
    /// Strangers in the order they came, with the records' numbers; some may be gone, or strangers no more.
    order: VecDeque<(Ipp, u64)>,
    next_serial: u64,
    /// Peers with a confirmed line, in all and by host.
    lines: usize,
    hosts: BTreeMap<IpAddr, usize>,
    per_host: usize,
}

impl Peers {
    pub(super) fn new(rings: Rings, per_host: usize) -> Self {
        Self {
            peers: BTreeMap::new(),
            rings,
            order: VecDeque::new(),
            next_serial: 0,
            lines: 0,
            hosts: BTreeMap::new(),
            per_host,
        }
    }

    pub(super) fn get(&self, ipp: Ipp) -> Option<&Peer> {
        self.peers.get(&ipp)
    }

    pub(super) fn get_mut(&mut self, ipp: Ipp) -> Option<&mut Peer> {
        self.peers.get_mut(&ipp)
    }

    pub(super) fn contains(&self, ipp: Ipp) -> bool {
        self.peers.contains_key(&ipp)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Peers with a confirmed line.
    pub(super) fn lines(&self) -> usize {
        self.lines
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Ipp, &Peer)> {
        self.peers.iter().map(|(ipp, peer)| (*ipp, peer))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Ipp, &mut Peer)> {
        self.peers.iter_mut().map(|(ipp, peer)| (*ipp, peer))
    }

    /// The record of a switch, made if there is none.
    pub(super) fn meet(&mut self, now: Duration, ipp: Ipp) -> &mut Peer {
        if !self.peers.contains_key(&ipp) {
            self.make_room();
            self.order.push_back((ipp, self.next_serial));
        }
        let (rings, serial) = (&self.rings, &mut self.next_serial);
        self.peers.entry(ipp).or_insert_with(|| {
            *serial += 1;
            Peer {
                handshake: Handshake::new(rings.ring(ipp, now)),
                window: Window::default(),
                heard: now,
                visible: false,
                told_self: 0,
                hinted: false,
                says: None,
                next_ping: Duration::MAX,
                acknowledged: Duration::ZERO,
                serial: *serial - 1,
            }
        })
    }

    fn make_room(&mut self) {
        while self.peers.len() - self.lines >= STRANGERS {
            let Some((ipp, serial)) = self.order.pop_front() else { return };
            if self.is_stranger(ipp, serial) {
                self.peers.remove(&ipp);
            }
        }
    }

    fn is_stranger(&self, ipp: Ipp, serial: u64) -> bool {
        self.peers.get(&ipp).is_some_and(|peer| peer.serial == serial && !peer.handshake.confirmed())
    }

    /// Takes a telex of `bytes` bytes: its line, its count, its time. With `lines` off its `_ring` and `_line` are ignored.
    pub(super) fn take(
        &mut self,
        now: Duration,
        ipp: Ipp,
        (telex, bytes): (&Telex, usize),
        lines: bool,
    ) -> Result<Taken, Refused> {
        let peer = self.meet(now, ipp);
        let (before, mut taken) = (peer.handshake, Taken::Unproven);
        let mut after = before;
        if lines {
            after = before.after(now, telex).map_err(Refused::Line)?;
            taken = match telex.line {
                Some(_) if before.confirmed() => Taken::Proven,
                Some(_) => Taken::Confirmed,
                None => Taken::Unproven,
            };
        }
        if taken == Taken::Confirmed && !self.room_for_line(ipp) {
            return Err(Refused::Full);
        }
        let peer = self.meet(now, ipp);
        if !peer.window.take(bytes, telex.received) {
            return Err(Refused::Flood);
        }
        peer.handshake = after;
        peer.heard = now;
        if taken == Taken::Confirmed {
            self.lines += 1;
            *self.hosts.entry(host(ipp)).or_default() += 1;
        }
        Ok(taken)
    }

    fn room_for_line(&self, ipp: Ipp) -> bool {
        let here = self.hosts.get(&host(ipp)).copied().unwrap_or_default();
        self.lines < LINES && here < self.per_host
    }

    /// Forgets those not heard for too long; tells who had a line.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<Ipp> {
        let over = |peer: &Peer| now.saturating_sub(peer.heard) >= LINE_IDLE;
        let gone: Vec<Ipp> = self.iter().filter(|(_, peer)| over(peer)).map(|(ipp, _)| ipp).collect();
        let mut lost = Vec::new();
        for ipp in gone {
            if self.forget(ipp) {
                lost.push(ipp);
            }
        }
        let mut order = std::mem::take(&mut self.order);
        order.retain(|(ipp, serial)| self.is_stranger(*ipp, *serial));
        self.order = order;
        lost
    }

    /// Forgets one; whether it had a confirmed line.
    pub(super) fn forget(&mut self, ipp: Ipp) -> bool {
        let had = self.peers.remove(&ipp).is_some_and(|peer| peer.handshake.confirmed());
        if had {
            self.lines -= 1;
            if let Some(here) = self.hosts.get_mut(&host(ipp)) {
                *here -= 1;
                if *here == 0 {
                    self.hosts.remove(&host(ipp));
                }
            }
        }
        had
    }
}

/// What counts as one host: an IPv4 address, or the 64 bits of IPv6 that one subscriber has.
fn host(ipp: Ipp) -> IpAddr {
    match ipp.ip() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        ip => ip,
    }
}
