//! The relay's complaints, in words.

use std::time::Duration;

use teale_wire::{Extra, NodeId, RelayErrorCode, RelayErrorMessage, RelayMessage, WireError};

/// An `error` message for a node.
pub(super) struct Complaint {
    code: RelayErrorCode,
    message: String,
    retry_after: Option<Duration>,
}

impl Complaint {
    fn new(code: RelayErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    /// Gateways read the id out of this text: it is part of the protocol.
    pub(super) fn not_connected(node: NodeId) -> Self {
        Self::new(RelayErrorCode::PeerNotFound, format!("Peer {node} is not connected"))
    }

    pub(super) fn malformed(error: &WireError) -> Self {
        let code = match error {
            WireError::NotJson { .. } => RelayErrorCode::InvalidJson,
            WireError::WrongShape { kind: "register", .. } => RelayErrorCode::InvalidRegister,
            _ => RelayErrorCode::InvalidMessage,
        };
        Self::new(code, error.to_string())
    }

    pub(super) fn register_first() -> Self {
        Self::new(RelayErrorCode::InvalidMessage, "Register before anything else")
    }

    pub(super) fn foreign_sender() -> Self {
        Self::new(RelayErrorCode::InvalidMessage, "A socket speaks only for the node it registered")
    }

    pub(super) fn unsupported() -> Self {
        Self::new(RelayErrorCode::UnsupportedMessage, "This relay does not serve messages of this type")
    }

    pub(super) fn invalid_register(why: &'static str) -> Self {
        Self::new(RelayErrorCode::InvalidRegister, why)
    }

    pub(super) fn too_fast(rest: Duration) -> Self {
        let text = "Too much at once; this relay reads no more from you for a while";
        Self { retry_after: Some(rest), ..Self::new(RelayErrorCode::RateLimited, text) }
    }

    pub(super) fn discover_too_soon(wait: Duration) -> Self {
        let text = "One discover in ten seconds is enough";
        Self { retry_after: Some(wait), ..Self::new(RelayErrorCode::RateLimited, text) }
    }

    pub(super) fn target_too_slow(node: NodeId, wait: Duration) -> Self {
        let text = format!("Peer {node} reads too slowly; a frame was dropped and its session closed");
        Self { retry_after: Some(wait), ..Self::new(RelayErrorCode::RateLimited, text) }
    }

    pub(super) fn into_message(self) -> RelayMessage {
        // Whole milliseconds, rounded up: never too early, and short to write.
        let seconds = |wait: Duration| wait.as_millis().saturating_add(1) as f64 / 1000.0;
        RelayMessage::Error(RelayErrorMessage {
            code: self.code,
            message: self.message,
            retry_after_seconds: self.retry_after.map(seconds),
            extra: Extra::new(),
        })
    }
}
