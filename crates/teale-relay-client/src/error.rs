//! What can go wrong with the relay, or with a session over it.

use std::time::Duration;

use thiserror::Error;

/// A request to the relay that failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RelayError {
    /// No connection to the relay at present.
    #[error("not connected to the relay: {0}")]
    NotConnected(String),
    /// The relay did not answer in time.
    #[error("the relay did not answer within {0:?}")]
    Timeout(Duration),
    /// The relay refused.
    #[error("the relay refused: {code}")]
    Refused {
        /// Its code, as on the wire (`other` for one this version does not know).
        code: String,
        /// When to try again.
        retry_after: Option<Duration>,
    },
    /// Too many callers wait for the relay already.
    #[error("too many requests wait for the relay already")]
    Busy,
    /// The client was shut down.
    #[error("the relay client is closed")]
    Closed,
}

/// A session that could not be opened, or that ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer is not connected to the relay.
    #[error("the peer is not connected to the relay")]
    PeerNotFound,
    /// The peer did not answer in time.
    #[error("the peer did not answer within {0:?}")]
    Timeout(Duration),
    /// The handshake or a sealed packet was refused.
    #[error(transparent)]
    Noise(#[from] teale_noise::NoiseError),
    /// The policy forbids plaintext with this peer.
    #[error("plaintext refused: {0}")]
    PlaintextRefused(&'static str),
    /// The message does not fit one relay frame.
    #[error("a message of {got} bytes does not fit a relay frame: at most {limit} bytes")]
    TooBig {
        /// Its size.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// The peer, or the relay in between, broke the session's rules.
    #[error("the peer broke the protocol: {0}")]
    Protocol(&'static str),
    /// The relay went away.
    #[error("the relay connection was lost")]
    RelayLost,
    /// The relay refused a frame of this session.
    #[error("the relay refused: {0}")]
    Refused(String),
    /// The caller asked for what cannot be (a session with itself, one more than the bound, …).
    #[error("not possible: {0}")]
    NotPossible(&'static str),
    /// Our own reader fell behind by more than the queue holds.
    #[error("the session was closed: its reader fell too far behind")]
    TooSlow,
    /// The peer or we closed it.
    #[error("the session is closed")]
    Closed,
}
