//! The typed settings.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use teale_cluster::share::bounds;
use teale_noise::IdentityProof;
use teale_relay_client::Encryption;

use super::{RelayLimitSettings, Secret};
use crate::lan::{LanOptions, default_listen};
use crate::{DhtOptions, ShareOptions};

/// The local API's default port, on loopback.
pub(crate) const API_PORT: u16 = 11435;
/// The relay's default port.
pub(crate) const RELAY_PORT: u16 = 8080;
/// Requests one engine decodes at once, by default.
pub(crate) const SLOTS: usize = 4;
/// Requests that may wait for a slot, by default.
pub(crate) const QUEUE: usize = 64;
/// Seconds running requests get to end after a shutdown signal, by default.
pub(crate) const DRAIN_SECONDS: u64 = 30;
/// Seconds until the first token, all attempts together, by default: prompts are long and machines slow.
pub(crate) const FIRST_TOKEN_SECONDS: u64 = 300;
/// Seconds between two tokens, by default.
pub(crate) const NEXT_TOKEN_SECONDS: u64 = 60;

/// Everything that can be set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// Where the identity and the runtime file live.
    pub data_dir: PathBuf,
    /// How logs are written to stderr.
    pub log_format: LogFormat,
    /// The node's name, for people.
    pub name: String,
    /// Relays to join, `ws://HOST[:PORT]/ws` or `wss://…`.
    pub relays: Vec<String>,
    /// A file of certificates (PEM) to trust for `wss` relays beside the system's.
    pub relay_ca: Option<PathBuf>,
    /// Whether the relays above are joined at all.
    pub use_relays: bool,
    /// Whether to find peers on the local network, and be found there.
    pub lan: bool,
    /// Where to listen for peers of the local network [default: port 11436 of all addresses, while `lan` is on].
    pub lan_listen: Option<SocketAddr>,
    /// Peers by address, with or without discovery: `HOST[:PORT]`, or `NODEID@HOST[:PORT]`.
    pub peers: Vec<String>,
    /// Only these interfaces; a name may end in `*`. Unset takes all but those of containers and virtual machines.
    pub interfaces: Vec<String>,
    /// Never these interfaces.
    pub exclude_interfaces: Vec<String>,
    /// Whether to take part in the DHT: to be found there by one's models, and to look for others'.
    pub dht: bool,
    /// Switches to enter the DHT by, `HOST:PORT`.
    pub dht_seeds: Vec<String>,
    /// Where the DHT's switch listens (UDP).
    pub dht_listen: SocketAddr,
    /// Models to serve: `FILE.gguf` or `NAME=FILE.gguf`.
    pub models: Vec<String>,
    /// An OpenAI-compatible server to serve from.
    pub upstream: Option<String>,
    /// The upstream's API key.
    #[serde(skip_serializing)]
    pub upstream_key: Option<Secret>,
    /// Where the local API listens.
    pub api: SocketAddr,
    /// What clients of the API must present.
    #[serde(skip_serializing)]
    pub api_key: Option<Secret>,
    /// Host names under which the API may be called, besides IP addresses and localhost.
    pub allowed_hosts: Vec<String>,
    /// Origins (`https://app.example`) whose pages may call the API; `*` for any.
    pub cors_origins: Vec<String>,
    /// Requests one engine decodes at once.
    pub slots: usize,
    /// Tokens of context per slot; unset takes the model's own, bounded by the engine.
    pub context: Option<u32>,
    /// Threads of the engine; unset takes the machine's cores.
    pub threads: Option<u32>,
    /// Layers to put on the GPU; unset takes all.
    pub gpu_layers: Option<u32>,
    /// Requests that may wait for a slot.
    pub queue: usize,
    /// Whether plaintext with peers that have no key is acceptable.
    pub encryption: EncryptionChoice,
    /// Whether peers must prove their node id in the handshake.
    pub identity_proof: ProofChoice,
    /// The cluster's passcode.
    #[serde(skip_serializing)]
    pub passcode: Option<Secret>,
    /// Seconds running requests get to end at shutdown.
    pub drain_seconds: u64,
    /// Seconds until the first token, all attempts together.
    pub first_token_seconds: u64,
    /// Seconds between two tokens.
    pub next_token_seconds: u64,
    /// Where fetched models live; unset is `models` below the data directory.
    pub models_dir: Option<PathBuf>,
    /// Settings of model sharing.
    pub share: ShareSettings,
    /// Settings of `teale-node relay`.
    pub relay: RelaySettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::new(),
            log_format: LogFormat::Text,
            name: String::new(),
            relays: Vec::new(),
            relay_ca: None,
            use_relays: true,
            lan: true,
            lan_listen: None,
            peers: Vec::new(),
            interfaces: Vec::new(),
            exclude_interfaces: Vec::new(),
            dht: false,
            dht_seeds: Vec::new(),
            dht_listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            models: Vec::new(),
            upstream: None,
            upstream_key: None,
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, API_PORT)),
            api_key: None,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            slots: SLOTS,
            context: None,
            threads: None,
            gpu_layers: None,
            queue: QUEUE,
            encryption: EncryptionChoice::Preferred,
            identity_proof: ProofChoice::Required,
            passcode: None,
            drain_seconds: DRAIN_SECONDS,
            first_token_seconds: FIRST_TOKEN_SECONDS,
            next_token_seconds: NEXT_TOKEN_SECONDS,
            models_dir: None,
            share: ShareSettings::default(),
            relay: RelaySettings::default(),
        }
    }
}

