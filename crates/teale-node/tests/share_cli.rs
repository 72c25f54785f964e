//! Models fetched by the program itself: `models pull`, `models list`, `models rm`, and `serve --model NAME`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]
#![cfg(feature = "llama")]

mod common;

use std::path::Path;

use common::{Running, finish, program, relay_process, tiny_model};
use serde_json::Value;

const MODEL: &str = "org/tiny-1";

/// Writes the settings of a node that gives and takes over relays, and stays off this machine's network.
fn settings(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let text = "lan = false\n[share]\nenabled = true\nrelay = true\nrelay_rate = 100000000\ncaches = false\n";
    std::fs::write(dir.join("config.toml"), text).unwrap();
}

fn node(dir: &Path, relay: &str, more: &[&str]) -> (Running, Value) {
    settings(dir);
    let config = dir.join("config.toml");
    let base =
        ["serve", "--json", "--relay", relay, "--api", "127.0.0.1:0", "--config", config.to_str().unwrap()];
    let node = Running::start(program(dir).args(base).args(more));
    let ready = node.json();
    (node, ready)
}

fn lines(output: &std::process::Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_model_is_pulled_listed_served_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (_relay, url) = relay_process(&dir.path().join("relay"), "127.0.0.1:0");
    let giver_dir = dir.path().join("giver");
    let folder = giver_dir.join("models/org%2Ftiny-1");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(tiny_model(), folder.join("tiny.gguf")).unwrap();
    let (giver, ready) = node(&giver_dir, &url, &[]);

    // By joining for this one pull.
    let alone = dir.path().join("alone");
    settings(&alone);
    let pull = |dir: &Path, more: &[&str]| {
        let config = dir.join("config.toml");
        let base = ["models", "pull", MODEL, "--over-relay", "--json", "--config", config.to_str().unwrap()];
        finish(program(dir).args(base).args(more))
    };
    let output = pull(&alone, &["--relay", &url]);
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), giver.log());
    let said = lines(&output);
    let done = said.last().unwrap();
    assert_eq!((&done["event"], &done["model"]), (&"done".into(), &MODEL.into()));
    let dones: Vec<u64> = said.iter().filter_map(|line| line["done"].as_u64()).collect();
    assert!(dones.is_sorted(), "progress goes back: {dones:?}");
    let path = Path::new(done["path"].as_str().unwrap()).join("tiny.gguf");
    assert!(std::fs::read(path).unwrap() == std::fs::read(tiny_model()).unwrap());
    assert_eq!(done["fetched"], std::fs::metadata(tiny_model()).unwrap().len());
    let again = pull(&alone, &["--relay", &url]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("here already"));
    let gone = finish(program(&alone).args(["models", "rm", MODEL, "--json"]));
    assert!(gone.status.success() && !alone.join("models/org%2Ftiny-1").exists());

    // A node that is to serve what a peer has.
    let server_dir = dir.path().join("server");
    let (server, serving) = node(&server_dir, &url, &["--model", MODEL]);
    assert_eq!(serving["models"][0], MODEL, "{}", server.log());
    let ask = ["chat", "--json", "--model", MODEL, "--max-tokens", "4", "hello"];
    let answer = finish(program(&server_dir).args(ask));
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));

    // Through a running node.
    let list = finish(program(&server_dir).args(["models", "list", "--json"]));
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list["local"][0]["id"], MODEL);
    let offered =
        |row: &Value| row["id"] == MODEL && row["nodes"].as_array().unwrap().contains(&ready["node"]);
    assert!(list["remote"].as_array().unwrap().iter().any(offered), "{list}");
    let taker_dir = dir.path().join("taker");
    let (_taker, _) = node(&taker_dir, &url, &[]);
    let from = ["--from", ready["node"].as_str().unwrap()];
    let output = pull(&taker_dir, &from);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(lines(&output).last().unwrap()["event"], "done");
    let removed = finish(program(&taker_dir).args(["models", "rm", MODEL]));
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    assert!(!taker_dir.join("models/org%2Ftiny-1").exists());
    let missing = finish(program(&taker_dir).args(["models", "rm", MODEL]));
    assert_eq!(missing.status.code(), Some(1));
}
