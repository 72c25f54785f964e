//! Everybody we have heard or sent to within a minute.
//!
//! Two classes: those with a confirmed line, and strangers. Strangers can be made up by the million, so one too many
//! drives out the stranger known longest, and never a peer with a line.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use teale_wire::telehash::{Ipp, Telex};

use super::{
    bounds::{
        LINE_GUESSES_PER_SECOND, LINE_IDLE, LINES, LINES_LOOKED_AT, STRANGER_BYTES, STRANGER_IDLE, STRANGERS,
        WRONG_LINES, WRONG_LINES_WITH_RING,
    },
    line::{self, Handshake},
    rings::Rings,
    window::Window,
};
use crate::{rate::Rate, scope::Party};

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
    /// We have asked it something: of our own will, not because it came to us.
    pub(super) asked: bool,
    /// Wrong lines in its name while it had no confirmed line.
    wrong: u16,
    /// When it last got a telex for the sake of `_br` alone.
    pub(super) acknowledged: Duration,
    /// Which of the records that were ever made this is.
    serial: u64,
}

impl Peer {
    /// How long it is kept in silence. A stranger that comes back gets the same ring, and what it knows of the bytes between
    /// us matters only if they are many.
    fn kept_for(&self) -> Duration {
        let stranger = !self.handshake.confirmed() && self.window.total() <= STRANGER_BYTES;
        if stranger { STRANGER_IDLE } else { LINE_IDLE }
    }

    /// Heard within the time of a line, and not behind in what it confirms (the page's first way of dampening).
    pub(super) fn healthy(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard) < LINE_IDLE && self.window.open()
    }
}

/// Why a telex is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Line(line::Refused),
    Flood,
}

/// What a telex that was taken has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Without the line: signals only.
    Unproven,
    /// With the line.
    Proven,
    /// With the line, for the first time. If this took the place of another peer's, that peer is forgotten.
    Confirmed { instead_of: Option<Ipp> },
    /// With the line, but there are too many, in all or at its address: as if it had none.
    NoRoom,
}

impl Taken {
    pub(super) fn proven(self) -> bool {
        matches!(self, Self::Proven | Self::Confirmed { .. })
    }
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
    hosts: BTreeMap<Party, usize>,
    per_host: usize,
    /// Peers with a confirmed line, in the order in which they are looked at when room is needed; some may be gone.
    lined: VecDeque<(Ipp, u64)>,
    /// Lines named out of nothing that are wrong.
    guesses: Rate,
}

