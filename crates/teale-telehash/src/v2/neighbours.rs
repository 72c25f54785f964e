//! The own place in the DHT: seeds, the own address, and sessions with those around it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use teale_wire::telehash::{End, Ipp};

use super::{
    Switch, bounds,
    ports::{CloseReason, Event},
    sessions::NEAR_PER_PARTY,
    walks::Purpose,
};
use crate::{buckets::BUCKET, hash::end_of_switch, scope::Party};

/// Whom to try when there is nobody, and when to look around.
#[derive(Debug)]
pub(super) struct Neighbours {
    seeds: VecDeque<Ipp>,
    learned: VecDeque<Ipp>,
    /// To be met, with who told of them.
    waiting: VecDeque<(Ipp, Option<Ipp>)>,
    next_seed: Duration,
    next_join: Option<Duration>,
    /// The own address of the last walk around it, and how many there were.
    joined_as: Option<Ipp>,
    joins: u32,
}

impl Neighbours {
    pub(super) fn new(now: Duration, seeds: &[Ipp]) -> Self {
        Self {
            seeds: seeds.iter().copied().collect(),
            learned: VecDeque::new(),
            waiting: VecDeque::new(),
            next_seed: now,
            next_join: None,
            joined_as: None,
            joins: 0,
        }
    }

    /// Switches to try without knowing whether they live.
    pub(super) fn strangers(&self) -> Vec<Ipp> {
        self.learned.iter().rev().chain(&self.seeds).copied().take(bounds::ASKED).collect()
    }

    pub(super) fn deadline(&self, alone: bool) -> Option<Duration> {
        let seed = (alone && !(self.seeds.is_empty() && self.learned.is_empty())).then_some(self.next_seed);
        [seed, self.next_join].into_iter().flatten().min()
    }

    /// Where to look next: around the own place, then in a bucket far from it, in turn. A seed that happens to be near knows
    /// nobody closer; those far away do.
    fn next_place(&mut self, own: End) -> End {
        let round = self.joins;
        self.joins = self.joins.wrapping_add(1);
        let mut bytes = *own.as_bytes();
        if round % 2 == 1 {
            bytes[0] ^= 0x80 >> (round / 2 % bounds::JOIN_BUCKETS);
        }
        End::from_bytes(bytes)
    }

    /// The next ones to try: those the program told of last, and seeds in turn.
    fn next_seeds(&mut self) -> BTreeSet<Ipp> {
        let mut next: BTreeSet<Ipp> =
            (0..bounds::SEEDS_AT_ONCE).filter_map(|_| self.learned.pop_back()).collect();
        while next.len() < bounds::SEEDS_AT_ONCE
            && let Some(seed) = self.seeds.pop_front()
        {
            self.seeds.push_back(seed);
            if !next.insert(seed) {
                break;
            }
        }
        next
    }
}

impl Switch {
    /// Learns of a switch, from the program or from v1 on the same socket. It is tried when there is nobody else, and
    /// becomes a neighbour if its place is wanted.
    pub fn learn(&mut self, now: Duration, ipp: Ipp) {
        let learned = &mut self.neighbours.learned;
        learned.retain(|known| *known != ipp);
        if learned.len() >= bounds::LEARNED {
            learned.pop_front();
        }
        learned.push_back(ipp);
        if self.sessions.any_open() {
            self.meet([(ipp, None)]);
        }
        self.work(now);
    }

    /// Takes the own address from what open sessions' peers say, if enough of them agree and fewer say what was believed
    /// before.
    pub(super) fn learn_own(&mut self, now: Duration) {
        if self.config.own.is_some() {
            return;
        }
        // What one host says counts once: most where we asked it.
        let mut claims: BTreeMap<Ipp, BTreeMap<Party, usize>> = BTreeMap::new();
        for (_, session) in self.sessions.iter().filter(|(_, session)| session.is_open()) {
            if let Some(claimed) = session.claimed {
                let vote = claims.entry(claimed).or_default().entry(Party::of(session.peer)).or_default();
                *vote = (*vote).max(if session.ours { 2 } else { 1 });
            }
        }
        let votes = |ipp: Ipp| claims.get(&ipp).map_or(0, |votes| votes.values().sum());
        let best = claims.keys().copied().max_by_key(|ipp| votes(*ipp));
        let before = self.own;
        self.own = match (before, best) {
            (own, Some(best)) if votes(best) >= bounds::OWN_AGREED && votes(best) > own.map_or(0, &votes) => {
                Some(best)
            }
            (own, _) => own,
        };
        if before.is_some() && self.own != before {
            // That is news like the first time.
            self.online = false;
        }
        if let Some(own) = self.own.filter(|_| self.own != before) {
            // Somebody told of this switch itself, before it knew that.
            let selves: Vec<_> = self.sessions.with(own).map(|(id, _)| id).collect();
            for id in selves {
                self.end(now, id, CloseReason::Unanswered);
            }
        }
    }

