//! The relay as its clients meet it: HTTP, WebSocket, frames passed on.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says what it measured"
)]

mod support;

use futures_util::SinkExt;
use serde_json::{Value, json};
use support::{Relay, SESSION, identity, relay_data, session_message};
use teale_relay_server::RelayLimits;
use tokio_tungstenite::tungstenite::{Bytes, Message};

#[tokio::test]
async fn two_nodes_meet_and_talk() {
    let relay = Relay::start(RelayLimits::default()).await;
    let (alice, bob) = (identity(1), identity(2));
    let (mut a, mut b) = (relay.node(&alice).await, relay.node(&bob).await);

    a.send(json!({"discover": {"requestingNodeID": alice.node_id()}})).await;
    let found = a.receive().await;
    let peers = found["discoverResponse"]["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0]["nodeID"], bob.node_id().to_string());
    assert_eq!(peers[0]["wgPublicKey"], bob.x25519_public().to_hex());
    assert_eq!(peers[0]["endpoints"], json!([]));

    a.send(session_message("relayOpen", &alice, &bob, SESSION)).await;
    assert_eq!(b.receive().await, session_message("relayOpen", &alice, &bob, SESSION));
    b.send(session_message("relayReady", &bob, &alice, SESSION)).await;
    a.receive().await;
    assert_eq!(relay.handle.metrics().sessions, 1);

    drop(b);
    assert_eq!(a.receive().await, session_message("relayClose", &bob, &alice, SESSION));
    a.send_text(relay_data(&alice, &bob, SESSION, "AAAA")).await;
    let gone = ("peer_not_found".to_owned(), format!("Peer {} is not connected", bob.node_id()));
    assert_eq!(a.error().await, gone);
    assert_eq!(relay.handle.metrics().sessions, 0);
    relay.stop().await;
    assert_eq!(a.closed().await, 1001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_arrive_byte_for_byte_in_order_and_with_their_opcode() {
    let relay = Relay::start(RelayLimits::default()).await;
    let (alice, bob) = (identity(1), identity(2));
    let (mut a, mut b) = (relay.node(&alice).await, relay.node(&bob).await);
    // Sizes at the borders of the header's forms, of what is moved, of what is read at once, of what is shared.
    let sizes = [0, 1, 60, 200, 1000, 3700, 3900, 4096, 16_000, 65_000, 65_300, 65_536, 200_000, 4_000_000];
    let mut sent = Vec::new();
    for (round, size) in (0..3).flat_map(|round| sizes.map(|size| (round, size))) {
        // Spaces and unknown fields are the sender's own business.
        let frame = relay_data(&alice, &bob, SESSION, &"QUJD".repeat(size / 4));
        let frame = frame.replace("{\"from", &format!("{{ \"x\":{round} , \"from"));
        sent.push(frame);
    }
    let expected = sent.clone();
    let sending = async {
        for (index, frame) in sent.into_iter().enumerate() {
            let message = if index % 3 == 0 { Message::binary(frame) } else { Message::text(frame) };
            a.socket.feed(message).await.unwrap();
        }
        a.socket.flush().await.unwrap();
    };
    let receiving = async {
        for (index, frame) in expected.iter().enumerate() {
            let got = b.next().await;
            assert_eq!(got.is_binary(), index % 3 == 0);
            assert!(got.into_data() == frame.as_bytes(), "frame {index} of {} bytes differs", frame.len());
        }
    };
    tokio::join!(sending, receiving);
    let metrics = relay.handle.metrics();
    assert_eq!(metrics.frames_forwarded, expected.len() as u64);
    assert_eq!(metrics.bytes_forwarded, expected.iter().map(|frame| frame.len() as u64).sum::<u64>());
    relay.stop().await;
}

#[tokio::test]
async fn a_frame_in_fragments_arrives_whole_and_pings_between_them_are_answered() {
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };
    let relay = Relay::start(RelayLimits::default()).await;
    let (alice, bob) = (identity(1), identity(2));
    let (mut a, mut b) = (relay.node(&alice).await, relay.node(&bob).await);
    let frame = relay_data(&alice, &bob, SESSION, &"QUJD".repeat(1000));
    let (head, tail) = frame.as_bytes().split_at(1000);
    let (middle, tail) = tail.split_at(1);
    let piece = |bytes: &[u8], opcode, last| {
        Message::Frame(Frame::message(Bytes::copy_from_slice(bytes), OpCode::Data(opcode), last))
    };
    a.socket.send(piece(head, Data::Text, false)).await.unwrap();
    a.socket.send(Message::Ping(Bytes::from_static(b"still there?"))).await.unwrap();
    a.socket.send(piece(middle, Data::Continue, false)).await.unwrap();
    a.socket.send(piece(tail, Data::Continue, true)).await.unwrap();
    assert_eq!(a.next().await, Message::Pong(Bytes::from_static(b"still there?")));
    assert_eq!(b.next().await, Message::text(frame));
    relay.stop().await;
}

#[tokio::test]
async fn a_goodbye_is_answered_with_the_same_code() {
    use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
    let relay = Relay::start(RelayLimits::default()).await;
    let mut client = relay.connect().await;
    let frame = CloseFrame { code: CloseCode::Library(4001), reason: "bye".into() };
    client.socket.send(Message::Close(Some(frame))).await.unwrap();
    assert_eq!(client.closed().await, 4001);
    relay.stop().await;
}

#[tokio::test]
async fn http_answers() {
    let relay = Relay::start(RelayLimits::default()).await;
    let alice = identity(1);
    let _a = relay.node(&alice).await;
    let json = |(status, body): (u16, String)| -> Value {
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    };
    assert_eq!(json(relay.get("/health", "").await), json!({"ok": true, "peers": 1}));
    let peers = json(relay.get("/peers", "").await);
    assert_eq!(peers["peers"][0]["nodeID"], format!("{}...", &alice.node_id().to_string()[..16]));
    assert_eq!(peers["peers"][0]["displayName"], "a node");
    assert!(peers["peers"][0]["lastSeen"].as_f64().unwrap() > 8e8, "{peers}");
    let metrics = json(relay.get("/metrics", "").await);
    assert_eq!(metrics["peers"], 1);
    assert_eq!(metrics["totalMessages"], 1);
    assert_eq!(metrics["messagesPerMinute"], 1);
    assert_eq!(metrics["relaySessionsActive"], 0);
    assert!(metrics["uptimeSeconds"].is_u64());
    for (path, headers) in [("/metrics", "Accept: text/plain\r\n"), ("/metrics/prometheus", "")] {
        let (status, text) = relay.get(path, headers).await;
        assert_eq!(status, 200);
        assert!(text.contains("\nteale_relay_clients 1\n"), "{text}");
        assert!(text.contains("\nteale_relay_dropped_total{reason=\"queue_full\"} 0\n"), "{text}");
    }
    relay.stop().await;
}

#[tokio::test]
async fn http_refusals() {
    let relay = Relay::start(RelayLimits::default()).await;
    let upgrade = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let cases = [
        ("GET /nothing HTTP/1.1\r\n".to_owned(), 404),
        ("POST /health HTTP/1.1\r\nContent-Length: 0\r\n".to_owned(), 405),
        ("GET /ws HTTP/1.1\r\n".to_owned(), 426),
        (format!("GET /ws HTTP/1.1\r\n{}{key}", upgrade.replace("13", "8")), 426),
        (format!("GET /ws HTTP/1.1\r\n{upgrade}"), 400),
        (format!("GET /ws?node=ABC HTTP/1.1\r\n{upgrade}{key}"), 400),
        ("GET / HTTP/9.9\r\n".to_owned(), 400),
        (format!("GET /health HTTP/1.1\r\nX: {}\r\n", "x".repeat(20_000)), 431),
    ];
    for (request, status) in cases {
        let (head, _) = relay.request(&request).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.60}: {head}");
    }
    relay.stop().await;
}
