//! `teale-node status`.

use std::fmt::Write;

use clap::Args;
use serde_json::Value;

use super::{failure::Failure, global::Context, runtime};
use crate::output::plain;

/// Asks the running node.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// The node's API, instead of the running node of the data directory.
    #[arg(long, value_name = "URL")]
    api: Option<String>,
}

impl Status {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        context.start_logging("warn");
        let client = context.client(self.api.as_deref())?;
        let status: Value = runtime()?.block_on(client.get("/teale/v1/status"))?;
        Ok(context.output.document(&status, || text(&status))?)
    }
}

/// One line per number; relays on lines of their own.
fn text(status: &Value) -> String {
    let mut out = String::new();
    for (key, value) in status.as_object().into_iter().flatten() {
        match value {
            Value::Array(relays) => relays.iter().for_each(|relay| {
                let _ = writeln!(out, "{:<16} {}", "relay", self::relay(relay));
            }),
            Value::String(text) => {
                let _ = writeln!(out, "{:<16} {}", plain(key).replace('_', " "), plain(text));
            }
            other => {
                let _ = writeln!(out, "{:<16} {other}", plain(key).replace('_', " "));
            }
        }
    }
    out.trim_end().to_owned()
}

fn relay(relay: &Value) -> String {
    let url = plain(relay["url"].as_str().unwrap_or("?"));
    let state = match (relay["registered"].as_bool(), relay["last_error"].as_str()) {
        (Some(true), _) => "registered".to_owned(),
        (_, Some(error)) => format!("not registered: {}", plain(error)),
        _ => "not registered".to_owned(),
    };
    match relay["ping_ms"].as_f64() {
        Some(ping) => format!("{url} {state}, {ping:.1} ms"),
        None => format!("{url} {state}"),
    }
}
