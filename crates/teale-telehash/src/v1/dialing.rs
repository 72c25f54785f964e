//! Our dials: what each is for, whom it starts with, and what is done with what it found.

use std::{collections::BTreeMap, time::Duration};

use teale_wire::telehash::{End, Ipp, Signals, Telex};

use super::{
    AnnounceId, DialId, Event, Level, Switch, TapId,
    asks::For,
    bounds,
    dial::{Dial, Step},
};
use crate::end_of_switch;

/// What a dial is for.
#[derive(Debug)]
pub(super) enum Why {
    /// The application wants to know who is there.
    Asked(DialId),
    /// Signals go there.
    Announce(AnnounceId, Signals),
    /// A tap goes there.
    Tap(TapId),
    /// The switch looks for its own neighbours.
    Join,
    /// Buckets are filled.
    Refresh,
}

#[derive(Debug)]
struct Running {
    dial: Dial,
    why: Why,
    wake: Duration,
}

/// The dials under way.
#[derive(Debug, Default)]
pub(super) struct Dials {
    running: BTreeMap<u64, Running>,
    next: u64,
}

impl Dials {
    /// When the first of them has to be looked after.
    pub(super) fn due(&self) -> Option<Duration> {
        self.running.values().map(|running| running.wake).min()
    }

    pub(super) fn answered(&mut self, id: u64, by: Ipp) {
        if let Some(running) = self.running.get_mut(&id) {
            running.dial.answered(by);
        }
    }

    pub(super) fn offer(&mut self, id: u64, ipp: Ipp, via: Ipp) {
        if let Some(running) = self.running.get_mut(&id) {
            running.dial.offer(ipp, Some(via));
        }
    }

    pub(super) fn asked_again(&mut self, now: Duration, id: u64, ipp: Ipp) {
        if let Some(running) = self.running.get_mut(&id) {
            running.dial.asked_again(now, ipp);
        }
    }
}

impl Switch {
    pub(super) fn start_dial(&mut self, now: Duration, end: End, why: Why) {
        let nearest = if matches!(why, Why::Join) { bounds::JOIN_NEAREST } else { bounds::DIAL_NEAREST };
        let mut dial = Dial::new(now, end, nearest);
        if self.dials.running.len() >= bounds::DIALS {
            return self.dialed(now, &dial, why);
        }
        for ipp in self.first_asked(now, end) {
            dial.offer(ipp, None);
        }
        let id = self.dials.next;
        self.dials.next += 1;
        self.dials.running.insert(id, Running { dial, why, wake: now });
        self.run_dial(now, id);
    }

    /// Whom a dial starts with: the nearest that are listed and the nearest that is alive; of too few listed any that are
    /// alive, else the seeds. Some switches tell of themselves only where they are the nearest they know, and to whoever
    /// asks there: one that is not asked because it is not listed would never be.
    fn first_asked(&self, now: Duration, end: End) -> Vec<Ipp> {
        let enough = |found: &Vec<Ipp>| found.len() >= bounds::DIAL_NEAREST;
        let alive = |ipp: Ipp| self.peers.get(ipp).is_some_and(|peer| peer.healthy(now));
        let listed = self.buckets.nearest(end, bounds::SEE, |entry| self.listed(now, entry.ipp));
        let mut found: Vec<Ipp> = listed.iter().map(|entry| entry.ipp).collect();
        let count = if enough(&found) { 1 } else { bounds::SEE };
        let living = self.buckets.nearest(end, count, |entry| alive(entry.ipp));
        found.extend(living.iter().map(|entry| entry.ipp));
        if !enough(&found) {
            let seeds = self.seeding.seeds().iter().filter(|seed| Some(**seed) != self.own());
            found.extend(seeds.take(bounds::DIAL_CANDIDATES / 2));
        }
        found
    }

    pub(super) fn run_due_dials(&mut self, now: Duration) {
        let due = self.dials.running.iter().filter(|(_, running)| running.wake <= now);
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.run_dial(now, id);
        }
    }

    /// Asks whom it is time to ask, and ends the dial if it is done.
    pub(super) fn run_dial(&mut self, now: Duration, id: u64) {
        while let Some(running) = self.dials.running.get_mut(&id) {
            let end = running.dial.end();
            match running.dial.step(now) {
                Step::Wait(until) => {
                    running.wake = until;
                    return;
                }
                Step::Ask(ipp, via) => {
                    if !self.ask_for_dial(now, ipp, via, end, id)
                        && let Some(running) = self.dials.running.get_mut(&id)
                    {
                        running.dial.unreachable(ipp);
                    }
                }
                Step::Done => {
                    if let Some(Running { dial, why, .. }) = self.dials.running.remove(&id) {
                        self.dialed(now, &dial, why);
                    }
                }
            }
        }
    }

    fn ask_for_dial(&mut self, now: Duration, ipp: Ipp, via: Option<Ipp>, end: End, id: u64) -> bool {
        // A switch just contacted is being asked for our own end already.
        if self.asks.claim(now, ipp, end, id) {
            return true;
        }
        // Whoever is behind a NAT hears neither this question nor the last one, unless it opens a path.
        let unknown = self.peers.get(ipp).is_none_or(|peer| !peer.handshake.confirmed());
        let asked = self.ask(now, ipp, end, For::Dial(id));
        if let Some(via) = via.filter(|_| unknown && asked && self.config.level != Level::Announcer) {
            self.ask_to_pop(now, via, end_of_switch(ipp));
        }
        asked
    }

    fn dialed(&mut self, now: Duration, dial: &Dial, why: Why) {
        let closest = dial.closest();
        match why {
            Why::Asked(id) => self.event(Event::Dialed { id, closest, asked: dial.asked() }),
            Why::Announce(id, signals) => self.announce_to(now, id, signals, &closest),
            Why::Tap(id) => self.place_tap(now, id, closest),
            Why::Join | Why::Refresh => {}
        }
    }

    fn announce_to(&mut self, now: Duration, id: AnnounceId, signals: Signals, closest: &[Ipp]) {
        // With `_hop` 1, or it would be one more dial.
        let telex = Telex { signals, hop: 1, ..Telex::default() };
        let mut told = Vec::new();
        for ipp in closest.iter().take(bounds::DIAL_NEAREST) {
            if self.send(now, *ipp, telex.clone()).is_ok() {
                told.push(*ipp);
            }
        }
        // Whoever taps it with us gets it too, as if it had come from outside.
        if let Some(own) = self.own() {
            self.take_signals(now, own, &Telex { hop: 0, ..telex }, true);
        }
        self.event(Event::Announced { id, told });
    }
}