impl Settings {
    /// The relays to join.
    pub fn joined_relays(&self) -> &[String] {
        if self.use_relays { &self.relays } else { &[] }
    }

    /// How to take part in the DHT: `None` stays out of it.
    pub fn dht_options(&self) -> Option<DhtOptions> {
        let options = DhtOptions { listen: self.dht_listen, ..DhtOptions::new(self.dht_seeds.clone()) };
        self.dht.then_some(options)
    }

    /// How to take part in the local network: `None` stays off it.
    pub fn lan_options(&self) -> Option<LanOptions> {
        if !self.lan && self.peers.is_empty() && self.lan_listen.is_none() {
            return None;
        }
        Some(LanOptions {
            discover: self.lan,
            listen: self.lan_listen.or(self.lan.then(default_listen)),
            interfaces: self.interfaces.clone(),
            exclude_interfaces: self.exclude_interfaces.clone(),
            peers: self.peers.clone(),
        })
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// [`Encryption`] as a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum EncryptionChoice {
    /// Plaintext only with peers that never showed a key.
    Preferred,
    /// Never plaintext.
    Required,
}

impl From<EncryptionChoice> for Encryption {
    fn from(choice: EncryptionChoice) -> Self {
        match choice {
            EncryptionChoice::Preferred => Self::Preferred,
            EncryptionChoice::Required => Self::Required,
        }
    }
}

/// [`IdentityProof`] as a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ProofChoice {
    /// Peers must prove their node id.
    Required,
    /// Peers that do not are marked unverified.
    Optional,
}

impl From<ProofChoice> for IdentityProof {
    fn from(choice: ProofChoice) -> Self {
        match choice {
            ProofChoice::Required => Self::Required,
            ProofChoice::Optional => Self::Optional,
        }
    }
}

impl Settings {
    /// How models are shared.
    pub fn share_options(&self) -> ShareOptions {
        ShareOptions {
            models_dir: self.models_dir.clone(),
            enabled: self.share.enabled,
            caches: self.share.caches,
            uploads: Some(self.share.uploads),
            upload_rate: self.share.upload_rate,
            relay_rate: self.share.relay.then_some(self.share.relay_rate),
        }
    }
}

/// Settings of model sharing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ShareSettings {
    /// Whether model files are offered to peers.
    pub enabled: bool,
    /// Whether other programs' GGUF files are known too; they are read, never written.
    pub caches: bool,
    /// Peers sent to at once.
    pub uploads: usize,
    /// Bytes per second in all; unset is no cap.
    pub upload_rate: Option<u64>,
    /// Whether files are also sent over relays.
    pub relay: bool,
    /// Bytes per second over relays.
    pub relay_rate: u64,
}

impl Default for ShareSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            caches: true,
            uploads: bounds::UPLOADS,
            upload_rate: None,
            relay: false,
            relay_rate: bounds::RELAY_RATE,
        }
    }
}

/// Settings of the relay. Unset limits keep the relay's own defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RelaySettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether registrations must prove freshness.
    pub require_proof: bool,
    /// Its limits.
    #[serde(flatten)]
    pub limits: RelayLimitSettings,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, RELAY_PORT)),
            require_proof: false,
            limits: RelayLimitSettings::default(),
        }
    }
}
