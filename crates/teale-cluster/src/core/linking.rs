//! Links come, introduce themselves, are settled, beat, and go.

use std::time::Duration;

use teale_relay_client::Security;
use teale_wire::{ClusterMessage, Dialect, Health, Hello, NodeId, ThermalLevel, WireError};

use super::{
    CloseReason, Core, LinkId, Output, bounds,
    link::{Greeting, Link},
    resuming::protection,
    sharing::is_sharing,
};
use crate::{ClusterEvent, LinkPath};

impl Core {
    pub(super) fn link_up(
        &mut self,
        id: LinkId,
        peer: NodeId,
        path: LinkPath,
        security: Security,
        initiator: bool,
    ) {
        let now = self.mono();
        self.event(ClusterEvent::LinkUp { node: peer, path, security, initiator });
        self.links.insert(id, Link::new(peer, path, security, initiator, now));
        if initiator && let Some(peer) = self.roster.get_mut(peer) {
            peer.opening = false;
            peer.bettering &= path >= LinkPath::Relay;
        }
        if let Some(reason) = self.no_place(id, peer, security, initiator) {
            self.close_link(id, reason);
            return;
        }
        if let Some(link) = self.links.get(id) {
            self.wake_by(link.deadline());
        }
        if initiator {
            let links = &self.links;
            self.roster.entry(peer, now, |peer| links.has(peer));
            let hello = self.hello();
            self.send(id, ClusterMessage::Hello(hello));
            if self.config.passcode.is_none() {
                self.send_waiting_asks(peer);
            }
        }
    }

    /// Why a link that just came cannot stay; idle ones make room for it.
    fn no_place(
        &mut self,
        id: LinkId,
        peer: NodeId,
        security: Security,
        initiator: bool,
    ) -> Option<CloseReason> {
        if self.over {
            return Some(CloseReason::Shutdown);
        }
        if peer == self.config.node {
            return Some(CloseReason::Own);
        }
        if security == Security::Plaintext && self.roster.get(peer).is_some_and(|peer| peer.has_key) {
            return Some(CloseReason::Plaintext);
        }
        if !initiator
            && self.links.with(peer).filter(|(_, link)| link.is_guest()).count() > bounds::GUESTS_PER_PEER
        {
            match self.links.idle_guest_of(peer).filter(|other| *other != id) {
                Some(other) => self.close_link(other, CloseReason::TooMany),
                None => return Some(CloseReason::TooMany),
            }
        }
        let guests_full = !initiator && self.links.guests() > bounds::GUESTS;
        if guests_full || self.links.len() > bounds::LINKS {
            match self.links.longest_idle(guests_full).filter(|other| *other != id) {
                Some(other) => self.close_link(other, CloseReason::TooMany),
                None => return Some(CloseReason::TooMany),
            }
        }
        None
    }

