//! Requests of this node's own: sent to a provider, tried again elsewhere before the first token, ended once.

use std::time::Duration;

use teale_wire::{
    ClusterMessage, ErrorCode, Extra, InferenceCancel, InferenceRequest, NodeId, RequestId,
    chat::{ChatChunk, ChatRequest},
};

use rand::RngExt;

use super::{
    AskId, Core, JobId, LinkId, Output, answering::Progress, bounds, moving, routing::Candidate,
    serving::Origin,
};
use crate::{AskError, ClusterEvent};

/// Where a request is at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// At a peer to which a link is being opened or introduced.
    Opening { node: NodeId, model: String },
    /// At a peer.
    Sent { node: NodeId, link: LinkId, id: RequestId },
    /// At a peer to which the link died; another one is looked for until then. `reason` is why it died.
    Moving { node: NodeId, id: RequestId, until: Duration, reason: String },
    /// At the own backend.
    Own(JobId),
}

impl Route {
    pub(super) fn peer(&self) -> Option<NodeId> {
        match self {
            Self::Opening { node, .. } | Self::Sent { node, .. } | Self::Moving { node, .. } => Some(*node),
            Self::Own(_) => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Ask {
    pub(super) request: Box<ChatRequest>,
    /// Who asks, if it is not this node's own user: nobody else is asked on its behalf.
    pub(super) guest: Option<NodeId>,
    pub(super) tried_own: bool,
    pub(super) route: Option<Route>,
    excluded: Vec<NodeId>,
    /// Peers whose link died under the request: tried once more, after the others.
    lost: Vec<NodeId>,
    attempts: usize,
    asked_at: Duration,
    /// Whether it has been sent to a peer before.
    was_sent: bool,
    first_by: Duration,
    pub(super) held: Vec<ChatChunk>,
    pub(super) progress: Option<Progress>,
    /// How far the numbered answer is, where numbers were asked for.
    pub(super) moving: Option<moving::Progress>,
    error: Option<AskError>,
}

impl Ask {
    pub(super) fn is_excluded(&self, node: NodeId) -> bool {
        self.excluded.contains(&node)
    }

    pub(super) fn was_lost(&self, node: NodeId) -> bool {
        self.lost.contains(&node)
    }

    pub(super) fn exclude(&mut self, node: NodeId, error: AskError) {
        if !self.is_excluded(node) {
            self.excluded.push(node);
        }
        self.remember(error);
    }

    /// The error to end with if nobody answers. That the prompt is too long says more than what follows it.
    pub(super) fn remember(&mut self, error: AskError) {
        let keep =
            matches!(&self.error, Some(AskError::Provider { code: ErrorCode::ContextLengthExceeded, .. }));
        if !keep {
            self.error = Some(error);
        }
    }
}

/// Text of a peer, fit for a log: one line, no control characters, bounded.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(bounds::ERROR_TEXT).collect()
}

impl Core {
    /// A request of this node's own user, or of a guest.
    pub(super) fn ask(&mut self, id: AskId, guest: Option<NodeId>, request: Box<ChatRequest>) {
        let refusal = if self.draining {
            Some(AskError::ShuttingDown)
        } else if guest.is_some() && self.config.passcode.is_some() {
            Some(AskError::Unavailable("the cluster asks for its passcode first".into()))
        } else if self.asks.len() >= bounds::ASKS {
            Some(AskError::Unavailable("too many requests at once".into()))
        } else {
            None
        };
        if let Some(error) = refusal {
            self.out.push_back(Output::End { ask: id, result: Err(error) });
            return;
        }
        self.counters.asked += u64::from(guest.is_none());
        let ask = Ask {
            request,
            guest,
            tried_own: false,
            route: None,
            excluded: Vec::new(),
            lost: Vec::new(),
            attempts: 0,
            asked_at: self.mono(),
            was_sent: false,
            first_by: self.mono().saturating_add(self.config.first_token_timeout),
            held: Vec::new(),
            progress: None,
            moving: None,
            error: None,
        };
        self.wake_by(ask.first_by);
        self.asks.insert(id, ask);
        self.route(id);
        if guest.is_none() && !std::mem::replace(&mut self.eager, true) {
            self.open_eager_links();
        }
    }

    /// Gives a request without a route to the best provider left, or ends it.
    pub(super) fn route(&mut self, id: AskId) {
        loop {
            let Some(mut ask) = self.asks.remove(&id) else {
                return;
            };
            let candidate = if ask.attempts < bounds::ATTEMPTS { self.best_candidate(&ask) } else { None };
            ask.attempts += 1;
            match candidate {
                None => {
                    let error = ask.error.take().unwrap_or_else(|| self.nobody(&ask));
                    self.out.push_back(Output::End { ask: id, result: Err(error) });
                    return;
                }
                Some(Candidate::Peer { node, model }) => {
                    ask.route = Some(Route::Opening { node, model });
                    self.asks.insert(id, ask);
                    self.go_to_peer(id, node);
                    return;
                }
                Some(Candidate::Own { model }) => {
                    let routed = self.go_to_own(id, &mut ask, model);
                    self.asks.insert(id, ask);
                    if routed {
                        return;
                    }
                }
            }
        }
    }

    /// Why nobody can be asked, where nobody was.
    fn nobody(&self, ask: &Ask) -> AskError {
        if ask.guest.is_none() && self.is_known(&ask.request.model) {
            AskError::Unavailable("no provider takes requests now".into())
        } else {
            AskError::ModelNotFound
        }
    }

    fn go_to_own(&mut self, id: AskId, ask: &mut Ask, model: String) -> bool {
        ask.tried_own = true;
        let mut request = ask.request.clone();
        request.model = model;
        match self.admit(Origin::Own { ask: id, guest: ask.guest }, request, true, None) {
            Ok(job) => {
                ask.route = Some(Route::Own(job));
                true
            }
            Err(code) => {
                let message = "all slots and the queue are taken".into();
                ask.remember(AskError::Provider { node: None, code, message });
                false
            }
        }
    }

    fn go_to_peer(&mut self, id: AskId, node: NodeId) {
        if let Some(peer) = self.roster.get_mut(node) {
            peer.in_flight += 1;
        }
        match self.links.of(node).map(|(link, state)| (link, state.greeting)) {
            Some((link, greeting)) if self.may_ask(greeting) => self.send_ask(id, link),
            Some(_) => {}
            None => self.open(node),
        }
    }

    /// Sends a request that waits for this link. It stands in its place before the message does: the link may turn
    /// out to be the last drop too full and go.
    fn send_ask(&mut self, ask_id: AskId, link_id: LinkId) {
        let id = RequestId::from_random(self.rng.random());
        let now = self.mono();
        let (Some(ask), Some(link)) = (self.asks.get_mut(&ask_id), self.links.get_mut(link_id)) else {
            return;
        };
        let Some(Route::Opening { node, model }) = ask.route.take() else {
            return;
        };
        let mut request = (*ask.request).clone();
        request.model = model;
        request.stream = Some(true); // Whatever the user wants to see at once: the link carries chunks.
        ask.route = Some(Route::Sent { node, link: link_id, id: id.clone() });
        // A peer that has not said yet whether it numbers its answers is asked to: others do not know the field.
        let resumable = self.roster.get(node).is_none_or(|peer| peer.resumable != Some(false));
        ask.moving = resumable.then(|| moving::Progress::new(link.security));
        let waited = now.saturating_sub(ask.asked_at);
        let first_time = !std::mem::replace(&mut ask.was_sent, true);
        link.asks.insert(id.clone(), ask_id);
        link.used_at = now;
        let message =
            InferenceRequest { request_id: id, request, streaming: true, resumable, extra: Extra::new() };
        if first_time {
            self.event(ClusterEvent::Started { node: Some(node), waited });
        }
        self.send(link_id, ClusterMessage::InferenceRequest(Box::new(message)));
    }

    /// Sends what waited for a link to this peer, and lets go on what was on its way.
    pub(super) fn send_waiting_asks(&mut self, peer: NodeId) {
        if let Some((link, _)) = self.links.of(peer) {
            self.pay_cancels(peer, link);
        }
        for id in self.waiting_for(peer) {
            let Some((link, _)) = self.links.of(peer) else { continue };
            match self.asks.get(&id).and_then(|ask| ask.route.as_ref()) {
                Some(Route::Moving { .. }) => self.resume_ask(id, link),
                _ => self.send_ask(id, link),
            }
        }
    }

    /// No link to this peer is to be had: whoever waited for one goes elsewhere, what began there ends.
    pub(super) fn reroute_waiting_asks(&mut self, peer: NodeId, reason: &str) {
        for id in self.waiting_for(peer) {
            if let Some(Route::Moving { .. }) = self.asks.get(&id).and_then(|ask| ask.route.as_ref()) {
                self.fail_move(id, reason);
                continue;
            }
            self.release(id);
            if let Some(ask) = self.asks.get_mut(&id) {
                ask.exclude(peer, AskError::Unavailable(plain(reason)));
            }
            self.route(id);
        }
    }

    /// A link's peer is out of routing: whoever waits for a first token there goes elsewhere if somebody else
    /// has the model.
    pub(super) fn reroute_unbegun_asks(&mut self, link: LinkId) {
        let Some(entry) = self.links.get(link) else {
            return;
        };
        let peer = entry.peer;
        for id in entry.asks.values().copied().collect::<Vec<_>>() {
            let Some(ask) = self.asks.remove(&id) else { continue };
            let elsewhere = ask.progress.is_none() && self.best_candidate(&ask).is_some();
            self.asks.insert(id, ask);
            if elsewhere {
                self.withdraw(id);
                if let Some(ask) = self.asks.get_mut(&id) {
                    ask.exclude(peer, AskError::Unavailable("the provider does not answer".into()));
                }
                self.route(id);
            }
        }
    }

    fn waiting_for(&self, peer: NodeId) -> Vec<AskId> {
        let waits = |ask: &Ask| match &ask.route {
            Some(Route::Opening { node, .. } | Route::Moving { node, .. }) => *node == peer,
            _ => false,
        };
        self.asks.iter().filter(|(_, ask)| waits(ask)).map(|(id, _)| *id).collect()
    }

    /// Takes a request off its route, without a word to the provider.
    pub(super) fn release(&mut self, id: AskId) -> Option<Route> {
        let now = self.mono();
        let route = self.asks.get_mut(&id)?.route.take()?;
        if let Some(peer) = route.peer().and_then(|peer| self.roster.get_mut(peer)) {
            peer.in_flight = peer.in_flight.saturating_sub(1);
        }
        if let Route::Sent { link, id, .. } = &route
            && let Some(link) = self.links.get_mut(*link)
        {
            link.asks.remove(id);
            link.forget(id.clone());
            link.used_at = now;
        }
        Some(route)
    }

    /// Takes a request off its route and stops the provider.
    fn withdraw(&mut self, id: AskId) {
        match self.release(id) {
            Some(Route::Sent { link, id, .. }) => self.send_cancel(link, id),
            Some(Route::Own(job)) => self.stop_job(job, None),
            Some(Route::Moving { node, id, .. }) => self.owe_cancel(node, id),
            Some(Route::Opening { .. }) | None => {}
        }
    }

    pub(super) fn send_cancel(&mut self, link: LinkId, request_id: RequestId) {
        let cancel = InferenceCancel { request_id, extra: Extra::new() };
        self.send(link, ClusterMessage::InferenceCancel(cancel));
    }

    pub(super) fn end(&mut self, id: AskId, result: Result<(), AskError>) {
        if self.asks.remove(&id).is_some() {
            self.out.push_back(Output::End { ask: id, result });
        }
    }

    pub(super) fn ask_cancelled(&mut self, id: AskId) {
        self.withdraw(id);
        self.asks.remove(&id);
    }

    pub(super) fn ask_overrun(&mut self, id: AskId) {
        self.withdraw(id);
        self.end(id, Err(AskError::Unavailable("the answer was not read and grew too long to keep".into())));
    }

    /// The link under a request is gone for good.
    pub(super) fn ask_link_lost(&mut self, id: AskId, peer: NodeId, reason: &str) {
        self.release(id);
        self.lose_ask(id, peer, AskError::LinkLost(plain(reason)));
    }

    /// A request lost its provider: the end after the first token, before it another attempt, at last there too.
    pub(super) fn lose_ask(&mut self, id: AskId, peer: NodeId, error: AskError) {
        let Some(ask) = self.asks.get_mut(&id) else {
            return;
        };
        if ask.progress.is_some() {
            self.end(id, Err(error));
            return;
        }
        ask.held.clear();
        if ask.was_lost(peer) {
            ask.exclude(peer, error);
        } else {
            ask.lost.push(peer);
            ask.remember(error);
        }
        self.route(id);
    }

    /// A request failed at its provider: elsewhere before the first token, the end after it.
    pub(super) fn ask_failed(&mut self, id: AskId, error: AskError) {
        let peer = self.release(id).and_then(|route| route.peer());
        let Some(ask) = self.asks.get_mut(&id) else {
            return;
        };
        let final_word = matches!(
            &error,
            AskError::Provider { code: ErrorCode::InvalidRequest, .. } | AskError::TooBig { .. }
        );
        if ask.progress.is_some() || final_word {
            self.end(id, Err(error));
            return;
        }
        ask.held.clear();
        match peer {
            Some(peer) => ask.exclude(peer, error),
            None => ask.remember(error),
        }
        self.route(id);
    }

    /// A message of ours does not fit the carrier: the request it belongs to ends.
    pub(super) fn unsendable(&mut self, link: LinkId, request: &RequestId, got: usize, limit: usize) {
        let Some(entry) = self.links.get(link) else {
            return;
        };
        if let Some(ask) = entry.asks.get(request).copied() {
            self.ask_failed(ask, AskError::TooBig { got, limit });
        } else if let Some(job) = entry.jobs.get(request).copied() {
            self.stop_job(job, Some("a piece of the answer does not fit the carrier"));
        }
    }

    /// When a request has waited too long, or has to be looked at again.
    pub(super) fn ask_deadline(&self, ask: &Ask) -> Duration {
        if let Some(until) = Self::move_deadline(ask) {
            return until;
        }
        match (&ask.progress, &ask.route) {
            // The own backend may be waiting for a slow reader; its driver watches the engine instead.
            (Some(_), Some(Route::Own(_))) => Duration::MAX,
            (Some(progress), _) => progress.last.saturating_add(self.config.next_token_timeout),
            (None, _) => ask.first_by,
        }
    }

    pub(super) fn time_out_asks(&mut self) {
        let now = self.mono();
        let late = self.asks.iter().filter(|(_, ask)| self.ask_deadline(ask) <= now);
        for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            if self.asks.get(&id).and_then(Self::move_deadline).is_some() {
                self.fail_move(id, "not in time");
                continue;
            }
            self.withdraw(id);
            self.end(id, Err(AskError::Timeout));
        }
    }

    pub(super) fn fail_all_asks(&mut self) {
        for id in self.asks.keys().copied().collect::<Vec<_>>() {
            self.withdraw(id);
            self.end(id, Err(AskError::ShuttingDown));
        }
    }
}
