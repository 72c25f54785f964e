//! Asking for an answer, and the answer.

use serde::{Deserialize, Serialize};

use crate::{
    Extra, RequestId, bounded,
    chat::{ChatChunk, ChatRequest},
};

/// `inferenceRequest`: consumer to provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InferenceRequest {
    /// Which.
    #[serde(rename = "requestID")]
    pub request_id: RequestId,
    /// What.
    pub request: ChatRequest,
    /// Whether chunks are wanted as they are made.
    #[serde(default)]
    pub streaming: bool,
    /// Whether the answer's messages shall be numbered, so that it can go on over another link ("ours").
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumable: bool,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `inferenceChunk`: provider to consumer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InferenceChunk {
    /// Which.
    #[serde(rename = "requestID")]
    pub request_id: RequestId,
    /// A piece of the answer.
    pub chunk: ChatChunk,
    /// Its number among the answer's messages, from 0, where the request was resumable ("ours").
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded::opt_whole64")]
    pub seq: Option<u64>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `inferenceComplete`: provider to consumer, the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InferenceComplete {
    /// Which.
    #[serde(rename = "requestID")]
    pub request_id: RequestId,
    /// Tokens of the prompt.
    #[serde(
        rename = "tokensIn",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_whole64"
    )]
    pub tokens_in: Option<u64>,
    /// Tokens of the answer.
    #[serde(
        rename = "tokensOut",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::opt_whole64"
    )]
    pub tokens_out: Option<u64>,
    /// Its number among the answer's messages, from 0, where the request was resumable ("ours").
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded::opt_whole64")]
    pub seq: Option<u64>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `inferenceError`: provider to consumer, the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InferenceError {
    /// Which.
    #[serde(rename = "requestID")]
    pub request_id: RequestId,
    /// In words.
    #[serde(rename = "errorMessage", deserialize_with = "bounded::complaint")]
    pub error_message: String,
    /// What kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// Its number among the answer's messages, from 0, where the request was resumable ("ours").
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded::opt_whole64")]
    pub seq: Option<u64>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The kinds of [`InferenceError`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The provider does not have the model in memory.
    ModelNotLoaded,
    /// All slots and the queue are taken.
    QueueFull,
    /// The provider takes no work at present.
    Unavailable,
    /// Something broke in the provider.
    InternalError,
    /// It took too long.
    Timeout,
    /// The consumer, or the provider's operator, called it off.
    Cancelled,
    /// The prompt does not fit the model's context ("ours").
    ContextLengthExceeded,
    /// The request asks for something that cannot be ("ours").
    InvalidRequest,
    /// A code this version does not know.
    #[serde(untagged)]
    Other(String),
}

/// `inferenceCancel`: consumer to provider ("ours").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InferenceCancel {
    /// Which.
    #[serde(rename = "requestID")]
    pub request_id: RequestId,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `inferenceAck`: consumer to provider ("ours"). What was received need not be kept any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InferenceAck {
    /// Which.
    #[serde(rename = "requestID")]
    pub request_id: RequestId,
    /// Messages of the answer received so far, which is the number of the next one.
    #[serde(deserialize_with = "bounded::whole64")]
    pub received: u64,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `inferenceResume`: consumer to provider ("ours"). The answer shall go on over this link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InferenceResume {
    /// Which.
    #[serde(rename = "requestID")]
    pub request_id: RequestId,
    /// Messages of the answer received so far: the next one sent has this number.
    #[serde(deserialize_with = "bounded::whole64")]
    pub received: u64,
    /// Counts the moves of this request from 1: one that a later one overtook on another link is void.
    #[serde(deserialize_with = "bounded::whole64")]
    pub attempt: u64,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}
