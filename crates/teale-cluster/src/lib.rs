//! The cluster layer: links, hello, health, roster, routing, asking and serving inference.
//!
//! Above `teale-relay-client`, which brings sessions, and below the engines and the program. It speaks
//! [`ClusterMessage`](teale_wire::ClusterMessage) over ordered links and does not know what carries them, nor what
//! makes the tokens: an engine is whatever implements [`Backend`].
//!
//! - [`Core`] is the whole layer as a machine without sockets, clocks or tasks: [`Core::handle`] takes an [`Input`],
//!   [`Core::poll`] says what to do until [`Output::Wait`]. Every bound stands in [`bounds`].
//! - `Cluster` (feature `io`) drives it on tokio. Its links come from [`Carrier`]s: relays, and whatever is added.
//!
//! What it promises: each request ends exactly once. Before the first token a failure moves it to another provider,
//! after it the asker gets an error. An answer whose link dies goes on over another one to the same provider, nothing
//! lost and nothing twice. A slot is held for somebody who went away only as long as he may come back
//! ([`bounds::DETACHED`]). One request never delays a link: control messages overtake chunks, requests take turns,
//! and bulk waits for both.
//!
//! ```
//! use std::time::Duration;
//! use teale_cluster::{AskError, AskId, Core, CoreConfig, Input, Now, Output};
//! # use teale_wire::{HardwareCapability, NodeId, chat::ChatRequest};
//! # let hardware = serde_json::from_str::<HardwareCapability>(r#"{"chipFamily":"unknown","chipName":"",
//! #     "totalRAMGB":8,"gpuCoreCount":0,"memoryBandwidthGBs":10,"tier":2}"#)?;
//! let mut core = Core::new(CoreConfig::new(NodeId::from_bytes([7; 32]), hardware), [0; 32], Now::default());
//! let request = Box::new(ChatRequest { model: "nobody-has-it".into(), ..ChatRequest::default() });
//! core.handle(Now::default(), Input::Ask { ask: AskId(1), request });
//! let Output::End { ask: AskId(1), result } = core.poll() else { panic!("nobody was asked") };
//! assert_eq!(result, Err(AskError::ModelNotFound));
//! assert!(matches!(core.poll(), Output::Wait(Some(_))));
//! # Ok::<(), serde_json::Error>(())
//! ```

mod backend;
mod carrier;
mod core;
mod error;
#[cfg(feature = "io")]
mod io;
pub mod lan;
pub mod share;
mod view;

pub use crate::core::{
    AskId, CloseReason, Core, CoreConfig, Input, JobId, LinkId, Now, Output, PROTOCOL_VERSION, Way, bounds,
    passcode_hash,
};
pub use backend::{Backend, BackendError, ChunkStream, LoadState, ModelInfo};
pub use carrier::{CarriedLink, Carrier, LinkError, LinkReceiver, LinkSender};
pub use error::AskError;
#[cfg(feature = "io")]
pub use io::{
    Answer, CarrierHost, Cluster, ClusterConfig, LinkGone, LocalModelView, Pull, PullOptions, PullState,
    RemoteModelView, ShareNews, Sharing, SharingConfig, remove_model,
};
pub use view::{ClusterEvent, ClusterStatus, LinkPath, ModelView, PeerView};

/// The README's example compiles.
#[cfg(all(doctest, feature = "io"))]
#[doc = include_str!("../README.md")]
struct Readme;
