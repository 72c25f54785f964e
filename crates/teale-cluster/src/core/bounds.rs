//! Every bound and interval of the cluster layer, in one table.

use std::time::Duration;

/// Peers remembered; beyond it the one not heard of for longest makes room.
pub const PEERS: usize = 4096;
/// How long a peer that no relay names any more, and that has no link, is remembered.
pub const PEER_TTL: Duration = Duration::from_secs(330);
/// Links at once; beyond it the one idle for longest makes room, or the new one is closed.
pub const LINKS: usize = 1024;
/// Links at once whose peer said no hello; same rule.
pub const GUESTS: usize = 256;
/// Of them from one peer; beyond it its own one idle for longest makes room, or the new one is closed.
pub const GUESTS_PER_PEER: usize = 64;
/// Links to providers kept open before anybody asks.
pub const EAGER_LINKS: usize = 16;
/// How long a guest without a request is kept.
pub const GUEST_IDLE: Duration = Duration::from_secs(60);
/// How long a link opened for a request is kept after the last one.
pub const LINK_IDLE: Duration = Duration::from_secs(600);
/// How long the link that lost against another one to the same peer stays after its last request.
pub const RETIRE_GRACE: Duration = Duration::from_secs(2);
/// Two links of one pair that come within this time were opened at once by both; a later one comes because the peer
/// may have lost the earlier.
pub const CROSSING: Duration = Duration::from_secs(2);
/// How long a hello of ours may stay unanswered.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(15);
/// Links kept to peers found on the local network.
pub const LAN_LINKS: usize = 64;
/// How long the node with the larger id waits for the other one to open the LAN link.
pub const LAN_TURN: Duration = Duration::from_millis(500);
/// Longest wait after a better link could not be opened.
pub const BETTER_BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Malformed messages on one link before it is closed.
pub const MALFORMED: u32 = 16;

/// Messages waiting on one link, chunks aside; a peer that lets more pile up is cut off.
pub const CONTROL_QUEUE: usize = 256;
/// Messages of bulk waiting on one link.
pub const BULK_QUEUE: usize = 2;
/// Chunks of one request waiting on a link; its backend stream is not read meanwhile.
pub const STREAM_WINDOW: usize = 16;
/// So many chunks of one request waiting: the next ones are joined with the last.
pub const COALESCE_FROM: usize = 4;
/// Text of a joined chunk, in bytes.
pub const COALESCED_TEXT: usize = 8 << 10;
/// Text of the one chunk that answers a request without streaming, in bytes. A longer answer takes several.
pub const WHOLE_TEXT: usize = 1 << 20;

/// Messages of one resumable answer kept until the asker has them; its backend stream is not read meanwhile.
pub const RESUME_WINDOW: usize = 256;
/// Text in them, in bytes; same rule.
pub const RESUME_TEXT: usize = 1 << 20;
/// An asker says how far it is after so many messages of a resumable answer.
pub const ACK_EVERY: u64 = 32;
/// Or after so much text, in bytes.
pub const ACK_TEXT: usize = 128 << 10;
/// How long an asker with a full [`RESUME_WINDOW`] may acknowledge nothing before its request is stopped.
pub const UNACKNOWLEDGED: Duration = Duration::from_secs(60);
/// How long a resumable request whose link died keeps its slot, and how long the end of its answer is kept.
pub const DETACHED: Duration = Duration::from_secs(20);
/// The same where the link was relayed and no other way to the asker is known.
pub const DETACHED_ALONE: Duration = Duration::from_secs(2);
/// Ends of answers kept at once for one peer; beyond it its oldest is forgotten.
pub const KEPT_ENDS_PER_PEER: usize = 64;
/// Text in them, in bytes; same rule.
pub const KEPT_TEXT_PER_PEER: usize = 4 << 20;
/// Ends of answers kept at once; beyond it the oldest of the peer with the most of them is forgotten.
pub const KEPT_ENDS: usize = 256;
/// Text in them, in bytes; same rule.
pub const KEPT_TEXT: usize = 32 << 20;
/// How long an asker looks for another link for a request whose link died.
pub const RESUME_WITHIN: Duration = Duration::from_secs(4);
/// Moves of one request without a single new piece of its answer.
pub const MOVES: u32 = 16;
/// Requests given up while there was no link: their provider is told when there is one.
pub const OWED_CANCELS: usize = 64;

/// Requests of one peer on one link, each way.
pub const REQUESTS_PER_LINK: usize = 64;
/// Requests of our own at once.
pub const ASKS: usize = 4096;
/// Providers tried for one request.
pub const ATTEMPTS: usize = 6;
/// Leading chunks without text held back so that a retry stays possible.
pub const HELD_CHUNKS: usize = 4;
/// Ended requests remembered per link, so that late chunks are told from strange ones.
pub const FORGOTTEN: usize = 128;
/// Text of an error taken from a peer, in characters.
pub const ERROR_TEXT: usize = 200;

/// The first heartbeat of a link: soon, so that people see its latency at once.
pub const BEAT_FIRST: Duration = Duration::from_millis(500);
/// Heartbeats on new or shaky links.
pub const BEAT_FAST: Duration = Duration::from_secs(5);
/// Heartbeats normally.
pub const BEAT: Duration = Duration::from_secs(15);
/// Heartbeats after [`CALM_AFTER`].
pub const BEAT_CALM: Duration = Duration::from_secs(30);
/// How long a link counts as new.
pub const NEW_LINK: Duration = Duration::from_secs(60);
/// Time without a miss after which a link counts as calm.
pub const CALM_AFTER: Duration = Duration::from_secs(600);
/// Heartbeats missed on a link of the local network before routing leaves it out.
pub const MISSED_LAN: u32 = 3;
/// Heartbeats missed on a relayed link before routing leaves it out.
pub const MISSED_RELAYED: u32 = 5;
/// Heartbeats missed before the link is given up.
pub const MISSED_DEAD: u32 = 12;

/// First wait after a link could not be opened.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest wait after links could not be opened.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Weight of the newest measurement in an average of tokens per second.
pub const SPEED_WEIGHT: f64 = 0.3;
