//! Requests at the own backend that nobody waits for any more, or for which there is no place.

use teale_wire::{ErrorCode, RequestId};

use super::{
    Core, JobId, LinkId, Output,
    serving::{Job, JobState, Origin},
};
use crate::AskError;

impl Core {
    /// A peer changed its mind.
    pub(super) fn request_cancelled(&mut self, link: LinkId, request: &RequestId) {
        let Some(link) = self.links.get(link) else {
            return;
        };
        let here = link.jobs.get(request).copied();
        // It may have come on a link that died, whose end was not noticed yet.
        let elsewhere = || self.resumables.get(&(link.peer, request.clone())).copied();
        if let Some(job) = here.or_else(elsewhere) {
            self.stop_job(job, None);
        }
    }

    /// Ends a request nobody waits for any more. With `complaint` the peer, if it is still there, is told.
    pub(super) fn stop_job(&mut self, id: JobId, complaint: Option<&str>) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let (origin, model, tokens) = (job.origin.clone(), job.model.clone(), job.chunks);
        let was = std::mem::replace(&mut job.state, JobState::Stopping);
        job.resumable = None;
        match &was {
            JobState::Queued(_) => {
                self.queue.remove(origin.peer(), id);
                self.jobs.remove(&id);
            }
            JobState::Running => self.out.push_back(Output::Stop(id)),
            JobState::Stopping => return,
            JobState::Ended => drop(self.jobs.remove(&id)),
        }
        let Origin::Peer { link: link_id, peer, id: request } = origin else {
            if let (Some(node), JobState::Queued(_) | JobState::Running) = (origin.peer(), &was) {
                self.served(node, model, tokens, Some(complaint.unwrap_or("cancelled").to_owned()));
            }
            return;
        };
        self.unlist(peer, &request, id);
        let now = self.mono();
        let here = self.links.get_mut(link_id).filter(|link| link.jobs.get(&request) == Some(&id));
        if let Some(link) = here {
            link.jobs.remove(&request);
            link.outbox.take_stream(id);
            link.used_at = now;
            if let Some(message) = complaint {
                self.send_error(link_id, request, ErrorCode::InternalError, message);
            }
        }
        if matches!(was, JobState::Ended) {
            return; // Its end was told before.
        }
        self.served(peer, model, tokens, Some(complaint.unwrap_or("cancelled").to_owned()));
    }

    /// Sends a request that only waited away.
    pub(super) fn refuse_job(&mut self, id: JobId, code: ErrorCode, message: &str) {
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        self.queue.remove(job.origin.peer(), id);
        match job.origin {
            Origin::Own { ask, .. } => {
                let error = AskError::Provider { node: None, code, message: message.into() };
                self.ask_failed(ask, error);
            }
            Origin::Peer { link, peer, id: request } => {
                self.unlist(peer, &request, id);
                if let Some(entry) = self.links.get_mut(link) {
                    entry.jobs.remove(&request);
                    entry.outbox.take_stream(id);
                }
                self.send_error(link, request, code, message);
            }
        }
    }

    /// Peers that only wait are sent elsewhere; this node's own requests stay.
    pub(super) fn refuse_queued(&mut self) {
        let waits = |job: &Job| matches!(job.state, JobState::Queued(_)) && job.origin.peer().is_some();
        let waiting: Vec<JobId> = self.jobs.iter().filter(|(_, job)| waits(job)).map(|(id, _)| *id).collect();
        for job in waiting {
            self.refuse_job(job, ErrorCode::Unavailable, "the node is shutting down");
        }
    }

    pub(super) fn stop_all_jobs(&mut self) {
        self.refuse_queued();
        for job in self.jobs.keys().copied().collect::<Vec<_>>() {
            self.stop_job(job, Some("the node shut down"));
        }
    }
}
