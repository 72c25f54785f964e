//! `teale-node serve`.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use serde::Serialize;
use serde_json::json;
use toml::Table;

use super::{
    failure::Failure,
    global::{Context, to_table},
    join::{self, JoinFlags},
    news, runtime,
    signals::Signals,
};
use crate::{ApiOptions, ModelSpec, Node, demo_model, notify};

/// Runs until SIGINT or SIGTERM: the first lets running requests end, the second stops at once.
#[derive(Debug, Args, Serialize)]
pub(super) struct Serve {
    #[command(flatten)]
    #[serde(flatten)]
    join: JoinFlags,
    /// Serve this model, FILE.gguf, NAME=FILE.gguf, or `demo` for the built-in one; may be given several times.
    #[arg(long = "model", value_name = "FILE")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<String>,
    #[command(flatten)]
    share: ShareFlags,
    /// Serve what this OpenAI-compatible server serves.
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    /// A file with the upstream's API key.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_key_file: Option<String>,
    /// Where the API listens [default: 127.0.0.1:11435].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<SocketAddr>,
    /// The API's key; visible in the process list, so prefer --api-key-file.
    #[arg(long, value_name = "KEY", conflicts_with = "api_key_file")]
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
    /// A file with the API's key.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_file: Option<String>,
    /// A host name under which the API may be called; may be given several times.
    #[arg(long = "allowed-host", value_name = "NAME")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_hosts: Vec<String>,
    /// An origin whose pages may call the API; may be given several times.
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cors_origins: Vec<String>,
    /// Requests each engine decodes at once [default: 4].
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<usize>,
    /// Tokens of context per slot [default: the model's].
    #[arg(long, value_name = "TOKENS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<u32>,
    /// Threads of each engine [default: the machine's cores].
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<u32>,
    /// Layers on the GPU [default: all].
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_layers: Option<u32>,
    /// Requests that may wait for a slot [default: 64].
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<usize>,
    /// Seconds running requests get to end at shutdown [default: 30].
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_seconds: Option<u64>,
}

/// What of model sharing has flags.
#[derive(Debug, Args, Serialize)]
struct ShareFlags {
    /// Offer model files to peers: fetched ones, served ones, and those in other programs' caches (share.caches).
    #[arg(long = "share")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    enabled: bool,
    /// Send and fetch model files also over relays, under the cap share.relay_rate.
    #[arg(long = "share-over-relay")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    relay: bool,
}

impl Serve {
    pub(super) fn table(&self) -> Result<Table, Failure> {
        to_table(self)
    }

    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        context.start_logging("info");
        let runtime = runtime()?;
        let result = runtime.block_on(serve(context));
        // A second signal leaves tasks behind: they are not waited for.
        runtime.shutdown_background();
        result
    }
}

async fn serve(context: &Context) -> Result<(), Failure> {
    let settings = context.settings();
    let mut signals =
        Signals::install().map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))?;
    let api = ApiOptions {
        key: settings.api_key.clone(),
        allowed_hosts: settings.allowed_hosts.clone(),
        cors_origins: settings.cors_origins.clone(),
        ..ApiOptions::new(settings.api)
    };
    if settings.joined_relays().is_empty() && settings.lan_options().is_none() && !settings.dht {
        tracing::warn!(
            "neither a relay, nor the local network, nor the DHT: this node reaches nobody; give one with --relay URL"
        );
    }
    let starting = join::serving(settings, &context.data_dir())?.api(api).start();
    let node = tokio::select! {
        node = starting => node?,
        // Loading a large model takes a while; a signal ends that too.
        () = signals.next() => return Ok(()),
    };
    tokio::spawn(news::log(node.cluster().events()));
    announce(context, &node)?;
    notify::ready();
    signals.next().await;
    notify::stopping();
    let limit = Duration::from_secs(settings.drain_seconds);
    tracing::info!(?limit, "draining: no new work, running requests may end; another signal stops at once");
    tokio::select! {
        () = node.shutdown(limit) => {}
        () = signals.next() => tracing::warn!("stopped at once"),
    }
    Ok(())
}

/// Says on stdout how to reach the node.
fn announce(context: &Context, node: &Node) -> Result<(), Failure> {
    let api = node.api_url().unwrap_or_default();
    let models: Vec<_> = node.cluster().models().into_iter().filter(|m| m.local).map(|m| m.id).collect();
    let built_in = context
        .settings()
        .models
        .iter()
        .any(|model| matches!(ModelSpec::parse(model), Ok(spec) if spec.is_built_in()));
    let note = built_in.then_some(demo_model::NOTICE);
    let mut ready =
        json!({ "event": "ready", "node": node.id(), "name": node.name(), "api": api, "models": models });
    if let (Some(note), Some(fields)) = (note, ready.as_object_mut()) {
        fields.insert("note".to_owned(), note.into());
    }
    let text = || {
        let models = if models.is_empty() { "none (consumer)".to_owned() } else { models.join(", ") };
        let note = note.map(|note| format!("\nnote    {note}")).unwrap_or_default();
        format!("node    {}\nmodels  {models}\napi     {api}{note}", node.id())
    };
    Ok(context.output.document(&ready, text)?)
}