impl Peers {
    pub(super) fn new(now: Duration, rings: Rings, per_host: usize) -> Self {
        Self {
            peers: BTreeMap::new(),
            rings,
            order: VecDeque::new(),
            next_serial: 0,
            lines: 0,
            hosts: BTreeMap::new(),
            per_host,
            lined: VecDeque::new(),
            guesses: Rate::new(now, LINE_GUESSES_PER_SECOND),
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
                asked: false,
                wrong: 0,
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
    /// `spare` says whose line nobody needs.
    pub(super) fn take(
        &mut self,
        now: Duration,
        ipp: Ipp,
        (telex, bytes): (&Telex, usize),
        lines: bool,
        spare: &dyn Fn(Ipp) -> bool,
    ) -> Result<Taken, Refused> {
        let before = self.meet(now, ipp).handshake;
        let (mut after, mut taken) = (before, Taken::Unproven);
        if lines {
            after = self.shake(now, ipp, before, telex)?;
            taken = match telex.line {
                Some(_) if before.confirmed() => Taken::Proven,
                Some(_) if self.room_for_line(ipp, spare) => Taken::Confirmed { instead_of: None },
                Some(_) => Taken::NoRoom,
                None => Taken::Unproven,
            };
        }
        if taken == Taken::NoRoom {
            after = after.unconfirmed();
        }
        let peer = self.meet(now, ipp);
        if !peer.window.take(bytes, telex.received) {
            return Err(Refused::Flood);
        }
        peer.handshake = after;
        if !after.is_shut() {
            peer.heard = now;
        }
        if matches!(taken, Taken::Confirmed { .. }) {
            let serial = peer.serial;
            taken = Taken::Confirmed { instead_of: self.make_room_for_line(spare) };
            self.lines += 1;
            *self.hosts.entry(Party::of(ipp)).or_default() += 1;
            self.lined.push_back((ipp, serial));
        }
        Ok(taken)
    }

    /// The handshake after a telex. Whoever tries lines until one fits is stopped: in the name of one peer by its count, in
    /// the names of many by the rate of all.
    fn shake(
        &mut self,
        now: Duration,
        ipp: Ipp,
        before: Handshake,
        telex: &Telex,
    ) -> Result<Handshake, Refused> {
        let asked = self.peers.get(&ipp).is_some_and(|peer| peer.asked);
        let guess = before.alone() && telex.line.is_some() && !asked;
        if guess && !self.guesses.has_room(now) {
            return Err(Refused::Line(line::Refused::WrongLine));
        }
        before.after(now, telex).map_err(|refused| {
            if guess {
                self.guesses.admit(now);
            }
            if refused == line::Refused::WrongLine && !before.confirmed() {
                self.wrong_line(ipp);
            }
            Refused::Line(refused)
        })
    }

    fn wrong_line(&mut self, ipp: Ipp) {
        let Some(peer) = self.peers.get_mut(&ipp) else { return };
        peer.wrong = peer.wrong.saturating_add(1);
        let most = if peer.handshake.alone() { WRONG_LINES } else { WRONG_LINES_WITH_RING };
        if peer.wrong >= most {
            peer.handshake = peer.handshake.shut();
        }
    }

    /// Whether a peer may have a line; if so [`Self::make_room_for_line`] finds it a place.
    fn room_for_line(&mut self, ipp: Ipp, spare: &dyn Fn(Ipp) -> bool) -> bool {
        let here = self.hosts.get(&Party::of(ipp)).copied().unwrap_or_default();
        here < self.per_host && (self.lines < LINES || self.spare_line(spare).is_some())
    }

    /// Ends a line that nobody needs, if all are taken.
    fn make_room_for_line(&mut self, spare: &dyn Fn(Ipp) -> bool) -> Option<Ipp> {
        if self.lines < LINES {
            return None;
        }
        let gone = self.spare_line(spare)?;
        self.forget(gone);
        Some(gone)
    }

    /// A line that nobody needs, of the oldest ones. Those that are needed go to the end, so that it is not looked at them
    /// again and again.
    fn spare_line(&mut self, spare: &dyn Fn(Ipp) -> bool) -> Option<Ipp> {
        for _ in 0..LINES_LOOKED_AT {
            let (ipp, serial) = *self.lined.front()?;
            if !self.has_line(ipp, serial) {
                self.lined.pop_front();
            } else if spare(ipp) {
                return Some(ipp);
            } else {
                self.lined.rotate_left(1);
            }
        }
        None
    }

    fn has_line(&self, ipp: Ipp, serial: u64) -> bool {
        self.peers.get(&ipp).is_some_and(|peer| peer.serial == serial && peer.handshake.confirmed())
    }

    /// Forgets those not heard for too long; tells who had a line.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<Ipp> {
        let over = |peer: &Peer| now.saturating_sub(peer.heard) >= peer.kept_for();
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
        let mut lined = std::mem::take(&mut self.lined);
        lined.retain(|(ipp, serial)| self.has_line(*ipp, *serial));
        self.lined = lined;
        lost
    }

    /// Forgets one; whether it had a confirmed line.
    pub(super) fn forget(&mut self, ipp: Ipp) -> bool {
        let had = self.peers.remove(&ipp).is_some_and(|peer| peer.handshake.confirmed());
        if had {
            self.lines -= 1;
            let party = Party::of(ipp);
            if let Some(here) = self.hosts.get_mut(&party) {
                *here -= 1;
                if *here == 0 {
                    self.hosts.remove(&party);
                }
            }
        }
        had
    }
}
