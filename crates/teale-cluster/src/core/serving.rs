//! Requests at the own backend: admitted to a slot or the queue, streamed out, stopped when nobody wants them.

use std::time::Duration;

use teale_wire::{
    ClusterMessage, ErrorCode, Extra, InferenceChunk, InferenceComplete, InferenceError, InferenceRequest,
    NodeId, RequestId,
    chat::{ChatChunk, ChatRequest, Usage},
    model_matches,
};

use super::{
    AskId, Core, JobId, LinkId, Output, bounds,
    link::Greeting,
    merge::{can_merge, is_opening, merge},
    resuming::Resumable,
    roster::average,
    stream::Stream,
};
use crate::{AskError, BackendError, ClusterEvent};

/// Whose request it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Of this node's own user, or of a guest: the answer goes to whoever asked here.
    Own { ask: AskId, guest: Option<NodeId> },
    /// On a link, which may be gone where the request is resumable.
    Peer { link: LinkId, peer: NodeId, id: RequestId },
}

impl Origin {
    pub(super) fn peer(&self) -> Option<NodeId> {
        match self {
            Self::Own { guest, .. } => *guest,
            Self::Peer { peer, .. } => Some(*peer),
        }
    }

    pub(super) fn link(&self) -> Option<LinkId> {
        match self {
            Self::Own { .. } => None,
            Self::Peer { link, .. } => Some(*link),
        }
    }
}

#[derive(Debug)]
pub(super) enum JobState {
    /// Waits for a slot.
    Queued(Box<ChatRequest>),
    /// Holds a slot.
    Running,
    /// Nobody wants it any more; holds its slot until the stream is gone.
    Stopping,
    /// Its stream is gone. Where it is resumable, the answer's end is kept until the asker has it.
    Ended,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) origin: Origin,
    pub(super) state: JobState,
    pub(super) resumable: Option<Resumable>,
    pub(super) model: String,
    streaming: bool,
    include_usage: bool,
    usage: Option<Usage>,
    /// The answer to a request without streaming, as far as it is.
    whole: Option<ChatChunk>,
    pub(super) chunks: u64,
    admitted: Duration,
    first: Duration,
}

impl Job {
    pub(super) fn asker(&self) -> Option<AskId> {
        match self.origin {
            Origin::Own { ask, .. } => Some(ask),
            Origin::Peer { .. } => None,
        }
    }

    /// Whether its asker is not there, or has yet to say that it has the end.
    pub(super) fn waits_for_asker(&self) -> bool {
        !self.is_alive() || self.resumable.as_ref().is_some_and(|resumable| resumable.detached.is_some())
    }

    /// Whether it waits for a slot, holds one, or has yet to let go of it.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.state, JobState::Ended)
    }
}

impl Core {
    /// A peer asks.
    pub(super) fn request(&mut self, link_id: LinkId, message: Box<InferenceRequest>) {
        let InferenceRequest { request_id: id, mut request, streaming, resumable, .. } = *message;
        let Some(link) = self.links.get(link_id) else {
            return;
        };
        let (peer, security) = (link.peer, link.security);
        let asked = self.resolve(&request.model);
        let model = self.own_model(asked);
        let in_use = link.jobs.contains_key(&id) || self.resumables.contains_key(&(peer, id.clone()));
        let refusal = if in_use {
            Some((ErrorCode::InvalidRequest, "this request id is in use"))
        } else if self.draining {
            Some((ErrorCode::Unavailable, "the node is shutting down"))
        } else if self.config.passcode.is_some() && link.greeting != Greeting::Member {
            Some((ErrorCode::Unavailable, "the cluster asks for its passcode first"))
        } else if link.jobs.len() >= bounds::REQUESTS_PER_LINK {
            Some((ErrorCode::QueueFull, "too many requests on this link"))
        } else if model.is_none() && self.own.models.iter().any(|model| model_matches(asked, &model.id)) {
            Some((ErrorCode::ModelNotLoaded, "the model is not ready"))
        } else {
            None
        };
        let model = match (refusal, model) {
            (Some((code, message)), _) => return self.send_error(link_id, id, code, message),
            (None, None) => {
                return self.send_error(link_id, id, ErrorCode::ModelNotLoaded, "no such model here");
            }
            (None, Some(model)) => model,
        };
        request.model = model;
        let now = self.mono();
        if let Some(link) = self.links.get_mut(link_id) {
            link.used_at = now;
        }
        let origin = Origin::Peer { link: link_id, peer, id: id.clone() };
        let numbered = resumable.then(|| Resumable::new(security));
        match self.admit(origin, Box::new(request), streaming, numbered) {
            Ok(job) => {
                if let Some(link) = self.links.get_mut(link_id) {
                    if resumable {
                        link.outbox.put_stream(job, Stream::resumable());
                        self.resumables.insert((peer, id.clone()), job);
                    }
                    link.jobs.insert(id, job);
                }
                self.pump_jobs();
            }
            Err(code) => self.send_error(link_id, id, code, "all slots and the queue are taken"),
        }
    }

