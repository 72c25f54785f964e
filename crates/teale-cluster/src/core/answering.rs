//! Answers that come in: held until they begin, passed on, completed with their usage.

use std::time::Duration;

use teale_wire::{
    ErrorCode, Extra, InferenceChunk, InferenceComplete, InferenceError, RequestId,
    chat::{ChatChunk, Usage},
};

use super::{
    AskId, CloseReason, Core, LinkId, Output,
    asking::{Ask, Route, plain},
    bounds,
    merge::{is_opening, text_len},
    moving::{self, Turn},
};
use crate::{AskError, ClusterEvent, LinkPath};

/// The answer so far, once it began.
#[derive(Debug)]
pub(super) struct Progress {
    first: Duration,
    pub(super) last: Duration,
    chunks: u64,
    /// What the usage chunk needs if the provider only tells the numbers.
    id: String,
    created: u64,
    model: String,
    usage_seen: bool,
}

impl Core {
    /// A chunk of the answer, from whichever provider.
    pub(super) fn ask_chunk(&mut self, id: AskId, chunk: ChatChunk) {
        let now = self.mono();
        let Some(ask) = self.asks.get_mut(&id) else {
            return;
        };
        if ask.progress.is_none() && is_opening(&chunk) && ask.held.len() < bounds::HELD_CHUNKS {
            ask.held.push(chunk);
            return;
        }
        if ask.progress.is_none() {
            self.begin(id, &chunk);
        }
        let Some(ask) = self.asks.get_mut(&id) else {
            return;
        };
        if let Some(progress) = &mut ask.progress {
            progress.last = now;
            progress.chunks += 1;
            progress.usage_seen |= chunk.usage.is_some();
        }
        self.out.push_back(Output::Deliver { ask: id, chunk });
    }

    /// The first chunk with something in it: from here on there is no other provider.
    fn begin(&mut self, id: AskId, chunk: &ChatChunk) {
        let now = self.mono();
        let Some(ask) = self.asks.get_mut(&id) else {
            return;
        };
        let (node, path, security) = match &ask.route {
            Some(Route::Sent { node, link, .. }) => {
                let link = self.links.get(*link);
                (Some(*node), link.map_or(LinkPath::Relay, |link| link.path), link.map(|link| link.security))
            }
            _ => (None, LinkPath::Own, None),
        };
        ask.progress = Some(Progress {
            first: now,
            last: now,
            chunks: 0,
            id: chunk.id.clone(),
            created: chunk.created,
            model: chunk.model.clone(),
            usage_seen: false,
        });
        let held = std::mem::take(&mut ask.held);
        self.out.push_back(Output::Begin { ask: id, node, path, security });
        self.out.extend(held.into_iter().map(|chunk| Output::Deliver { ask: id, chunk }));
        self.wake_by(now.saturating_add(self.config.next_token_timeout));
    }

    /// The answer is whole. A usage the provider told only in numbers becomes the last chunk.
    pub(super) fn ask_complete(&mut self, id: AskId, tokens_in: Option<u64>, tokens_out: Option<u64>) {
        let now = self.mono();
        let unbegun = self.asks.get(&id).filter(|ask| ask.progress.is_none());
        if let Some(first) = unbegun.and_then(|ask| ask.held.first()).cloned() {
            self.begin(id, &first); // An empty answer is an answer, and its route says whose.
        }
        let peer = self.release(id).and_then(|route| route.peer());
        let Some(ask) = self.asks.get_mut(&id) else {
            return;
        };
        if ask.progress.is_none() {
            let message = "the provider ended the answer before it began".to_owned();
            let error = AskError::Provider { node: peer, code: ErrorCode::InternalError, message };
            if let Some(peer) = peer {
                ask.exclude(peer, error);
            } else {
                ask.remember(error);
            }
            self.route(id);
            return;
        }
        let Some(progress) = self.asks.get_mut(&id).and_then(|ask| ask.progress.take()) else {
            return;
        };
        let tokens = tokens_out.unwrap_or(progress.chunks);
        let seconds = progress.last.saturating_sub(progress.first).as_secs_f64();
        if let Some(peer) = peer.and_then(|peer| self.roster.get_mut(peer))
            && tokens > 1
            && seconds > 0.0
        {
            peer.measure((tokens - 1) as f64 / seconds);
        }
        if let (false, Some(completion_tokens)) = (progress.usage_seen, tokens_out) {
            let prompt_tokens = tokens_in.unwrap_or(0);
            let total_tokens = prompt_tokens.saturating_add(completion_tokens);
            let usage = Usage { prompt_tokens, completion_tokens, total_tokens, extra: Extra::new() };
            let chunk = ChatChunk {
                id: progress.id,
                object: "chat.completion.chunk".into(),
                created: progress.created,
                model: progress.model,
                choices: Vec::new(),
                usage: Some(usage),
                extra: Extra::new(),
            };
            self.out.push_back(Output::Deliver { ask: id, chunk });
        }
        tracing::trace!(ask = id.0, ?now, "answered");
        self.end(id, Ok(()));
    }

