//! A relay, a provider and a consumer as real processes: a prompt crosses the relay sealed and comes back as tokens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]
#![cfg(feature = "llama")]

mod common;

use common::{finish, program, relay_process, serve_process, tiny_as_model, tiny_model};
use futures_util::StreamExt;
use serde_json::Value;
use teale_node::{
    EngineOptions, Node,
    chat::{ChatMessage, ChatRequest},
};

const PROMPT: &str = "hello";
const TOKENS: u64 = 48;

/// What the engine says to the same prompt without any network.
async fn alone() -> String {
    let engine = EngineOptions { slots: 1, ..EngineOptions::default() };
    let node = Node::builder().engine(engine).model(tiny_as_model()).start().await.unwrap();
    let request = ChatRequest {
        model: "tiny".into(),
        messages: vec![ChatMessage::text("user", PROMPT)],
        temperature: Some(0.0),
        max_tokens: Some(TOKENS),
        ..ChatRequest::default()
    };
    let mut answer = node.cluster().chat(request).await.unwrap();
    assert!(answer.node.is_none());
    let mut text = String::new();
    while let Some(chunk) = answer.next().await {
        text.extend(chunk.unwrap().choices.into_iter().filter_map(|choice| choice.delta.content));
    }
    text
}

#[tokio::test]
async fn a_prompt_crosses_the_relay_and_comes_back_as_the_same_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let (_relay, url) = relay_process(&dir.path().join("relay"), "127.0.0.1:0");
    let model = tiny_as_model();
    let (provider, ready) = serve_process(&dir.path().join("provider"), &url, &["--model", &model]);
    assert_eq!(ready["models"][0], "tiny");

    let output = finish(program(&dir.path().join("consumer")).args([
        "chat",
        "--relay",
        &url,
        "--model",
        "tiny",
        "--json",
        "--temperature",
        "0",
        "--max-tokens",
        &TOKENS.to_string(),
        PROMPT,
    ]));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}\n{}", provider.log());
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().count(), 1, "one JSON object: {stdout}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["model"], "tiny");
    assert_eq!(answer["node"], ready["node"]);
    assert_eq!(answer["path"], "relay");
    assert_eq!((&answer["encrypted"], &answer["verified"]), (&true.into(), &true.into()));
    assert!(matches!(answer["finish_reason"].as_str(), Some("stop" | "length")), "{answer}");
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    assert!(answer["ttft_ms"].as_f64().unwrap() > 0.0);
    assert!(answer["tokens_per_s"].as_f64().unwrap() > 0.0);
    assert_eq!(answer["text"].as_str().unwrap(), alone().await);
}

#[test]
fn a_running_consumer_is_used_and_a_busy_directory_does_not_stop_a_chat() {
    let dir = tempfile::tempdir().unwrap();
    let (_relay, url) = relay_process(&dir.path().join("relay"), "127.0.0.1:0");
    let model = tiny_as_model();
    let (_provider, ready) = serve_process(&dir.path().join("provider"), &url, &["--model", &model]);
    let data = dir.path().join("consumer");
    let (_consumer, consumer) = serve_process(&data, &url, &[]);
    let ask = |more: &[&str]| {
        let output =
            finish(program(&data).args(["chat", "--json", "--max-tokens", "4"]).args(more).arg(PROMPT));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    for more in
        [&["--model", "tiny"][..], &[], &["--api", consumer["api"].as_str().unwrap(), "--model", "tiny"]]
    {
        let answer = ask(more);
        assert_eq!(answer["node"], ready["node"]);
        assert_eq!((&answer["path"], &answer["encrypted"]), (&"relay".into(), &true.into()));
    }
    let peers: Value =
        serde_json::from_slice(&finish(program(&data).args(["peers", "--json"])).stdout).unwrap();
    assert_eq!(peers["peers"][0]["node"], ready["node"]);
    assert_eq!(peers["peers"][0]["path"], "relay");
    let models = finish(program(&data).args(["models", "list", "--json"]));
    let models: Value = serde_json::from_slice(&models.stdout).unwrap();
    assert_eq!(models["models"][0]["id"], "tiny");
    // The memory of keys is on disk, so that a restart does not forget who can be sealed to.
    let known = data.join("known-peers.txt");
    let started = std::time::Instant::now();
    while !known.exists() {
        assert!(started.elapsed() < common::LIMIT);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(std::fs::read_to_string(known).unwrap().contains(ready["node"].as_str().unwrap()));
}

#[test]
fn the_demo_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let output = finish(program(dir.path()).args(["demo", "--json"]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let steps: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let step =
        |name: &str| steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(step("handshake")["equal"], true);
    assert_eq!(step("handshake")["verified"], true);
    assert!(step("usage")["usage"]["completion_tokens"].as_u64().unwrap() > 1);
    let built_in = cfg!(feature = "demo-model");
    assert_eq!(step("note")["random_weights"], !built_in);
    assert!(steps.iter().filter(|step| step["step"] == "token").count() > 1);
    assert_eq!(steps.last().unwrap()["step"], "done");
    let text = finish(program(dir.path()).arg("demo"));
    assert!(text.status.success());
    let stdout = String::from_utf8_lossy(&text.stdout).into_owned();
    let notice =
        if built_in { "built-in demo model: answers questions about Teale only" } else { "random weights" };
    assert!(stdout.contains(notice), "{stdout}");
    if built_in {
        assert_eq!(steps.iter().filter(|step| step["step"] == "prompt").count(), 3);
        for fact in ["find each other", "cannot read", "who talks to whom", "teale-node relay --listen"] {
            assert!(stdout.contains(fact), "no `{fact}` in: {stdout}");
        }
    }
}

#[test]
fn the_built_in_model_is_the_one_that_the_tests_of_the_engine_use() {
    let theirs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../teale-infer/tests/data/tiny.gguf");
    assert!(
        std::fs::read(theirs).unwrap() == std::fs::read(tiny_model()).unwrap(),
        "copy it to assets/ again"
    );
}
