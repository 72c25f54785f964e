//! Signals: the first lets running answers end and takes no new work, the second stops at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use std::time::{Duration, Instant};

use common::{Running, Script, program};
use serde_json::{Value, json};
use teale_node::{ApiOptions, Node};

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A node process in front of a scripted server, with an answer of `words` words, 20 ms each, begun.
async fn answering(dir: &tempfile::TempDir, words: u32) -> (Running, String, reqwest::Response, Node) {
    let api = ApiOptions::new(([127, 0, 0, 1], 0).into());
    let upstream = Node::builder().backend(Script::new("script", 4)).api(api).start().await.unwrap();
    let url = upstream.api_url().unwrap();
    let arguments = ["serve", "--json", "--api", "127.0.0.1:0", "--upstream", &url];
    let node = Running::start(program(dir.path()).args(arguments));
    let api = node.json()["api"].as_str().unwrap().to_owned();
    let started = Instant::now();
    while http().get(format!("{api}/ready")).send().await.unwrap().status() != 200 {
        assert!(started.elapsed() < common::LIMIT);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut response = post(&api, &format!("pace {words}")).await.unwrap();
    assert_eq!(response.status(), 200);
    response.chunk().await.unwrap().unwrap();
    (node, api, response, upstream)
}

async fn post(api: &str, prompt: &str) -> reqwest::Result<reqwest::Response> {
    let body =
        json!({ "model": "script", "stream": true, "messages": [{ "role": "user", "content": prompt }] });
    http().post(format!("{api}/v1/chat/completions")).json(&body).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_signal_drains() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, api, response, _upstream) = answering(&dir, 100).await;
    node.signal("TERM");
    let started = Instant::now();
    let refused = loop {
        match post(&api, "words 1").await {
            Ok(refused) if refused.status() == 503 => break refused,
            other => assert!(started.elapsed() < Duration::from_secs(2), "still served: {other:?}"),
        }
    };
    assert!(refused.headers().contains_key("retry-after"));
    let error: Value = refused.json().await.unwrap();
    assert_eq!(error["error"]["code"], "unavailable");
    let text = response.text().await.unwrap();
    assert!(text.contains("wörd99") && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(node.wait(), Some(0), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_signal_stops_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, _, response, _upstream) = answering(&dir, 1000).await;
    node.signal("INT");
    while !node.log().contains("draining") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let signalled = Instant::now();
    node.signal("INT");
    assert_eq!(node.wait(), Some(0), "{}", node.log());
    assert!(signalled.elapsed() < Duration::from_secs(2), "it took {:?}", signalled.elapsed());
    assert!(!response.text().await.unwrap_or_default().contains("[DONE]"));
}
