//! Switches on a UDP socket and tokio. One socket can speak both versions: the first byte of a datagram tells them apart.
//!
//! What a datagram means is decided in `v1` and `v2`; here are only the socket, the clock and the task.

mod config;
mod endpoint;
mod serving;
mod shared;
mod socket;
mod task;

pub use config::{EndpointConfig, EndpointError};
pub use endpoint::{Dialed, Endpoint};
pub use serving::Asked;
