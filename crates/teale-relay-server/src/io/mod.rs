//! The relay on tokio: sockets and clocks for the pure parts.

mod batch;
mod config;
mod conn;
mod http;
mod hub;
mod metrics;
mod server;
mod socket;

pub use config::{RelayServerConfig, RelayServerError};
pub use metrics::RelayMetrics;
pub use server::{RelayHandle, RelayServer};
