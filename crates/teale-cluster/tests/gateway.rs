//! A deployed gateway: a bare WebSocket, no key, one session per request, no hello, the `_0` form.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod loopback;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use loopback::{PATIENCE, joined, node, relay, scripted, until, whole};
use serde_json::{Value, json};
use teale_identity::{Identity, signed};
use tokio_tungstenite::{connect_async, tungstenite::Message};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_knows_only_the_pages_is_served() {
    let relay = relay().await;
    let provider = node(relay, 1, Some(scripted(2, Duration::from_millis(1))));
    joined(&provider).await;
    let target = Identity::from_seed([1; 32]).node_id().to_string();
    let me = Identity::from_seed([9; 32]);
    let id = me.node_id().to_string();
    let (socket, _) = connect_async(format!("ws://{relay}/ws?node={id}")).await.unwrap();
    let (mut out, mut frames) = socket.split();
    let hardware = json!({"chipFamily": "gatewayVirtual", "chipName": "gateway", "totalRAMGB": 0,
        "gpuCoreCount": 0, "memoryBandwidthGBs": 0, "tier": 0});
    let capabilities =
        json!({"hardware": hardware, "loadedModels": [], "maxModelSizeGB": 0, "isAvailable": false});
    let register = json!({"register": {"nodeID": id, "publicKey": id, "displayName": "gateway",
        "capabilities": capabilities, "signature": signed::register_signature(&me)}});
    out.send(Message::text(register.to_string())).await.unwrap();
    let session = json!({"fromNodeID": id, "toNodeID": target, "sessionID": "session-1"});
    out.send(Message::text(json!({"relayOpen": session}).to_string())).await.unwrap();
    let request = json!({"inferenceRequest": {"_0": {"requestID": "request-1", "streaming": true,
        "request": {"model": "echo", "messages": [{"role": "user", "content": "7"}], "stream": true}}}});
    let mut said = Vec::new();
    while let Some(frame) = tokio::time::timeout(PATIENCE, frames.next()).await.unwrap() {
        let Ok(Message::Text(text)) = frame else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        if frame.get("relayReady").is_some() {
            let mut data = session.clone();
            data["data"] = base64(request.to_string().as_bytes()).into();
            out.send(Message::text(json!({"relayData": data}).to_string())).await.unwrap();
        }
        if let Some(data) = frame.get("relayData") {
            said.push(unbase64(data["data"].as_str().unwrap()));
            if said.last().unwrap().get("inferenceComplete").is_some() {
                break;
            }
        }
        assert!(frame.get("error").is_none(), "{frame}");
    }
    let text: String = said
        .iter()
        .filter_map(|message| {
            message["inferenceChunk"]["_0"]["chunk"]["choices"][0]["delta"]["content"].as_str()
        })
        .collect();
    assert_eq!(text, whole(7));
    let complete = said.last().unwrap();
    assert_eq!(
        complete["inferenceComplete"]["_0"],
        json!({"requestID": "request-1", "tokensIn": 3, "tokensOut": 7})
    );
    assert!(said.iter().all(|message| message.get("hello").is_none() && message.get("heartbeat").is_none()));
    out.send(Message::text(json!({"relayClose": session}).to_string())).await.unwrap();
    until("the link is gone", PATIENCE, || provider.status().links == 0).await;
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let word =
            three.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for n in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * n)) as usize & 63];
            out.push(if n <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

fn unbase64(text: &str) -> Value {
    let mut bytes = Vec::new();
    for four in text.as_bytes().chunks(4) {
        let value = |c: u8| DIGITS.iter().position(|digit| *digit == c).unwrap_or(0) as u32;
        let word = four.iter().fold(0, |word, c| word << 6 | value(*c));
        let padding = four.iter().filter(|c| **c == b'=').count();
        bytes.extend(&word.to_be_bytes()[1..4 - padding]);
    }
    serde_json::from_slice(&bytes).unwrap()
}
