//! What a chat feels of a pull: the time between tokens over a sealed LAN link on loopback, while a model is pulled over the
//! same link and while none is. `cargo bench -p teale-cluster --bench chat -- [MB]`
//!
//! The giving side, a process of its own, makes tokens at a pace: 20 ms and 10 ms are what real models do, 0.4 ms is a
//! model of no use that keeps the link busy.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and may fail")]

mod pair;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use pair::{Giver, MODEL, Node, given_file, node, noise, peer_at};
use teale_cluster::{Backend, BackendError, ChunkStream, LoadState, ModelInfo, PullOptions};
use teale_wire::{
    Extra,
    chat::{ChatChunk, ChatMessage, ChatRequest, ChunkChoice, Delta},
};
use tokio::sync::mpsc;

const CHAT: &str = "metronome";
/// Time between tokens.
const PACES: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(10), Duration::from_micros(400)];
/// How long each chat lasts.
const CHAT_TIME: Duration = Duration::from_millis(2500);
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(120);
/// A pull that is dropped has let go of its folder after so long.
const STOPS_WITHIN: Duration = Duration::from_millis(500);

/// Answers `COUNT MICROSECONDS` with so many tokens, so far apart, from a thread of its own, as an engine does.
#[derive(Debug)]
struct Metronome;

impl Backend for Metronome {
    fn models(&self) -> Vec<ModelInfo> {
        vec![ModelInfo { id: CHAT.into(), state: LoadState::Ready, context: None, size_bytes: None }]
    }

    fn slots(&self) -> usize {
        1
    }

    fn start(&self, request: ChatRequest) -> Result<ChunkStream, BackendError> {
        let text = request.messages.last().and_then(|message| message.content.as_ref()?.to_text()).unwrap();
        let (count, pace) = text.split_once(' ').unwrap();
        let (count, pace): (u32, u64) = (count.parse().unwrap(), pace.parse().unwrap());
        let (give, take) = mpsc::channel(64);
        std::thread::spawn(move || {
            let start = Instant::now();
            for n in 1..=count {
                let due = start + Duration::from_micros(pace) * n;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if give.blocking_send(Ok(token(n))).is_err() {
                    return;
                }
            }
        });
        Ok(stream::unfold(take, |mut take| async move { Some((take.recv().await?, take)) }).boxed())
    }
}

fn token(n: u32) -> ChatChunk {
    let delta = Delta { role: None, content: Some(format!("t{n} ")), extra: Extra::new() };
    ChatChunk {
        id: "chatcmpl-bench".into(),
        object: "chat.completion.chunk".into(),
        created: 1_713_100_000,
        model: CHAT.into(),
        choices: vec![ChunkChoice { index: 0, delta, finish_reason: None, extra: Extra::new() }],
        usage: None,
        extra: Extra::new(),
    }
}

/// Gaps between tokens, sorted.
struct Gaps(Vec<Duration>);

impl Gaps {
    fn mean(&self) -> f64 {
        self.0.iter().sum::<Duration>().as_secs_f64() * 1000.0 / self.0.len() as f64
    }

    fn at(&self, part: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0
    }

    fn print(&self, what: &str) {
        println!(
            "  {what:8} mean {:6.2}  median {:6.2}  p90 {:6.2}  p99 {:6.2}  longest {:6.2} ms",
            self.mean(),
            self.at(0.5),
            self.at(0.9),
            self.at(0.99),
            self.at(1.0)
        );
    }
}

async fn chat(node: &Node, pace: Duration) -> Gaps {
    let count = CHAT_TIME.as_micros() / pace.as_micros();
    let request = ChatRequest {
        model: CHAT.into(),
        messages: vec![ChatMessage::text("user", format!("{count} {}", pace.as_micros()))],
        ..ChatRequest::default()
    };
    let mut answer = node.cluster.chat(request).await.unwrap();
    let (mut last, mut gaps) = (None, Vec::new());
    while let Some(chunk) = answer.next().await {
        // Tokens that waited together came together: each is one piece for whoever reads.
        let texts = chunk
            .unwrap()
            .choices
            .iter()
            .filter_map(|choice| choice.delta.content.clone())
            .collect::<String>();
        for _ in texts.split_whitespace() {
            let now = Instant::now();
            gaps.extend(last.replace(now).map(|last| now - last));
        }
    }
    gaps.sort_unstable();
    Gaps(gaps)
}

/// A chat during a pull; the pull is broken off when the chat is over. Says how fast the pull was meanwhile.
async fn chat_during_a_pull(node: &Node, pace: Duration) -> (Gaps, f64) {
    let options = PullOptions { search: PATIENCE, ..PullOptions::default() };
    let mut pull = node.sharing.pull(MODEL, options).unwrap();
    while pull.state().progress.done == 0 {
        assert!(pull.changed().await, "{:?}", pull.state());
    }
    let (start, before) = (Instant::now(), pull.state().progress.done);
    let gaps = chat(node, pace).await;
    let state = pull.state();
    let rate = (state.progress.done - before) as f64 / 1e6 / start.elapsed().as_secs_f64();
    if state.end.is_some() {
        println!("  the pull ended before the chat: take a bigger file");
    }
    drop(pull);
    tokio::time::sleep(STOPS_WITHIN).await;
    node.sharing.remove(MODEL).unwrap();
    (gaps, rate)
}

fn give(folder: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _in = runtime.enter();
    let node = node(folder, true, None, Some(Arc::new(Metronome)));
    Giver::live(&[node.lan.listening()[0].port()]);
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let first = args.next();
    if first.as_deref() == Some("give") {
        return give(&PathBuf::from(args.next().unwrap()));
    }
    let megabytes: usize = first.and_then(|text| text.parse().ok()).unwrap_or(1000);
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("giver");
    noise(&given_file(&folder), megabytes);
    let giver = Giver::start(&folder);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let taker = dir.path().join("taker");
    runtime.block_on(async {
        let node = node(&taker, false, Some(peer_at(giver.ports[0])), None);
        assert!(node.cluster.wait_for_model(CHAT, PATIENCE).await);
        let whole = async || {
            let start = Instant::now();
            let options = PullOptions { search: PATIENCE, ..PullOptions::default() };
            node.sharing.pull(MODEL, options).unwrap().finished().await.unwrap();
            node.sharing.remove(MODEL).unwrap();
            megabytes as f64 / start.elapsed().as_secs_f64()
        };
        whole().await; // The giver hashes its file the first time it is asked.
        println!("a pull alone: {:.0} MB/s", whole().await);
        for pace in PACES {
            println!("a token each {pace:?}, {ROUNDS} chats of {CHAT_TIME:?} each:");
            let (mut idle, mut during, mut rates) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                idle.extend(chat(&node, pace).await.0);
                let (gaps, rate) = chat_during_a_pull(&node, pace).await;
                during.extend(gaps.0);
                rates.push(rate);
            }
            idle.sort_unstable();
            during.sort_unstable();
            let (idle, during) = (Gaps(idle), Gaps(during));
            idle.print("idle");
            during.print("pulling");
            println!(
                "  pulling over idle: mean {:.2}, median {:.2}, p90 {:.2}, p99 {:.2} (aim 1.5 at most); the pull meanwhile: {:.0} MB/s",
                during.mean() / idle.mean(),
                during.at(0.5) / idle.at(0.5),
                during.at(0.9) / idle.at(0.9),
                during.at(0.99) / idle.at(0.99),
                rates.iter().sum::<f64>() / rates.len() as f64
            );
        }
    });
}
