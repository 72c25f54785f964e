//! Every bound and period of the LAN carrier, in one table.

use std::time::Duration;

/// The port nodes listen on, unless told otherwise.
pub const PORT: u16 = 11436;
/// Instances remembered from the network; beyond it a new one is left out (and counted).
pub const FOUND: usize = 512;
/// Addresses remembered of one instance.
pub const ADDRESSES: usize = 16;
/// The next address of a peer is tried when the one before has been silent for so long (RFC 8305 §5).
pub const STAGGER: Duration = Duration::from_millis(250);
/// One address: TCP connect and handshake.
pub const DIAL_WITHIN: Duration = Duration::from_secs(5);
/// A connection somebody opened has so long to become a link.
pub const GREETING_WITHIN: Duration = Duration::from_secs(5);
/// How long an answer to `nodeQuery` is waited for before the peer is taken for one that knows no such message.
pub const QUERY_WITHIN: Duration = Duration::from_secs(2);
/// `nodeQuery` messages answered on one connection.
pub const QUERIES: u32 = 2;
/// The longest frame before a link is open, in bytes: a handshake, a question, or a plaintext hello.
pub const FIRST_FRAME: usize = 256 << 10;
/// Incoming connections that are not links yet.
pub const HALF_OPEN: usize = 64;
/// Of them from one address.
pub const HALF_OPEN_PER_ADDRESS: usize = 8;
/// Incoming connections at once, links included.
pub const CONNECTIONS: usize = 1024;
/// Of them from one address.
pub const CONNECTIONS_PER_ADDRESS: usize = 64;

/// An idle connection is probed after so long …
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(2);
/// … this often …
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
/// … and given up after so many unanswered probes.
pub const KEEPALIVE_PROBES: u32 = 3;
/// Data not acknowledged for so long ends the connection: a pulled cable is noticed in that time …
pub const USER_TIMEOUT: Duration = Duration::from_secs(5);
/// … unless the peer has taken nothing for so long: it may be there and not read, which the kernel cannot tell from
/// being gone. Then [`WRITE_WITHIN`] counts.
pub const PATIENT_AFTER: Duration = Duration::from_secs(1);
/// Bytes the kernel may hold unsent, so that what comes next never waits behind much.
pub const NOT_SENT: u32 = 64 << 10;
/// A peer that takes nothing of what waits for it for so long does not read.
pub const WRITE_WITHIN: Duration = Duration::from_secs(15);
/// After closing, what the peer still sends is read and thrown away for so long, so that it gets our last words.
pub const LINGER: Duration = Duration::from_secs(2);

/// First pause before a peer is dialled again; it doubles.
pub const RETRY_FIRST: Duration = Duration::from_millis(500);
/// Longest pause before a peer is dialled again.
pub const RETRY_LAST: Duration = Duration::from_secs(30);
/// A link that lived so long makes the next pause a first one again.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Static peers.
pub const STATIC_PEERS: usize = 64;

/// When nobody was found for so long, the log says what was looked at.
pub const DIAGNOSE_AFTER: Duration = Duration::from_secs(8);
/// Warnings kept for `status`, the oldest goes first; and so many are given at once …
pub const WARNINGS: usize = 8;
/// … further ones this often: strangers can cause them.
pub const WARN_EVERY: Duration = Duration::from_secs(60);
/// Peers whose addresses something else told of.
pub const HINTS: usize = 256;
