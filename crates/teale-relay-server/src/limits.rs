//! Every bound of the relay, in one table. What happens at each bound is said beside it.

use std::time::Duration;

use teale_wire::limits;

/// The bounds a relay keeps. Each field's default is the constant of the same name.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RelayLimits {
    /// A message from a registered node, in bytes; a longer one closes the socket with 1009 before it is read.
    pub frame_bytes: usize,
    /// A message from a socket that has not registered, in bytes; a longer one closes it with 1009.
    pub unregistered_frame_bytes: usize,
    /// What one registration may take in memory once it is parsed, in bytes; a larger one is refused with
    /// `invalid_register`. Times [`sockets`](Self::sockets), this bounds what all registrations take: by default 1 GiB
    /// at the very worst. Usual ones take 2 KiB.
    pub registration_bytes: usize,
    /// Messages a second and socket, in the long run. Above it the relay answers `rate_limited` (at most once a
    /// second) and stops reading from the socket until the average is met; nothing is lost.
    pub messages_per_second: u32,
    /// Messages a socket may send at once after a silence.
    pub messages_burst: u32,
    /// Bytes a second and socket, in the long run. As with messages.
    pub bytes_per_second: u64,
    /// Bytes a socket may send at once after a silence.
    pub bytes_burst: u64,
    /// Connections at once, HTTP requests included. Further ones are answered 503 and closed.
    pub sockets: usize,
    /// Connections at once from one IPv4 address or one IPv6 /64. Further ones are answered 503 and closed.
    pub sockets_per_ip: usize,
    /// How long a socket may stay without a registration; then it is closed with 1008.
    pub unregistered_life: Duration,
    /// How long a socket may stay silent (no frame, no ping, no pong); then it is closed with 1001.
    pub idle: Duration,
    /// How long a registration lasts without a refresh; then the node has left, the socket is unregistered again.
    pub registration_ttl: Duration,
    /// Bytes waiting for one socket. A frame that does not fit is dropped, its session is closed on both sides.
    pub outbound_bytes: usize,
    /// How long a socket with waiting bytes may take fewer than [`drain_bytes`](Self::drain_bytes) of them; then it is
    /// closed with 1013.
    pub drain_time: Duration,
    /// See [`drain_time`](Self::drain_time).
    pub drain_bytes: usize,
    /// Bytes of unfinished messages and waiting frames of all sockets together. Beyond it, what would need more is
    /// dropped (outbound) or its socket closed with 1013 (inbound).
    pub buffered_bytes: usize,
    /// The time between two `discover` of one socket, less one second of slack; sooner ones are `rate_limited`.
    pub discover_interval: Duration,
    /// Sessions one node may have opened and not closed; beyond it the oldest is forgotten (it still works, but
    /// nobody is told when an end leaves).
    pub sessions_per_node: usize,
    /// Sessions tracked in all; beyond it new ones are not tracked.
    pub sessions: usize,
    /// The time an HTTP request may take to arrive in full.
    pub http_header_time: Duration,
    /// The life of a connection that does not become a WebSocket.
    pub http_life: Duration,
}

/// Default of [`RelayLimits::frame_bytes`]: 4 MiB.
pub const FRAME_BYTES: usize = limits::RELAY_FRAME;
/// Default of [`RelayLimits::unregistered_frame_bytes`]: 64 KiB. Also the size of a registration.
pub const UNREGISTERED_FRAME_BYTES: usize = 64 << 10;
/// Default of [`RelayLimits::registration_bytes`]: 64 KiB.
pub const REGISTRATION_BYTES: usize = 64 << 10;
/// Default of [`RelayLimits::messages_per_second`].
pub const MESSAGES_PER_SECOND: u32 = 10_000;
/// Default of [`RelayLimits::messages_burst`].
pub const MESSAGES_BURST: u32 = 10_000;
/// Default of [`RelayLimits::bytes_per_second`]: 64 MiB.
pub const BYTES_PER_SECOND: u64 = 64 << 20;
/// Default of [`RelayLimits::bytes_burst`]: 64 MiB.
pub const BYTES_BURST: u64 = 64 << 20;
/// Default of [`RelayLimits::sockets`].
pub const SOCKETS: usize = 16_384;
/// Default of [`RelayLimits::sockets_per_ip`].
pub const SOCKETS_PER_IP: usize = 512;
/// Default of [`RelayLimits::unregistered_life`].
pub const UNREGISTERED_LIFE: Duration = Duration::from_secs(10);
/// Default of [`RelayLimits::idle`].
pub const IDLE: Duration = Duration::from_secs(90);
/// Default of [`RelayLimits::registration_ttl`].
pub const REGISTRATION_TTL: Duration = Duration::from_secs(300);
/// Default of [`RelayLimits::outbound_bytes`]: 8 MiB.
pub const OUTBOUND_BYTES: usize = 8 << 20;
/// Default of [`RelayLimits::drain_time`].
pub const DRAIN_TIME: Duration = Duration::from_secs(5);
/// Default of [`RelayLimits::drain_bytes`]: 64 KiB.
pub const DRAIN_BYTES: usize = 64 << 10;
/// Default of [`RelayLimits::buffered_bytes`]: 512 MiB.
pub const BUFFERED_BYTES: usize = 512 << 20;
/// Default of [`RelayLimits::discover_interval`].
pub const DISCOVER_INTERVAL: Duration = Duration::from_secs(10);
/// Clients that ask every 10 s sharp are let off this much.
pub const DISCOVER_SLACK: Duration = Duration::from_secs(1);
/// Default of [`RelayLimits::sessions_per_node`].
pub const SESSIONS_PER_NODE: usize = 1024;
/// Default of [`RelayLimits::sessions`].
pub const SESSIONS: usize = 131_072;
/// Default of [`RelayLimits::http_header_time`].
pub const HTTP_HEADER_TIME: Duration = Duration::from_secs(5);
/// Default of [`RelayLimits::http_life`].
pub const HTTP_LIFE: Duration = Duration::from_secs(60);

/// What the relay's own short messages may add to a full outbound queue, in bytes.
#[cfg(feature = "io")]
pub(crate) const OUTBOUND_SLACK: usize = 64 << 10;
/// The time between two complaints of the same kind to one socket.
pub(crate) const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);
/// Peers listed by `/peers`.
#[cfg(feature = "io")]
pub(crate) const PEERS_LISTED: usize = 1000;

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            frame_bytes: FRAME_BYTES,
            unregistered_frame_bytes: UNREGISTERED_FRAME_BYTES,
            registration_bytes: REGISTRATION_BYTES,
            messages_per_second: MESSAGES_PER_SECOND,
            messages_burst: MESSAGES_BURST,
            bytes_per_second: BYTES_PER_SECOND,
            bytes_burst: BYTES_BURST,
            sockets: SOCKETS,
            sockets_per_ip: SOCKETS_PER_IP,
            unregistered_life: UNREGISTERED_LIFE,
            idle: IDLE,
            registration_ttl: REGISTRATION_TTL,
            outbound_bytes: OUTBOUND_BYTES,
            drain_time: DRAIN_TIME,
            drain_bytes: DRAIN_BYTES,
            buffered_bytes: BUFFERED_BYTES,
            discover_interval: DISCOVER_INTERVAL,
            sessions_per_node: SESSIONS_PER_NODE,
            sessions: SESSIONS,
            http_header_time: HTTP_HEADER_TIME,
            http_life: HTTP_LIFE,
        }
    }
}
