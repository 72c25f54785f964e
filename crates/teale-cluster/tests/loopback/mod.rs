//! Real relays, real sockets on loopback, scripted backends.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its part")]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use teale_cluster::{
    Answer, AskError, Backend, BackendError, ChunkStream, Cluster, ClusterConfig, LoadState, ModelInfo,
};
use teale_identity::Identity;
use teale_relay_client::RelayConfig;
use teale_relay_server::{RelayServer, RelayServerConfig};
use teale_wire::{
    Extra, HardwareCapability, NodeCapabilities,
    chat::{ChatChunk, ChatMessage, ChatRequest, ChunkChoice, Delta, Usage},
};
use tokio::runtime::Runtime;

pub const MODEL: &str = "test/echo";
/// Longest wait for anything that should take a moment.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Makes as many tokens as the last message says, one per `token_time`; `panic` panics, anything else
/// hangs.
#[derive(Debug)]
pub struct Scripted {
    pub slots: usize,
    pub token_time: Duration,
    pub running: Arc<AtomicUsize>,
    pub most: AtomicUsize,
    pub made: Arc<AtomicUsize>,
    pub state: Mutex<LoadState>,
}

pub fn scripted(slots: usize, token_time: Duration) -> Arc<Scripted> {
    Arc::new(Scripted {
        slots,
        token_time,
        running: Arc::default(),
        most: AtomicUsize::new(0),
        made: Arc::default(),
        state: Mutex::new(LoadState::Ready),
    })
}

impl Scripted {
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Backend for Scripted {
    fn models(&self) -> Vec<ModelInfo> {
        let state = self.state.lock().unwrap().clone();
        vec![ModelInfo { id: MODEL.into(), state, context: Some(512), size_bytes: None }]
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn start(&self, request: ChatRequest) -> Result<ChunkStream, BackendError> {
        let text = request.messages.last().and_then(|message| message.content.as_ref()?.to_text()).unwrap();
        assert_ne!(text, "panic", "as the script says");
        let busy = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        let slot = Slot(Arc::clone(&self.running));
        self.most.fetch_max(busy, Ordering::SeqCst);
        if busy > self.slots {
            return Err(BackendError::Unavailable("no slot".into()));
        }
        let Ok(count) = text.parse::<u64>() else {
            let hang = async move {
                let _slot = slot;
                std::future::pending::<Result<ChatChunk, BackendError>>().await
            };
            return Ok(Box::pin(futures_util::stream::once(hang)));
        };
        let made = Arc::clone(&self.made);
        let token_time = self.token_time;
        let stream = futures_util::stream::unfold((slot, 0), move |(slot, n)| {
            let made = Arc::clone(&made);
            async move {
                let item = match n {
                    0 => chunk(None, Some("assistant"), None),
                    n if n <= count => {
                        tokio::time::sleep(token_time).await;
                        made.fetch_add(1, Ordering::SeqCst);
                        chunk(Some(format!("t{} ", n - 1)), None, None)
                    }
                    n if n == count + 1 => chunk(None, None, Some("stop")),
                    n if n == count + 2 => usage(count),
                    _ => return None,
                };
                Some((Ok(item), (slot, n + 1)))
            }
        });
        Ok(Box::pin(stream))
    }
}

fn chunk(content: Option<String>, role: Option<&str>, finish: Option<&str>) -> ChatChunk {
    let delta = Delta { role: role.map(str::to_owned), content, extra: Extra::new() };
    let choice =
        ChunkChoice { index: 0, delta, finish_reason: finish.map(str::to_owned), extra: Extra::new() };
    ChatChunk {
        id: "chatcmpl-test".into(),
        object: "chat.completion.chunk".into(),
        created: 1_713_100_000,
        model: MODEL.into(),
        choices: vec![choice],
        usage: None,
        extra: Extra::new(),
    }
}

fn usage(count: u64) -> ChatChunk {
    let usage =
        Usage { prompt_tokens: 3, completion_tokens: count, total_tokens: count + 3, extra: Extra::new() };
    ChatChunk { choices: Vec::new(), usage: Some(usage), ..chunk(None, None, None) }
}

pub fn whole(count: u64) -> String {
    (0..count).map(|n| format!("t{n} ")).collect()
}

pub fn request(text: &str) -> ChatRequest {
    ChatRequest {
        model: MODEL.into(),
        messages: vec![ChatMessage::text("user", text)],
        ..ChatRequest::default()
    }
}

pub async fn relay() -> SocketAddr {
    relay_at("127.0.0.1:0".parse().unwrap()).await
}

pub async fn relay_at(address: SocketAddr) -> SocketAddr {
    let server = RelayServer::bind(RelayServerConfig::new(address)).await.unwrap();
    let address = server.local_addr();
    tokio::spawn(server.run());
    address
}

pub fn hardware() -> HardwareCapability {
    HardwareCapability {
        chip_family: "intelCPU".into(),
        chip_name: "test".into(),
        total_ram_gb: 8.0,
        gpu_core_count: 0,
        memory_bandwidth_gbs: 20.0,
        tier: 2,
        gpu_backend: None,
        platform: Some("linux".into()),
        gpu_vram_gb: None,
        extra: Extra::new(),
    }
}

pub fn capabilities() -> NodeCapabilities {
    NodeCapabilities {
        hardware: hardware(),
        loaded_models: Vec::new(),
        max_model_size_gb: 4.0,
        is_available: false,
        ptn_ids: None,
        swappable_models: None,
        max_concurrent_requests: None,
        effective_context: None,
        on_ac_power: None,
        extra: Extra::new(),
    }
}

pub fn node(relay: SocketAddr, seed: u8, backend: Option<Arc<Scripted>>) -> Cluster {
    let identity = Arc::new(Identity::from_seed([seed; 32]));
    let name = format!("node {seed}");
    let id = identity.node_id();
    let config = RelayConfig::new(format!("ws://{relay}/ws"), identity, name.clone(), capabilities());
    let backend = backend.map(|backend| backend as Arc<dyn Backend>);
    Cluster::spawn(ClusterConfig::new(id, format!("device-{seed}"), name, hardware()), backend, vec![config])
}

/// Waits until a node is registered: whoever discovers from now on sees it.
pub async fn joined(cluster: &Cluster) {
    until("the node is registered", PATIENCE, || cluster.relays()[0].registered).await;
}

/// A node in a runtime of its own, so that it can die without a word.
pub struct Mortal {
    pub runtime: Option<Runtime>,
    pub cluster: Option<Cluster>,
}

pub fn mortal(make: impl FnOnce() -> Cluster + Send + 'static) -> Mortal {
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let cluster = std::thread::spawn(move || {
        let _in = handle.enter();
        make()
    });
    Mortal { cluster: Some(cluster.join().unwrap()), runtime: Some(runtime) }
}

impl Mortal {
    /// Its tasks stop where they are and its sockets close, as by `kill -9`.
    pub fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// The text, and how it ended.
pub async fn read(answer: &mut Answer) -> (String, Option<Usage>, Result<(), AskError>) {
    let (mut text, mut usage) = (String::new(), None);
    while let Some(item) = answer.next().await {
        match item {
            Ok(chunk) => {
                usage = usage.or_else(|| chunk.usage.clone());
                text.extend(chunk.choices.iter().filter_map(|choice| choice.delta.content.as_deref()));
            }
            Err(error) => return (text, usage, Err(error)),
        }
    }
    (text, usage, Ok(()))
}

/// Waits for something to become true; says how long it took.
pub async fn until(what: &str, patience: Duration, is: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < patience, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    start.elapsed()
}
