//! What can go wrong between two nodes, and whose fault it is.

use teale_wire::Fault;

/// Why a handshake or a sealed packet is refused. No variant carries a byte of what the peer sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoiseError {
    /// The handshake failed: the other end is not who it should be, or somebody in between changed something.
    #[error("handshake failed: {0}")]
    HandshakeFailed(&'static str),
    /// The tag does not match: the packet is not what the peer sealed for this session and direction.
    #[error("decryption failed")]
    DecryptionFailed,
    /// Too short, too long, or of no known kind.
    #[error("invalid message")]
    InvalidMessage,
    /// A key of small order, with which nothing can be agreed in secret.
    #[error("invalid public key")]
    InvalidPublicKey,
    /// Seen before, or too old to tell.
    #[error("replay detected")]
    ReplayDetected,
    /// On an ordered session: a packet before this one is missing.
    #[error("a sealed packet is missing or came out of order")]
    OutOfOrder,
    /// Older than its lifetime, or out of counters. A new handshake on a new session is due.
    #[error("session expired")]
    SessionExpired,
    /// The plaintext to seal is longer than a cluster message may be.
    #[error("a message of {got} bytes cannot be sealed: at most {limit} bytes are allowed")]
    TooBig {
        /// Its size, in bytes.
        got: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    NoRandomness,
}

impl NoiseError {
    /// Who has to change something; `None` when nobody has (time passed, the operating system failed). `Peer` means
    /// whoever sent the bytes: the peer, or the carrier that altered them.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::HandshakeFailed(_)
            | Self::DecryptionFailed
            | Self::InvalidMessage
            | Self::InvalidPublicKey
            | Self::ReplayDetected
            | Self::OutOfOrder => Some(Fault::Peer),
            Self::TooBig { .. } => Some(Fault::Caller),
            Self::SessionExpired | Self::NoRandomness => None,
        }
    }
}

impl From<snow::Error> for NoiseError {
    fn from(error: snow::Error) -> Self {
        match error {
            snow::Error::Decrypt => Self::HandshakeFailed("a message does not decrypt"),
            snow::Error::Dh => Self::InvalidPublicKey,
            snow::Error::Input => Self::InvalidMessage,
            snow::Error::Rng => Self::NoRandomness,
            _ => Self::HandshakeFailed("the Noise state refuses to go on"),
        }
    }
}
