//! Every bound and interval of model sharing, in one table.

use std::time::Duration;

/// Bytes of one model: 16 TiB.
pub const MODEL_BYTES: u64 = 16 << 40;
/// Bytes of the smallest block a peer may make of a file that has several: 64 KiB.
pub const BLOCK_MIN: u64 = 64 << 10;
/// Bytes of the smallest block we make of a file: 1 MiB. Half of one is lost when a source goes away, on average.
pub const BLOCK: u64 = 1 << 20;
/// Blocks we make of one file, at most; beyond it they grow.
pub const BLOCKS: u64 = 1024;

/// Bytes of a chunk we send: 240 KiB, a multiple of 3 so that only a range's last chunk ends in padding.
pub const CHUNK: u64 = 240 << 10;
/// The same on a relayed link, whose frames are smaller and whose way may be slow: 48 KiB.
pub const CHUNK_RELAYED: u64 = 48 << 10;
/// Bytes of the smallest chunk taken, a range's last one aside. A peer that sends less wastes our time.
pub const CHUNK_MIN: u64 = 4 << 10;

/// Bytes asked of a source at once: 2 MiB.
pub const RANGE: u64 = 2 << 20;
/// Requests a source may have open.
pub const REQUESTS: usize = 4;
/// Bytes a source may have open, or waiting for the disk, beyond its first two requests: 4 MiB.
pub const WINDOW: u64 = 4 << 20;
/// The part of a second of a source's speed that it may have open.
pub const WINDOW_SECONDS: f64 = 0.5;
/// Bytes that a source may have open on whose link answers come too: 256 KiB. No token waits behind more, wherever
/// bytes wait: in our queues, in the kernels', in a switch. What was open when the answer began aside.
pub const WINDOW_BESIDE: u64 = 256 << 10;
/// The part of a second of its speed that such a source may have open …
pub const WINDOW_BESIDE_SECONDS: f64 = 0.005;
/// … but never less than this: 32 KiB.
pub const WINDOW_BESIDE_MIN: u64 = 32 << 10;
/// Bytes asked of such a source at once, at most: 64 KiB, or half of what it may have open.
pub const RANGE_BESIDE: u64 = 64 << 10;
/// Sources of one pull; further ones are left out.
pub const SOURCES: usize = 16;
/// Sources that are fetched from at once; with [`WINDOW`] and [`RANGE`] it bounds a pull's memory.
pub const FETCHING: usize = 4;
/// Pieces of one source that wait for the disk: as many of the smallest as fit [`WINDOW`] and the requests.
pub const PIECES: usize = ((WINDOW + (REQUESTS as u64 + 1) * RANGE) / CHUNK_MIN) as usize;
/// Ended transfers remembered per source, so that late chunks are told from unasked ones.
pub const ENDED: usize = 64;

/// How long a source may take to answer a query.
pub const ANSWER: Duration = Duration::from_secs(10);
/// How long other sources may answer after the first one did.
pub const CHOICE: Duration = Duration::from_millis(500);
/// How long a source may send nothing of what it was asked for.
pub const STALL: Duration = Duration::from_secs(20);
/// How often a source may do so.
pub const STALLS: u32 = 3;
/// How long a source rests that was busy or stalled.
pub const REST: Duration = Duration::from_secs(3);
/// How long until a source that had nothing, or did not answer, is asked again.
pub const ASK_AGAIN: Duration = Duration::from_secs(20);

/// Transfers one peer may have open with us.
pub const TRANSFERS: usize = 64;
/// Peers we send to at once, by default; the next ones are told to come back.
pub const UPLOADS: usize = 4;
/// Bytes per second over a relay, by default: 2 MiB.
pub const RELAY_RATE: u64 = 2 << 20;
/// The longest time whose unused bytes a rate cap saves up.
pub const BURST: Duration = Duration::from_millis(250);
