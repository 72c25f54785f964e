//! What every telex that is sent has in common: `_to`, `_br`, and `_line` or `_ring`.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use teale_wire::{
    Extra, WireError,
    telehash::{End, Ipp, LINE_MAX, TapRule, Telex},
};

use super::{Level, Output, SendError, Switch, asks::For, bounds};

impl Switch {
    /// Sends application data to a switch with which there is a line. It arrives once, or not at all.
    ///
    /// # Errors
    /// [`SendError`]: no line, too much unconfirmed, or not one telex's worth.
    pub fn send_data(&mut self, now: Duration, to: Ipp, data: Extra) -> Result<(), SendError> {
        if self.peers.get(to).is_none_or(|peer| peer.handshake.line().is_none()) {
            return Err(SendError::NoLine);
        }
        self.send(now, to, Telex { data, ..Telex::default() })
    }

    /// Sends a telex, if the peer has not too much to confirm.
    pub(super) fn send(&mut self, now: Duration, to: Ipp, mut telex: Telex) -> Result<(), SendError> {
        let peer = self.peers.meet(now, to);
        if !peer.window.open() {
            self.counters.muted += 1;
            return Err(SendError::Muted);
        }
        telex.to = Some(to);
        telex.received = Some(peer.window.received());
        if self.config.level != Level::Announcer {
            telex.line = peer.handshake.line();
            telex.ring = telex.line.is_none().then_some(peer.handshake.ring());
        }
        let bytes = telex.encode().inspect_err(|_| self.counters.unwritable += 1)?;
        peer.window.sent(bytes.len());
        self.counters.sent += 1;
        self.out.push_back(Output::Send { to, bytes: Bytes::from(bytes) });
        Ok(())
    }

    /// Asks a switch for others near an end; false if it cannot be asked.
    pub(super) fn ask(&mut self, now: Duration, to: Ipp, end: End, purpose: For) -> bool {
        let asked = self.send(now, to, asking(end)).is_ok();
        if asked {
            if let Some(peer) = self.peers.get_mut(to) {
                peer.asked = true;
            }
            self.asks.insert(now, to, end, purpose);
        }
        asked
    }

    /// A way to a peer has opened: what it has not answered is asked once more.
    pub(super) fn ask_again(&mut self, now: Duration, peer: Ipp) {
        for ask in self.asks.again(now, peer) {
            let sent = self.send(now, peer, asking(ask.end)).is_ok();
            if let (For::Dial(id), true) = (ask.purpose, sent) {
                self.dials.asked_again(now, id, peer);
            }
        }
    }

    /// Asks `via`, who told of `target`, to have `target` open a way to us through whatever NAT it is behind.
    pub(super) fn ask_to_pop(&mut self, now: Duration, via: Ipp, target: End) {
        let Some(own) = self.own else { return };
        let mut telex = asking(target);
        telex.signals.insert("+pop".to_owned(), format!("th:{}", own.ipp));
        telex.hop = 1;
        // If it cannot be told now, there is no other way.
        _ = self.send(now, via, telex);
    }

    /// Adds the one `.tap` that a peer is to have: our own end's requests to open a port, and the application's rules. A
    /// new `.tap` replaces the one before, so it is always all of them.
    pub(super) fn with_taps(&mut self, peer: Ipp, mut telex: Telex) -> Telex {
        let pop = self.own.map(|own| TapRule::of_pop(own.end));
        let mut known = BTreeSet::new();
        let all = pop.into_iter().chain(self.own_taps.rules_at(peer));
        let mut rules: Vec<TapRule> = all.filter(|rule| known.insert(rule.clone())).collect();
        let wanted = rules.len();
        rules.truncate(teale_wire::limits::TAP_RULES);
        (telex.to, telex.received, telex.line) = (Some(peer), Some(u64::MAX), Some(LINE_MAX));
        telex.tap = Some(rules);
        while let (Err(WireError::TooBig { .. }), Some(rules)) = (telex.encode(), &mut telex.tap)
            && rules.pop().is_some()
        {}
        let placed = telex.tap.as_ref().map_or(0, Vec::len);
        self.counters.unwritable += (wanted - placed) as u64;
        telex
    }

    /// Tells a peer that sends us what we wanted how much came, so that it may go on.
    pub(super) fn acknowledge(&mut self, now: Duration, peer: Ipp) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        let due = known.acknowledged + bounds::ACKNOWLEDGE_GAP <= now;
        if due && known.window.untold() > bounds::ACKNOWLEDGE_AFTER {
            known.acknowledged = now;
            // It is sent again with the next telex that comes.
            _ = self.send(now, peer, Telex::default());
        }
    }
}

/// A telex with an end only: a question.
fn asking(end: End) -> Telex {
    let signals = [("+end".to_owned(), end.to_string())].into();
    Telex { signals, ..Telex::default() }
}
