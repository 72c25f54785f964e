//! Why an answer could not be had.

use teale_wire::{ErrorCode, NodeId};
use thiserror::Error;

/// Why an answer could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody known has the model.
    #[error("no node that can be reached has this model")]
    ModelNotFound,
    /// Some have it, none can serve now; the last reason.
    #[error("no provider can serve the request at present: {0}")]
    Unavailable(String),
    /// The provider answered with an error.
    #[error("the provider refused: {message}")]
    Provider {
        /// Who; `None` for our own backend.
        node: Option<NodeId>,
        /// What kind.
        code: ErrorCode,
        /// In words, shortened.
        message: String,
    },
    /// The link died in the middle of the answer.
    #[error("the connection to the provider was lost: {0}")]
    LinkLost(String),
    /// The request is too big for the carrier.
    #[error("the request takes {got} bytes, but the way to the provider carries at most {limit}")]
    TooBig {
        /// Its size.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// Nothing came for too long.
    #[error("the provider did not answer in time")]
    Timeout,
    /// This node is shutting down.
    #[error("this node is shutting down")]
    ShuttingDown,
}
