//! Three processes and a seed of the DHT, no relay and no multicast: a chat finds its provider by the model's name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]
#![cfg(feature = "llama")]

mod common;

use std::{net::UdpSocket, path::Path};

use common::{Running, finish, program, tiny_as_model};
use serde_json::Value;

/// A UDP port of loopback that was free a moment ago.
fn free() -> String {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn seed(dir: &Path) -> (Running, String) {
    let address = free();
    let seed = Running::start(program(dir).args(["dht", "serve", "--json", "--listen", &address]));
    assert_eq!(seed.json()["own"], address.as_str());
    (seed, address)
}

/// What keeps a node to the DHT and to loopback.
fn only_dht(seed: &str) -> [&str; 9] {
    [
        "--no-lan",
        "--dht",
        "--dht-seed",
        seed,
        "--dht-listen",
        "127.0.0.1:0",
        "--lan-listen",
        "127.0.0.1:0",
        "--json",
    ]
}

fn provider(dir: &Path, seed: &str, model: &str) -> (Running, Value) {
    let mut command = program(dir);
    command.args(["serve", "--api", "127.0.0.1:0", "--model", model]).args(only_dht(seed));
    let provider = Running::start(&mut command);
    let ready = provider.json();
    (provider, ready)
}

/// Waits until the provider's taps are in place: from then on it can be found.
fn is_tapped(dir: &Path) -> Value {
    let began = std::time::Instant::now();
    loop {
        let status = finish(program(dir).args(["dht", "status", "--json"]));
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        let tapped = status["taps"].as_array().unwrap().iter().any(|tap| tap["switches"].as_u64() > Some(0));
        if tapped {
            return status;
        }
        assert!(began.elapsed() < common::LIMIT, "{status}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a_chat_finds_its_provider_by_the_models_name_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (_seed, at) = seed(&dir.path().join("seed"));
    let data = dir.path().join("provider");
    let (provider, ready) = provider(&data, &at, &tiny_as_model());
    let status = is_tapped(&data);
    assert_eq!((&status["online"], &status["taps"][0]["model"]), (&true.into(), &"tiny".into()));

    let began = std::time::Instant::now();
    let mut chat = program(&dir.path().join("consumer"));
    chat.args(["chat", "--model", "Tiny", "--max-tokens", "16"]).args(only_dht(&at)).arg("hello");
    let output = finish(&mut chat);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}\n{}", provider.log());
    println!("a chat over the DHT took {:?}, process start included", began.elapsed());
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["node"], ready["node"]);
    assert_eq!((&answer["encrypted"], &answer["verified"]), (&true.into(), &true.into()));
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() > 0);
}

#[test]
fn a_running_consumer_asks_the_dht_for_models_it_does_not_know() {
    let dir = tempfile::tempdir().unwrap();
    let (_seed, at) = seed(&dir.path().join("seed"));
    let consumer = dir.path().join("consumer");
    let mut serve = program(&consumer);
    serve.args(["serve", "--api", "127.0.0.1:0"]).args(only_dht(&at));
    let running = Running::start(&mut serve);
    running.json();
    let chat = |model: &str| {
        finish(program(&consumer).args(["chat", "--json", "--model", model, "--max-tokens", "4", "hello"]))
    };
    let nobody = chat("tiny");
    assert!(!nobody.status.success());
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("tiny"));

    let data = dir.path().join("provider");
    let (_provider, ready) = provider(&data, &at, &format!("other={}", common::tiny_model().display()));
    is_tapped(&data);
    let output = chat("other");
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), running.log());
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["node"], ready["node"]);
}

