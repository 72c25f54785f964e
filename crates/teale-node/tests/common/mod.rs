//! What the tests share: a scripted engine, a relay in this process, real processes that are cleaned up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use teale_node::{
    chat::{ChatChunk, ChatRequest},
    cluster::{Backend, BackendError, ChunkStream, LoadState, ModelInfo},
    relay_server::{RelayHandle, RelayServer, RelayServerConfig},
};

/// How long anything may take before a test gives up.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The model committed for tests.
pub fn tiny_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny.gguf")
}

/// The same, as `--model` takes it, under the name `tiny`.
pub fn tiny_as_model() -> String {
    format!("tiny={}", tiny_model().display())
}

/// A model that takes a test machine some milliseconds per token, and never ends by itself; about 60 MB, made on the
/// spot.
pub fn slow_model(dir: &Path) -> PathBuf {
    let options = xtask::tiny_model::Options {
        width: 384,
        layers: 6,
        heads: 6,
        feed_forward: 1536,
        context: 4096,
        ..xtask::tiny_model::Options::bench()
    };
    let path = dir.join("slow.gguf");
    std::fs::write(&path, xtask::tiny_model::write(&options)).unwrap();
    path
}

/// An engine that does what the last message says: `words N` answers N words, `pace N` the same with 20 ms between
/// them, `hold` never says anything, `late N` begins after two seconds, `context` refuses as too long, `break` fails after two words, `tools` calls
/// one.
#[derive(Debug)]
pub struct Script {
    pub model: String,
    pub slots: usize,
    /// Streams alive.
    pub live: Arc<AtomicUsize>,
}

impl Script {
    pub fn new(model: &str, slots: usize) -> Arc<Self> {
        Arc::new(Self { model: model.into(), slots, live: Arc::default() })
    }
}

struct Live(Arc<AtomicUsize>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn chunk(model: &str, delta: Value, finish: Option<&str>) -> ChatChunk {
    let choices = json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
    let value = json!({ "id": "chatcmpl-script", "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": model, "choices": choices });
    serde_json::from_value(value).unwrap()
}

fn usage(model: &str, tokens: u64) -> ChatChunk {
    let mut chunk = chunk(model, json!({}), None);
    chunk.choices.clear();
    chunk.usage = serde_json::from_value(
        json!({ "prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": 3 + tokens }),
    )
    .unwrap();
    chunk
}

impl Backend for Script {
    fn models(&self) -> Vec<ModelInfo> {
        vec![ModelInfo {
            id: self.model.clone(),
            state: LoadState::Ready,
            context: Some(1000),
            size_bytes: None,
        }]
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn start(&self, request: ChatRequest) -> Result<ChunkStream, BackendError> {
        let text = request.messages.last().and_then(|m| m.content.as_ref()?.to_text()).unwrap_or_default();
        let (verb, rest) = text.split_once(' ').unwrap_or((&text, "3"));
        let count: u64 = rest.parse().unwrap_or(3);
        if verb == "context" {
            return Err(BackendError::ContextLengthExceeded { prompt: 2000, context: 1000 });
        }
        self.live.fetch_add(1, SeqCst);
        let live = Live(Arc::clone(&self.live));
        let model = &self.model;
        let mut chunks = vec![Ok(chunk(model, json!({ "role": "assistant", "content": "" }), None))];
        let words = if verb == "break" { 2 } else { count };
        chunks.extend((0..words).map(|n| Ok(chunk(model, json!({ "content": format!("wörd{n} ") }), None))));
        match verb {
            "break" => chunks.push(Err(BackendError::Internal("the script says so".into()))),
            "tools" => {
                let call = json!([{ "index": 0, "id": "c", "type": "function",
                    "function": { "name": "f", "arguments": "{}" } }]);
                chunks.truncate(1);
                chunks.push(Ok(chunk(model, json!({ "tool_calls": call }), None)));
                chunks.push(Ok(chunk(model, json!({}), Some("tool_calls"))));
                chunks.push(Ok(usage(model, 1)));
            }
            _ => {
                chunks.push(Ok(chunk(model, json!({}), Some("stop"))));
                chunks.push(Ok(usage(model, count)));
            }
        }
        let (paced, held, late) = (verb == "pace", verb == "hold", verb == "late");
        let body = stream::iter(chunks).enumerate().then(move |(index, chunk)| async move {
            if held {
                std::future::pending::<()>().await;
            }
            if late && index == 0 {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            if paced {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            chunk
        });
        Ok(body.map(move |chunk| (chunk, &live).0).boxed())
    }
}

/// Waits until `condition` holds, and says how long it took.
pub async fn until(what: &str, condition: impl Fn() -> bool) -> Duration {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT, "it never came true: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    started.elapsed()
}

/// Waits until the node's relays know it: whoever looks for it earlier finds nobody, and may not look again at once.
pub async fn registered(node: &teale_node::Node) {
    until("it is registered", || node.cluster().relays().iter().all(|relay| relay.registered)).await;
}

/// A node that has found somebody who serves this model.
pub async fn consumer(builder: teale_node::NodeBuilder, model: &str) -> teale_node::Node {
    let node = builder.start().await.unwrap();
    assert!(node.cluster().wait_for_model(model, LIMIT).await, "nobody serves {model}");
    node
}

/// A relay in this process.
pub async fn relay() -> (String, RelayHandle) {
    let server = RelayServer::bind(RelayServerConfig::new(([127, 0, 0, 1], 0).into())).await.unwrap();
    let url = format!("ws://{}/ws", server.local_addr());
    let handle = server.handle();
    tokio::spawn(server.run());
    (url, handle)
}

/// The program, with a data directory of its own and none of this machine's settings.
pub fn program(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teale-node"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TEALE_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_CONFIG_HOME", data_dir.join("no-config")).arg("--data-dir").arg(data_dir);
    // Tests meet over what they name, not over this machine's network.
    command.env("TEALE_LAN", "false");
    command.stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn finish(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

/// A process that is killed when it goes out of scope.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    log: Arc<std::sync::Mutex<String>>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let log = Arc::new(std::sync::Mutex::new(String::new()));
        let sink = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                sink.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        Self { child, lines, log }
    }

    /// The next line of stdout, as JSON.
    pub fn json(&self) -> Value {
        match self.lines.recv_timeout(LIMIT) {
            Ok(line) => serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}")),
            Err(_) => panic!("the program said nothing on stdout; its log:\n{}", self.log()),
        }
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name, `TERM` or `INT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// The exit code, within [`LIMIT`].
    pub fn wait(&mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(started.elapsed() < LIMIT, "the program does not end; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `teale-node relay` on a free port, and its URL.
pub fn relay_process(dir: &Path, listen: &str) -> (Running, String) {
    let relay = Running::start(program(dir).args(["relay", "--json", "--listen", listen]));
    let url = relay.json()["url"].as_str().unwrap().to_owned();
    (relay, url)
}

/// `teale-node serve` on a free port, and what it says when it is ready.
pub fn serve_process(dir: &Path, relay: &str, more: &[&str]) -> (Running, Value) {
    let base = ["serve", "--json", "--relay", relay, "--api", "127.0.0.1:0"];
    let node = Running::start(program(dir).args(base).args(more));
    let ready = node.json();
    (node, ready)
}
