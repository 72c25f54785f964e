//! Messages between two nodes, over whatever carries them.

mod chunk_data;
mod health;
mod hello;
mod inference;
mod loading;
mod message;
mod node_query;
mod sharing;

pub use chunk_data::{ChunkData, NotBase64};
pub use health::{Health, ThermalLevel};
pub use hello::{DeviceInfo, Hello};
pub use inference::{
    ErrorCode, InferenceAck, InferenceCancel, InferenceChunk, InferenceComplete, InferenceError,
    InferenceRequest, InferenceResume,
};
pub use loading::{LoadModel, ModelLoadError, ModelLoaded};
pub use message::{ClusterMessage, Dialect};
pub use node_query::NodeQuery;
pub use sharing::{
    CancelReason, FileRange, ModelFile, ModelOffer, ModelQuery, ModelQueryResponse, ModelTransferCancel,
    ModelTransferChunk, ModelTransferComplete, ModelTransferRequest, ResumePoint,
};
