//! What a relay is started with, and why it could not be.

use std::{io, net::SocketAddr};

use crate::RelayLimits;

/// What a relay is started with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RelayServerConfig {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The bounds.
    pub limits: RelayLimits,
    /// Refuse registrations that do not answer the challenge.
    pub require_proof: bool,
}

impl RelayServerConfig {
    /// The defaults at this address.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, limits: RelayLimits::default(), require_proof: false }
    }
}

/// A relay cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayServerError {
    /// The address cannot be listened at.
    #[error("cannot listen at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The operating system has no randomness.
    #[error("the operating system gives no randomness")]
    Randomness,
}
