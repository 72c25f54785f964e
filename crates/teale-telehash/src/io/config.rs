//! What an endpoint is made of.

use std::net::{Ipv4Addr, SocketAddr};

use thiserror::Error;

use crate::{v1, v2};

/// Where an endpoint listens, and which versions it speaks there.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// The address; port 0 takes any free one. IPv4 and IPv6 are two networks that never mix: one endpoint is in one.
    pub listen: SocketAddr,
    /// The switch of v1, if it is spoken.
    pub v1: Option<v1::Config>,
    /// The switch of v2, if it is spoken.
    pub v2: Option<v2::Config>,
}

impl Default for EndpointConfig {
    /// Both versions on any free port of IPv4, without seeds.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            v1: Some(v1::Config::default()),
            v2: Some(v2::Config::default()),
        }
    }
}

/// Why there is no endpoint.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// No socket.
    #[error("cannot listen on UDP {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The system gave no random numbers.
    #[error("the system has no random numbers")]
    NoRandomness,
}
