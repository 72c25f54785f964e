//! Every bound and every period of this crate, in one table.
//!
//! Beyond a bound something is refused with a named error; nothing here ever grows with what a stranger sends.

use std::time::Duration;

use teale_wire::limits;

/// The client pings the relay this often.
pub const PING_EVERY: Duration = Duration::from_secs(25);
/// A relay not heard of (no frame, no pong) for so long is dead: two pings and some grace.
pub const DEAD_AFTER: Duration = Duration::from_secs(55);
/// A relay's next address is tried when the one before has been silent for so long (RFC 8305 §8).
pub const CONNECT_STAGGER: Duration = Duration::from_millis(250);
/// Addresses of a relay's host that are tried, at most.
pub const CONNECT_ADDRESSES: usize = 16;
/// A connection attempt (name, TCP, TLS, WebSocket upgrade) may take so long.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long the relay's challenge is waited for before registering without a proof: deployed relays send none.
pub const CHALLENGE_WITHIN: Duration = Duration::from_millis(250);
/// The relay has so long to acknowledge the first registration of a connection.
pub const REGISTER_WITHIN: Duration = Duration::from_secs(10);
/// A registration is refreshed after so long, or after four fifths of the relay's TTL if that is sooner.
pub const REFRESH_EVERY: Duration = Duration::from_secs(240);
/// A refresh never follows the registration before it sooner than this, whatever TTL the relay names.
pub const REFRESH_AT_LEAST: Duration = Duration::from_secs(10);
/// Changes of capabilities within this time are registered together.
pub const CAPABILITIES_EVERY: Duration = Duration::from_secs(1);
/// The first pause before connecting again; it doubles with each failure.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest pause before connecting again.
pub const BACKOFF_LAST: Duration = Duration::from_secs(60);
/// A registration that lasted so long makes the next pause a first one again.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);

/// The client asks who is there this often.
pub const DISCOVER_EVERY: Duration = Duration::from_secs(30);
/// The relay answers one discover in so long.
pub const DISCOVER_GAP: Duration = Duration::from_secs(10);
/// A discover not answered for so long is taken for lost.
pub const DISCOVER_WITHIN: Duration = Duration::from_secs(10);
/// Callers that may wait for a discover at once; the next one gets [`RelayError::Busy`](crate::RelayError::Busy).
pub const DISCOVER_WAITERS: usize = 256;
/// The longest `retryAfterSeconds` of a relay that is believed.
pub const RETRY_AFTER_LAST: Duration = Duration::from_secs(60);

/// Sessions at once, all kinds. An `open` beyond it fails; a peer's relayOpen is answered with relayClose.
pub const SESSIONS: usize = 4096;
/// Of these, so many are kept for sessions we open: strangers who open sessions and keep them cannot have these.
pub const SESSIONS_OURS: usize = 1024;
/// Sessions at once with one peer (gateways open one per request).
pub const SESSIONS_PER_PEER: usize = 256;
/// Sessions opened by peers and not yet established, all peers together.
pub const HALF_OPEN: usize = 512;
/// Sessions opened by one peer and not yet established.
pub const HALF_OPEN_PER_PEER: usize = 64;
/// A session a peer opened is refused when nobody accepts it within this time.
pub const ACCEPT_WITHIN: Duration = Duration::from_secs(10);
/// After relayReady the opener has so long for its first message.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Frames of a peer that did not wait for relayReady, kept until its session is accepted; one more ends it.
pub const EARLY_FRAMES: usize = 4;
/// The same, in bytes of all such frames.
pub const EARLY_BYTES: usize = 8 << 20;
/// relayClose answers to data of unknown sessions: at most so many in [`STRAY_WINDOW`].
pub const STRAY_ANSWERS: u32 = 16;
/// See [`STRAY_ANSWERS`].
pub const STRAY_WINDOW: Duration = Duration::from_secs(1);

/// Nodes whose keys are remembered. Once full, plaintext with nodes not in the memory is refused.
pub const KNOWN_PEERS: usize = 65_536;
/// Static keys whose last handshake timestamp is remembered.
pub const REPLAY_KEYS: usize = 16_384;

/// The largest message of a sealed session, in bytes: the packet must fit one relay frame.
pub const SEALED_MESSAGE: usize = limits::RELAY_PAYLOAD - teale_noise::PACKET_OVERHEAD;
/// The largest message of a plaintext session, in bytes.
pub const PLAIN_MESSAGE: usize = limits::RELAY_PAYLOAD;

/// Frames of one session that wait to be sent, in bytes (one frame may always wait, whatever its size). `send`
/// waits beyond it.
pub const SEND_QUEUE_SESSION: usize = 256 << 10;
/// Frames of all sessions that wait to be sent, in bytes. `send` waits beyond it.
pub const SEND_QUEUE: usize = 32 << 20;
/// A session's turn in the round of senders, in bytes.
pub const SEND_TURN: usize = 16 << 10;
/// The client's own frames (opening, closing, registering) that may wait; the socket is not read beyond it.
pub const CONTROL_QUEUE: usize = 1024;
/// Frames of one session that wait to be received, in bytes. The protocol has no way to slow a sender down: a
/// session whose reader falls so far behind is closed with [`SessionError::TooSlow`](crate::SessionError::TooSlow).
pub const RECEIVE_QUEUE_SESSION: usize = 16 << 20;
/// The same, in frames.
pub const RECEIVE_QUEUE_FRAMES: usize = 16_384;
/// Frames of all sessions that wait to be received, in bytes. Beyond it a session that has more than
/// [`RECEIVE_QUEUE_SHARE`] waiting is closed when it gets a frame; the others are not made to pay for it.
pub const RECEIVE_QUEUE: usize = 256 << 20;
/// See [`RECEIVE_QUEUE`].
pub const RECEIVE_QUEUE_SHARE: usize = 64 << 10;
/// Requests of handles that wait for the connection task.
pub const COMMANDS: usize = 256;
/// [`RelayEvent::Rejected`](crate::RelayEvent::Rejected) that wait to be read; the next one is only counted.
pub const REJECTED_EVENTS: usize = 64;
/// [`RelayEvent::Registered`](crate::RelayEvent::Registered) and
/// [`RelayEvent::Disconnected`](crate::RelayEvent::Disconnected) that wait to be read; the oldest goes first.
pub const STATE_EVENTS: usize = 16;
/// How long `shutdown` waits for frames handed over before it to be written.
pub const FLUSH_WITHIN: Duration = Duration::from_secs(5);
/// After a time-out the connection task gets so long to say the exact reason before the caller goes without.
pub const ANSWER_GRACE: Duration = Duration::from_millis(100);
/// How long the goodbye of `shutdown` may take.
pub const GOODBYE_WITHIN: Duration = Duration::from_secs(1);
