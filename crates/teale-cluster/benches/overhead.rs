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
    let identity = Arc::new(Identity::from_seed([seed; 32]));
    let node = identity.node_id();
    let relay = RelayConfig::new(relay, identity, "bench", capabilities);
    Cluster::spawn(ClusterConfig::new(node, "device", "bench", hardware), backend, vec![relay])
}

/// Tokens per second from the start of the request to the end of the answer, and CPU time of the process per token.
async fn speed<E: std::fmt::Debug>(
    start: (Instant, Duration),
    answer: impl Stream<Item = Result<ChatChunk, E>>,
) -> (f64, Duration) {
    let text = |chunk: ChatChunk| -> usize {
        chunk.choices.iter().filter_map(|choice| choice.delta.content.as_ref()).map(String::len).sum()
    };
    let bytes = answer.fold(0, |sum, item| std::future::ready(sum + text(item.unwrap()))).await;
    assert_eq!(bytes, TOKENS as usize * 5, "nothing is lost");
    (f64::from(TOKENS) / start.0.elapsed().as_secs_f64(), (cpu_time() - start.1) / TOKENS)
}

/// CPU time of this process, in ticks of 10 ms; zero where the system does not tell.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

struct Figures {
    alone: f64,
    relayed: f64,
    /// What a token costs beyond the engine, everything in this process: provider, relay, consumer.
    cost: Duration,
}

async fn measure(relay: &str, seed: u8, per_token: Duration) -> Figures {
    let engine: Arc<dyn Backend> = Arc::new(Engine { per_token });
    let provider = node(relay, seed, Some(Arc::clone(&engine)));
    while !provider.relays()[0].registered {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let consumer = node(relay, seed + 1, None);
    assert!(consumer.wait_for_model("engine", Duration::from_secs(20)).await);
    let request = ChatRequest { model: "engine".into(), ..ChatRequest::default() };
    let mut best = Figures { alone: 0.0, relayed: 0.0, cost: Duration::MAX };
    for _ in 0..ROUNDS {
        let alone = speed((Instant::now(), cpu_time()), engine.start(request.clone()).unwrap()).await;
        let start = (Instant::now(), cpu_time());
        let relayed = speed(start, consumer.chat(request.clone()).await.unwrap()).await;
        best.alone = best.alone.max(alone.0);
        best.relayed = best.relayed.max(relayed.0);
        best.cost = best.cost.min(relayed.1.saturating_sub(alone.1));
    }
    consumer.drain(Duration::ZERO).await;
    provider.drain(Duration::ZERO).await;
    best
}

#[tokio::main]
async fn main() {
    let server = RelayServer::bind(RelayServerConfig::new("127.0.0.1:0".parse().unwrap())).await.unwrap();
    let relay = format!("ws://{}/ws", server.local_addr());
    tokio::spawn(server.run());
    println!("tokens/s, best of {ROUNDS}, {TOKENS} tokens");
    println!(
        "{:>14} {:>12} {:>12} {:>7} {:>13}",
        "engine", "in process", "over relay", "ratio", "CPU per token"
    );
    for (seed, rate) in [(1, 1000u32), (3, 2000), (5, 4000), (7, 0)] {
        let per_token = if rate == 0 { Duration::ZERO } else { Duration::from_secs(1) / rate };
        let Figures { alone, relayed, cost } = measure(&relay, seed, per_token).await;
        let name = if rate == 0 { "unbounded".to_owned() } else { format!("{rate}/s") };
        println!("{name:>14} {alone:>12.0} {relayed:>12.0} {:>7.3} {cost:>13.0?}", relayed / alone);
    }
}
