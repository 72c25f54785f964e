//! Why a node cannot start.

use std::{io, net::SocketAddr, path::PathBuf};

use teale_identity::{IdentityError, KeyFileError};
use teale_relay_client::url_without_credentials;
use thiserror::Error;

/// Why a node cannot start. All of these are the operator's to mend; the texts say how.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The data directory cannot be used.
    #[error("cannot use {path}: {source}")]
    DataDir {
        /// Which path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another node runs with the same identity.
    #[error("a node already runs in {path}{}; stop it, or give this one its own --data-dir", pid_text(*.pid))]
    DataDirBusy {
        /// Which directory.
        path: PathBuf,
        /// Whose process, if it says.
        pid: Option<u32>,
    },
    /// The key file cannot be used.
    #[error("the node's key file: {0}")]
    KeyFile(#[from] KeyFileError),
    /// The operating system has no randomness.
    #[error("the node's identity: {0}")]
    Identity(#[from] IdentityError),
    /// A relay URL nobody can connect to.
    #[error("`{}` is no relay URL ({reason}); expected ws://HOST[:PORT]/ws or wss://HOST[:PORT]/ws", url_without_credentials(.url))]
    RelayUrl {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A peer's address nobody can dial.
    #[error("`{address}` is no peer: {reason}; expected HOST[:PORT] or NODEID@HOST[:PORT]")]
    PeerAddress {
        /// The address.
        address: String,
        /// What is wrong with it.
        reason: teale_cluster::lan::StaticPeerError,
    },
    /// The local network cannot be joined.
    #[error("local network: {0}; choose another address with --lan-listen, or stay off it with --no-lan")]
    Lan(#[from] teale_cluster::lan::LanStartError),
    /// A seed of the DHT that cannot be contacted.
    #[error("`{seed}` is no seed of the DHT: {reason}")]
    DhtSeed {
        /// The seed.
        seed: String,
        /// Why not.
        reason: String,
    },
    /// The DHT has to be entered somewhere.
    #[error("the DHT needs a switch to begin with: name one with --dht-seed HOST:PORT")]
    DhtNoSeed,
    /// Strangers met in the DHT would learn what the passcode is checked by.
    #[error("a passcode does not go with the DHT: whoever is met there is told its hash, and could use it")]
    DhtWithPasscode,
    /// The DHT's socket cannot be had.
    #[error("the DHT: {0}; choose another address with --dht-listen")]
    Dht(#[from] teale_telehash::EndpointError),
    /// A model that cannot be served.
    #[error("model `{model}`: {reason}")]
    Model {
        /// Which.
        model: String,
        /// Why not.
        reason: String,
    },
    /// The upstream server cannot be used.
    #[error("upstream: {0}")]
    Upstream(String),
    /// The API's address cannot be had.
    #[error("the API cannot listen on {address}: {source}; choose another address with --api")]
    ApiBind {
        /// Which address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The API would be open to strangers.
    #[error(
        "the API at {0} could be reached from other machines: give it a key with --api-key-file, or a loopback address"
    )]
    ApiKeyNeeded(SocketAddr),
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}
