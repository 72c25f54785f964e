//! Processes that die without a word: what the asker hears, and how soon everything is back.
//!
//! Relay, providers and consumer are real processes. The providers serve from an upstream server in this test, whose
//! answers take as long as the test wants.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use common::{Running, Script, relay_process, serve_process};
use futures_util::StreamExt;
use serde_json::{Value, json};
use teale_node::{ApiOptions, Node};

/// An asker learns of a death within this time; nodes are registered again this soon after the relay is back.
const WITHIN: Duration = Duration::from_secs(5);
/// How long the relay is away.
const OUTAGE: Duration = Duration::from_secs(3);
/// A relay answers `discover` once in ten seconds; so long it may take until somebody new is known.
const NEWS: Duration = Duration::from_secs(25);
/// The model that is asked.
const MODEL: &str = "script";

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn get(api: &str, path: &str) -> Value {
    http().get(format!("{api}{path}")).send().await.unwrap().json().await.unwrap()
}

async fn registered(api: &str) -> bool {
    get(api, "/teale/v1/status").await["relays"][0]["registered"] == true
}

async fn post(api: &str, model: &str, prompt: &str, stream: bool) -> reqwest::Response {
    let body =
        json!({ "model": model, "stream": stream, "messages": [{ "role": "user", "content": prompt }] });
    http().post(format!("{api}/v1/chat/completions")).json(&body).send().await.unwrap()
}

/// A short answer.
async fn ask(api: &str) -> reqwest::Response {
    post(api, MODEL, "words 3", false).await
}

fn node_of(response: &reqwest::Response) -> Option<String> {
    Some(response.headers().get("x-teale-node")?.to_str().unwrap().to_owned())
}

/// An answer of twenty seconds, begun.
async fn begin(api: &str) -> reqwest::Response {
    let mut response = post(api, MODEL, "pace 1000", true).await;
    assert_eq!(response.status(), 200);
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("wörd0") {
        seen.extend(response.chunk().await.unwrap().unwrap());
    }
    response
}

/// Reads to the end, which must be an error event.
async fn ends_with_error(response: reqwest::Response) -> Value {
    let mut text = Vec::new();
    let mut body = response.bytes_stream();
    while let Some(Ok(bytes)) = body.next().await {
        text.extend_from_slice(&bytes);
    }
    let text = String::from_utf8_lossy(&text);
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    assert!(error["error"]["code"].is_string(), "{last}");
    error
}