    pub(super) fn come_online(&mut self, now: Duration) {
        if let (false, Some(own)) = (self.online, self.own) {
            self.online = true;
            self.listens.hurry(now);
            self.event(Event::Online { own });
        }
    }

    pub(super) fn go_offline(&mut self, now: Duration) {
        if self.sessions.any_open() {
            return;
        }
        if std::mem::take(&mut self.online) {
            self.event(Event::Offline);
            self.neighbours.next_seed = now;
        }
        self.neighbours.joined_as = None;
        self.neighbours.next_join = None;
    }

    /// Tries seeds while there is nobody, and looks around the own place now and then.
    pub(super) fn neighbours_on(&mut self, now: Duration) {
        if !self.sessions.any_open() {
            if self.neighbours.next_seed <= now {
                self.neighbours.next_seed = now + bounds::SEED_AGAIN;
                let seeds = self.neighbours.next_seeds();
                self.meet(seeds.into_iter().map(|seed| (seed, None)));
            }
            self.meet_on(now);
            return;
        }
        self.meet_on(now);
        let Some(own) = self.own.filter(|_| self.config.joins) else { return };
        let moved = self.neighbours.joined_as != Some(own);
        let due = moved || self.neighbours.next_join.is_none_or(|at| at <= now);
        if !due {
            return;
        }
        if moved {
            self.neighbours.joins = 0;
        }
        let soon = self.neighbours.joins < bounds::JOIN_WALKS;
        self.neighbours.next_join = Some(now + if soon { bounds::JOIN_SOON } else { bounds::JOIN_AGAIN });
        if self.walks.has_room() && !self.walks.any(Purpose::Join) {
            self.neighbours.joined_as = Some(own);
            let place = self.neighbours.next_place(end_of_switch(own));
            let question = self.quiet_question(place);
            self.walk(now, Purpose::Join, question);
        }
    }

    /// Somebody told of switches, or a walk to the own place met them.
    pub(super) fn meet(&mut self, switches: impl IntoIterator<Item = (Ipp, Option<Ipp>)>) {
        for (ipp, via) in switches {
            let waiting = &mut self.neighbours.waiting;
            let news = waiting.iter().all(|(other, _)| *other != ipp);
            if news && waiting.len() < bounds::NEIGHBOURS_WAITING {
                waiting.push_back((ipp, via));
            }
        }
    }

    /// Opens sessions with those that the DHT wants: at most [`BUCKET`] of each distance.
    fn meet_on(&mut self, now: Duration) {
        if self.neighbours.waiting.is_empty() {
            return;
        }
        let (mut all, mut opening) = (0, 0);
        for (_, session) in self.sessions.iter().filter(|(_, session)| session.neighbour) {
            all += 1;
            opening += usize::from(!session.is_open());
        }
        while opening < bounds::NEIGHBOURS_AT_ONCE
            && let Some((ipp, via)) = self.neighbours.waiting.pop_front()
        {
            if all < bounds::NEIGHBOURS && self.wants(ipp) {
                self.begin(now, ipp, via, None, None, true);
                all += 1;
                opening += 1;
            }
        }
    }

    fn wants(&self, ipp: Ipp) -> bool {
        let known = Some(ipp) == self.own || self.sessions.with(ipp).next().is_some();
        let room = |own: Ipp| self.bucket_has_room(end_of_switch(own), ipp);
        !known && self.own.is_none_or(room)
    }

    fn bucket_has_room(&self, own: End, ipp: Ipp) -> bool {
        let bucket = own.bucket(end_of_switch(ipp));
        let peers: BTreeSet<Ipp> = self
            .sessions
            .iter()
            .filter(|(_, session)| own.bucket(session.end) == bucket)
            .map(|(_, session)| session.peer)
            .collect();
        let party = Party::of(ipp);
        let same = peers.iter().filter(|peer| Party::of(**peer) == party).count();
        peers.len() < BUCKET && same < NEAR_PER_PARTY
    }
}
