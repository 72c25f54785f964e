//! A TealeNet relay's client: register, discover, and talk to other nodes in sessions sealed end to end.
//!
//! Stands on `teale-noise` and `teale-identity`, beside `teale-relay-server`, below `teale-cluster`. What travels in a
//! session is bytes to this crate: it knows no cluster message, no model, no inference. The relay is a stranger: it is
//! asked to carry frames, and believed nothing that a handshake can prove.
//!
//! - [`Client`]: the machine. No socket, no clock, no randomness of its own: [`Input`]s and calls go in, [`Output`]s
//!   come out, and after each call [`Client::poll`] is drained until it says [`Output::Wait`].
//! - [`Channel`], [`FrameWriter`], [`FrameReader`]: an established session's halves, which seal and open.
//! - [`KnownPeers`]: which nodes have a key. Once seen with one, a node is never spoken to in plaintext again.
//! - [`RelayClient`] (feature `io`): all of it on tokio and a WebSocket, `ws` or `wss`.
//! - [`bounds`]: every queue, period and number of sessions.
//!
//! The contract of a sealed session: what is received is a prefix of what the peer sent, in order, whatever the relay
//! does; what breaks that ends the session with an error that says so ([`SessionError`]). A failed handshake is an
//! error, never plaintext. Only that the end was cut off cannot be seen: say the end in a message.
//!
//! ```no_run
//! # #[cfg(feature = "io")]
//! # async fn example(config: teale_relay_client::RelayConfig) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use bytes::Bytes;
//! use teale_relay_client::{RelayClient, Security};
//!
//! let patience = Duration::from_secs(10);
//! let (client, _events) = RelayClient::spawn(config);
//! let peers = client.discover(None, patience).await?;
//! let peer = peers.first().ok_or("nobody is there")?;
//! let session = client.open(peer, patience).await?;
//! assert!(matches!(session.security(), Security::Sealed { verified: true, .. }));
//! let (mut sender, mut receiver) = session.split();
//! sender.send(Bytes::from_static(b"{\"hello\":{}}")).await?;
//! let answer = receiver.recv().await?;
//! # let _ = answer;
//! # Ok(())
//! # }
//! ```

pub mod bounds;
mod channel;
mod client;
mod error;
#[cfg(feature = "io")]
mod io;
mod known_peers;
mod policy;
mod url;

pub use channel::{Channel, FrameReader, FrameWriter};
pub use client::{Client, ClientConfig, Counters, Event, Input, Inquiry, Output, SessionKey, Ticket};
pub use error::{RelayError, SessionError};
#[cfg(feature = "io")]
pub use io::{
    IncomingSession, RelayClient, RelayConfig, RelayEvent, RelayEvents, RelaySession, RelayStatus,
    SessionReceiver, SessionSender,
};
pub use known_peers::{KnownKey, KnownPeers, KnownPeersError};
pub use policy::{Encryption, Plan, Policy, Security};
pub use url::url_without_credentials;
