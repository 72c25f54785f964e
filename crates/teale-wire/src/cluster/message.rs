//! The cluster messages as one type, in either of two dialects.

use bytes::Bytes;

use super::{
    Health, Hello, InferenceAck, InferenceCancel, InferenceChunk, InferenceComplete, InferenceError,
    InferenceRequest, InferenceResume, LoadModel, ModelLoadError, ModelLoaded, ModelQuery,
    ModelQueryResponse, ModelTransferCancel, ModelTransferChunk, ModelTransferComplete, ModelTransferRequest,
    NodeQuery,
};
use crate::{
    WireError,
    envelope::{self, Envelope, messages},
    limits,
};

messages! {
    /// One message between two nodes.
    pub enum ClusterMessage {
        /// First word of the side that opened the link.
        Hello(Box<Hello>) = "hello",
        /// The answer.
        HelloAck(Box<Hello>) = "helloAck",
        /// I am well.
        Heartbeat(Health) = "heartbeat",
        /// So am I.
        HeartbeatAck(Health) = "heartbeatAck",
        /// Please answer.
        InferenceRequest(Box<InferenceRequest>) = "inferenceRequest",
        /// A piece of the answer.
        InferenceChunk(InferenceChunk) = "inferenceChunk",
        /// That was all.
        InferenceComplete(InferenceComplete) = "inferenceComplete",
        /// It failed.
        InferenceError(InferenceError) = "inferenceError",
        /// Never mind ("ours").
        InferenceCancel(InferenceCancel) = "inferenceCancel",
        /// So much of the answer is here ("ours").
        InferenceAck(InferenceAck) = "inferenceAck",
        /// Go on here, from there ("ours").
        InferenceResume(InferenceResume) = "inferenceResume",
        /// Please load.
        LoadModel(LoadModel) = "loadModel",
        /// Loaded.
        ModelLoaded(ModelLoaded) = "modelLoaded",
        /// Not loaded.
        ModelLoadError(ModelLoadError) = "modelLoadError",
        /// Do you offer this model?
        ModelQuery(ModelQuery) = "modelQuery",
        /// Yes, these files; or no.
        ModelQueryResponse(Box<ModelQueryResponse>) = "modelQueryResponse",
        /// Please send.
        ModelTransferRequest(Box<ModelTransferRequest>) = "modelTransferRequest",
        /// A piece of a file.
        ModelTransferChunk(Box<ModelTransferChunk>) = "modelTransferChunk",
        /// That was all.
        ModelTransferComplete(ModelTransferComplete) = "modelTransferComplete",
        /// No more of it ("ours").
        ModelTransferCancel(ModelTransferCancel) = "modelTransferCancel",
        /// Who are you? I am this ("ours", before a handshake).
        NodeQuery(NodeQuery) = "nodeQuery",
        /// I am this.
        NodeQueryResponse(NodeQuery) = "nodeQueryResponse",
    }
}

/// How a peer writes its payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// `{"hello":{…}}`.
    #[default]
    Flat,
    /// `{"hello":{"_0":{…}}}`, as deployed Apple nodes write it.
    Wrapped,
}

const WHAT: &str = "a cluster message";

impl ClusterMessage {
    /// Reads one message, and says in which dialect it was written.
    ///
    /// # Errors
    /// [`WireError::TooBig`] above [`limits::CLUSTER_MESSAGE`], else what is wrong with the text and where.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Dialect), WireError> {
        let envelope = Envelope::open(bytes, WHAT, limits::CLUSTER_MESSAGE)?;
        let raw = envelope.payload.get();
        let (raw, dialect) = match unwrapped(raw) {
            Some(inner) => (inner, Dialect::Wrapped),
            None => (raw, Dialect::Flat),
        };
        envelope::few_values(raw, envelope::too_many_values)?;
        Ok((Self::read(&envelope.kind, raw)?, dialect))
    }

    /// The same for a message that a carrier brought: the data of a `modelTransferChunk` stays where it is, a part of
    /// `bytes`, and is not looked at. Whatever [`parse`](Self::parse) reads, this reads alike.
    ///
    /// # Errors
    /// As [`parse`](Self::parse); but a chunk whose data is no base64 is a chunk here, whatever bytes it has.
    pub fn parse_shared(bytes: &Bytes) -> Result<(Self, Dialect), WireError> {
        match ModelTransferChunk::read(bytes) {
            Some(chunk) => Ok((Self::ModelTransferChunk(Box::new(chunk)), Dialect::Flat)),
            None => Self::parse(bytes),
        }
    }

    /// Writes the message in a dialect.
    ///
    /// # Errors
    /// [`WireError::TooBig`] above [`limits::CLUSTER_MESSAGE`], [`WireError::NotWritable`] for a number that JSON
    /// does not have; both the caller's fault.
    pub fn encode(&self, dialect: Dialect) -> Result<Vec<u8>, WireError> {
        if let Self::ModelTransferChunk(chunk) = self
            && let Some(text) = chunk.write(dialect)
        {
            return Ok(text);
        }
        self.write(dialect == Dialect::Wrapped, (WHAT, limits::CLUSTER_MESSAGE))
    }
}

/// The payload inside `{"_0": payload}`, if `raw` is that and nothing else.
fn unwrapped(raw: &str) -> Option<&str> {
    // A look at the first key spares the others a second pass.
    if !raw.strip_prefix('{')?.trim_start().starts_with("\"_0\"") {
        return None;
    }
    let inner: Envelope<'_> = serde_json::from_str(raw).ok()?;
    (inner.kind == "_0").then(|| inner.payload.get())
}
