//! The relay's limits as settings and flags: each field of [`RelayLimits`] under its own name.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use teale_relay_server::RelayLimits;

/// The limits; `None` keeps the relay's default. Times are whole seconds.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
#[command(next_help_heading = "Limits (see the relay's documentation for what happens at each)")]
pub struct RelayLimitSettings {
    /// Bytes of one message of a registered node.
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_bytes: Option<usize>,
    /// Bytes of one message of a socket that has not registered.
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unregistered_frame_bytes: Option<usize>,
    /// Messages a second and socket, in the long run.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_second: Option<u32>,
    /// Messages a socket may send at once.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_burst: Option<u32>,
    /// Bytes a second and socket, in the long run.
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// Bytes a socket may send at once.
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_burst: Option<u64>,
    /// Connections at once.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<usize>,
    /// Connections at once from one address.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets_per_ip: Option<usize>,
    /// Life of a socket that does not register.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unregistered_life: Option<u64>,
    /// Silence after which a socket is closed.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<u64>,
    /// How long a registration lasts without a refresh.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_ttl: Option<u64>,
    /// Bytes that may wait for one socket.
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound_bytes: Option<usize>,
    /// How long a socket may read too slowly.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_time: Option<u64>,
    /// Bytes a socket must take in that time.
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_bytes: Option<usize>,
    /// Bytes waiting in all sockets together.
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffered_bytes: Option<usize>,
    /// Time between two `discover` of one socket.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discover_interval: Option<u64>,
    /// Sessions tracked per node.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_per_node: Option<usize>,
    /// Sessions tracked in all.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<usize>,
    /// Time an HTTP request may take to arrive.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_header_time: Option<u64>,
    /// Life of a connection that does not become a WebSocket.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_life: Option<u64>,
}

impl Default for RelayLimitSettings {
    /// The relay's defaults, spelled out.
    fn default() -> Self {
        let limits = RelayLimits::default();
        Self {
            frame_bytes: Some(limits.frame_bytes),
            unregistered_frame_bytes: Some(limits.unregistered_frame_bytes),
            messages_per_second: Some(limits.messages_per_second),
            messages_burst: Some(limits.messages_burst),
            bytes_per_second: Some(limits.bytes_per_second),
            bytes_burst: Some(limits.bytes_burst),
            sockets: Some(limits.sockets),
            sockets_per_ip: Some(limits.sockets_per_ip),
            unregistered_life: Some(limits.unregistered_life.as_secs()),
            idle: Some(limits.idle.as_secs()),
            registration_ttl: Some(limits.registration_ttl.as_secs()),
            outbound_bytes: Some(limits.outbound_bytes),
            drain_time: Some(limits.drain_time.as_secs()),
            drain_bytes: Some(limits.drain_bytes),
            buffered_bytes: Some(limits.buffered_bytes),
            discover_interval: Some(limits.discover_interval.as_secs()),
            sessions_per_node: Some(limits.sessions_per_node),
            sessions: Some(limits.sessions),
            http_header_time: Some(limits.http_header_time.as_secs()),
            http_life: Some(limits.http_life.as_secs()),
        }
    }
}

impl RelayLimitSettings {
    /// The relay's limits with these in place of the defaults.
    pub fn to_limits(&self) -> RelayLimits {
        fn set<T, U: From<T>>(field: &mut U, value: Option<T>) {
            if let Some(value) = value {
                *field = value.into();
            }
        }
        let seconds = |value: Option<u64>| value.map(Duration::from_secs);
        let mut limits = RelayLimits::default();
        set(&mut limits.frame_bytes, self.frame_bytes);
        set(&mut limits.unregistered_frame_bytes, self.unregistered_frame_bytes);
        set(&mut limits.messages_per_second, self.messages_per_second);
        set(&mut limits.messages_burst, self.messages_burst);
        set(&mut limits.bytes_per_second, self.bytes_per_second);
        set(&mut limits.bytes_burst, self.bytes_burst);
        set(&mut limits.sockets, self.sockets);
        set(&mut limits.sockets_per_ip, self.sockets_per_ip);
        set(&mut limits.unregistered_life, seconds(self.unregistered_life));
        set(&mut limits.idle, seconds(self.idle));
        set(&mut limits.registration_ttl, seconds(self.registration_ttl));
        set(&mut limits.outbound_bytes, self.outbound_bytes);
        set(&mut limits.drain_time, seconds(self.drain_time));
        set(&mut limits.drain_bytes, self.drain_bytes);
        set(&mut limits.buffered_bytes, self.buffered_bytes);
        set(&mut limits.discover_interval, seconds(self.discover_interval));
        set(&mut limits.sessions_per_node, self.sessions_per_node);
        set(&mut limits.sessions, self.sessions);
        set(&mut limits.http_header_time, seconds(self.http_header_time));
        set(&mut limits.http_life, seconds(self.http_life));
        limits
    }
}
