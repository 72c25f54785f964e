//! TeleHash: switches that find each other by a Kademlia DHT over UDP, with no server in the middle.
//!
//! Stands on `teale-wire`, beside the relay client; it knows nothing of TealeNet and is useful to anyone.
//!
//! - [`v1`]: the pages of 2011. Telexes of JSON; dial an end, announce signals there, tap what others announce.
//! - [`v2`]: the draft of 2012-08-03. Packets of JSON and a body; sessions with reliable delivery, requests and
//!   answers, subscriptions to a hash.
//! - [`Endpoint`] (feature `io`): both of them on one UDP socket and tokio.
//! - [`end_of`], [`end_of_switch`]: where things are in the DHT; [`plausible`]: which addresses can be in it; [`Party`]: who
//!   stands behind one.
//!
//! The contract: both switches are machines without socket, clock or randomness of their own. Datagrams and calls go in;
//! after each, `poll` is drained until it says when to wake it. Everything a stranger can make grow is bounded by a named
//! constant. Nothing a switch says is trusted: an end finds whoever answers for it, and what they claim is a hint until
//! something outside this crate proves it.

mod buckets;
mod hash;
#[cfg(feature = "io")]
mod io;
mod rate;
mod reflection;
mod scope;
pub mod v1;
pub mod v2;

pub use hash::{end_of, end_of_switch};
#[cfg(feature = "io")]
pub use io::{Asked, Dialed, Endpoint, EndpointConfig, EndpointError};
pub use scope::{Party, plausible};
pub use teale_wire::telehash::{Distance, End, Ipp};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