    pub(super) fn message(&mut self, id: LinkId, message: ClusterMessage, dialect: Dialect) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.dialect = dialect;
        let peer = link.peer;
        if link.pulse.hear() {
            tracing::info!(%peer, "the peer is back");
        }
        match message {
            ClusterMessage::Hello(hello) => self.hello_received(id, &hello, true),
            ClusterMessage::HelloAck(hello) => self.hello_received(id, &hello, false),
            ClusterMessage::Heartbeat(health) => self.heartbeat(id, &health),
            ClusterMessage::HeartbeatAck(health) => self.heartbeat_ack(id, &health),
            ClusterMessage::InferenceRequest(request) => self.request(id, request),
            ClusterMessage::InferenceCancel(cancel) => self.request_cancelled(id, &cancel.request_id),
            ClusterMessage::InferenceChunk(chunk) => self.answer_chunk(id, chunk),
            ClusterMessage::InferenceComplete(end) => self.answer_complete(id, &end),
            ClusterMessage::InferenceError(error) => self.answer_error(id, error),
            ClusterMessage::InferenceAck(ack) => self.acknowledged(id, &ack),
            ClusterMessage::InferenceResume(resume) => self.resume(id, resume),
            message if is_sharing(&message) => self.share_received(id, message),
            _ => tracing::trace!(peer = %peer, "a message without meaning here"),
        }
    }

    pub(super) fn malformed(&mut self, id: LinkId, error: &WireError) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.malformed += 1;
        let (peer, too_many) = (link.peer, link.malformed >= bounds::MALFORMED);
        self.counters.rejected += 1;
        self.event(ClusterEvent::Refused { node: peer, reason: error.to_string() });
        if too_many {
            self.close_link(id, CloseReason::Malformed);
        }
    }

    fn hello(&self) -> Box<Hello> {
        self.introduction.hello(self.loaded_models(), self.date())
    }

    fn hello_received(&mut self, id: LinkId, hello: &Hello, answer: bool) {
        let now = self.mono();
        let Some(link) = self.links.get(id) else {
            return;
        };
        let (peer, was) = (link.peer, link.greeting);
        if !answer && was == Greeting::Guest {
            return; // An answer to a hello we never said.
        }
        if let Err(reason) = self.introduction.check(hello) {
            self.counters.rejected += 1;
            tracing::warn!(%peer, %reason, "hello refused");
            self.event(ClusterEvent::Refused { node: peer, reason: reason.to_string() });
            self.close_link(id, reason);
            if let Some(entry) = self.roster.get_mut(peer) {
                (0..6).for_each(|_| entry.failed(now, 0.5));
                (0..6).for_each(|_| entry.better.failed(now, 0.5, bounds::BACKOFF_MAX));
            }
            return;
        }
        let links = &self.links;
        let entry = self.roster.entry(peer, now, |peer| links.has(peer));
        entry.introduced(hello, now);
        entry.reached();
        if self.links.get(id).is_some_and(|link| link.path < LinkPath::Relay) {
            entry.better.reset(Duration::ZERO);
        }
        if let Some(link) = self.links.get_mut(id) {
            link.greeting = Greeting::Member;
            link.used_at = now;
            let deadline = link.deadline();
            self.wake_by(deadline);
        }
        if answer {
            let ack = self.hello();
            self.send(id, ClusterMessage::HelloAck(ack));
        }
        if was != Greeting::Member {
            self.settle(id, peer);
            self.send_waiting_asks(peer);
        }
    }

    /// At most one link per peer takes new requests: the best protected one, on the best way; of two alike the newer, since
    /// the peer may have lost the older and we do not know. Two that crossed each other are both new: there the one
    /// opened by the smaller node id. The others finish what they have. From one that was there for long, answers that
    /// began move too.
    fn settle(&mut self, id: LinkId, peer: NodeId) {
        let now = self.mono();
        let opener = |link: &Link| if link.initiator { self.config.node } else { link.peer };
        let merit = |link: &Link| {
            let protection = std::cmp::Reverse(protection(link.security));
            (!link.is_healthy(), protection, link.path, link.pulse.missed() > 0)
        };
        let rivals = || self.links.with(peer).filter(|(_, link)| !link.is_guest() && link.retiring.is_none());
        let best = rivals().map(|(_, link)| merit(link)).min();
        let alike = || rivals().filter(|(_, link)| Some(merit(link)) == best);
        let newest = alike().map(|(_, link)| link.up_at).max().unwrap_or_default();
        let crossed = alike().filter(|(_, link)| newest.saturating_sub(link.up_at) <= bounds::CROSSING);
        let kept = crossed.min_by_key(|(id, link)| (opener(link), std::cmp::Reverse(*id)));
        let Some((keep, keep_path)) = kept.map(|(id, link)| (id, link.path)) else {
            return;
        };
        let losers: Vec<LinkId> = rivals().map(|(id, _)| id).filter(|id| *id != keep).collect();
        for loser in losers {
            tracing::debug!(%peer, ?id, ?loser, "a second link retires");
            let Some(link) = self.links.get_mut(loser) else { continue };
            link.retiring = Some(now);
            let deadline = link.deadline();
            let (path, up_at) = (link.path, link.up_at);
            let leaves = path != keep_path || !link.is_healthy();
            self.wake_by(deadline);
            if leaves || now.saturating_sub(up_at) > bounds::CROSSING {
                self.move_asks(loser, keep, !leaves);
            }
            if path < keep_path
                && let Some(entry) = self.roster.get_mut(peer)
            {
                // A shorter way that is worse protected: not to be tried again and again.
                (0..6).for_each(|_| entry.better.failed(now, 0.5, bounds::BACKOFF_MAX));
            }
        }
    }

    fn heartbeat(&mut self, id: LinkId, health: &Health) {
        let now = self.mono();
        if let Some(link) = self.links.get_mut(id) {
            link.pulse.peer_beat(now);
        }
        self.take_health(id, health);
        let ack = ClusterMessage::HeartbeatAck(self.health());
        if self.links.get(id).is_some_and(|link| !link.outbox.has_ack()) {
            self.send(id, ack);
        }
    }

    fn heartbeat_ack(&mut self, id: LinkId, health: &Health) {
        let now = self.mono();
        if let Some(link) = self.links.get_mut(id) {
            link.pulse.acked(now);
        }
        self.take_health(id, health);
    }

    fn take_health(&mut self, id: LinkId, health: &Health) {
        let now = self.mono();
        let Some(link) = self.links.get(id).filter(|link| link.greeting == Greeting::Member) else {
            return;
        };
        if let Some(peer) = self.roster.get_mut(link.peer) {
            peer.reported(health, now);
        }
    }

    fn health(&self) -> Health {
        Health {
            device_id: self.config.device_id.clone(),
            timestamp: self.date(),
            thermal_level: ThermalLevel::Nominal,
            throttle_level: if self.draining { 0 } else { 100 },
            loaded_models: self.loaded_models(),
            is_generating: self.slots_busy > 0,
            queue_depth: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            organization_id: None,
            owner_user_id: None,
            ewma_tokens_per_second: self.own.speed,
            extra: teale_wire::Extra::new(),
        }
    }

    /// Something is due on a link: its end, or a heartbeat.
    pub(super) fn link_due(&mut self, id: LinkId) {
        let now = self.mono();
        let Some(link) = self.links.get(id) else {
            return;
        };
        if let Some(reason) = link_end(link, self.eager, now) {
            self.close_link(id, reason);
            return;
        }
        let health = (link.pulse.next() <= now && !link.is_guest()).then(|| self.health());
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let was_healthy = link.is_healthy();
        if health.is_some() {
            link.pulse.beat(now);
        }
        if link.deadline() <= now {
            link.used_at = now; // Looked at, still in use: look again an idle time from now.
            if link.retiring.is_some() {
                link.retiring = Some(now);
            }
        }
        let peer = link.peer;
        let (dead, sick) = (link.pulse.missed() >= bounds::MISSED_DEAD, was_healthy && !link.is_healthy());
        if dead {
            self.close_link(id, CloseReason::Dead);
            return;
        }
        if let Some(health) = health {
            self.send(id, ClusterMessage::Heartbeat(health));
        }
        if sick {
            tracing::info!(%peer, "the peer misses heartbeats; routing leaves it out");
            self.reroute_unbegun_asks(id);
            match self.links.of(peer).map(|(other, link)| (other, link.is_healthy())) {
                Some((other, true)) if other != id => self.move_asks(id, other, false),
                _ => self.try_another_way(peer, id),
            }
        }
    }

    /// Queues a message; a peer that lets too many pile up is cut off.
    pub(super) fn send(&mut self, id: LinkId, message: ClusterMessage) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        match link.outbox.push(message) {
            Ok(()) => self.out.push_back(Output::Transmit(id)),
            Err(_) => self.close_link(id, CloseReason::NotReading),
        }
    }

    pub(super) fn close_link(&mut self, id: LinkId, reason: CloseReason) {
        let Some(mut link) = self.links.remove(id) else {
            return;
        };
        let mut rest = Vec::new();
        if matches!(reason, CloseReason::Shutdown | CloseReason::Idle | CloseReason::Duplicate) {
            while let Some(taken) = link.outbox.pop() {
                rest.push((taken.message, link.dialect));
            }
        }
        self.out.push_back(Output::Close { link: id, reason, rest });
        self.bury(link, reason.to_string(), reason.keeps_work());
    }

    pub(super) fn link_gone(&mut self, id: LinkId, reason: String) {
        if let Some(link) = self.links.remove(id) {
            self.bury(link, reason, true);
        }
    }

    /// Ends everything that lived on a link, or, where it may, lets it look for another one.
    fn bury(&mut self, mut link: Link, reason: String, keeps: bool) {
        let peer = link.peer;
        self.event(ClusterEvent::LinkDown { node: peer, path: link.path, reason: reason.clone() });
        // A link that never came to an introduction is no better than one that could not be opened.
        if link.greeting == Greeting::Sent {
            let (now, jitter) = (self.mono(), self.jitter());
            if let Some(entry) = self.roster.get_mut(peer) {
                entry.failed(now, jitter);
            }
        }
        if link.path < LinkPath::Relay {
            // A link that broke is tried again soon, one that never got anywhere, or was not the best, less and less often.
            let was_good = link.greeting == Greeting::Member && link.retiring.is_none();
            let longest = if was_good { bounds::BETTER_BACKOFF_MAX } else { bounds::BACKOFF_MAX };
            let (now, jitter) = (self.mono(), self.jitter());
            if let Some(entry) = self.roster.get_mut(peer) {
                entry.better.failed(now, jitter, longest);
                let again = entry.better.at();
                self.wake_by(again);
            }
        }
        // A link that retired in favour of this one has to serve on, also those who waited for this one.
        if self.links.of(peer).is_none()
            && let Some(other) = self.links.retired(peer)
        {
            other.retiring = None;
            if other.greeting == Greeting::Member || self.config.passcode.is_none() {
                self.send_waiting_asks(peer);
            }
        }
        for job in std::mem::take(&mut link.jobs).into_values() {
            self.detach_job(job, &mut link, keeps);
        }
        for ask in link.asks.into_values() {
            if !(keeps && self.move_ask(ask, peer, &reason)) {
                self.ask_link_lost(ask, peer, &reason);
            }
        }
        if self.links.of(peer).is_none() && self.roster.get(peer).is_some_and(|peer| !peer.opening) {
            self.reroute_waiting_asks(peer, &reason);
        }
    }
}

/// Why a link has to go at this moment, if it has to.
fn link_end(link: &Link, eager: bool, now: Duration) -> Option<CloseReason> {
    let over = |since: Duration, limit: Duration| now >= since + limit;
    match (link.greeting, link.retiring) {
        (_, Some(since)) => {
            let done = link.is_idle() && over(since.max(link.used_at), bounds::RETIRE_GRACE);
            done.then_some(CloseReason::Duplicate)
        }
        (Greeting::Sent, None) => over(link.up_at, bounds::HELLO_TIMEOUT)
            .then_some(CloseReason::NoHello)
            .filter(|_| link.asks.is_empty()),
        (Greeting::Guest, None) => {
            (link.is_idle() && over(link.used_at, bounds::GUEST_IDLE)).then_some(CloseReason::Idle)
        }
        (Greeting::Member, None) => {
            let unused = link.is_idle() && link.initiator && !eager && link.path >= LinkPath::Relay;
            (unused && over(link.used_at, bounds::LINK_IDLE)).then_some(CloseReason::Idle)
        }
    }
}
