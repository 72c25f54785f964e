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
            Value::Object(lan) if key == "lan" => out.push_str(&self::lan(lan)),
            Value::Object(_) if key == "dht" => {
                let _ = writeln!(out, "{}", super::dht::text(value));
            }
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

/// The local network: what is looked at, and what is the matter.
fn lan(lan: &serde_json::Map<String, Value>) -> String {
    let mut out = String::new();
    let mut line = |key: &str, text: String| {
        let _ = writeln!(out, "{:<16} {}", key, plain(&text));
    };
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    if let Some(listening) = lan.get("listening") {
        line("lan", format!("listening on {}, {} links", list(listening).join(", "), lan["links"]));
    }
    for nic in lan.get("interfaces").and_then(Value::as_array).into_iter().flatten() {
        let name = nic["name"].as_str().unwrap_or("?");
        let verdict = match nic["reason"].as_str() {
            Some(reason) => format!("not used: {reason}"),
            None => list(&nic["addresses"]).join(", "),
        };
        line("lan interface", format!("{name} {verdict}"));
    }
    if let Some(mdns) = lan.get("mdns") {
        let number = |key: &str| mdns[key].as_u64().unwrap_or_default();
        let (sent, own, others) = (number("sent"), number("seen_own"), number("seen_others"));
        line(
            "lan mdns",
            format!("{sent} sent, {own} own and {others} of others seen, {} peers", number("peers")),
        );
    }
    for peer in lan.get("peers").and_then(Value::as_array).into_iter().flatten() {
        let state = match (peer["linked"].as_bool(), peer["error"].as_str()) {
            (Some(true), _) => "linked".to_owned(),
            (_, Some(error)) => format!("not linked: {error}"),
            _ => "not linked".to_owned(),
        };
        line("lan peer", format!("{} {state}", peer["address"].as_str().unwrap_or("?")));
    }
    for warning in lan.get("warnings").map(list).unwrap_or_default() {
        line("lan warning", warning);
    }
    if let Some(refusal) = lan.get("last_refusal").and_then(Value::as_str) {
        line("lan refused", format!("{} in all; last {refusal}", lan["refused"]));
    }
    if let Some(diagnosis) = lan.get("diagnosis").and_then(Value::as_str) {
        line("lan diagnosis", diagnosis.to_owned());
    }
    out
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
