//! Processes that die without a word: what the asker hears, and how soon everything is back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]
#![cfg(feature = "llama")]

mod common;

use std::time::{Duration, Instant};

use common::{Running, relay_process, serve_process, tiny_model};
use futures_util::StreamExt;
use serde_json::{Value, json};

/// An asker learns of a death within this time; nodes are registered again this soon after the relay is back.
const WITHIN: Duration = Duration::from_secs(5);
/// How long the relay is away.
const OUTAGE: Duration = Duration::from_secs(3);

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn api(ready: &Value) -> String {
    ready["api"].as_str().unwrap().to_owned()
}

async fn status(api: &str) -> Value {
    http().get(format!("{api}/teale/v1/status")).send().await.unwrap().json().await.unwrap()
}

async fn eventually(what: &str, within: Duration, mut check: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !check().await {
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    started.elapsed()
}

struct Provider {
    process: Running,
    api: String,
    node: String,
}

fn provide(dir: &std::path::Path, url: &str) -> Provider {
    let model = format!("tiny={}", tiny_model().display());
    let (process, ready) = serve_process(dir, url, &["--model", &model, "--slots", "2", "--threads", "1"]);
    Provider { process, api: api(&ready), node: ready["node"].as_str().unwrap().to_owned() }
}

struct World {
    dir: tempfile::TempDir,
    relay: Running,
    url: String,
    providers: Vec<Provider>,
    _consumer: Running,
    consumer_api: String,
}

/// A relay, some providers, and a consumer that has heard of all of them at its first discovery.
fn world(providers: usize) -> World {
    let dir = tempfile::tempdir().unwrap();
    let (relay, url) = relay_process(&dir.path().join("relay"), "127.0.0.1:0");
    let providers = (0..providers).map(|n| provide(&dir.path().join(format!("provider{n}")), &url)).collect();
    let (consumer, ready) = serve_process(&dir.path().join("consumer"), &url, &[]);
    World { relay, url, providers, _consumer: consumer, consumer_api: api(&ready), dir }
}

/// A long answer, begun; the body is read no further than its first piece, so it stays alive.
async fn begin(api: &str) -> reqwest::Response {
    let body = json!({ "model": "tiny", "stream": true, "temperature": 1.5, "seed": 7,
        "messages": [{ "role": "user", "content": "tell me everything" }] });
    let mut response = http().post(format!("{api}/v1/chat/completions")).json(&body).send().await.unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    response.chunk().await.unwrap().unwrap();
    response
}

/// A short answer.
async fn ask(api: &str) -> reqwest::Response {
    let body = json!({ "model": "tiny", "max_tokens": 3, "messages": [{ "role": "user", "content": "hi" }] });
    http().post(format!("{api}/v1/chat/completions")).json(&body).send().await.unwrap()
}

/// Reads to the end: true when it ended with an error event.
async fn ended_with_error(response: reqwest::Response) -> bool {
    let mut text = Vec::new();
    let mut body = response.bytes_stream();
    while let Some(Ok(bytes)) = body.next().await {
        text.extend_from_slice(&bytes);
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    text.trim_end().rsplit("\n\n").next().is_some_and(|last| last.starts_with("data: {\"error\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_dies_in_the_middle_of_an_answer() {
    let mut world = world(1);
    let mut asked = Vec::new();
    for _ in 0..2 {
        asked.push(begin(&world.consumer_api).await);
    }
    world.relay.kill();
    let died = Instant::now();
    let mut errors = 0;
    for response in asked {
        let ended = tokio::time::timeout(WITHIN, ended_with_error(response)).await.expect("an end in time");
        errors += u32::from(ended);
    }
    println!("askers heard of the relay's death after {:?}", died.elapsed());
    let free = eventually("the provider's slots are free", WITHIN, async || {
        status(&world.providers[0].api).await["slots_busy"] == 0
    })
    .await;
    println!("slots free after {free:?}");
    assert!(errors > 0, "both answers were complete before the relay died: the test needs a longer one");

    tokio::time::sleep(OUTAGE.saturating_sub(died.elapsed())).await;
    let listen = world.url.strip_prefix("ws://").unwrap().strip_suffix("/ws").unwrap();
    let (_relay, _) = relay_process(&world.dir.path().join("relay"), listen);
    let back = eventually("both are registered again", WITHIN, async || {
        status(&world.providers[0].api).await["relays"][0]["registered"] == true
            && status(&world.consumer_api).await["relays"][0]["registered"] == true
    })
    .await;
    println!("registered again {back:?} after the relay's return");
    eventually("answers flow again", Duration::from_secs(20), async || {
        let body =
            json!({ "model": "tiny", "max_tokens": 3, "messages": [{ "role": "user", "content": "hi" }] });
        let sent =
            http().post(format!("{}/v1/chat/completions", world.consumer_api)).json(&body).send().await;
        sent.is_ok_and(|response| response.status() == 200)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_dies_and_the_next_request_finds_the_other() {
    let mut world = world(2);
    assert_eq!(ask(&world.consumer_api).await.status(), 200);
    let response = begin(&world.consumer_api).await;
    let answering = response.headers()["x-teale-node"].to_str().unwrap().to_owned();
    let victim = world.providers.iter().position(|provider| provider.node == answering).unwrap();
    world.providers[victim].process.kill();
    let died = Instant::now();
    let error = tokio::time::timeout(WITHIN, ended_with_error(response)).await.expect("an end in time");
    println!("the asker heard of the provider's death after {:?}", died.elapsed());
    assert!(error, "the answer was complete before the provider died: the test needs a longer one");
    // No error and no second try by the client.
    let asked = Instant::now();
    let response = ask(&world.consumer_api).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-teale-node"], world.providers[1 - victim].node.as_str());
    println!("the other provider answered after {:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_provider_is_found_when_the_only_one_died() {
    let mut world = world(1);
    assert_eq!(ask(&world.consumer_api).await.status(), 200);
    world.providers[0].process.kill();
    let new = provide(&world.dir.path().join("new"), &world.url);
    // A relay answers `discover` once in ten seconds.
    let found = eventually("the new provider answers", Duration::from_secs(15), async || {
        let response = ask(&world.consumer_api).await;
        response.headers().get("x-teale-node").is_some_and(|node| node == new.node.as_str())
    })
    .await;
    println!("the new provider answered after {found:?}");
}
