//! The relay's figures, for programs.

use std::{fmt::Write, time::Duration};

use serde_json::json;

use crate::DropReason;

/// The relay's figures at one moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RelayMetrics {
    /// Registered nodes.
    pub peers: usize,
    /// WebSockets, registered or not.
    pub sockets: usize,
    /// Connections, plain HTTP included.
    pub connections: usize,
    /// Relayed sessions that are open.
    pub sessions: usize,
    /// Frames received in the last minute.
    pub messages_per_minute: u64,
    /// Frames received.
    pub messages: u64,
    /// Frames forwarded: sent, or waiting in their target's queue. Dropped ones are not among them.
    pub frames_forwarded: u64,
    /// Bytes forwarded.
    pub bytes_forwarded: u64,
    /// Frames not forwarded, by reason.
    pub dropped: [(DropReason, u64); DropReason::ALL.len()],
    /// Bytes of unfinished messages and waiting frames.
    pub buffered_bytes: usize,
    /// Since start.
    pub uptime: Duration,
}

impl RelayMetrics {
    /// The JSON of `GET /metrics`.
    pub fn to_json(&self) -> String {
        json!({
            "peers": self.peers,
            "messagesPerMinute": self.messages_per_minute,
            "relaySessionsActive": self.sessions,
            "uptimeSeconds": self.uptime.as_secs(),
            "totalMessages": self.messages,
        })
        .to_string()
    }

    /// The Prometheus text exposition format, 0.0.4.
    pub fn to_prometheus(&self) -> String {
        let mut out = String::new();
        let mut put = |name: &str, kind: &str, help: &str, value: u64| {
            // Writing to a string does not fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        put("teale_relay_clients", "gauge", "Registered nodes.", self.peers as u64);
        put("teale_relay_sockets", "gauge", "WebSockets, registered or not.", self.sockets as u64);
        put("teale_relay_sessions", "gauge", "Relayed sessions that are open.", self.sessions as u64);
        put("teale_relay_messages_total", "counter", "Frames received.", self.messages);
        put("teale_relay_frames_total", "counter", "Frames forwarded.", self.frames_forwarded);
        put("teale_relay_bytes_total", "counter", "Bytes forwarded.", self.bytes_forwarded);
        put("teale_relay_buffered_bytes", "gauge", "Bytes waiting in the relay.", self.buffered_bytes as u64);
        put("teale_relay_uptime_seconds", "gauge", "Seconds since start.", self.uptime.as_secs());
        out.push_str("# HELP teale_relay_dropped_total Frames not forwarded.\n");
        out.push_str("# TYPE teale_relay_dropped_total counter\n");
        for (reason, count) in self.dropped {
            let _ = writeln!(out, "teale_relay_dropped_total{{reason=\"{}\"}} {count}", reason.label());
        }
        out
    }
}
