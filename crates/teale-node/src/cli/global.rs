//! What every verb has: the global flags, and the settings merged from all layers.

use std::{io::IsTerminal, path::PathBuf};

use clap::{ArgAction, Args};
use serde::Serialize;
use toml::Table;
use tracing_subscriber::{
    EnvFilter, fmt::writer::MakeWriterExt, layer::SubscriberExt, util::SubscriberInitExt,
};

use super::failure::Failure;
use crate::{
    DataDir, Layers, LogFormat, Resolved, RuntimeFile, Secret, Settings, client::ApiClient,
    config::read_file, config_file, default_data_dir, hardware, output::Output, running,
};

/// The flags every verb takes.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Everywhere")]
pub(super) struct GlobalFlags {
    /// Print data as JSON.
    #[arg(long, global = true)]
    #[serde(skip)]
    pub(super) json: bool,
    /// Read this configuration file instead of the usual one.
    #[arg(long, global = true, value_name = "FILE")]
    #[serde(skip)]
    pub(super) config: Option<PathBuf>,
    /// Keep identity and state here [default: the platform's data directory + /teale].
    #[arg(long, global = true, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Log more; twice, everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    #[serde(skip)]
    verbose: u8,
    /// Log errors only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    #[serde(skip)]
    quiet: bool,
    /// How logs are written to stderr [default: text].
    #[arg(long, global = true, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<LogFormat>,
}

/// A verb's surroundings.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) flags: GlobalFlags,
    pub(super) output: Output,
    pub(super) resolved: Resolved,
    /// The configuration file that was read.
    pub(super) file: Option<PathBuf>,
}

impl Context {
    /// Merges the layers; `verb` are the verb's own flags that are settings.
    pub(super) fn new(flags: GlobalFlags, verb: Table) -> Result<Self, Failure> {
        let file = flags.config.clone().or_else(config_file);
        let table = file.as_deref().map(read_file).transpose()?;
        let mut given = to_table(&flags)?;
        given.extend(verb);
        let mut defaults = Table::new();
        if let Some(dir) = default_data_dir() {
            defaults.insert("data_dir".into(), dir.to_string_lossy().into_owned().into());
        }
        defaults.insert("name".into(), hardware::host_name().into());
        let layers = Layers {
            flags: given,
            variables: &|name| std::env::var(name).ok(),
            file: file.clone().zip(table),
            defaults,
        };
        let resolved = layers.resolve()?;
        if resolved.settings.data_dir.as_os_str().is_empty() {
            return Err(Failure::usage("there is no home directory; name a data directory with --data-dir"));
        }
        Ok(Self { output: Output::new(flags.json), flags, resolved, file })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.resolved.settings
    }

    pub(super) fn data_dir(&self) -> DataDir {
        DataDir::new(&self.settings().data_dir)
    }

    /// Logs to stderr. `usual` is the level without `-v` and `-q`; `TEALE_LOG` overrules all of them.
    pub(super) fn start_logging(&self, usual: &str) {
        let level = match (self.flags.quiet, self.flags.verbose) {
            (true, _) => "error",
            (_, 0) => usual,
            (_, 1) => {
                "info,teale_node=debug,teale_cluster=debug,teale_relay_client=debug,teale_infer=debug,teale_relay_server=debug"
            }
            _ => "trace,hyper=info,hyper_util=info,reqwest=info,rustls=info",
        };
        let filter = EnvFilter::try_from_env("TEALE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
        let colour = std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let stderr = std::io::stderr.with_max_level(tracing::Level::TRACE);
        let registry = tracing_subscriber::registry().with(filter);
        let started = match self.settings().log_format {
            LogFormat::Text => registry
                .with(tracing_subscriber::fmt::layer().with_ansi(colour).with_writer(stderr))
                .try_init(),
            LogFormat::Json => {
                registry.with(tracing_subscriber::fmt::layer().json().with_writer(stderr)).try_init()
            }
        };
        // A host program may have its own subscriber: then the logs are its.
        drop(started);
    }

    /// The running node of the data directory.
    pub(super) fn running(&self) -> Option<RuntimeFile> {
        running(&self.data_dir())
    }

    /// A client of `--api URL`, else of the running node.
    pub(super) fn client(&self, api: Option<&str>) -> Result<ApiClient, Failure> {
        let client = match api {
            Some(url) => ApiClient::new(url, self.settings().api_key.clone()),
            None => {
                let runtime = self.running().ok_or_else(|| Failure::no_node(&self.data_dir()))?;
                ApiClient::new(&runtime.api, Some(Secret::new(runtime.token)))
            }
        };
        Ok(client?)
    }
}

/// A verb's flags as a layer of settings: those that were given.
pub(super) fn to_table(flags: &impl Serialize) -> Result<Table, Failure> {
    Table::try_from(flags)
        .map_err(|error| Failure::usage(format!("the command line cannot be read: {error}")))
}
