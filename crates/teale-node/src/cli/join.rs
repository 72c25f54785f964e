//! The flags of verbs that join the network, and the builder made of the settings.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args};
use serde::Serialize;

use super::failure::Failure;
use crate::{
    DataDir, EncryptionChoice, EngineOptions, Node, NodeBuilder, ProofChoice, Settings, UpstreamOptions,
};

/// How to join. Each is also a setting.
#[derive(Debug, Clone, Args, Serialize)]
pub(super) struct JoinFlags {
    /// Join this relay, ws://HOST[:PORT]/ws or wss://…; may be given several times.
    #[arg(long = "relay", value_name = "URL")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    relays: Vec<String>,
    /// Trust the certificates of this file (PEM) for wss relays, beside the system's.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    relay_ca: Option<PathBuf>,
    /// Join no relay, whatever the configuration says.
    #[arg(long = "no-relay", action = ArgAction::SetFalse)]
    #[serde(skip_serializing_if = "is_true")]
    use_relays: bool,
    /// Neither look for peers on the local network nor listen there, unless --lan-listen or --dht is given; peers given
    /// with --peer are still reached.
    #[arg(long = "no-lan", action = ArgAction::SetFalse)]
    #[serde(skip_serializing_if = "is_true")]
    lan: bool,
    /// Connect to this peer, HOST[:PORT] or NODEID@HOST[:PORT]; may be given several times.
    #[arg(long = "peer", value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peers: Vec<String>,
    /// Where to listen for peers of the local network [default: [::]:11436].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    lan_listen: Option<SocketAddr>,
    /// Look for peers only on this network interface; may be given several times.
    #[arg(long = "interface", value_name = "NAME")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<String>,
    /// Never look for peers on this network interface; may be given several times.
    #[arg(long = "exclude-interface", value_name = "NAME")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exclude_interfaces: Vec<String>,
    /// Take part in the DHT: be found by one's models and find others' by name, without a relay. Needs --dht-seed.
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dht: bool,
    /// Enter the DHT by this switch, HOST:PORT; may be given several times.
    #[arg(long = "dht-seed", value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dht_seeds: Vec<String>,
    /// Where the DHT's switch listens, UDP [default: any free port].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    dht_listen: Option<SocketAddr>,
    /// The node's name, for people [default: the host's].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Whether plaintext with peers that have no key is acceptable [default: preferred].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption: Option<EncryptionChoice>,
    /// Whether peers must prove their node id [default: required].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    identity_proof: Option<ProofChoice>,
    /// A file with the cluster's passcode.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    passcode_file: Option<String>,
    /// Seconds until the first token, all attempts together.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    first_token_seconds: Option<u64>,
    /// Seconds between two tokens.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token_seconds: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

/// What all joining verbs take from the settings.
pub(super) fn builder(settings: &Settings) -> Result<NodeBuilder, Failure> {
    let mut builder = Node::builder()
        .name(&settings.name)
        .encryption(settings.encryption.into())
        .identity_proof(settings.identity_proof.into())
        .queue(settings.queue)
        .timeouts(
            Duration::from_secs(settings.first_token_seconds),
            Duration::from_secs(settings.next_token_seconds),
        );
    if let Some(passcode) = &settings.passcode {
        builder = builder.passcode(passcode.clone());
    }
    if let Some(path) = &settings.relay_ca {
        let pem = std::fs::read_to_string(path);
        let failed = |error| Failure::new(format!("cannot read {}: {error}", path.display()));
        builder = builder.relay_ca(pem.map_err(failed)?);
    }
    if let Some(lan) = settings.lan_options() {
        builder = builder.lan(lan);
    }
    if let Some(dht) = settings.dht_options() {
        builder = builder.dht(dht);
    }
    Ok(settings.joined_relays().iter().fold(builder, NodeBuilder::relay))
}

/// The same for a node that also serves.
pub(super) fn serving(settings: &Settings, dir: &DataDir) -> Result<NodeBuilder, Failure> {
    let mut builder = builder(settings)?.data_dir(dir.path()).engine(EngineOptions {
        slots: settings.slots,
        context: settings.context,
        threads: settings.threads,
        gpu_layers: settings.gpu_layers,
    });
    builder = builder.sharing(settings.share_options());
    if let Some(url) = &settings.upstream {
        builder = builder.upstream(UpstreamOptions { url: url.clone(), key: settings.upstream_key.clone() });
    }
    Ok(settings.models.iter().fold(builder, NodeBuilder::model))
}
