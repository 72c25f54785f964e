//! What a datagram does, in the draft's order: its session, its numbers, `recv`, and then the rest.

use std::{net::SocketAddr, time::Duration};

use teale_wire::telehash::{Ipp, Packet};

use super::{Switch, inbound::Arrival, ports::SessionId};
use crate::reflection::Asker;

impl Switch {
    pub(super) fn datagram(&mut self, now: Duration, from: SocketAddr, bytes: &[u8]) {
        let packet = match Packet::parse(bytes) {
            Ok(packet) => packet,
            Err(error) => {
                self.counters.malformed += 1;
                tracing::debug!(%error, "a datagram is no packet");
                return;
            }
        };
        let Some(from) = Ipp::new(from).filter(|from| Some(*from) != self.own) else { return };
        self.acquaintances.hear(now, from);
        self.first_contact(now, from, packet.popped);
        match (packet.sid, &packet.start) {
            (Some(sid), _) => match self.sessions.of(from, sid) {
                Some(id) => self.in_session(now, id, packet),
                None => self.unknown_sid(now, from, packet),
            },
            (None, start) => {
                if start.is_some() {
                    self.started(now, from, &packet);
                }
                let bookkeeping = packet.seq.is_some() || packet.receipt.is_some();
                if bookkeeping || packet.recv.is_some() || packet.stop.is_some() {
                    self.counters.ignored += 1;
                }
                self.act(now, from, None, packet);
            }
        }
    }

    /// It may be the answer to our `start`; else it is nobody's.
    fn unknown_sid(&mut self, now: Duration, from: Ipp, packet: Packet) {
        match self.start_answered(now, from, &packet) {
            Some(id) => self.in_session(now, id, packet),
            None => self.counters.strays += 1,
        }
    }

    /// A packet of a session, from its peer.
    fn in_session(&mut self, now: Duration, id: SessionId, packet: Packet) {
        let elicits = !packet.is_bookkeeping();
        self.confirmed(now, id);
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.heard = now;
        let peer = session.peer;
        let Some(channel) = session.channel_mut() else { return };
        let arrival = packet.seq.map(|seq| channel.inbound.arrived(now, seq, elicits));
        let reaction = packet.receipt.as_ref().map(|r| channel.outbound.receipt(now, packet.seq, r));
        match (arrival.transpose(), reaction.transpose()) {
            (Err(reason), _) | (_, Err(reason)) => self.end(now, id, reason),
            (Ok(arrival), Ok(reaction)) => {
                let reaction = reaction.unwrap_or_default();
                self.counters.nonsense_receipts += u64::from(reaction.nonsense);
                self.counters.resent += reaction.again.len() as u64;
                for bytes in reaction.again {
                    self.send(peer, bytes);
                }
                if arrival == Some(Arrival::Duplicate) {
                    self.counters.duplicates += 1;
                    return;
                }
                self.act(now, peer, Some(id), packet);
            }
        }
    }

    /// The packet's content, once.
    fn act(&mut self, now: Duration, from: Ipp, session: Option<SessionId>, packet: Packet) {
        if let Some(id) = session {
            if let Some(end) = packet.recv
                && !self.sessions.recv(id, end)
            {
                self.counters.recvs_refused += 1;
            }
            if let Some(end) = packet.stop {
                self.sessions.stop(id, end);
            }
            self.bind(from, packet.bind.as_deref());
        }
        if let Some(target) = packet.pop {
            let asker = if session.is_some() { Asker::Proven(from) } else { Asker::Unproven };
            self.pop(now, (from, asker), target, packet.source);
        }
        if let Some(see) = &packet.see {
            self.saw(from, packet.tid.as_deref(), see);
        }
        if let Some(end) = packet.send {
            self.sent(now, from, session, end, &packet);
        }
        if let (Some(id), None, None) = (session, packet.send, &packet.see) {
            // Where two starts crossed, what ours would have said comes in a packet of its own.
            self.came_back(id, packet.tid.as_deref());
        }
        let elsewhere = packet.send.is_some() || packet.see.is_some() || packet.start.is_some();
        match session {
            Some(id) if !elsewhere => self.threaded(now, id, packet),
            Some(id) => self.whole_threads(now, id),
            None if packet.req.is_some() || packet.res.is_some() => self.counters.ignored += 1,
            None => {}
        }
    }
}
