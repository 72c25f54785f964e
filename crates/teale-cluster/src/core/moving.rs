//! Requests of this node's own whose link died, or for which a better one came: they go on over another link to the
//! same provider, from where the answer stands.

use std::time::Duration;

use teale_relay_client::Security;
use teale_wire::{Extra, InferenceAck, InferenceResume, NodeId, RequestId};

use super::{
    AskId, CloseReason, ClusterMessage, Core, LinkId, Output,
    asking::{Ask, Route, plain},
    bounds,
    link::Greeting,
    resuming::protection,
};
use crate::{AskError, ClusterEvent};

/// How far an answer is whose messages are numbered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    /// Whether a numbered message came: only then does the provider keep what it sent.
    numbered: bool,
    /// The number of the next message.
    next: u64,
    /// Of them the provider knows.
    acked: u64,
    /// Text since then, in bytes.
    text: usize,
    /// Moves so far, and those since the last new message.
    attempts: u64,
    fruitless: u32,
    protection: u8,
}

impl Progress {
    pub(super) fn new(security: Security) -> Self {
        Self {
            numbered: false,
            next: 0,
            acked: 0,
            text: 0,
            attempts: 0,
            fruitless: 0,
            protection: protection(security),
        }
    }

    /// Whether the request went to another link before.
    pub(super) fn has_moved(&self) -> bool {
        self.attempts > 0
    }
}

/// What a message's number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is the next one, or nothing is numbered here.
    Next,
    /// It came before.
    Old,
    /// Something before it is missing.
    Gap,
}

impl Core {
    /// Checks the number of a message of an answer, and takes it into account.
    pub(super) fn take_turn(&mut self, id: AskId, seq: Option<u64>, text: usize) -> Turn {
        let Some(progress) = self.asks.get_mut(&id).and_then(|ask| ask.moving.as_mut()) else {
            return Turn::Next;
        };
        match seq {
            None if progress.numbered => Turn::Gap,
            None => Turn::Next,
            Some(seq) if seq < progress.next => Turn::Old,
            Some(seq) if seq > progress.next => Turn::Gap,
            Some(_) => {
                progress.numbered = true;
                progress.next += 1;
                progress.text += text;
                progress.fruitless = 0;
                Turn::Next
            }
        }
    }

    /// Tells the provider how far the answer is: now and then, and at its end.
    pub(super) fn tell_received(&mut self, link_id: LinkId, id: AskId, request_id: &RequestId, end: bool) {
        let Some(progress) = self.asks.get_mut(&id).and_then(|ask| ask.moving.as_mut()) else {
            return;
        };
        let due = progress.next - progress.acked >= bounds::ACK_EVERY || progress.text >= bounds::ACK_TEXT;
        if !progress.numbered || !(due || end) {
            return;
        }
        (progress.acked, progress.text) = (progress.next, 0);
        let ack =
            InferenceAck { request_id: request_id.clone(), received: progress.next, extra: Extra::new() };
        let Some(link) = self.links.get_mut(link_id) else {
            return;
        };
        match link.outbox.push_received(ack) {
            Ok(()) => self.out.push_back(Output::Transmit(link_id)),
            Err(_) => self.close_link(link_id, CloseReason::NotReading),
        }
    }

    /// Whether a request may go on over another link after this one died.
    fn is_movable(&self, ask: &Ask, peer: NodeId) -> bool {
        let says = || self.roster.get(peer).is_some_and(|peer| peer.resumable == Some(true));
        let fits = |progress: &&Progress| {
            (progress.numbered || says()) && progress.fruitless < bounds::MOVES && !self.over
        };
        ask.moving.as_ref().filter(fits).is_some()
    }

    /// The link under a request is gone: it looks for another one to the same provider. False when it cannot.
    pub(super) fn move_ask(&mut self, id: AskId, peer: NodeId, reason: &str) -> bool {
        let until = self.mono().saturating_add(bounds::RESUME_WITHIN);
        let Some(ask) = self.asks.get(&id).filter(|ask| self.is_movable(ask, peer)) else {
            return false;
        };
        let Some(Route::Sent { node, id: request, .. }) = ask.route.clone() else {
            return false;
        };
        let reason = plain(reason);
        if let Some(ask) = self.asks.get_mut(&id) {
            ask.route = Some(Route::Moving { node, id: request, until, reason });
        }
        self.wake_by(until);
        match self.links.of(node).map(|(link, entry)| (link, entry.greeting)) {
            Some((link, greeting)) if self.may_ask(greeting) => self.resume_ask(id, link),
            Some(_) => {}
            None => self.open(node),
        }
        true
    }

    /// Whether a link is far enough for requests.
    pub(super) fn may_ask(&self, greeting: Greeting) -> bool {
        self.config.passcode.is_none() || greeting == Greeting::Member
    }

