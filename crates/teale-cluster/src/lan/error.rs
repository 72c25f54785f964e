//! Why a connection does not become a link.

use std::time::Duration;

use teale_noise::NoiseError;
use teale_relay_client::SessionError;
use teale_wire::{Fault, WireError};
use thiserror::Error;

use crate::LinkError;

/// Why a connection does not become a link. No variant carries a byte of what the peer sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GreetingError {
    /// The peer connected, or took our connection, and said nothing.
    #[error("the peer sent nothing within {0:?}")]
    Silent(Duration),
    /// The first byte is of no known kind.
    #[error("the first frame is neither a handshake nor a cluster message")]
    Garbage,
    /// The first frame looks like a message and is none.
    #[error("the first message cannot be read: {0}")]
    Unreadable(WireError),
    /// Plaintext has to begin with an introduction.
    #[error("a connection in plaintext has to begin with hello")]
    NoHello,
    /// The policy forbids plaintext, or the peer's key cannot be read.
    #[error(transparent)]
    Policy(SessionError),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(NoiseError),
    /// Another node than the one wanted.
    #[error("another node answers than the one expected")]
    OtherNode,
    /// The other end shows our own id: it is this node itself, or somebody copied its identity file.
    #[error("the other end shows this node's own id")]
    OwnId,
    /// Questions without end.
    #[error("the peer asks who we are again and again")]
    TooManyQueries,
}

impl GreetingError {
    /// Who has to change something; `None` where our own policy decides, or nobody can tell.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Policy(_) | Self::OwnId => None,
            Self::Handshake(error) => error.fault(),
            _ => Some(Fault::Peer),
        }
    }
}

impl From<NoiseError> for GreetingError {
    fn from(error: NoiseError) -> Self {
        Self::Handshake(error)
    }
}

impl From<GreetingError> for LinkError {
    fn from(error: GreetingError) -> Self {
        match error {
            GreetingError::Policy(error) => Self::Session(error),
            GreetingError::Handshake(error) => Self::Session(SessionError::Noise(error)),
            other => Self::Refused(other.to_string()),
        }
    }
}
