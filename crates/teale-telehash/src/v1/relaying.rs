//! Signals that came in: requests to open a port, copies for those who tap, news for the application.

use std::time::Duration;

use teale_wire::telehash::{Ipp, Telex};

use rand::seq::IteratorRandom;

use super::{Event, Level, Switch, bounds, duplicates};
use crate::{
    reflection::Asker,
    scope::{Party, plausible},
};

impl Switch {
    /// Processes signals, with or without a line, but the same ones only once in a while. What nobody wants is not
    /// remembered.
    pub(super) fn take_signals(&mut self, now: Duration, from: Ipp, telex: &Telex, proven: bool) {
        let pops = self.asks_us_to_pop(telex);
        let wanted = says_something(telex) && self.own_taps.matches(&telex.signals);
        let passed_on = self.config.level == Level::Full && telex.hop < bounds::HOPS;
        let tappers = if passed_on { self.taps.matching(&telex.signals) } else { Vec::new() };
        if !pops && !wanted && tappers.is_empty() {
            return;
        }
        let key = duplicates::Key::of(&telex.signals);
        if self.duplicates.contains(now, key) {
            self.counters.duplicates += 1;
            return;
        }
        let asker = if proven { Asker::Proven(from) } else { Asker::Unproven };
        let popped = pops && self.pop(now, asker, telex.pop());
        let relayed = self.relay_to(now, (from, proven), tappers, telex);
        if wanted {
            let (end, signals, hop) = (telex.end(), telex.signals.clone(), telex.hop);
            self.event(Event::Signal { from, end, signals, hop });
        }
        // What was refused has not been processed: it may come again from somebody else.
        if popped || relayed || wanted {
            self.duplicates.insert(now, key);
        }
    }

    /// To those who tap and take it, if they are not too many; whether anybody got it.
    fn relay_to(
        &mut self,
        now: Duration,
        (from, proven): (Ipp, bool),
        mut tappers: Vec<Ipp>,
        telex: &Telex,
    ) -> bool {
        let wanted = tappers.len();
        tappers.retain(|tapper| self.peers.get(*tapper).is_some_and(|peer| peer.window.open()));
        if tappers.len() > bounds::COPIES {
            tappers = tappers.into_iter().sample(&mut self.rng, bounds::COPIES);
        }
        let mut relayed = 0;
        for tapper in tappers {
            let admitted = match (Some(from) == self.own(), proven) {
                (true, _) => self.own_copies.admit(now),
                (false, true) => self.copies.admit(now, Party::of(from)),
                (false, false) => self.strangers_copies.admit(now, Party::of(from)),
            };
            relayed += usize::from(admitted && self.relay(now, tapper, telex));
        }
        self.counters.relays_dropped += (wanted - relayed) as u64;
        relayed > 0
    }

    /// The signals only, one hop on. The sender may be the tapper: that is how a tap can be tested.
    fn relay(&mut self, now: Duration, tapper: Ipp, telex: &Telex) -> bool {
        let copy = Telex { signals: telex.signals.clone(), hop: telex.hop + 1, ..Telex::default() };
        let sent = self.send(now, tapper, copy).is_ok();
        self.counters.relayed += u64::from(sent);
        sent
    }

    /// Whether it is aimed at our own end and names somebody to send to.
    fn asks_us_to_pop(&self, telex: &Telex) -> bool {
        self.config.level != Level::Announcer
            && telex.signals.contains_key("+pop")
            && self.own.is_some_and(|own| telex.end() == Some(own.end))
    }

    /// Opens our side's NAT for somebody: one small telex. Anybody can ask for it, so it is rare and goes to hosts only.
    fn pop(&mut self, now: Duration, asker: Asker, target: Option<Ipp>) -> bool {
        let own = self.own();
        let admitted = target
            .filter(|target| plausible(*target, own))
            .filter(|target| self.pops.admit(now, asker, *target, own).is_ok());
        let sent = admitted.is_some_and(|target| self.send(now, target, Telex::default()).is_ok());
        let counter = if sent { &mut self.counters.pops_answered } else { &mut self.counters.pops_refused };
        *counter += 1;
        sent
    }
}

/// Whether there is more than an end: others' dials pass a tap of it as well, and are no news for the application.
fn says_something(telex: &Telex) -> bool {
    telex.signals.keys().any(|key| key != "+end")
}
