//! What the relay sees: a recorder in front of it keeps every byte, and no word of prompt or answer is among them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use common::Script;
use futures_util::StreamExt;
use teale_node::{
    Node,
    chat::{ChatMessage, ChatRequest},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Words of the prompt, the system message and the answer (the script's).
const WORDS: [&str; 4] = ["words", "Kolibri", "Nachtgeheimnis", "wörd1"];

type Record = Arc<Mutex<Vec<u8>>>;

/// Copies one direction, and keeps what it copied with WebSocket masks taken off where there are any.
async fn copy(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, record: Record) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        record.lock().unwrap().extend_from_slice(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// A proxy in front of `relay`; one record per connection and direction.
async fn tap(relay: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<Record>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let records: Arc<Mutex<Vec<Record>>> = Arc::default();
    let all = Arc::clone(&records);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(relay).await.unwrap();
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            let (up, down) = (Record::default(), Record::default());
            all.lock().unwrap().extend([Arc::clone(&up), Arc::clone(&down)]);
            tokio::spawn(copy(near_read, far_write, up));
            tokio::spawn(copy(far_read, near_write, down));
        }
    });
    (address, records)
}

/// The payloads of a direction's WebSocket frames, unmasked, after the HTTP head.
fn payloads(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return out };
    let mut rest = &bytes[head + 4..];
    while let [_, second, ..] = rest {
        let (mut length, mut at) = (u64::from(second & 0x7f), 2);
        if length == 126 {
            length = u64::from(u16::from_be_bytes(rest[2..4].try_into().unwrap()));
            at = 4;
        } else if length == 127 {
            length = u64::from_be_bytes(rest[2..10].try_into().unwrap());
            at = 10;
        }
        let mask: [u8; 4] = if second & 0x80 != 0 { rest[at..at + 4].try_into().unwrap() } else { [0; 4] };
        at += if second & 0x80 != 0 { 4 } else { 0 };
        let end = (at + length as usize).min(rest.len());
        out.extend(rest[at..end].iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]));
        out.push(b'\n');
        rest = &rest[end..];
    }
    out
}

/// Everything that can be read out of bytes without a key: themselves, and each run of base64 in them, decoded at
/// each of its four alignments.
fn readable(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![bytes.to_vec()];
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    for run in bytes.split(|byte| !inside(byte)).filter(|run| run.len() >= 8) {
        for start in 0..4 {
            let run = &run[start..];
            let run = &run[..run.len() / 4 * 4];
            all.extend(STANDARD_NO_PAD.decode(run).ok());
            all.extend(URL_SAFE_NO_PAD.decode(run).ok());
        }
    }
    all
}

fn holds(haystack: &[u8], word: &str) -> bool {
    let lower = haystack.to_ascii_lowercase();
    lower.windows(word.len()).any(|window| window == word.to_ascii_lowercase().as_bytes())
}

#[test]
fn the_search_finds_words_that_are_there() {
    let hidden =
        format!("{{\"data\":\"{}\"}}", base64::engine::general_purpose::STANDARD.encode("xxkolibri!"));
    assert!(readable(hidden.as_bytes()).iter().any(|text| holds(text, "Kolibri")));
    // A masked text frame: FIN + text, masked, two bytes.
    let frame = [b"\r\n\r\n".as_slice(), &[0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]].concat();
    assert_eq!(payloads(&frame), b"hi\n");
}

#[tokio::test]
async fn no_word_of_prompt_or_answer_passes_the_relay_in_the_clear() {
    let (url, _handle) = common::relay().await;
    let relay = url.strip_prefix("ws://").unwrap().strip_suffix("/ws").unwrap().parse().unwrap();
    let (tapped, records) = tap(relay).await;
    let url = format!("ws://{tapped}/ws");
    let provider = Node::builder().relay(&url).backend(Script::new("script", 1)).start().await.unwrap();
    let consumer = common::consumer(Node::builder().relay(&url), "script").await;
    let request = ChatRequest {
        model: "script".into(),
        messages: vec![
            ChatMessage::text("system", "Kolibri Nachtgeheimnis"),
            ChatMessage::text("user", "words 20"),
        ],
        stream: Some(true),
        ..ChatRequest::default()
    };
    let mut answer = consumer.cluster().chat(request).await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = answer.next().await {
        text.extend(chunk.unwrap().choices.into_iter().filter_map(|choice| choice.delta.content));
    }
    assert!(text.contains("wörd19"));
    let ids = [provider.id().to_string(), consumer.id().to_string()];
    consumer.shutdown(Duration::from_secs(1)).await;
    provider.shutdown(Duration::from_secs(1)).await;

    let records: Vec<Vec<u8>> =
        records.lock().unwrap().iter().map(|record| record.lock().unwrap().clone()).collect();
    let seen: Vec<Vec<u8>> = records.iter().map(|record| payloads(record)).collect();
    // The recording is one: it holds what a relay has to see, from both nodes.
    for id in &ids {
        assert!(seen.iter().any(|payload| holds(payload, id)), "the recording misses {id}");
    }
    assert!(seen.iter().filter(|payload| holds(payload, "relayData")).count() >= 4);
    for bytes in records.iter().chain(&seen) {
        for text in readable(bytes) {
            for word in WORDS {
                assert!(!holds(&text, word), "`{word}` passed in the clear");
            }
        }
    }
}