    /// Lets a request go on over this link.
    pub(super) fn resume_ask(&mut self, ask_id: AskId, link_id: LinkId) {
        let now = self.mono();
        let (Some(ask), Some(link)) = (self.asks.get_mut(&ask_id), self.links.get_mut(link_id)) else {
            return;
        };
        let (Some(Route::Moving { node, id, .. }), Some(progress)) = (&ask.route, &mut ask.moving) else {
            return;
        };
        if protection(link.security) < progress.protection {
            return self.fail_move(ask_id, "the other link is less protected");
        }
        progress.attempts += 1;
        progress.fruitless += 1;
        progress.acked = progress.next;
        progress.text = 0;
        let (node, id) = (*node, id.clone());
        let resume = InferenceResume {
            request_id: id.clone(),
            received: progress.next,
            attempt: progress.attempts,
            extra: Extra::new(),
        };
        ask.route = Some(Route::Sent { node, link: link_id, id: id.clone() });
        link.asks.insert(id, ask_id);
        link.used_at = now;
        let path = link.path;
        self.event(ClusterEvent::Moved { node, path });
        self.send(link_id, ClusterMessage::InferenceResume(resume));
    }

    /// A better link came: what runs on this one goes there, if the provider takes part; with `begun_only` only what
    /// the provider is known to have.
    pub(super) fn move_asks(&mut self, from: LinkId, to: LinkId, begun_only: bool) {
        let (Some(old), Some(new)) = (self.links.get(from), self.links.get(to)) else {
            return;
        };
        let (peer, strength) = (old.peer, protection(new.security));
        if !self.may_ask(new.greeting) {
            return;
        }
        for (request, id) in old.asks.clone() {
            let fits = |ask: &&Ask| {
                self.is_movable(ask, peer)
                    && ask
                        .moving
                        .as_ref()
                        .is_some_and(|own| own.protection <= strength && (own.numbered || !begun_only))
            };
            if self.asks.get(&id).filter(fits).is_none() {
                continue;
            }
            let until = self.mono().saturating_add(bounds::RESUME_WITHIN);
            if let Some(old) = self.links.get_mut(from) {
                old.asks.remove(&request);
                old.forget(request.clone());
            }
            if let Some(ask) = self.asks.get_mut(&id) {
                ask.route = Some(Route::Moving { node: peer, id: request, until, reason: String::new() });
            }
            self.resume_ask(id, to);
        }
    }

    /// No other link was to be had in time, or none that will do.
    pub(super) fn fail_move(&mut self, id: AskId, reason: &str) {
        let Some(Route::Moving { node, id: request, reason: first, .. }) = self.release(id) else {
            return;
        };
        self.owe_cancel(node, request);
        tracing::debug!(%node, reason, "a request finds no other link");
        let error = AskError::LinkLost(first);
        self.lose_ask(id, node, error);
    }

    /// The provider of a request given up without a link has to be told when there is one.
    pub(super) fn owe_cancel(&mut self, node: NodeId, request: RequestId) {
        let until = self.mono().saturating_add(bounds::DETACHED);
        if let Some(peer) = self.roster.get_mut(node) {
            if peer.cancels.len() >= bounds::OWED_CANCELS {
                peer.cancels.pop_front();
            }
            peer.cancels.push_back((request, until));
        }
    }

    /// Tells a peer to which there is a link again what nobody wants any more.
    pub(super) fn pay_cancels(&mut self, node: NodeId, link: LinkId) {
        let now = self.mono();
        let owed =
            self.roster.get_mut(node).map(|peer| std::mem::take(&mut peer.cancels)).unwrap_or_default();
        for (request, until) in owed {
            if until > now {
                self.send_cancel(link, request);
            }
        }
    }

    /// Whether a request of ours is under way to this peer, on whatever link.
    pub(super) fn is_under_way(&self, peer: NodeId, request: &RequestId) -> bool {
        let is_it = |ask: &Ask| match &ask.route {
            Some(Route::Sent { node, id, .. } | Route::Moving { node, id, .. }) => {
                *node == peer && id == request
            }
            _ => false,
        };
        self.asks.values().any(is_it)
    }

    /// A link in use does not answer: perhaps another one does.
    pub(super) fn try_another_way(&mut self, peer: NodeId, link: LinkId) {
        let now = self.mono();
        let Some(path) = self.links.get(link).map(|link| link.path) else {
            return;
        };
        let other =
            |entry: &super::roster::Peer| entry.paths(now).any(|known| known != path) && !entry.opening;
        if self.roster.get(peer).is_some_and(other) && self.links.of(peer).is_some_and(|(id, _)| id == link) {
            self.open(peer);
        }
    }

    /// How long a moving request waits for a link.
    pub(super) fn move_deadline(ask: &Ask) -> Option<Duration> {
        match &ask.route {
            Some(Route::Moving { until, .. }) => Some(*until),
            _ => None,
        }
    }
}
