//! Answers of the own backend whose link died: kept for a while, and sent on where their asker comes back.

use std::{collections::BTreeMap, time::Duration};

use teale_relay_client::Security;
use teale_wire::{ErrorCode, InferenceAck, InferenceResume, NodeId, RequestId};

use super::{
    Core, JobId, LinkId, Output, bounds,
    link::{Greeting, Link},
    serving::{JobState, Origin},
    stream::Stream,
};
use crate::LinkPath;

/// What a resumable request has beyond others.
#[derive(Debug)]
pub(super) struct Resumable {
    /// How well the link was protected on which the request came; no worse one gets its answer.
    protection: u8,
    /// The last move the asker made.
    attempt: u64,
    /// The answer, while no link has it.
    pub(super) detached: Option<Stream>,
    /// When it ends for want of a link, or when what is kept of its end is forgotten.
    pub(super) until: Option<Duration>,
}

impl Resumable {
    pub(super) fn new(security: Security) -> Self {
        Self { protection: protection(security), attempt: 0, detached: None, until: None }
    }
}

/// What is kept of one asker's answers that ended.
#[derive(Default)]
struct KeptEnds {
    /// The oldest that may be forgotten.
    oldest: Option<JobId>,
    count: usize,
    text: usize,
}

/// How well a link is protected; more is better.
pub(super) fn protection(security: Security) -> u8 {
    match security {
        Security::Plaintext => 0,
        Security::Sealed { verified: false, .. } => 1,
        Security::Sealed { verified: true, .. } => 2,
    }
}

impl Core {
    /// The link under a request is gone. A resumable one waits for its asker to come back, others stop.
    pub(super) fn detach_job(&mut self, id: JobId, link: &mut Link, keeps: bool) {
        let now = self.mono();
        let alone = link.path >= LinkPath::Relay && !self.has_other_way(link.peer, link.path);
        let patience = if alone { bounds::DETACHED_ALONE } else { bounds::DETACHED };
        let over = self.over || !keeps;
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let ended = matches!(job.state, JobState::Ended);
        let Some(resumable) = job.resumable.as_mut().filter(|_| !over) else {
            return self.stop_job(id, Some("the link was lost"));
        };
        let stream = link.outbox.take_stream(id).unwrap_or_else(Stream::resumable);
        if ended && stream.is_empty() {
            return self.forget_job(id);
        }
        let until = now.saturating_add(patience);
        (resumable.detached, resumable.until) = (Some(stream), Some(until));
        self.wake_by(until);
        self.out.push_back(Output::Pull(id));
        if ended {
            self.bound_kept_ends(link.peer);
        }
    }

    /// Whether a peer may come back on another way than this one.
    fn has_other_way(&self, peer: NodeId, than: LinkPath) -> bool {
        let known =
            self.roster.get(peer).is_some_and(|peer| peer.paths(self.mono()).any(|path| path != than));
        known || self.links.with(peer).any(|(_, link)| !link.is_guest())
    }

    /// A peer wants an answer to go on over this link.
    pub(super) fn resume(&mut self, link_id: LinkId, message: InferenceResume) {
        let InferenceResume { request_id: id, received, attempt, .. } = message;
        let Some(link) = self.links.get(link_id) else {
            return;
        };
        let (peer, strength) = (link.peer, protection(link.security));
        let stranger = self.config.passcode.is_some() && link.greeting != Greeting::Member;
        let found = self.resumables.get(&(peer, id.clone())).copied().filter(|_| !stranger);
        let entry = found.and_then(|job| Some((job, self.jobs.get_mut(&job)?)));
        let Some((job_id, job)) = entry else {
            return self.send_error(link_id, id, ErrorCode::Unavailable, "no such request to go on with");
        };
        let Some(resumable) = &mut job.resumable else {
            return;
        };
        if attempt <= resumable.attempt {
            return; // A later move overtook this one.
        }
        if strength < resumable.protection {
            let text = "this link is less protected than the one the request came on";
            return self.send_error(link_id, id, ErrorCode::Unavailable, text);
        }
        resumable.attempt = attempt;
        let old = job.origin.link();
        let detached = resumable.detached.take();
        let attached = || self.links.get_mut(old?)?.outbox.take_stream(job_id);
        let mut stream = detached.or_else(attached).unwrap_or_else(Stream::resumable);
        let in_step = stream.rewind(received);
        self.attach(job_id, link_id, &id, stream);
        if in_step.is_err() {
            self.stop_job(job_id, Some("what was received is not what was sent"));
        }
    }

    fn attach(&mut self, job_id: JobId, link_id: LinkId, id: &RequestId, stream: Stream) {
        let now = self.mono();
        let Some(job) = self.jobs.get_mut(&job_id) else {
            return;
        };
        let old = job.origin.link();
        if let Origin::Peer { link, .. } = &mut job.origin {
            *link = link_id;
        }
        let ended = matches!(job.state, JobState::Ended);
        let until = ended.then_some(now.saturating_add(bounds::DETACHED));
        if let Some(resumable) = &mut job.resumable {
            resumable.until = until;
        }
        if let Some(old) = old.and_then(|old| self.links.get_mut(old)) {
            old.jobs.remove(id);
            old.used_at = now;
        }
        if let Some(link) = self.links.get_mut(link_id) {
            link.jobs.insert(id.clone(), job_id);
            link.used_at = now;
            link.outbox.put_stream(job_id, stream);
        }
        until.into_iter().for_each(|until| self.wake_by(until));
        self.out.push_back(Output::Transmit(link_id));
        self.out.push_back(Output::Pull(job_id));
    }