    pub(super) fn send_error(&mut self, link: LinkId, request_id: RequestId, code: ErrorCode, message: &str) {
        let error_message = message.to_owned();
        let error =
            InferenceError { request_id, error_message, code: Some(code), seq: None, extra: Extra::new() };
        self.send(link, ClusterMessage::InferenceError(error));
    }

    /// Gives a request its place: at once where a slot is free and nobody waits, else in the queue. The caller
    /// says [`Core::pump_jobs`] when it has noted the number.
    pub(super) fn admit(
        &mut self,
        origin: Origin,
        request: Box<ChatRequest>,
        streaming: bool,
        resumable: Option<Resumable>,
    ) -> Result<JobId, ErrorCode> {
        let id = JobId(self.next_job);
        self.next_job += 1;
        let who = origin.peer();
        let include_usage = request.stream_options.as_ref().and_then(|options| options.include_usage);
        let job = Job {
            origin,
            model: request.model.clone(),
            streaming,
            include_usage: include_usage.unwrap_or(false),
            state: JobState::Queued(request),
            resumable,
            usage: None,
            whole: None,
            chunks: 0,
            admitted: self.mono(),
            first: Duration::ZERO,
        };
        if self.slots_busy < self.own.slots && self.queue.len() == 0 {
            self.jobs.insert(id, job);
            self.start_job(id);
            return Ok(id);
        }
        let evicted = self.queue.push(who, id).map_err(|_| ErrorCode::QueueFull)?;
        self.jobs.insert(id, job);
        if let Some(evicted) = evicted {
            self.refuse_job(evicted, ErrorCode::QueueFull, "others wait too, and the queue is full");
        }
        Ok(id)
    }

    /// Fills free slots from the queue.
    pub(super) fn pump_jobs(&mut self) {
        while self.slots_busy < self.own.slots
            && let Some(job) = self.queue.pop()
        {
            self.start_job(job);
        }
    }

    fn start_job(&mut self, id: JobId) {
        let now = self.mono();
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.first = now;
        if let JobState::Queued(request) = std::mem::replace(&mut job.state, JobState::Running) {
            let waited = now.saturating_sub(job.admitted);
            self.slots_busy += 1;
            self.out.push_back(Output::Start { job: id, request });
            self.event(ClusterEvent::Started { node: None, waited });
        }
    }

    pub(super) fn job_has_room(&self, id: JobId, job: &Job) -> bool {
        if let Some(detached) = job.resumable.as_ref().and_then(|resumable| resumable.detached.as_ref()) {
            return detached.may_grow();
        }
        match &job.origin {
            Origin::Own { .. } => true,
            Origin::Peer { link, .. } => self.links.get(*link).is_none_or(|link| link.outbox.has_room(id)),
        }
    }

    pub(super) fn job_chunk(&mut self, id: JobId, mut chunk: ChatChunk) {
        let now = self.mono();
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if !matches!(job.state, JobState::Running) {
            return;
        }
        if job.chunks == 0 && !is_opening(&chunk) {
            job.first = now;
        }
        job.chunks += u64::from(!is_opening(&chunk));
        if let Some(usage) = &chunk.usage {
            job.usage = Some(usage.clone());
        }
        match job.origin.clone() {
            Origin::Own { ask, .. } => self.ask_chunk(ask, chunk),
            Origin::Peer { .. } => {
                if chunk.usage.is_some() && !job.include_usage {
                    if chunk.choices.is_empty() {
                        return; // The numbers travel with inferenceComplete.
                    }
                    chunk.usage = None;
                }
                if job.streaming {
                    self.send_chunk(id, chunk);
                } else if let Some(full) = collect(&mut job.whole, chunk) {
                    self.send_chunk(id, full);
                }
            }
        }
    }

