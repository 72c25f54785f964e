//! A datagram's way through the switch: line, commands, answer, signals, data. The order is the page's.

use std::{net::SocketAddr, time::Duration};

use teale_wire::{
    WireError,
    telehash::{Ipp, Telex},
};

use super::{
    Event, Level, Switch, line,
    peers::{Refused, Taken},
};
use crate::scope::plausible;

impl Switch {
    pub(super) fn datagram(&mut self, now: Duration, from: SocketAddr, bytes: &[u8]) {
        let own = self.own();
        let Some(from) = Ipp::new(from).filter(|from| Some(*from) != own && plausible(*from, own)) else {
            self.counters.bad_sources += 1;
            return;
        };
        match Telex::parse(bytes) {
            Ok(telex) if telex.is_empty() => {
                // It says nothing and changes nothing; but some switches open a port with it.
                self.counters.not_telexes += 1;
                self.ask_again(now, from);
            }
            Ok(telex) => self.telex(now, from, telex, bytes.len()),
            Err(WireError::WrongShape { field, .. }) if field.starts_with('_') => {
                self.counters.bad_headers += 1;
            }
            Err(_) => self.counters.not_telexes += 1,
        }
    }

    fn telex(&mut self, now: Duration, from: Ipp, telex: Telex, bytes: usize) {
        if self.own.is_none() && self.is_own_echo(from, &telex) {
            return self.learn_by_echo(now, from);
        }
        let lines = self.config.level != Level::Announcer;
        let (buckets, own_taps) = (&self.buckets, &self.own_taps);
        let spare = |ipp| !buckets.contains(ipp) && !own_taps.is_at(ipp);
        let taken = match self.peers.take(now, from, (&telex, bytes), lines, &spare) {
            Ok(taken) => taken,
            Err(refused) => return self.refused(refused),
        };
        self.counters.received += 1;
        let proven = taken.proven();
        self.hear_own_address(from, &telex, proven);
        match taken {
            Taken::Confirmed { instead_of } => {
                if let Some(gone) = instead_of {
                    self.counters.lines_replaced += 1;
                    self.taps.remove(gone);
                }
                self.place(now, from);
            }
            Taken::NoRoom => self.counters.lines_refused += 1,
            Taken::Unproven | Taken::Proven => {}
        }
        if is_bare(&telex) {
            self.ask_again(now, from);
        }
        let wanted = proven && (!telex.data.is_empty() || self.own_taps.is_at(from));
        self.take_in(now, from, telex, (proven, bytes));
        if wanted {
            self.acknowledge(now, from);
        }
    }

    /// What a telex says, once its headers are done with.
    fn take_in(&mut self, now: Duration, from: Ipp, mut telex: Telex, (proven, bytes): (bool, usize)) {
        if let Some(see) = telex.see.take() {
            // Whoever asks at the same time tells of itself, and answers nothing.
            let answer = !telex.signals.contains_key("+end");
            self.command_see(now, from, see, (telex.to, answer), proven);
        }
        if let Some(rules) = telex.tap.take() {
            let taken = proven && self.config.level == Level::Full && self.taps.set(from, rules);
            self.counters.taps_refused += u64::from(!taken);
        }
        if let Some(end) = telex.end().filter(|_| telex.hop == 0) {
            self.answer_dial(now, from, end, (proven, bytes));
        }
        if !telex.signals.is_empty() {
            self.take_signals(now, from, &telex, proven);
        }
        if proven && !telex.data.is_empty() {
            self.event(Event::Data { from, data: telex.data });
        }
    }

    fn refused(&mut self, refused: Refused) {
        let counter = match refused {
            Refused::Line(line::Refused::WrongLine) => &mut self.counters.wrong_lines,
            Refused::Line(line::Refused::WrongRing) => &mut self.counters.wrong_rings,
            Refused::Flood => &mut self.counters.flooded,
        };
        *counter += 1;
    }

    /// A peer says which address we have.
    fn hear_own_address(&mut self, from: Ipp, telex: &Telex, proven: bool) {
        let Some(to) = telex.to else { return };
        self.counters.wrong_to += u64::from(self.own.is_some_and(|own| own.ipp != to));
        if proven
            && let Some(peer) = self.peers.get_mut(from)
            && peer.says != Some(to)
        {
            peer.says = Some(to);
            self.doubt = true;
        }
    }
}

/// Whether there is nothing but headers: what a switch sends to open its port for us.
fn is_bare(telex: &Telex) -> bool {
    telex.see.is_none()
        && telex.tap.is_none()
        && telex.signals.is_empty()
        && telex.commands.is_empty()
        && telex.data.is_empty()
}
