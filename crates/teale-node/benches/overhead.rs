//! What the network costs: tokens a second through HTTP API → relay → Noise → provider, over the same engine driven
//! in process. `cargo xtask bench overhead`
//!
//! Both sides use one engine with one slot and one thread, decode the same number of tokens, and take turns; the best
//! round of each counts. Relay, provider, consumer and client share this process, so the network's own work competes
//! with the engine for the machine's cores.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use teale_infer::{LlamaBackend, LlamaOptions};
use teale_node::{
    ApiOptions, Node,
    chat::{ChatMessage, ChatRequest},
    cluster::Backend,
    relay_server::{RelayServer, RelayServerConfig},
};

const ROUNDS: usize = 5;
const TOKENS: u64 = 1500;
const AIM: f64 = 0.95;

fn main() {
    rustls::crypto::ring::default_provider().install_default().expect("nobody chose another provider before");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(compare());
}

async fn compare() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.gguf");
    std::fs::write(&path, xtask::tiny_model::write(&xtask::tiny_model::Options::bench())).unwrap();
    let mut options = LlamaOptions::new(&path);
    options.slots = 1;
    options.threads = Some(1);
    let engine: Arc<dyn Backend> = Arc::new(LlamaBackend::load(options).unwrap());

    let relay = RelayServer::bind(RelayServerConfig::new(([127, 0, 0, 1], 0).into())).await.unwrap();
    let url = format!("ws://{}/ws", relay.local_addr());
    let relay_handle = relay.handle();
    let relay = tokio::spawn(relay.run());
    let provider = Node::builder().relay(&url).backend(engine.clone()).start().await.unwrap();
    while !provider.cluster().relays().iter().all(|relay| relay.registered) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let consumer =
        Node::builder().relay(&url).api(ApiOptions::new(([127, 0, 0, 1], 0).into())).start().await.unwrap();
    let api = consumer.api_url().expect("the consumer has an API");
    assert!(
        consumer.cluster().wait_for_model("bench", Duration::from_secs(20)).await,
        "the provider is found"
    );

    let (mut alone, mut network) = (0.0_f64, 0.0_f64);
    for round in 1..=ROUNDS {
        let in_process = in_process(engine.as_ref()).await;
        let through = through_network(&api).await;
        println!(
            "round {round}: in process {in_process:6.0} tokens/s, through the network {through:6.0} tokens/s"
        );
        alone = alone.max(in_process);
        network = network.max(through);
    }
    let ratio = network / alone;
    println!(
        "best: in process {alone:.0} tokens/s, through the network {network:.0} tokens/s, ratio {ratio:.3} (aim {AIM})"
    );

    consumer.shutdown(Duration::from_secs(5)).await;
    provider.shutdown(Duration::from_secs(5)).await;
    relay_handle.shutdown();
    relay.await.unwrap().unwrap();
}

fn request() -> ChatRequest {
    ChatRequest {
        model: "bench".into(),
        messages: vec![ChatMessage::text("user", "Tell me everything.")],
        temperature: Some(0.0),
        max_tokens: Some(TOKENS),
        stream: Some(true),
        ..ChatRequest::default()
    }
}

async fn in_process(engine: &dyn Backend) -> f64 {
    let start = Instant::now();
    let mut answer = engine.start(request()).unwrap();
    let mut pieces = 0;
    while let Some(chunk) = answer.next().await {
        pieces += chunk.unwrap().choices.iter().filter(|choice| choice.delta.content.is_some()).count();
    }
    speed(pieces, start.elapsed().as_secs_f64())
}

async fn through_network(api: &str) -> f64 {
    let client = reqwest::Client::new();
    let start = Instant::now();
    let response = client.post(format!("{api}/v1/chat/completions")).json(&request()).send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    let mut body = response.bytes_stream();
    let mut text = Vec::new();
    while let Some(part) = body.next().await {
        text.extend_from_slice(&part.unwrap());
    }
    let seconds = start.elapsed().as_secs_f64();
    let pieces = String::from_utf8(text)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| data.contains(r#""content":"#))
        .count();
    speed(pieces, seconds)
}

/// Tokens a second; that (nearly) all of them arrived is part of the measurement.
fn speed(pieces: usize, seconds: f64) -> f64 {
    assert!(pieces as u64 * 10 >= TOKENS * 9, "only {pieces} pieces of {TOKENS} tokens");
    TOKENS as f64 / seconds
}