    fn send_chunk(&mut self, id: JobId, chunk: ChatChunk) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let Origin::Peer { link, id: request_id, .. } = &job.origin else {
            return;
        };
        let message =
            InferenceChunk { request_id: request_id.clone(), chunk, seq: None, extra: Extra::new() };
        if let Some(stream) = job.resumable.as_mut().and_then(|resumable| resumable.detached.as_mut()) {
            stream.push_chunk(message);
        } else if let Some(entry) = self.links.get_mut(*link) {
            entry.outbox.push_chunk(id, message);
            self.out.push_back(Output::Transmit(*link));
        }
    }

    /// The stream is gone: tells whoever waits for the end, and gives the slot to the next.
    pub(super) fn job_done(&mut self, id: JobId, result: Result<(), BackendError>) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if matches!(job.state, JobState::Queued(_) | JobState::Ended) {
            return;
        }
        self.slots_busy = self.slots_busy.saturating_sub(1);
        let was_wanted = matches!(std::mem::replace(&mut job.state, JobState::Ended), JobState::Running);
        match job.origin.clone() {
            _ if !was_wanted => drop(self.jobs.remove(&id)),
            Origin::Own { ask, guest } => {
                self.measure(id);
                let job = self.jobs.remove(&id);
                if let (Some(node), Some(job)) = (guest, job) {
                    let tokens = job.usage.as_ref().map_or(job.chunks, |usage| usage.completion_tokens);
                    self.served(node, job.model, tokens, result.as_ref().err().map(ToString::to_string));
                }
                match result {
                    Ok(()) => self.ask_complete(ask, None, None),
                    Err(error) => self.ask_failed(ask, local_error(&error, guest.is_some())),
                }
            }
            Origin::Peer { link, peer, id: request } => {
                self.measure(id);
                self.answer_ends(id, link, request, peer, result);
            }
        }
        self.pump_jobs();
    }

    fn answer_ends(
        &mut self,
        id: JobId,
        link_id: LinkId,
        request_id: RequestId,
        peer: NodeId,
        result: Result<(), BackendError>,
    ) {
        let whole = self.jobs.get_mut(&id).and_then(|job| job.whole.take());
        if let (Ok(()), Some(whole)) = (&result, whole) {
            self.send_chunk(id, whole);
        }
        let now = self.mono();
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let tokens = job.usage.as_ref().map_or(job.chunks, |usage| usage.completion_tokens);
        let error = result.as_ref().err().map(ToString::to_string);
        let message = last_message(&request_id, job.usage.as_ref(), result);
        let model = job.model.clone();
        let mut until = None;
        if let Some(resumable) = &mut job.resumable {
            until = Some(resumable.until.unwrap_or(now.saturating_add(bounds::DETACHED)));
            resumable.until = until;
        }
        match job.resumable.as_mut().and_then(|resumable| resumable.detached.as_mut()) {
            Some(stream) => stream.push(message),
            None => {
                if let Some(link) = self.links.get_mut(link_id) {
                    link.used_at = now;
                    link.outbox.push_stream(id, message);
                    self.out.push_back(Output::Transmit(link_id));
                }
            }
        }
        match until {
            Some(until) => {
                self.wake_by(until);
                self.bound_kept_ends(peer);
            }
            None => {
                self.jobs.remove(&id);
                if let Some(link) = self.links.get_mut(link_id) {
                    link.jobs.remove(&request_id);
                }
            }
        }
        self.served(peer, model, tokens, error);
    }

    /// Somebody else's request is over.
    pub(super) fn served(&mut self, node: NodeId, model: String, tokens: u64, error: Option<String>) {
        self.counters.served += 1;
        self.event(ClusterEvent::Served { node, model, tokens, error });
    }

    fn measure(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let tokens = job.usage.as_ref().map_or(job.chunks, |usage| usage.completion_tokens);
        let seconds = self.mono().saturating_sub(job.first).as_secs_f64();
        if tokens > 1 && seconds > 0.0 {
            self.own.speed = Some(average(self.own.speed, tokens as f64 / seconds));
        }
    }
}

/// How an answer ends on the wire.
fn last_message(
    request_id: &RequestId,
    usage: Option<&Usage>,
    result: Result<(), BackendError>,
) -> ClusterMessage {
    let request_id = request_id.clone();
    match result {
        Ok(()) => ClusterMessage::InferenceComplete(InferenceComplete {
            request_id,
            tokens_in: usage.map(|usage| usage.prompt_tokens),
            tokens_out: usage.map(|usage| usage.completion_tokens),
            seq: None,
            extra: Extra::new(),
        }),
        Err(error) => ClusterMessage::InferenceError(InferenceError {
            request_id,
            error_message: error.public_text(),
            code: Some(error.code()),
            seq: None,
            extra: Extra::new(),
        }),
    }
}

/// Adds a chunk to a whole answer; what cannot be joined, or grew too long, is returned to be sent first.
fn collect(whole: &mut Option<ChatChunk>, chunk: ChatChunk) -> Option<ChatChunk> {
    match whole {
        Some(last) if can_merge(last, &chunk, bounds::WHOLE_TEXT) => {
            merge(last, chunk);
            None
        }
        _ => whole.replace(chunk),
    }
}

/// What is told here; a guest hears nothing of this machine's inside.
fn local_error(error: &BackendError, guest: bool) -> AskError {
    match error {
        BackendError::Timeout => AskError::Timeout,
        error => {
            let message = if guest { error.public_text() } else { error.to_string() };
            AskError::Provider { node: None, code: error.code(), message }
        }
    }
}
