//! Starting: which address we have, and a first place in the DHT.

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt, rngs::StdRng};
use teale_wire::telehash::{Ipp, Telex};

use super::{Config, Event, Level, Switch, asks::For, bounds, dialing::Why};
use crate::{buckets::Buckets, end_of_switch, scope::plausible};

/// The seeds, and how the contact to them stands.
#[derive(Debug)]
pub(super) struct Seeding {
    seeds: Vec<Ipp>,
    /// Which one is next.
    next: usize,
    pause: Duration,
    due: Option<Duration>,
    /// Seeds contacted since we were last online: these may tell our address.
    contacted: BTreeSet<Ipp>,
    /// This switch is its own seed, and online though it is alone.
    root: bool,
    online: bool,
}

impl Seeding {
    pub(super) fn new(now: Duration, config: &Config) -> Self {
        let mut seeds = Vec::new();
        for seed in config.seeds.iter().take(bounds::SEEDS) {
            if !seeds.contains(seed) {
                seeds.push(*seed);
            }
        }
        Self {
            due: (!seeds.is_empty()).then_some(now),
            next: 0,
            pause: bounds::SEED_RETRY_FIRST,
            contacted: BTreeSet::new(),
            root: seeds.is_empty() && config.own.is_some(),
            online: false,
            seeds,
        }
    }

    pub(super) fn is_root(&self) -> bool {
        self.root
    }

    pub(super) fn online(&self) -> bool {
        self.online
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    pub(super) fn seeds(&self) -> &[Ipp] {
        &self.seeds
    }

    /// The seeds to contact now, and not again before a while.
    fn take_due(&mut self, now: Duration, rng: &mut StdRng) -> Vec<Ipp> {
        if self.due.is_none_or(|due| due > now) || self.seeds.is_empty() {
            return Vec::new();
        }
        self.due = Some(now + self.pause.mul_f64(rng.random_range(0.9..1.1)));
        self.pause = (self.pause * 2).min(bounds::SEED_RETRY_LAST);
        let count = self.seeds.len().min(bounds::SEEDS_AT_ONCE);
        let chosen: Vec<Ipp> = self.seeds.iter().cycle().skip(self.next).take(count).copied().collect();
        self.next = (self.next + count) % self.seeds.len();
        self.contacted.extend(&chosen);
        chosen
    }

    fn restart(&mut self, now: Duration) {
        self.online = false;
        self.pause = bounds::SEED_RETRY_FIRST;
        self.due = (!self.seeds.is_empty()).then_some(now);
    }

    fn done(&mut self) {
        self.online = true;
        self.due = None;
        self.contacted.clear();
    }
}

impl Switch {
    pub(super) fn contact_seeds(&mut self, now: Duration) {
        for seed in self.seeding.take_due(now, &mut self.rng) {
            if Some(seed) != self.own() {
                // Any end will do; the one farthest from the seed makes it tell of the most others.
                self.ask(now, seed, end_of_switch(seed).far(), For::Seed);
            }
        }
    }

    /// A `.see` came. If it is from a seed we contacted, its `_to` is our address.
    pub(super) fn seed_answered(&mut self, now: Duration, from: Ipp, to: Option<Ipp>) {
        if self.seeding.online || !self.seeding.contacted.contains(&from) {
            return;
        }
        // A seed out in the world does not make us one of its own machine or site.
        let told = to.filter(|to| plausible(*to, Some(from)));
        if let Some(own) = self.config.own.or(told) {
            self.go_online(now, own);
        }
    }

    /// Whether a telex is our own to a seed: the seed is ourselves.
    pub(super) fn is_own_echo(&self, from: Ipp, telex: &Telex) -> bool {
        let ours = self.peers.get(from).map(|peer| peer.handshake.ring());
        let end = telex.end() == Some(end_of_switch(from).far());
        // An announcer has no ring to be known by, and nobody joins over it.
        let ring = self.config.level != Level::Announcer && ours.is_some() && telex.ring == ours;
        self.seeding.contacted.contains(&from) && telex.to == Some(from) && end && ring
    }

    /// The seed is ourselves: now we know our address, and nobody else is needed.
    pub(super) fn learn_by_echo(&mut self, now: Duration, own: Ipp) {
        self.seeding.root = true;
        self.peers.forget(own);
        self.go_online(now, own);
    }

    /// Takes an address and looks for the neighbours there.
    pub(super) fn go_online(&mut self, now: Duration, own: Ipp) {
        self.seeding.done();
        self.move_to(now, own);
        self.event(Event::Online { own });
        self.own_taps.hurry(now);
        (self.refreshes, self.next_refresh) = (0, Duration::MAX);
        if self.config.level != Level::Announcer {
            self.next_refresh = now + bounds::JOIN_REFRESH_EVERY;
            self.start_dial(now, end_of_switch(own), Why::Join);
        }
    }

    /// No line is left. A switch that is its own seed waits; others begin anew.
    pub(super) fn nobody_left(&mut self, now: Duration) {
        let needs_others = !self.seeding.root && self.config.level != Level::Announcer;
        if !self.seeding.online || !needs_others {
            return;
        }
        self.seeding.restart(now);
        if self.config.own.is_none() {
            self.own = None;
            self.buckets = Buckets::default();
        }
        self.event(Event::Offline);
    }
}
