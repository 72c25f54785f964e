//! A client that goes away while its prompt is being read: how soon the engine's slot is free.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]
#![cfg(feature = "llama")]

mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{relay, slow_model, until};
use serde_json::json;
use teale_infer::{LlamaBackend, LlamaOptions};
use teale_node::{ApiOptions, Node};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// Letters of the prompt; the model's tokens are letters.
const LETTERS: usize = 3500;
/// What the product sheet allows.
const WANTED: Duration = Duration::from_millis(100);
/// What a machine busy with other things may take.
const ALLOWED: Duration = Duration::from_millis(500);
/// Clients that go away, per way to the engine.
const CLIENTS: usize = 5;

/// A prompt whose first letter differs, so that no slot remembers any of it.
fn prompt(number: u8) -> String {
    format!("{}{}", char::from(b'a' + number), "x".repeat(LETTERS))
}

/// A client asks `api`, and goes away once the engine has read this many tokens of its prompt. Gives the time until
/// the engine's slot is free.
async fn leave(api: &str, backend: &LlamaBackend, number: u8, tokens: u64) -> Duration {
    let body = json!({ "model": "slow", "messages": [{ "role": "user", "content": prompt(number) }],
        "stream": number.is_multiple_of(2) })
    .to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let before = backend.activity().prompt_tokens;
    let mut client = TcpStream::connect(api).await.unwrap();
    client.write_all((head + &body).as_bytes()).await.unwrap();
    let read = || backend.activity().prompt_tokens - before;
    until("the engine has the request", || backend.activity().slots_busy == 1).await;
    let begun = Instant::now();
    until("the prompt is being read", || read() >= tokens).await;
    if tokens > 0 {
        // Later tokens take longer, so this is the least the whole prompt would have taken.
        let whole = begun.elapsed().mul_f64(LETTERS as f64 / read() as f64);
        println!("{} of {LETTERS} tokens read, at a pace of {whole:?} or more for all", read());
    }
    let gone = Instant::now();
    drop(client);
    while backend.activity().slots_busy > 0 {
        assert!(gone.elapsed() < common::LIMIT, "the slot stays busy");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = gone.elapsed();
    assert!(read() < LETTERS as u64 / 2, "the prompt had been read: {} tokens", read());
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_its_prompt_is_read_frees_the_slot() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = LlamaOptions::new(slow_model(dir.path()));
    (options.slots, options.threads) = (1, Some(1));
    let backend = Arc::new(LlamaBackend::load(options).unwrap());
    let (url, _relay) = relay().await;
    let api = || ApiOptions::new(([127, 0, 0, 1], 0).into());
    let provider = Node::builder().relay(&url).backend(backend.clone()).api(api()).start().await.unwrap();
    common::registered(&provider).await;
    let consumer = common::consumer(Node::builder().relay(&url).api(api()), "slow").await;

    // The very first step is cut short as well: nothing has been measured when its size is chosen.
    let first = leave(&provider.api_addr().unwrap().to_string(), &backend, 0, 0).await;
    println!("during the first step: free after {first:?}");
    let mut number = 1;
    for (way, node) in [("local", &provider), ("over the relay", &consumer)] {
        let address = node.api_addr().unwrap().to_string();
        let mut times = Vec::new();
        for _ in 0..CLIENTS {
            times.push(leave(&address, &backend, number, 100).await);
            number += 1;
        }
        times.sort_unstable();
        let median = times[CLIENTS / 2];
        let verdict = if median <= WANTED { "as wanted" } else { "LATE" };
        println!("{way}: free after {times:?}, median {median:?}: {verdict}");
        assert!(median <= ALLOWED, "{way}: {times:?}");
    }
    println!("the longest step took {} us", backend.activity().longest_step_us);
    assert!(first <= ALLOWED, "{first:?}");
    let idle = || provider.cluster().status().slots_busy == 0;
    until("the provider knows that it is idle", idle).await;
}
