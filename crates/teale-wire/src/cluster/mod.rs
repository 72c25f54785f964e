//! Messages between two nodes, over whatever carries them.

mod health;
mod hello;
mod inference;
mod loading;
mod message;
mod node_query;

pub use health::{Health, ThermalLevel};
pub use hello::{DeviceInfo, Hello};
pub use inference::{
    ErrorCode, InferenceCancel, InferenceChunk, InferenceComplete, InferenceError, InferenceRequest,
};
pub use loading::{LoadModel, ModelLoadError, ModelLoaded};
pub use message::{ClusterMessage, Dialect};
pub use node_query::NodeQuery;
