//! A TealeNet relay: the meeting point where nodes register, find each other and pass frames.
//!
//! Beside `teale-relay-client` in the stack, above `teale-wire` (messages) and `teale-identity` (signatures). A relay
//! sees routes, never contents: this crate knows nothing of Noise, cluster messages or inference, and forwards a
//! frame byte for byte.
//!
//! - [`Switchboard`]: who is registered, who may say what, where a frame goes. Pure: time, randomness and frames in,
//!   actions and one deadline out.
//! - [`websocket`]: the server's half of RFC 6455 on bytes. A client frame becomes a server frame in place.
//! - [`RelayLimits`]: every bound, with its default.
//! - [`RelayServer`] (feature `io`): both of them on tokio, with `/ws`, `/health`, `/peers` and `/metrics`.
//!
//! **The contract of the core:** after each [`Switchboard::handle`], call [`Switchboard::poll`] until it says
//! [`Output::Wait`]; call `handle` with [`Input::Tick`] when that deadline has come.
//!
//! ```
//! # #[cfg(feature = "io")]
//! # async fn example() -> Result<(), teale_relay_server::RelayServerError> {
//! use teale_relay_server::{RelayServer, RelayServerConfig};
//!
//! let server = RelayServer::bind(RelayServerConfig::new(([127, 0, 0, 1], 0).into())).await?;
//! println!("ws://{}/ws", server.local_addr());
//! let handle = server.handle();
//! let running = tokio::spawn(server.run());
//! handle.shutdown();
//! running.await.expect("the relay does not panic")?;
//! # Ok(())
//! # }
//! ```

mod admission;
#[cfg(feature = "io")]
mod io;
pub mod limits;
mod meter;
mod outbound;
mod switchboard;
pub mod websocket;

pub use admission::{Admission, Refusal};
#[cfg(feature = "io")]
pub use io::{RelayHandle, RelayMetrics, RelayServer, RelayServerConfig, RelayServerError};
pub use limits::RelayLimits;
pub use outbound::{Outbound, QueueFull};
pub use switchboard::{
    DropReason, Input, Output, PeerSummary, Route, RouteMemo, SocketId, Switchboard, SwitchboardConfig,
    Traffic,
};
