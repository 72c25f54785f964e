//! One request at the own backend: its stream is read while somebody has room for what it makes.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use teale_wire::chat::ChatRequest;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{answer::AnswerBuffer, shared::Shared};
use crate::{Backend, BackendError, ChunkStream, JobId};

/// How long one look at the link's room is trusted: a lost wake-up costs this much, never a request.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Runs the request until its stream ends or `stop` fires. The stream is dropped before the core hears of the end,
/// so that a slot the core counts as free is free.
pub(super) async fn run(
    shared: Arc<Shared>,
    backend: Arc<dyn Backend>,
    job: JobId,
    request: Box<ChatRequest>,
    reader: Option<Arc<AnswerBuffer>>,
    stop: CancellationToken,
    pull: Arc<Notify>,
) {
    let mut result = Ok(());
    if !stop.is_cancelled() {
        match backend.start(*request) {
            Ok(stream) => {
                let stopped = stop.cancelled();
                tokio::select! {
                    biased;
                    () = stopped => {}
                    ended = read(&shared, job, stream, reader.as_deref(), &pull) => result = ended,
                }
            }
            Err(error) => result = Err(error),
        }
    }
    shared.job_done(job, result);
}

async fn read(
    shared: &Shared,
    job: JobId,
    mut stream: ChunkStream,
    reader: Option<&AnswerBuffer>,
    pull: &Notify,
) -> Result<(), BackendError> {
    while let Some(chunk) = stream.next().await {
        let mut has_room = shared.chunk(job, chunk?);
        while !has_room {
            let _ = tokio::time::timeout(LOOK_AGAIN, pull.notified()).await;
            has_room = shared.has_room(job);
        }
        if let Some(reader) = reader {
            reader.room().await;
        }
    }
    Ok(())
}