async fn eventually(what: &str, within: Duration, mut check: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !check().await {
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    started.elapsed()
}

/// What answers behind the providers.
struct Upstream {
    script: Arc<Script>,
    node: Node,
}

impl Upstream {
    async fn start() -> Self {
        let script = Script::new(MODEL, 8);
        let api = ApiOptions::new(([127, 0, 0, 1], 0).into());
        let node = Node::builder().backend(script.clone()).api(api).start().await.unwrap();
        Self { script, node }
    }

    fn live(&self) -> usize {
        self.script.live.load(SeqCst)
    }
}

struct Provider {
    process: Running,
    api: String,
    node: String,
}

fn text(ready: &Value, key: &str) -> String {
    ready[key].as_str().unwrap().to_owned()
}

async fn provide(dir: &Path, relay: &str, upstream: &Upstream) -> Provider {
    let (process, ready) = serve_process(dir, relay, &["--upstream", &upstream.node.api_url().unwrap()]);
    let provider = Provider { process, api: text(&ready, "api"), node: text(&ready, "node") };
    eventually("the provider knows its upstream's models", WITHIN, async || {
        get(&provider.api, "/v1/models").await["data"][0]["id"] == MODEL
    })
    .await;
    provider
}

struct World {
    dir: tempfile::TempDir,
    relay: Running,
    url: String,
    upstream: Upstream,
    providers: Vec<Provider>,
    _consumer: Running,
    consumer_api: String,
}

/// A relay, some providers, and a consumer that knows all of them.
async fn world(providers: usize) -> World {
    let dir = tempfile::tempdir().unwrap();
    let (relay, url) = relay_process(&dir.path().join("relay"), "127.0.0.1:0");
    let upstream = Upstream::start().await;
    let mut all = Vec::new();
    for n in 0..providers {
        all.push(provide(&dir.path().join(format!("provider{n}")), &url, &upstream).await);
    }
    let (consumer, ready) = serve_process(&dir.path().join("consumer"), &url, &[]);
    let consumer_api = text(&ready, "api");
    eventually("the consumer knows the providers", NEWS, async || {
        // Asking for what nobody has makes a node look around.
        post(&consumer_api, "nobody-has-it", "", false).await;
        let peers = get(&consumer_api, "/teale/v1/peers").await;
        let serving = |peer: &&Value| peer["models"][0] == MODEL;
        peers["peers"].as_array().unwrap().iter().filter(serving).count() == providers
    })
    .await;
    World { relay, url, upstream, providers: all, _consumer: consumer, consumer_api, dir }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_dies_in_the_middle_of_answers() {
    let mut world = world(1).await;
    let asked = [begin(&world.consumer_api).await, begin(&world.consumer_api).await];
    assert_eq!(world.upstream.live(), 2);
    world.relay.kill();
    let died = Instant::now();
    for response in asked {
        tokio::time::timeout(WITHIN, ends_with_error(response)).await.expect("an end in time");
    }
    println!("askers heard of the relay's death after {:?}", died.elapsed());
    let upstream = &world.upstream;
    let provider = &world.providers[0].api;
    eventually("the provider's slots are free", WITHIN, async || {
        upstream.live() == 0 && get(provider, "/teale/v1/status").await["slots_busy"] == 0
    })
    .await;
    println!("slots free {:?} after the relay's death", died.elapsed());

    tokio::time::sleep(OUTAGE.saturating_sub(died.elapsed())).await;
    let listen = world.url.strip_prefix("ws://").unwrap().strip_suffix("/ws").unwrap();
    let (_relay, _) = relay_process(&world.dir.path().join("relay"), listen);
    let back = Instant::now();
    eventually("both are registered again", WITHIN, async || {
        registered(provider).await && registered(&world.consumer_api).await
    })
    .await;
    println!("registered again {:?} after the relay's return", back.elapsed());
    eventually("answers flow again", NEWS, async || ask(&world.consumer_api).await.status() == 200).await;
    println!("answers flow again {:?} after the relay's return", back.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_dies_and_the_next_request_finds_the_other() {
    let mut world = world(2).await;
    let response = begin(&world.consumer_api).await;
    let answering = node_of(&response).unwrap();
    let victim = world.providers.iter().position(|provider| provider.node == answering).unwrap();
    world.providers[victim].process.kill();
    let died = Instant::now();
    let error = tokio::time::timeout(WITHIN, ends_with_error(response)).await.expect("an end in time");
    println!("the asker heard of the provider's death after {:?}: {error}", died.elapsed());
    // No error and no second try by the client.
    let asked = Instant::now();
    let response = ask(&world.consumer_api).await;
    assert_eq!(response.status(), 200);
    assert_eq!(node_of(&response).as_ref(), Some(&world.providers[1 - victim].node));
    println!("the other provider answered after {:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_dies_before_the_first_token_and_the_other_takes_over() {
    let mut world = world(2).await;
    // `late` says nothing for two seconds: time to die in.
    let api = world.consumer_api.clone();
    let held = tokio::spawn(async move { post(&api, MODEL, "late", true).await });
    let upstream = &world.upstream;
    eventually("the request is with a provider", WITHIN, async || upstream.live() == 1).await;
    let mut busy = None;
    for (index, provider) in world.providers.iter().enumerate() {
        if get(&provider.api, "/teale/v1/status").await["slots_busy"] == 1 {
            busy = Some(index);
        }
    }
    let victim = busy.expect("one of them is busy");
    world.providers[victim].process.kill();
    let died = Instant::now();
    let response = tokio::time::timeout(WITHIN, held).await.expect("an answer in time").unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(node_of(&response).as_ref(), Some(&world.providers[1 - victim].node));
    let answer = response.text().await.unwrap();
    assert!(answer.ends_with("data: [DONE]\n\n"), "{answer}");
    println!("the other provider took over, and was done {:?} after the death", died.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_provider_is_found_when_the_only_one_died() {
    let mut world = world(1).await;
    assert_eq!(ask(&world.consumer_api).await.status(), 200);
    world.providers[0].process.kill();
    let new = provide(&world.dir.path().join("new"), &world.url, &world.upstream).await;
    let found = eventually("the new provider answers", NEWS, async || {
        node_of(&ask(&world.consumer_api).await).as_ref() == Some(&new.node)
    })
    .await;
    println!("the new provider answered after {found:?}");
}
