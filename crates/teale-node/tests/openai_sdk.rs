//! OpenAI's own Python client against a consumer that has no model itself.
//!
//! The interpreter is `TEALE_TEST_PYTHON`, else `target/python/bin/python` (made by `cargo xtask test`). Without one
//! that has the `openai` package the test says SKIPPED.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use std::{io::Write, path::PathBuf, process::Command, time::Duration};

use common::Script;
use teale_node::{ApiOptions, Node};

fn python() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let given = std::env::var_os("TEALE_TEST_PYTHON").map(PathBuf::from);
    let python = given.unwrap_or_else(|| target.join("python/bin/python"));
    let works =
        Command::new(&python).args(["-c", "import openai"]).output().is_ok_and(|out| out.status.success());
    works.then_some(python)
}

async fn run_client(url: &str, model: &str) {
    let Some(python) = python() else {
        // Written past the test harness, which hides what a passing test prints.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no Python with `openai`; `cargo xtask test` installs one, or set TEALE_TEST_PYTHON"
        );
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/openai_client.py");
    let mut command = tokio::process::Command::new(python);
    command.args([script, &format!("{url}/v1"), model]).env("NO_PROXY", "*").kill_on_drop(true);
    let output =
        tokio::time::timeout(Duration::from_secs(120), command.output()).await.expect("in time").unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.ends_with("ok\n"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_client_is_content_with_a_consumer() {
    let (relay, _handle) = common::relay().await;
    let _provider =
        Node::builder().relay(&relay).backend(Script::new("owner/script", 4)).start().await.unwrap();
    let api = ApiOptions::new(([127, 0, 0, 1], 0).into());
    let consumer = common::consumer(Node::builder().relay(&relay).api(api), "owner/script").await;
    run_client(&consumer.api_url().unwrap(), "owner/script").await;
}

#[cfg(feature = "llama")]
#[test]
fn openais_client_is_content_with_three_real_processes() {
    let dir = tempfile::tempdir().unwrap();
    let (_relay, relay) = common::relay_process(&dir.path().join("relay"), "127.0.0.1:0");
    let model = common::tiny_as_model();
    let (_provider, _) = common::serve_process(&dir.path().join("provider"), &relay, &["--model", &model]);
    let (_consumer, ready) = common::serve_process(&dir.path().join("consumer"), &relay, &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run_client(ready["api"].as_str().unwrap(), "tiny"));
}