#[test]
fn a_question_over_the_dhts_own_sessions_is_answered_under_a_seal() {
    let dir = tempfile::tempdir().unwrap();
    let (_seed, at) = seed(&dir.path().join("seed"));
    let data = dir.path().join("provider");
    let (provider, ready) = provider(&data, &at, &tiny_as_model());
    is_tapped(&data);
    let ask = |model: &str, more: &[&str]| {
        let mut ask = program(&dir.path().join("asker"));
        ask.args(["dht", "ask", "--json", "--seed", &at, "--model", model]).args(more).arg("hello");
        finish(&mut ask)
    };
    let output = ask("Tiny", &["--max-tokens", "12", "--temperature", "0"]);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}\n{}", provider.log());
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["node"], &answer["usage"]["completion_tokens"]), (&ready["node"], &12.into()));
    // The same as the node's own API says.
    let chat = ["chat", "--json", "--max-tokens", "12", "--temperature", "0", "hello"];
    let chat: Value = serde_json::from_slice(&finish(program(&data).args(chat)).stdout).unwrap();
    assert_eq!(answer["text"], chat["text"]);
    assert_eq!((&answer["path"], &answer["finish_reason"]), (&"dht".into(), &"length".into()));
    let fails = |output: std::process::Output, says: &str| {
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && log.contains(says), "{log}");
    };
    fails(ask("nobody-has-this", &["--timeout", "3"]), "nobody presented itself");
    let other = "00".repeat(32);
    fails(ask("tiny", &["--timeout", "3", "--node", &other]), "no answer within 3 s");
    let node = ready["node"].as_str().unwrap();
    assert!(ask("tiny", &["--node", node, "--max-tokens", "2"]).status.success());
    // The question itself is at fault: nobody else is waited for.
    let long = "word ".repeat(20_000);
    let mut long_ask = program(&dir.path().join("asker"));
    fails(finish(long_ask.args(["dht", "ask", "--seed", &at, "--model", "tiny", &long])), "status 400");
    // It was counted as an answer to that node.
    let status = finish(program(&data).args(["status", "--json"]));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert!(status["requests"]["served"].as_u64().or(status["served"].as_u64()) >= Some(2), "{status}");
}

#[test]
fn people_can_dial_tap_and_announce() {
    let dir = tempfile::tempdir().unwrap();
    let (_seed, at) = seed(&dir.path().join("seed"));
    let tap = Running::start(program(dir.path()).args([
        "dht",
        "tap",
        "--json",
        "--seconds",
        "50",
        "--seed",
        &at,
        "a thing",
    ]));
    let tapped = tap.json();
    assert_eq!(tapped["event"], "tapped");
    let announce = ["dht", "announce", "--json", "--seed", &at, "a thing", "foo=bar"];
    let announced = finish(program(dir.path()).args(announce));
    assert!(announced.status.success(), "{}", String::from_utf8_lossy(&announced.stderr));
    let signal = std::iter::repeat_with(|| tap.json()).find(|line| line["event"] == "signal").unwrap();
    assert_eq!(signal["signals"]["+foo"], "bar");

    let dialed = finish(program(dir.path()).args(["dht", "dial", "--json", "--seed", &at, "a thing"]));
    let dialed: Value = serde_json::from_slice(&dialed.stdout).unwrap();
    assert!(dialed["closest"].as_array().unwrap().iter().any(|ipp| ipp == at.as_str()), "{dialed}");
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let fails = |args: &[&str], says: &str| {
        let output = finish(program(dir.path()).args(args));
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && log.contains(says), "{args:?}: {log}");
    };
    fails(&["serve", "--no-lan", "--dht"], "--dht-seed");
    fails(&["serve", "--no-lan", "--dht", "--dht-seed", "nonsense"], "HOST:PORT");
    let passcode = dir.path().join("passcode");
    std::fs::write(&passcode, "open sesame").unwrap();
    let passcode = passcode.to_str().unwrap();
    fails(
        &["serve", "--no-lan", "--dht", "--dht-seed", "127.0.0.1:9", "--passcode-file", passcode],
        "does not go with the DHT",
    );
    fails(&["dht", "serve"], "--public");
    fails(&["dht", "dial", "abc"], "--seed");
    fails(&["dht", "announce", "--seed", "127.0.0.1:9", "abc", "nonsense"], "+foo=bar");
    fails(&["dht", "status"], "no node is running");
}
