//! One inference network out of many machines: the `teale-node` program, and the same as a library.
//!
//! The top of the stack: it composes the layers below and nothing depends on it. Protocol rules live below
//! (`teale-cluster` routes and serves, `teale-relay-client` seals, `teale-infer` computes); what lives here is
//! settings, files, the HTTP API and the command line. Nothing here may look into a sealed session or decide
//! about encryption by itself.
//!
//! - [`Node`]: a node in a test or another program, started by a builder.
//! - [`Settings`] and [`Layers`]: flag, `TEALE_*` variable, file, default, each value with its source.
//! - [`DataDir`], [`RuntimeFile`]: the files of a node; one directory is one identity is one process.
//! - [`cli`]: the program.
//!
//! The contract: [`NodeBuilder::start`] announces nothing before everything it was given has been checked and
//! loaded; [`Node::shutdown`] lets running requests end; dropping a [`Node`] stops it at once.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use futures_util::StreamExt;
//! use teale_node::{Node, chat::{ChatMessage, ChatRequest}};
//!
//! let node = Node::builder().relay("ws://127.0.0.1:8080/ws").start().await?;
//! node.cluster().wait_for_model("tiny", Duration::from_secs(10)).await;
//! let messages = vec![ChatMessage::text("user", "hello")];
//! let request = ChatRequest { model: "tiny".into(), messages, ..ChatRequest::default() };
//! let mut answer = node.cluster().chat(request).await?;
//! while let Some(chunk) = answer.next().await {
//!     println!("{:?}", chunk?.choices);
//! }
//! node.shutdown(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

mod api;
mod builder;
pub mod cli;
mod client;
mod config;
mod demo_model;
mod dht;
mod engine;
mod error;
mod hardware;
mod known_peers_file;
mod lan;
mod late_backend;
mod model_set;
mod node;
mod notify;
mod output;
mod paths;
mod pulling;
mod runtime;
mod sharing;

pub use builder::{ApiOptions, NodeBuilder};
pub use config::{
    ConfigError, EncryptionChoice, Layers, LogFormat, ProofChoice, RelayLimitSettings, RelaySettings,
    Resolved, Row, Secret, Settings, ShareSettings, Source,
};
pub use dht::{Dht, DhtOptions, DhtStatus, DhtTap};
pub use engine::{EngineOptions, ModelSpec, UpstreamOptions};
pub use error::NodeError;
pub use hardware::detect as detect_hardware;
pub use lan::LanOptions;
pub use node::Node;
pub use paths::{DataDir, config_file, default_data_dir, user_config_file};
pub use runtime::{DataDirLock, RuntimeFile, running};
pub use sharing::ShareOptions;

pub use teale_cluster as cluster;
pub use teale_identity as identity;
pub use teale_relay_client as relay_client;
pub use teale_relay_server as relay_server;
pub use teale_telehash as telehash;
pub use teale_wire::chat;
