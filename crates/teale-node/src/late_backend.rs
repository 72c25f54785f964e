//! A backend that comes later: the node joins, fetches its model, and then serves it.

use std::sync::{Arc, OnceLock};

use teale_cluster::{Backend, BackendError, ChunkStream, ModelInfo};
use teale_wire::chat::ChatRequest;

/// Nothing until it is filled.
#[derive(Debug, Default)]
pub(crate) struct LateBackend(OnceLock<Arc<dyn Backend>>);

impl LateBackend {
    /// From now on it is this one; only the first call counts.
    pub(crate) fn fill(&self, backend: Arc<dyn Backend>) {
        let _ = self.0.set(backend);
    }
}

impl Backend for LateBackend {
    fn models(&self) -> Vec<ModelInfo> {
        self.0.get().map(|backend| backend.models()).unwrap_or_default()
    }

    fn slots(&self) -> usize {
        self.0.get().map_or(0, |backend| backend.slots())
    }

    fn start(&self, request: ChatRequest) -> Result<ChunkStream, BackendError> {
        self.0.get().ok_or(BackendError::ModelNotFound)?.start(request)
    }
}
