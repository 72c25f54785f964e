//! What the network costs: tokens per second of one engine read in process, and of the same engine read by another
//! node through relay and Noise, in one run. `cargo bench -p teale-cluster --bench overhead`
//!
//! The engine is a thread that computes for a fixed time per token, as a model on one core does.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and may fail")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt, stream};
use teale_cluster::{Backend, BackendError, ChunkStream, Cluster, ClusterConfig, LoadState, ModelInfo};
use teale_identity::Identity;
use teale_relay_client::RelayConfig;
use teale_relay_server::{RelayServer, RelayServerConfig};
use teale_wire::{
    Extra, HardwareCapability, NodeCapabilities,
    chat::{ChatChunk, ChatRequest, ChunkChoice, Delta},
};
use tokio::sync::mpsc;

const TOKENS: u32 = 3000;
const ROUNDS: usize = 5;

/// Computes `per_token` for each token on a thread of its own.
#[derive(Debug)]
struct Engine {
    per_token: Duration,
}

impl Backend for Engine {
    fn models(&self) -> Vec<ModelInfo> {
        vec![ModelInfo { id: "engine".into(), state: LoadState::Ready, context: None, size_bytes: None }]
    }

    fn slots(&self) -> usize {
        1
    }

    fn start(&self, _: ChatRequest) -> Result<ChunkStream, BackendError> {
        let (sender, receiver) = mpsc::channel(32);
        let per_token = self.per_token;
        std::thread::spawn(move || {
            for n in 0..TOKENS {
                let start = Instant::now();
                while start.elapsed() < per_token {
                    std::hint::spin_loop();
                }
                if sender.blocking_send(Ok(chunk(n))).is_err() {
                    return;
                }
            }
        });
        Ok(Box::pin(stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        })))
    }
}

fn chunk(n: u32) -> ChatChunk {
    let delta = Delta { role: None, content: Some(format!(" tok{}", n % 10)), extra: Extra::new() };
    ChatChunk {
        id: "chatcmpl-0123456789abcdef".into(),
        object: "chat.completion.chunk".into(),
        created: 1_713_100_000,
        model: "engine".into(),
        choices: vec![ChunkChoice { index: 0, delta, finish_reason: None, extra: Extra::new() }],
        usage: None,
        extra: Extra::new(),
    }
}

fn node(relay: &str, seed: u8, backend: Option<Arc<dyn Backend>>) -> Cluster {
    let hardware: HardwareCapability = serde_json::from_str(
        r#"{"chipFamily":"unknown","chipName":"","totalRAMGB":8,"gpuCoreCount":0,"memoryBandwidthGBs":20,"tier":2}"#,
    )
    .unwrap();
    let capabilities = NodeCapabilities {
        hardware: hardware.clone(),
        loaded_models: Vec::new(),
        max_model_size_gb: 4.0,
        is_available: false,
        ptn_ids: None,
        swappable_models: None,
        max_concurrent_requests: None,
        effective_context: None,
        on_ac_power: None,
        extra: Extra::new(),
    };
    let relay = RelayConfig::new(relay, Arc::new(Identity::from_seed([seed; 32])), "bench", capabilities);
    Cluster::spawn(ClusterConfig::new("device", "bench", hardware), backend, vec![relay])
}

/// Tokens per second, from the start of the request to the end of the answer.
async fn speed<T>(start: Instant, answer: impl Stream<Item = T>) -> f64 {
    let count = answer.count().await;
    assert!(count >= TOKENS as usize / 2, "{count} chunks");
    f64::from(TOKENS) / start.elapsed().as_secs_f64()
}

async fn measure(relay: &str, seed: u8, per_token: Duration) -> (f64, f64) {
    let engine: Arc<dyn Backend> = Arc::new(Engine { per_token });
    let provider = node(relay, seed, Some(Arc::clone(&engine)));
    while !provider.relays()[0].registered {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let consumer = node(relay, seed + 1, None);
    assert!(consumer.wait_for_model("engine", Duration::from_secs(20)).await);
    let request = ChatRequest { model: "engine".into(), ..ChatRequest::default() };
    let (mut alone, mut relayed) = (0f64, 0f64);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        alone = alone.max(speed(start, engine.start(request.clone()).unwrap()).await);
        let start = Instant::now();
        relayed = relayed.max(speed(start, consumer.chat(request.clone()).await.unwrap()).await);
    }
    consumer.drain(Duration::ZERO).await;
    provider.drain(Duration::ZERO).await;
    (alone, relayed)
}

#[tokio::main]
async fn main() {
    let server = RelayServer::bind(RelayServerConfig::new("127.0.0.1:0".parse().unwrap())).await.unwrap();
    let relay = format!("ws://{}/ws", server.local_addr());
    tokio::spawn(server.run());
    println!("tokens/s, best of {ROUNDS}, {TOKENS} tokens");
    println!("{:>14} {:>12} {:>12} {:>7}", "engine", "in process", "over relay", "ratio");
    for (seed, rate) in [(1, 1000u32), (3, 2000), (5, 4000), (7, 0)] {
        let per_token = if rate == 0 { Duration::ZERO } else { Duration::from_secs(1) / rate };
        let (alone, relayed) = measure(&relay, seed, per_token).await;
        let name = if rate == 0 { "unbounded".to_owned() } else { format!("{rate}/s") };
        println!("{name:>14} {alone:>12.0} {relayed:>12.0} {:>7.3}", relayed / alone);
    }
}
