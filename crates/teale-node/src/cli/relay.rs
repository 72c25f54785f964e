//! `teale-node relay`.

use std::net::SocketAddr;

use clap::Args;
use serde::Serialize;
use serde_json::json;
use teale_relay_server::{RelayServer, RelayServerConfig, RelayServerError};
use toml::Table;

use super::{
    failure::Failure,
    global::{Context, to_table},
    signals::Signals,
};
use crate::{RelayLimitSettings, notify};

/// Runs until SIGINT or SIGTERM. Sees who talks to whom, never what about.
#[derive(Debug, Args, Serialize)]
pub(super) struct Relay {
    /// Where it listens; port 0 takes a free one [default: 0.0.0.0:8080].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// Refuse registrations that do not answer the relay's challenge.
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    require_proof: bool,
    #[command(flatten)]
    #[serde(flatten)]
    limits: RelayLimitSettings,
}

impl Relay {
    pub(super) fn table(&self) -> Result<Table, Failure> {
        Ok(Table::from_iter([("relay".to_owned(), to_table(self)?.into())]))
    }

    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        context.start_logging("info");
        // One thread forwards faster than several that hand frames to each other.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::new(format!("the runtime does not start: {error}")))?;
        runtime.block_on(relay(context))
    }
}

async fn relay(context: &Context) -> Result<(), Failure> {
    let mut signals =
        Signals::install().map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))?;
    let settings = &context.settings().relay;
    let mut config = RelayServerConfig::new(settings.listen);
    config.limits = settings.limits.to_limits();
    config.require_proof = settings.require_proof;
    let server = RelayServer::bind(config).await.map_err(failure)?;
    let address = server.local_addr();
    let (url, http) = (format!("ws://{address}/ws"), format!("http://{address}"));
    let text = || format!("relay   {url}\nhealth  {http}/health");
    context.output.document(
        &json!({ "event": "listening", "url": url, "http": http, "pid": std::process::id() }),
        text,
    )?;
    notify::ready();
    let handle = server.handle();
    let mut running = tokio::spawn(server.run());
    tokio::select! {
        ended = &mut running => return ended.map_err(|_| Failure::new("the relay crashed"))?.map_err(failure),
        () = signals.next() => {}
    }
    notify::stopping();
    handle.shutdown();
    tokio::select! {
        ended = running => ended.map_err(|_| Failure::new("the relay crashed"))?.map_err(failure),
        () = signals.next() => Ok(()),
    }
}

fn failure(error: RelayServerError) -> Failure {
    match &error {
        RelayServerError::Listen { source, .. } => {
            Failure::new(format!("{error}: {source}")).hint("choose another address with --listen")
        }
        _ => Failure::new(error.to_string()),
    }
}
