//! Every message and frame of TealeNet and TeleHash: types, codecs and limits.
//!
//! The bottom of the stack. This crate turns bytes into checked types and back. It opens no socket, reads no
//! clock and knows no cryptography: a key or a signature is hex text here, and `teale-identity` gives it meaning.
//!
//! - [`RelayMessage`]: what travels between a node and a relay, one JSON object with one key per WebSocket frame.
//! - [`peek`]: where a relay frame goes, found without parsing or copying what it carries.
//! - [`ClusterMessage`]: what two nodes say to each other, in either of two [`Dialect`]s.
//! - [`chat`]: OpenAI's chat completion requests, chunks and answers.
//! - [`LanCodec`]: cluster messages on a byte stream.
//! - [`telehash`]: telexes and packets of TeleHash, v1 and v2.
//! - [`limits`]: every bound, in one table. Sizes are checked before anything is allocated.
//!
//! Unknown message types and unknown fields are kept and written out again, never an error.
//!
//! ```
//! use teale_wire::RelayMessage;
//!
//! let message = RelayMessage::parse(br#"{"registerAck":{"nodeID":"03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8","registeredAt":734792800.0,"ttlSeconds":300}}"#)?;
//! let RelayMessage::RegisterAck(ack) = message else { panic!("another type") };
//! assert_eq!(ack.registered_at.unix_seconds(), 1_713_100_000.0);
//! # Ok::<(), teale_wire::WireError>(())
//! ```

mod apple_date;
mod bounded;
mod capabilities;
pub mod chat;
mod cluster;
mod contact;
mod envelope;
mod error;
mod lan;
pub mod limits;
mod model_name;
mod node_id;
mod peek;
mod relay;
mod scan;
pub mod telehash;
mod text_id;

pub use apple_date::AppleDate;
pub use capabilities::{HardwareCapability, NodeCapabilities};
pub use cluster::{
    CancelReason, ChunkData, ClusterMessage, DeviceInfo, Dialect, ErrorCode, FileRange, Health, Hello,
    InferenceAck, InferenceCancel, InferenceChunk, InferenceComplete, InferenceError, InferenceRequest,
    InferenceResume, LoadModel, ModelFile, ModelLoadError, ModelLoaded, ModelOffer, ModelQuery,
    ModelQueryResponse, ModelTransferCancel, ModelTransferChunk, ModelTransferComplete, ModelTransferRequest,
    NodeQuery, NotBase64, ResumePoint, ThermalLevel,
};
pub use contact::ContactRecord;
pub use error::{Fault, WireError};
pub use lan::LanCodec;
pub use model_name::model_matches;
pub use node_id::NodeId;
pub use peek::{Peek, PeekedKind, peek, peek_text};
pub use relay::{
    Candidate, Challenge, ConnectionInfo, Discover, DiscoverFilter, DiscoverResponse, IceCandidate, Offer,
    PeerNotice, PeerRecord, Register, RegisterAck, RelayData, RelayErrorCode, RelayErrorMessage,
    RelayMessage, SessionRef,
};
pub use text_id::{IdLength, RequestId, SessionId, TransferId};

/// Fields of a payload that this version does not know: kept, and written out again.
pub type Extra = serde_json::Map<String, serde_json::Value>;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