    /// All of an answer that may be kept was sent: its asker acknowledges some of it, or loses its slot.
    pub(super) fn expect_acknowledgement(&mut self, id: JobId) {
        let until = self.mono().saturating_add(bounds::UNACKNOWLEDGED);
        let alive = self.jobs.get_mut(&id).filter(|job| job.is_alive());
        if let Some(resumable) = alive.and_then(|job| job.resumable.as_mut()) {
            resumable.until = Some(until);
            self.wake_by(until);
        }
    }

    /// A peer has so much of an answer.
    pub(super) fn acknowledged(&mut self, link_id: LinkId, message: &InferenceAck) {
        let Some(link) = self.links.get_mut(link_id) else {
            return;
        };
        let Some(job) = link.jobs.get(&message.request_id).copied() else {
            return;
        };
        let Some(stream) = link.outbox.stream_mut(job) else {
            return;
        };
        let had_room = stream.has_room();
        if stream.acknowledge(message.received).is_err() {
            return self.stop_job(job, Some("what was acknowledged is not what was sent"));
        }
        let (has_room, is_empty) = (stream.has_room(), stream.is_empty());
        let resumable =
            self.jobs.get_mut(&job).filter(|job| job.is_alive()).and_then(|job| job.resumable.as_mut());
        if let Some(resumable) = resumable.filter(|_| has_room) {
            resumable.until = None;
        }
        if is_empty && self.jobs.get(&job).is_some_and(|job| matches!(job.state, JobState::Ended)) {
            self.forget_job(job);
        } else if has_room && !had_room {
            self.out.push_back(Output::Pull(job));
        }
    }

    /// Lets go of an answer that ended: the asker has it, or does not come back for it.
    pub(super) fn forget_job(&mut self, id: JobId) {
        let now = self.mono();
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        let Origin::Peer { link, peer, id: request } = job.origin else {
            return;
        };
        self.unlist(peer, &request, id);
        if let Some(link) = self.links.get_mut(link) {
            link.jobs.remove(&request);
            link.outbox.take_stream(id);
            link.used_at = now;
        }
    }

    /// Askers that never say that they have the end keep only so much, and what one keeps costs no other one his.
    pub(super) fn bound_kept_ends(&mut self, peer: NodeId) {
        loop {
            let kept = self.kept_ends();
            let own = kept.get(&peer).filter(|own| {
                own.count > bounds::KEPT_ENDS_PER_PEER || own.text > bounds::KEPT_TEXT_PER_PEER
            });
            let too_many = kept.values().map(|of| of.count).sum::<usize>() > bounds::KEPT_ENDS;
            let too_long = kept.values().map(|of| of.text).sum::<usize>() > bounds::KEPT_TEXT;
            let heaviest = if too_many {
                kept.values().max_by_key(|of| of.count)
            } else if too_long {
                kept.values().max_by_key(|of| of.text)
            } else {
                None
            };
            let Some(oldest) = own.or(heaviest).and_then(|of| of.oldest) else { return };
            self.forget_job(oldest);
        }
    }

    /// What is kept of answers that ended, by asker. One that its link has yet to send is no one's to forget.
    fn kept_ends(&self) -> BTreeMap<NodeId, KeptEnds> {
        let mut kept: BTreeMap<NodeId, KeptEnds> = BTreeMap::new();
        for (id, job) in self.jobs.iter().filter(|(_, job)| !job.is_alive()) {
            let Origin::Peer { link, peer, .. } = job.origin else { continue };
            let detached = job.resumable.as_ref().and_then(|resumable| resumable.detached.as_ref());
            let attached = || self.links.get(link)?.outbox.stream(*id);
            let Some(stream) = detached.or_else(attached) else { continue };
            let of = kept.entry(peer).or_default();
            of.count += 1;
            of.text += stream.text();
            if detached.is_some() || !stream.has_unsent() {
                of.oldest.get_or_insert(*id);
            }
        }
        kept
    }

    /// A request can be resumed no more.
    pub(super) fn unlist(&mut self, peer: NodeId, request: &RequestId, id: JobId) {
        let key = (peer, request.clone());
        if self.resumables.get(&key) == Some(&id) {
            self.resumables.remove(&key);
        }
    }

    /// When the next answer without a link has waited long enough.
    pub(super) fn jobs_deadline(&self) -> Option<Duration> {
        self.jobs.values().filter_map(|job| job.resumable.as_ref()?.until).min()
    }

    /// Stops what waited too long for its asker.
    pub(super) fn time_out_jobs(&mut self) {
        let now = self.mono();
        let due = |job: &super::Job| job.resumable.as_ref()?.until.filter(|until| *until <= now);
        let late: Vec<JobId> = self.jobs.iter().filter_map(|(id, job)| due(job).map(|_| *id)).collect();
        for id in late {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let Some(resumable) = &mut job.resumable else { continue };
            let link = job.origin.link().filter(|_| resumable.detached.is_none());
            let unsent = link.and_then(|link| self.links.get_mut(link)?.outbox.stream_mut(id));
            if unsent.is_some_and(|stream| stream.has_unsent()) {
                // The end itself still waits for the link.
                resumable.until = Some(now.saturating_add(bounds::DETACHED));
            } else if matches!(job.state, JobState::Ended) {
                self.forget_job(id);
            } else {
                self.stop_job(id, Some("the asker did not come back, or acknowledges nothing"));
            }
        }
    }
}
