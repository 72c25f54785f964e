//! `GET /metrics`: Prometheus' text format.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::{extract::State, response::IntoResponse};
use http::header;
use teale_cluster::{ClusterEvent, LinkPath};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{Api, telemetry::Histogram};

/// Why handshakes and packets were refused: our own words, so that no peer's text becomes a label.
const REASONS: [&str; 7] = [
    "handshake failed",
    "decryption failed",
    "invalid message",
    "invalid public key",
    "replay detected",
    "session expired",
    "plaintext refused",
];
/// Whatever else.
const OTHER: &str = "other";

/// Counters fed by the cluster's events.
#[derive(Debug)]
pub(super) struct EventCounters {
    refused: [AtomicU64; REASONS.len() + 1],
    /// From a request's arrival to its slot at the own backend, whoever asked; of one answered by a peer, to the
    /// moment it was sent there (how long it waits at the peer is the peer's to say).
    queue_time: Histogram,
    served: AtomicU64,
    served_tokens: AtomicU64,
}

impl Default for EventCounters {
    fn default() -> Self {
        Self {
            refused: Default::default(),
            queue_time: Histogram::of_requests(),
            served: AtomicU64::new(0),
            served_tokens: AtomicU64::new(0),
        }
    }
}

impl EventCounters {
    /// Counts until the cluster is gone.
    pub(super) async fn follow(self: Arc<Self>, mut events: Receiver<ClusterEvent>) {
        loop {
            match events.recv().await {
                Ok(event) => self.count(&event),
                Err(RecvError::Lagged(missed)) => {
                    tracing::debug!(missed, "events were missed by the counters")
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn count(&self, event: &ClusterEvent) {
        match event {
            ClusterEvent::Refused { reason, .. } => {
                let index = REASONS.iter().position(|known| reason.contains(known)).unwrap_or(REASONS.len());
                if let Some(counter) = self.refused.get(index) {
                    counter.fetch_add(1, Relaxed);
                }
            }
            ClusterEvent::Started { waited, .. } => self.queue_time.observe(*waited),
            ClusterEvent::Served { tokens, .. } => {
                self.served.fetch_add(1, Relaxed);
                self.served_tokens.fetch_add(*tokens, Relaxed);
            }
            _ => {}
        }
    }
}

pub(super) async fn metrics(State(api): State<Arc<Api>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], render(&api))
}

fn render(api: &Api) -> String {
    let telemetry = &api.telemetry;
    let status = api.cluster.status();
    let mut page = Page(String::with_capacity(8 << 10));
    page.single("teale_requests_running", "gauge", telemetry.running.load(Relaxed));
    page.single("teale_requests_waiting", "gauge", status.queued);
    page.head("teale_requests_total", "counter");
    for ((model, status), count) in telemetry.requests() {
        page.line("teale_requests_total", &[("model", &model), ("status", &status.to_string())], count);
    }
    page.single("teale_prompt_tokens_total", "counter", telemetry.prompt_tokens.load(Relaxed));
    page.single("teale_generation_tokens_total", "counter", telemetry.generation_tokens.load(Relaxed));
    page.histogram("teale_time_to_first_token_seconds", &telemetry.first_token);
    page.histogram("teale_inter_token_latency_seconds", &telemetry.inter_token);
    page.histogram("teale_e2e_request_latency_seconds", &telemetry.end_to_end);
    page.histogram("teale_request_queue_time_seconds", &api.events.queue_time);
    page.single("teale_served_requests_total", "counter", api.events.served.load(Relaxed));
    page.single("teale_served_tokens_total", "counter", api.events.served_tokens.load(Relaxed));
    page.single("teale_slots", "gauge", status.slots);
    page.single("teale_slots_busy", "gauge", status.slots_busy);
    page.head("teale_peers", "gauge");
    for (path, count) in peers_by_path(api) {
        page.line("teale_peers", &[("path", path)], count);
    }
    page.head("teale_model_transfer_bytes_total", "counter");
    let (received, sent) = api.sharing.as_ref().map(teale_cluster::Sharing::bytes).unwrap_or_default();
    for (direction, bytes) in [("received", received), ("sent", sent)] {
        page.line("teale_model_transfer_bytes_total", &[("direction", direction)], bytes);
    }
    page.single("teale_plaintext_links", "gauge", status.plaintext_links);
    page.head("teale_handshake_failures_total", "counter");
    for (reason, counter) in REASONS.iter().chain([&OTHER]).zip(&api.events.refused) {
        page.line("teale_handshake_failures_total", &[("reason", reason)], counter.load(Relaxed));
    }
    page.0
}

fn peers_by_path(api: &Api) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::from([("lan", 0), ("none", 0), ("relay", 0)]);
    for peer in api.cluster.peers() {
        let path = peer.path.map_or("none", path_name);
        *counts.entry(path).or_insert(0) += 1;
    }
    counts
}

/// The path as labels, headers and JSON spell it.
pub(crate) fn path_name(path: LinkPath) -> &'static str {
    match path {
        LinkPath::Own => "own",
        LinkPath::Lan => "lan",
        LinkPath::Relay => "relay",
    }
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
    }

    fn single(&mut self, name: &str, kind: &str, value: impl Display) {
        self.head(name, kind);
        self.line(name, &[], value);
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escaped(text));
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn histogram(&mut self, name: &str, histogram: &Histogram) {
        self.head(name, "histogram");
        let (buckets, sum) = histogram.snapshot();
        let bucket = format!("{name}_bucket");
        let count = buckets.last().map_or(0, |(_, count)| *count);
        for (border, count) in buckets {
            let border = border.map_or_else(|| "+Inf".to_owned(), |border| border.to_string());
            self.line(&bucket, &[("le", &border)], count);
        }
        self.line(&format!("{name}_sum"), &[], sum);
        self.line(&format!("{name}_count"), &[], count);
    }
}

/// A label's value: backslash, quote and line break escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_prometheus_text() {
        let mut page = Page(String::new());
        page.single("a", "gauge", 3);
        page.line("b", &[("model", "x\"y\\z\n"), ("status", "200")], 1);
        assert_eq!(page.0, "# TYPE a gauge\na 3\nb{model=\"x\\\"y\\\\z\\n\",status=\"200\"} 1\n");
    }

    #[test]
    fn refusals_are_counted_under_our_own_words() {
        let counters = EventCounters::default();
        let node = teale_wire::NodeId::from_bytes([0; 32]);
        for reason in ["replay detected", "handshake failed: bad tag", "a stranger's words"] {
            counters.count(&ClusterEvent::Refused { node, reason: reason.into() });
        }
        let counts: Vec<_> = counters.refused.iter().map(|counter| counter.load(Relaxed)).collect();
        assert_eq!(counts, [1, 0, 0, 0, 1, 0, 0, 1]);
    }
}
