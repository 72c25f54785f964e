//! Keeping our taps where they belong: at the three switches nearest to their end.

use std::time::Duration;

use teale_wire::telehash::{Ipp, Telex};

use super::{Event, Switch, TapId, bounds, dialing::Why};

impl Switch {
    pub(super) fn place_due_taps(&mut self, now: Duration) {
        while let Some((id, end)) = self.own_taps.take_due(now) {
            self.start_dial(now, end, Why::Tap(id));
        }
    }

    /// A tap's end was dialed: these are nearest.
    pub(super) fn place_tap(&mut self, now: Duration, id: TapId, mut closest: Vec<Ipp>) {
        closest.retain(|ipp| self.peers.get(*ipp).is_some_and(|peer| peer.handshake.line().is_some()));
        closest.truncate(bounds::DIAL_NEAREST);
        let again = if closest.is_empty() { bounds::DIAL_WITHIN } else { bounds::TAP_EVERY };
        let Some(before) = self.own_taps.placed(id, closest.clone(), now + again) else { return };
        for peer in before.iter().filter(|peer| !closest.contains(peer)) {
            self.send_taps(now, *peer);
        }
        for peer in &closest {
            self.send_taps(now, *peer);
            self.keep(now, *peer);
        }
        if before != closest {
            self.event(Event::Tapped { id, at: closest });
        }
    }

    /// Tells a peer what it is to keep for us now.
    pub(super) fn send_taps(&mut self, now: Duration, peer: Ipp) {
        if self.peers.get(peer).is_some_and(|peer| peer.handshake.line().is_some()) {
            let telex = self.with_taps(peer, Telex::default());
            // The next ping has it too.
            _ = self.send(now, peer, telex);
        }
    }

    /// A switch that may have kept taps for us is gone.
    pub(super) fn lose_taps(&mut self, now: Duration, peer: Ipp) {
        for (id, at) in self.own_taps.lost(now, peer) {
            self.event(Event::Tapped { id, at });
        }
    }
}
