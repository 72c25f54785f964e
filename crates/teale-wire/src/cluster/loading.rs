//! Asking a node to load a model.

use serde::{Deserialize, Serialize};

use crate::{Extra, RequestId, bounded};

/// `loadModel`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadModel {
    /// Which request.
    #[serde(rename = "requestID")]
    pub request_id: RequestId,
    /// Which model.
    #[serde(rename = "modelID", deserialize_with = "bounded::model")]
    pub model_id: String,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `modelLoaded`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelLoaded {
    /// Which request.
    #[serde(rename = "requestID")]
    pub request_id: RequestId,
    /// Which model.
    #[serde(rename = "modelID", deserialize_with = "bounded::model")]
    pub model_id: String,
    /// How long it took, in milliseconds.
    #[serde(
        rename = "loadTimeMs",
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "bounded::opt_finite"
    )]
    pub load_time_ms: Option<f64>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `modelLoadError`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelLoadError {
    /// Which request.
    #[serde(rename = "requestID")]
    pub request_id: RequestId,
    /// Which model.
    #[serde(rename = "modelID", deserialize_with = "bounded::model")]
    pub model_id: String,
    /// In words.
    #[serde(deserialize_with = "bounded::complaint")]
    pub reason: String,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}
