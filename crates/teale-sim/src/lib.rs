//! A network in a box, for tests: virtual time, links with delay, loss and reordering, streams that break, NAT boxes,
//! nodes that freeze and die, and a trace to snapshot.
//!
//! It stands at the bottom, beside `teale-wire`, knows no protocol, and is only ever a dev-dependency. It opens no
//! socket and reads no clock: a [`World`] is a queue of events, and the same seed with the same calls gives the same
//! run, to the nanosecond. Worlds of 50,000 nodes are fine.
//!
//! A node's program is a [`Machine`]. It is called with an [`Event`] and acts through its [`Context`]: datagrams and
//! multicast, streams, one deadline. Networks are joined by [`Link`]s and by NAT boxes ([`NatConfig`], after RFC 4787).
//! The test does the rest through the world: partitions, pulled cables, frozen and crashed nodes, broken, stalled and
//! half-open streams.
//!
//! ```
//! use std::{net::SocketAddr, time::Duration};
//! use teale_sim::{Context, Event, Link, Machine, World};
//!
//! /// Asks once, and answers whatever it hears.
//! struct Parrot {
//!     ask: Option<SocketAddr>,
//!     heard: Vec<String>,
//! }
//!
//! impl Machine for Parrot {
//!     fn handle(&mut self, event: Event, context: &mut Context<'_>) {
//!         match event {
//!             Event::Start => {
//!                 if let Some(other) = self.ask {
//!                     context.send(5000, other, "hello");
//!                 }
//!             }
//!             Event::Datagram { from, to, payload } => {
//!                 self.heard.push(String::from_utf8_lossy(&payload).into_owned());
//!                 if self.ask.is_none() {
//!                     context.send(to.port(), from, payload);
//!                 }
//!             }
//!             _ => {}
//!         }
//!     }
//! }
//!
//! let mut world = World::new(1);
//! let net = world.add_net(Link::PERFECT.delay(Duration::from_millis(10)));
//! world.trace(Some(|payload| String::from_utf8_lossy(payload).into_owned()));
//! world.add_node(Parrot { ask: None, heard: Vec::new() }, net, "192.0.2.1".parse()?);
//! let asker = Parrot { ask: Some("192.0.2.1:7".parse()?), heard: Vec::new() };
//! let asker = world.add_node(asker, net, "192.0.2.2".parse()?);
//! world.run_for(Duration::from_secs(1));
//! assert_eq!(world.machine(asker).heard, ["hello"]);
//! assert!(world.take_trace().ends_with("20.000 n1     gets  192.0.2.1:7 > 192.0.2.2:5000 5 B hello\n"));
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

mod context;
mod counters;
mod fabric;
mod ids;
mod link;
mod machine;
mod nat;
mod queue;
mod random;
mod trace;
mod world;

pub use context::Context;
pub use counters::{Counters, Lost};
pub use fabric::{Crash, StreamRules};
pub use ids::{NatId, NetId, NodeId, PlugId, StreamId};
pub use link::Link;
pub use machine::{Event, Machine, StreamEnd, StreamEvent, WriteError};
pub use nat::{Dependence, NatConfig, PortChoice};
pub use random::Random;
pub use trace::Label;
pub use world::World;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
