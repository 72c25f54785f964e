//! Several engines as one backend.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use teale_cluster::{Backend, BackendError, ChunkStream, ModelInfo};
use teale_wire::chat::ChatRequest;
use tokio::sync::Semaphore;

/// Backends side by side, each with its own models and slots.
///
/// The cluster counts slots over all of them. A request whose engine is full while another has room waits here
/// for its engine, in order of arrival.
#[derive(Debug)]
pub(crate) struct ModelSet {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    backend: Arc<dyn Backend>,
    slots: Arc<Semaphore>,
}

impl ModelSet {
    /// One backend as it is, several as a set, none as none.
    pub(crate) fn combine(mut backends: Vec<Arc<dyn Backend>>) -> Option<Arc<dyn Backend>> {
        if backends.len() < 2 {
            return backends.pop();
        }
        let member =
            |backend: Arc<dyn Backend>| Member { slots: Arc::new(Semaphore::new(backend.slots())), backend };
        Some(Arc::new(Self { members: backends.into_iter().map(member).collect() }))
    }
}

impl Backend for ModelSet {
    fn models(&self) -> Vec<ModelInfo> {
        self.members.iter().flat_map(|member| member.backend.models()).collect()
    }

    fn slots(&self) -> usize {
        self.members.iter().map(|member| member.backend.slots()).sum()
    }

    fn start(&self, request: ChatRequest) -> Result<ChunkStream, BackendError> {
        let has = |member: &&Member| member.backend.models().iter().any(|model| model.id == request.model);
        let member = self.members.iter().find(has).ok_or(BackendError::ModelNotFound)?;
        let backend = Arc::clone(&member.backend);
        let slots = Arc::clone(&member.slots);
        let started = async move {
            let Ok(permit) = slots.acquire_owned().await else {
                return failed(BackendError::Unavailable("shutting down".into()));
            };
            match backend.start(request) {
                // The permit lives as long as the stream that it admitted.
                Ok(chunks) => chunks.map(move |chunk| (chunk, &permit).0).boxed(),
                Err(error) => failed(error),
            }
        };
        Ok(stream::once(started).flatten().boxed())
    }
}

fn failed(error: BackendError) -> ChunkStream {
    stream::once(async move { Err(error) }).boxed()
}