    /// The request of ours that a message of an answer belongs to, if its turn has come. A message left out is the
    /// link's end: the answer goes on over another one.
    fn answered(
        &mut self,
        link_id: LinkId,
        request: &RequestId,
        seq: Option<u64>,
        text: usize,
    ) -> Option<AskId> {
        let link = self.links.get(link_id)?;
        let (peer, ask) = (link.peer, *link.asks.get(request)?);
        match self.take_turn(ask, seq, text) {
            Turn::Next => Some(ask),
            Turn::Old => None,
            Turn::Gap => {
                self.counters.rejected += 1;
                let reason = CloseReason::Gap.to_string();
                self.event(ClusterEvent::Refused { node: peer, reason });
                self.close_link(link_id, CloseReason::Gap);
                None
            }
        }
    }

    pub(super) fn answer_chunk(&mut self, link_id: LinkId, message: InferenceChunk) {
        let Some(link) = self.links.get(link_id) else {
            return;
        };
        if !link.asks.contains_key(&message.request_id) {
            return self.stray_chunk(link_id, message.request_id);
        }
        let text = text_len(&message.chunk);
        if let Some(ask) = self.answered(link_id, &message.request_id, message.seq, text) {
            self.tell_received(link_id, ask, &message.request_id, false);
            self.ask_chunk(ask, message.chunk);
        }
    }

    /// A chunk of something that ended here, or never was: the first one of a stranger is answered by a cancel.
    fn stray_chunk(&mut self, link_id: LinkId, request: RequestId) {
        self.counters.strays += 1;
        let Some(link) = self.links.get_mut(link_id) else {
            return;
        };
        let peer = link.peer;
        if link.forget(request.clone()) && !self.is_under_way(peer, &request) {
            self.send_cancel(link_id, request);
        }
    }

    pub(super) fn answer_complete(&mut self, link: LinkId, message: &InferenceComplete) {
        if let Some(ask) = self.answered(link, &message.request_id, message.seq, 0) {
            self.tell_received(link, ask, &message.request_id, true);
            self.ask_complete(ask, message.tokens_in, message.tokens_out);
        }
    }

    /// An error without a number is no part of the answer, and ends it wherever it stands.
    pub(super) fn answer_error(&mut self, link: LinkId, message: InferenceError) {
        let Some(entry) = self.links.get(link) else {
            return;
        };
        let peer = entry.peer;
        let ask = match message.seq {
            Some(_) => self.answered(link, &message.request_id, message.seq, 0),
            None => entry.asks.get(&message.request_id).copied(),
        };
        let Some(id) = ask else {
            return;
        };
        if message.seq.is_some() {
            self.tell_received(link, id, &message.request_id, true);
        }
        let code = match message.code {
            Some(ErrorCode::Other(code)) => ErrorCode::Other(plain(&code)),
            Some(code) => code,
            None => ErrorCode::InternalError,
        };
        let text = plain(&message.error_message);
        let has_moved = |ask: &Ask| ask.moving.as_ref().is_some_and(moving::Progress::has_moved);
        let is_unknown = message.seq.is_none() && code == ErrorCode::Unavailable;
        if is_unknown && self.asks.get(&id).is_some_and(|ask| ask.progress.is_none() && has_moved(ask)) {
            // The provider never got it, or let go of it: nothing of it was seen, so it may be asked again.
            self.ask_link_lost(id, peer, "the provider does not have the request any more");
            // Or it has yet to come, over the link it left on: what follows from it there is answered by a cancel.
            return self.links.remember_as_strange(peer, link, &message.request_id);
        }
        self.ask_failed(id, AskError::Provider { node: Some(peer), code, message: text });
    }
}
