//! Fuzz targets: what must hold whatever a stranger sends.
//!
//! Each target is a plain function in [`targets`], so that a test on stable Rust replays the seeds of all of them
//! (`cargo test -p teale-fuzz`), and `cargo +nightly fuzz run TARGET fuzz/corpus/TARGET fuzz/seeds/TARGET --fuzz-dir fuzz
//! --features libfuzzer --target-dir target/fuzz` searches for more. A panic is a finding; it becomes a seed.
//!
//! A new target NAME needs: `src/targets/NAME.rs` with `pub fn run(data: &[u8])`, its `mod` line, its line in [`TARGETS`],
//! `fuzz_targets/NAME.rs`, a `[[bin]]` in `Cargo.toml`, and at least one seed in `seeds/NAME/`. A test says what was forgotten.

pub mod targets;

/// One fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: of the module, of the binary, of the folder of seeds.
    pub name: &'static str,
    /// Checks one input; panics on a finding.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "chat_request", run: targets::chat_request::run },
    Target { name: "cluster_core", run: targets::cluster_core::run },
    Target { name: "cluster_message", run: targets::cluster_message::run },
    Target { name: "contact_record", run: targets::contact_record::run },
    Target { name: "gguf_header", run: targets::gguf_header::run },
    Target { name: "lan_codec", run: targets::lan_codec::run },
    Target { name: "lan_greeting", run: targets::lan_greeting::run },
    Target { name: "noise_handshake", run: targets::noise_handshake::run },
    Target { name: "noise_packets", run: targets::noise_packets::run },
    Target { name: "peek", run: targets::peek::run },
    Target { name: "relay_client", run: targets::relay_client::run },
    Target { name: "relay_message", run: targets::relay_message::run },
    Target { name: "share_receiver", run: targets::share_receiver::run },
    Target { name: "sse", run: targets::sse::run },
    Target { name: "switchboard", run: targets::switchboard::run },
    Target { name: "telehash_packet", run: targets::telehash_packet::run },
    Target { name: "telehash_v1", run: targets::telehash_v1::run },
    Target { name: "telehash_v2", run: targets::telehash_v2::run },
    Target { name: "telex", run: targets::telex::run },
    Target { name: "websocket_server", run: targets::websocket_server::run },
];
