//! One request at the own backend: its stream is read while somebody has room for what it makes.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use teale_wire::chat::ChatRequest;
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{answer::AnswerBuffer, shared::Shared};
use crate::{Backend, BackendError, ChunkStream, Core, JobId, core::merge::is_opening};

/// How long one look at the link's room is trusted: a lost wake-up would cost this much, never a request.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What one request needs to run.
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) request: Box<ChatRequest>,
    /// The own user's end of the answer, if it is an own request.
    pub(super) reader: Option<Arc<AnswerBuffer>>,
    /// Nobody wants it any more.
    pub(super) stop: CancellationToken,
    /// The link has room again.
    pub(super) pull: Arc<Notify>,
}

/// Tells the core of the end whatever happens, a panic of the backend included.
struct Ending<'a> {
    shared: &'a Shared,
    job: JobId,
    result: Result<(), BackendError>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        self.shared.job_done(self.job, result);
    }
}

/// Runs the request until its stream ends or is stopped. The stream is dropped before the core hears of the end, so
/// that a slot the core counts as free is free.
pub(super) async fn run(shared: Arc<Shared>, backend: Arc<dyn Backend>, job: Job) {
    let unfinished = Err(BackendError::Internal("the engine's task died".into()));
    let mut ending = Ending { shared: &shared, job: job.id, result: unfinished };
    if job.stop.is_cancelled() {
        ending.result = Ok(());
        return;
    }
    let stream = match backend.start(*job.request) {
        Ok(stream) => stream,
        Err(error) => {
            ending.result = Err(error);
            return;
        }
    };
    ending.result = tokio::select! {
        biased;
        () = job.stop.cancelled() => Ok(()),
        ended = read(&shared, job.id, stream, job.reader.as_deref(), &job.pull) => ended,
    };
}

async fn read(
    shared: &Shared,
    job: JobId,
    mut stream: ChunkStream,
    reader: Option<&AnswerBuffer>,
    pull: &Notify,
) -> Result<(), BackendError> {
    let patience = shared.look(Core::next_token_timeout);
    let mut begun = false;
    loop {
        let next = if begun {
            timeout(patience, stream.next()).await.map_err(|_| BackendError::Timeout)?
        } else {
            stream.next().await
        };
        let Some(chunk) = next.transpose()? else {
            return Ok(());
        };
        begun |= !is_opening(&chunk);
        let mut has_room = shared.chunk(job, chunk);
        while !has_room {
            let _ = timeout(LOOK_AGAIN, pull.notified()).await; // Looked at again either way.
            has_room = shared.has_room(job);
        }
        if let Some(reader) = reader {
            reader.room().await;
        }
    }
}
