//! The program as people and scripts meet it: help, exit codes, stdout for data only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Running, finish, program, relay_process};
use serde_json::Value;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn without_a_verb_there_is_help_and_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_teale-node"));
    let output = finish(&mut command);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Usage: teale-node"));
    assert!(output.stdout.is_empty());
    let output = finish(program(dir.path()).arg("--help"));
    assert_eq!(output.status.code(), Some(0));
    for verb in
        ["serve", "relay", "chat", "demo", "peers", "models", "status", "identity", "config", "completions"]
    {
        assert!(text(&output.stdout).contains(verb), "{verb} is missing from the help");
    }
    assert_eq!(finish(program(dir.path()).arg("--version")).status.code(), Some(0));
}

#[test]
fn wrong_usage_is_two() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [
        &["sing"][..],
        &["serve", "--slots", "many"],
        &["serve", "--relay", "http://not-a-relay"],
        &["serve", "--api", "0.0.0.0:0"],
        &["--config", "/nonexistent/teale.toml", "status"],
    ] {
        let output = finish(program(dir.path()).args(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    let output = finish(program(dir.path()).env("TEALE_SLOTS", "many").arg("status"));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("TEALE_SLOTS"), "{}", text(&output.stderr));
}

#[test]
fn without_a_running_node_it_is_three_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [&["status"][..], &["peers"], &["models", "list"], &["chat", "--model", "m", "hello"]] {
        let output = finish(program(dir.path()).args(arguments));
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        let error = text(&output.stderr);
        assert!(error.contains("teale-node serve"), "{error}");
        assert!(error.lines().count() <= 2, "{error}");
        assert!(output.stdout.is_empty());
    }
    let output = finish(program(dir.path()).args(["status", "--api", "127.0.0.1:1"]));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_chat_that_cannot_join_says_why_before_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    // Bound and closed again: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let relay = format!("ws://{free}/ws");
    for model in [&["--model", "x"][..], &[]] {
        let mut chat = program(dir.path());
        let output = finish(chat.args(["chat", "--relay", &relay, "--timeout", "1"]).args(model).arg("hi"));
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            output.stdout.is_empty() && stderr.contains(&format!("not registered with {relay}")),
            "{stderr}"
        );
    }
}

#[test]
fn a_model_that_is_no_model_is_a_failure_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broken.gguf");
    std::fs::write(&file, b"this is no model").unwrap();
    let mut serve =
        Running::start(program(dir.path()).args(["serve", "--api", "127.0.0.1:0", "--model"]).arg(&file));
    assert_eq!(serve.wait(), Some(1));
    assert!(serve.log().contains("model `broken`"), "{}", serve.log());
}

#[test]
fn config_show_says_where_each_value_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    let key = dir.path().join("key");
    std::fs::write(&key, "sesame\n").unwrap();
    std::fs::write(&file, format!("queue = 9\nslots = 2\napi_key_file = {:?}\n", key)).unwrap();
    let output = finish(
        program(dir.path()).env("TEALE_SLOTS", "3").args(["config", "show", "--json", "--config"]).arg(&file),
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains("sesame"));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let row = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap();
    assert_eq!(
        (&row("slots")["value"], &row("slots")["source"]),
        (&3.into(), &"variable TEALE_SLOTS".into())
    );
    assert_eq!(row("queue")["source"], format!("file {}", file.display()));
    assert_eq!(row("data_dir")["source"], "flag");
    assert_eq!(row("api_key")["value"], "(set)");
    assert_eq!(row("encryption")["source"], "default");

    std::fs::write(&file, "qeue = 9\n").unwrap();
    let output = finish(program(dir.path()).args(["config", "check", "--config"]).arg(&file));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("`qeue`"));
    std::fs::write(&file, "queue = 9\n").unwrap();
    let check = |variable: &str| {
        finish(program(dir.path()).env(variable, "1").args(["config", "check", "--config"]).arg(&file))
    };
    assert_eq!(check("TEALE_QUEUE").status.code(), Some(0));
    assert_eq!(check("TEALE_RELAY_IDLE").status.code(), Some(0));
    let output = check("TEALE_QEUE");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("TEALE_QEUE"));
}

#[test]
fn completions_and_identity() {
    let dir = tempfile::tempdir().unwrap();
    let output = finish(program(dir.path()).args(["completions", "bash"]));
    assert!(output.status.success() && text(&output.stdout).contains("teale-node"));
    let output = finish(program(dir.path()).args(["identity", "show"]));
    assert_eq!(output.status.code(), Some(1), "nothing is made by looking");
    assert!(!dir.path().join("wan-identity.key").exists());
}

#[test]
fn a_running_node_is_found_by_its_data_directory_and_shuts_down_politely() {
    let dir = tempfile::tempdir().unwrap();
    let (_relay, url) = relay_process(&dir.path().join("relay"), "127.0.0.1:0");
    let data = dir.path().join("node");
    let (mut node, ready) = common::serve_process(&data, &url, &[]);
    assert_eq!(ready["event"], "ready");

    let status = finish(program(&data).args(["status", "--json"]));
    assert!(status.status.success(), "{}", text(&status.stderr));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["node"], ready["node"]);
    let peers: Value =
        serde_json::from_slice(&finish(program(&data).args(["peers", "--json"])).stdout).unwrap();
    assert_eq!(peers["peers"], Value::Array(vec![]));
    let identity = finish(program(&data).args(["identity", "show", "--json"]));
    let identity: Value = serde_json::from_slice(&identity.stdout).unwrap();
    assert_eq!(identity["node"], ready["node"]);

    // One directory, one node.
    let second = finish(program(&data).args(["serve", "--api", "127.0.0.1:0"]));
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("already runs"), "{}", text(&second.stderr));

    node.signal("TERM");
    assert_eq!(node.wait(), Some(0), "{}", node.log());
    assert!(!data.join("node.json").exists());
    assert_eq!(finish(program(&data).arg("status")).status.code(), Some(3));
}

#[test]
fn a_killed_node_leaves_a_file_that_fools_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (_relay, url) = relay_process(&dir.path().join("relay"), "127.0.0.1:0");
    let data = dir.path().join("node");
    let (mut node, first) = common::serve_process(&data, &url, &[]);
    node.kill();
    assert!(data.join("node.json").exists());
    assert_eq!(finish(program(&data).arg("status")).status.code(), Some(3));
    let (_node, second) = common::serve_process(&data, &url, &[]);
    assert_eq!(first["node"], second["node"], "the identity stays");
}
