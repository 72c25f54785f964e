//! The WebSocket driver on tokio: one task per client owns the machine and the socket.

mod config;
mod connect;
mod dial;
mod events;
mod handle;
mod inbox;
mod outbox;
mod session;
mod shared;
mod socket;
mod task;

pub use config::RelayConfig;
pub use events::{RelayEvent, RelayEvents};
pub use handle::{RelayClient, RelayStatus};
pub use session::{IncomingSession, RelaySession, SessionReceiver, SessionSender};
