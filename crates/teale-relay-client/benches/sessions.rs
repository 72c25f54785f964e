//! Small sealed messages through the whole client: messages a second, and the processor time each costs.
//!
//! `cargo bench -p teale-relay-client --bench sessions`. Two clients and a relay that only copies frames share this
//! process and its cores; figures of a machine that does other work at the same time are low.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "a bench that fails is a panic")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::json;
use teale_identity::Identity;
use teale_relay_client::{RelayClient, RelayConfig, RelayEvent, RelaySession};
use teale_relay_server::{RelayLimits, RelayServer, RelayServerConfig};
use teale_wire::{NodeCapabilities, PeerRecord};
use tokio::sync::Semaphore;

const PATIENCE: Duration = Duration::from_secs(10);
const ROUNDS: usize = 5;
const WINDOW_BYTES: usize = 2 << 20;

fn main() {
    for threads in [1, 2] {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
        runtime.block_on(bench(threads));
    }
}

async fn bench(threads: usize) {
    let mut config = RelayServerConfig::new(([127, 0, 0, 1], 0).into());
    config.limits = unlimited();
    let server = RelayServer::bind(config).await.unwrap();
    let url = format!("ws://{}/ws", server.local_addr());
    tokio::spawn(server.run());
    let (a, _a_events) = RelayClient::spawn(config_of(&url, 1));
    let (b, mut b_events) = RelayClient::spawn(config_of(&url, 2));
    a.registered(PATIENCE).await.unwrap();
    b.registered(PATIENCE).await.unwrap();
    let accept = async {
        loop {
            if let Some(RelayEvent::Incoming(session)) = b_events.next().await {
                return session.accept().await.unwrap();
            }
        }
    };
    let peer = record(2);
    let (opened, accepted) = tokio::join!(a.open(&peer, PATIENCE), accept);
    let (mut sender, _keep) = opened.unwrap().split();
    let (_keep_too, mut receiver) = RelaySession::split(accepted);
    for (size, count) in [(200, 50_000), (16 << 10, 10_000), (1 << 20, 200)] {
        let mut best = f64::MAX;
        for _ in 0..ROUNDS {
            let message = Bytes::from(vec![b'x'; size]);
            let start = Instant::now();
            // As an application has to where it sends much: the protocol has no flow control of its own.
            let window = Semaphore::new(WINDOW_BYTES.div_ceil(size));
            let sending = async {
                for _ in 0..count {
                    window.acquire().await.unwrap().forget();
                    sender.send(message.clone()).await.unwrap();
                }
            };
            let receiving = async {
                for _ in 0..count {
                    receiver.recv().await.unwrap();
                    window.add_permits(1);
                }
            };
            tokio::join!(sending, receiving);
            best = best.min(start.elapsed().as_secs_f64());
        }
        let rate = f64::from(count) / best;
        let megabytes = rate * f64::from(u32::try_from(size).unwrap()) / 1e6;
        println!("{threads} thread(s), {size:>7} B: {rate:>9.0} messages/s, {megabytes:>7.1} MB/s");
    }
    a.shutdown().await;
    b.shutdown().await;
}

fn unlimited() -> RelayLimits {
    let mut limits = RelayLimits::default();
    (limits.messages_per_second, limits.messages_burst) = (u32::MAX, u32::MAX);
    (limits.bytes_per_second, limits.bytes_burst) = (1 << 40, 1 << 40);
    limits
}

fn config_of(url: &str, seed: u8) -> RelayConfig {
    RelayConfig::new(url, Arc::new(Identity::from_seed([seed; 32])), "bench", capabilities())
}

fn capabilities() -> NodeCapabilities {
    serde_json::from_value(json!({
        "hardware": {"chipFamily": "amdCPU", "chipName": "x", "totalRAMGB": 64.0, "gpuCoreCount": 0,
            "memoryBandwidthGBs": 50.0, "tier": 2},
        "loadedModels": [], "maxModelSizeGB": 60.0, "isAvailable": true,
    }))
    .unwrap()
}

fn record(seed: u8) -> PeerRecord {
    let identity = Identity::from_seed([seed; 32]);
    serde_json::from_value(json!({
        "nodeID": identity.node_id(), "publicKey": identity.node_id(),
        "wgPublicKey": identity.x25519_public().to_hex(), "displayName": "x",
        "capabilities": capabilities(), "lastSeen": 1.0,
    }))
    .unwrap()
}
