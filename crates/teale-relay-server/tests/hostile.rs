//! Hostile strangers: each attack has its defined answer, and the others do not notice.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says what it measured"
)]

mod support;

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use serde_json::{Value, json};
use support::{
    Client, PATIENCE, Relay, SESSION, identity, register, relay_data, resident_kib, session_message,
};
use teale_identity::Identity;
use teale_relay_server::{DropReason, RelayLimits};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::{
    Bytes, Message,
    protocol::frame::{
        Frame, FrameHeader,
        coding::{Data, OpCode},
    },
};

/// Messages of the flood. A million of them is what `examples/siege.rs` sends.
const FLOOD: usize = 30_000;
/// Sockets of the crowd that never registers.
const CROWD: usize = 400;

async fn round_trip(a: &mut Client, b: &mut Client, alice: &Identity, bob: &Identity) -> Duration {
    let start = Instant::now();
    a.send_text(relay_data(alice, bob, SESSION, "AAAA")).await;
    b.receive().await;
    b.send_text(relay_data(bob, alice, SESSION, "AAAA")).await;
    a.receive().await;
    start.elapsed()
}

fn count(relay: &Relay, reason: DropReason) -> u64 {
    relay.handle.metrics().dropped[reason.index()].1
}

#[tokio::test]
async fn a_bad_signature_leaves_the_socket_unregistered() {
    let relay = Relay::start(RelayLimits::default()).await;
    let mallory = identity(9);
    let mut m = relay.connect().await;
    let mut forged = register(&mallory, None);
    forged["register"]["signature"] = Value::from("ab".repeat(64));
    m.send(forged).await;
    assert_eq!(m.error().await.0, "invalid_register");
    m.send_text(relay_data(&mallory, &mallory, SESSION, "AAAA")).await;
    assert_eq!(m.error().await.0, "invalid_message");
    assert_eq!(relay.handle.metrics().peers, 0);
}

#[tokio::test]
async fn a_foreign_sender_is_not_forwarded() {
    let relay = Relay::start(RelayLimits::default()).await;
    let (alice, bob, mallory) = (identity(1), identity(2), identity(9));
    let (mut b, mut m) = (relay.node(&bob).await, relay.node(&mallory).await);
    m.send_text(relay_data(&alice, &bob, SESSION, "AAAA")).await;
    assert_eq!(m.error().await.0, "invalid_message");
    m.send(session_message("relayClose", &alice, &bob, SESSION)).await;
    assert_eq!(m.error().await.0, "invalid_message");
    m.send_text(relay_data(&mallory, &bob, SESSION, "ours")).await;
    // The first thing Bob hears is the honest one.
    assert_eq!(b.receive().await["relayData"]["data"], "ours");
}

#[tokio::test]
async fn the_same_node_twice() {
    let relay = Relay::start(RelayLimits::default()).await;
    let alice = identity(1);
    let mut unproven = relay.connect().await;
    unproven.register(&alice, false).await;
    let mut first = relay.node(&alice).await;
    assert_eq!(unproven.closed().await, 1012);
    let mut replayed = relay.connect().await;
    replayed.send(register(&alice, None)).await;
    assert_eq!(replayed.error().await.0, "invalid_register");
    // A proof for another socket's challenge is none here.
    replayed.send(register(&alice, Some(&first.nonce))).await;
    assert_eq!(replayed.error().await.0, "invalid_register");
    let second = relay.node(&alice).await;
    assert_eq!(first.closed().await, 1012);
    assert_eq!(relay.handle.metrics().peers, 1);
    drop(second);
}

#[tokio::test]
async fn a_frame_of_five_mebibytes_is_refused_before_it_is_read() {
    let relay = Relay::start(RelayLimits::default()).await;
    let alice = identity(1);
    let mut a = relay.node(&alice).await;
    let frame = relay_data(&alice, &alice, SESSION, &"A".repeat(5 << 20));
    // The relay may be gone before all of it is written.
    let sending = async { _ = a.socket.send(Message::text(frame)).await };
    _ = timeout(PATIENCE, sending).await;
    let code = a.closed().await;
    assert!(code == 1009 || code == 1006, "{code}");

    // A header alone is enough.
    let mut b = relay.node(&identity(2)).await;
    let head = [0x82, 0xff, 0, 0, 0, 0, 0, 0x50, 0, 0, 1, 2, 3, 4];
    let tokio_tungstenite::MaybeTlsStream::Plain(stream) = b.socket.get_mut() else { panic!("not plain") };
    stream.write_all(&head).await.unwrap();
    assert_eq!(b.closed().await, 1009);

    // And who is not registered has less.
    let mut c = relay.connect().await;
    c.send_text("x".repeat(70 << 10)).await;
    assert_eq!(c.closed().await, 1009);
}

#[tokio::test]
async fn broken_frames_are_closed_with_the_codes_of_the_rfc() {
    let relay = Relay::start(RelayLimits::default()).await;
    let data = |bytes: &'static [u8], opcode, last| {
        Message::Frame(Frame::message(Bytes::from_static(bytes), OpCode::Data(opcode), last))
    };
    let reserved = FrameHeader { rsv1: true, ..FrameHeader::default() };
    let cases = [
        (data(b"{}", Data::Continue, true), 1002),
        (data(b"{}", Data::Reserved(3), true), 1002),
        (Message::Frame(Frame::from_payload(reserved, Bytes::from_static(b"{}"))), 1002),
        (data(b"{\"a\":\"\xff\xfe\"}", Data::Text, true), 1007),
    ];
    for (index, (message, code)) in cases.into_iter().enumerate() {
        let mut client = relay.connect().await;
        client.socket.send(message).await.unwrap();
        assert_eq!(client.closed().await, code, "case {index}");
    }
    // The same bytes in a binary frame are only not JSON.
    let mut client = relay.connect().await;
    client.socket.send(data(b"{\"a\":\"\xff\xfe\"}", Data::Binary, true)).await.unwrap();
    assert_eq!(client.error().await.0, "invalid_json");
}

#[tokio::test]
async fn fragments_count_as_messages() {
    let mut limits = RelayLimits::default();
    limits.messages_burst = 100;
    limits.messages_per_second = 10;
    let relay = Relay::start(limits).await;
    let mut client = relay.connect().await;
    let fragment = |opcode| Message::Frame(Frame::message(Bytes::new(), OpCode::Data(opcode), false));
    client.socket.feed(fragment(Data::Text)).await.unwrap();
    for _ in 0..150 {
        client.socket.feed(fragment(Data::Continue)).await.unwrap();
    }
    client.socket.flush().await.unwrap();
    assert_eq!(client.error().await.0, "rate_limited");
}

#[tokio::test]
async fn discover_twice_in_a_second() {
    let relay = Relay::start(RelayLimits::default()).await;
    let alice = identity(1);
    let mut a = relay.node(&alice).await;
    let discover = json!({"discover": {"requestingNodeID": alice.node_id()}});
    a.send(discover.clone()).await;
    assert!(a.receive().await["discoverResponse"]["peers"].is_array());
    a.send(discover).await;
    let answer = a.receive().await;
    assert_eq!(answer["error"]["code"], "rate_limited");
    assert!(answer["error"]["retryAfterSeconds"].as_f64().unwrap() > 8.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_slowed_down_and_loses_nothing() {
    let mut limits = RelayLimits::default();
    (limits.messages_per_second, limits.messages_burst) = (20_000, 2_000);
    let relay = Relay::start(limits).await;
    let (alice, bob, mallory, target) = (identity(1), identity(2), identity(9), identity(10));
    let (mut a, mut b) = (relay.node(&alice).await, relay.node(&bob).await);
    let (mut m, mut t) = (relay.node(&mallory).await, relay.node(&target).await);
    let start = Instant::now();
    let frame = relay_data(&mallory, &target, SESSION, "AAAA");
    let flood = tokio::spawn(async move {
        for _ in 0..FLOOD {
            m.socket.feed(Message::text(frame.clone())).await.unwrap();
        }
        m.socket.flush().await.unwrap();
        // The socket stays open: what was sent before a broken connection may be lost with it.
        (m.error().await, m)
    });
    let drain = tokio::spawn(async move {
        for _ in 0..FLOOD {
            t.receive().await;
        }
    });
    let mut worst = Duration::ZERO;
    while !flood.is_finished() {
        worst = worst.max(round_trip(&mut a, &mut b, &alice, &bob).await);
    }
    let (answer, _m) = flood.await.unwrap();
    assert_eq!(answer.0, "rate_limited");
    timeout(PATIENCE, drain).await.unwrap().unwrap();
    let took = start.elapsed();
    assert!(took > Duration::from_secs(1), "{FLOOD} messages passed in {took:?}");
    assert!(worst < Duration::from_secs(2), "another client waited {worst:?}");
    println!("{FLOOD} messages in {took:?}; others waited {worst:?} at most; {} KiB", resident_kib());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_never_registers_is_sent_away_and_costs_little() {
    let mut limits = RelayLimits::default();
    limits.unregistered_life = Duration::from_secs(2);
    let relay = Relay::start(limits).await;
    let (alice, bob) = (identity(1), identity(2));
    let (mut a, mut b) = (relay.node(&alice).await, relay.node(&bob).await);
    let before = resident_kib();
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(relay.connect().await);
    }
    let after = resident_kib();
    assert_eq!(relay.handle.metrics().sockets, CROWD + 2);
    assert_eq!(relay.handle.metrics().buffered_bytes, 0);
    round_trip(&mut a, &mut b, &alice, &bob).await;
    for mut stranger in crowd {
        assert_eq!(stranger.closed().await, 1008);
    }
    round_trip(&mut a, &mut b, &alice, &bob).await;
    // Both ends live in this process.
    println!(
        "{CROWD} sockets that never register: {} KiB each, both ends",
        after.saturating_sub(before) / CROWD as u64
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_never_reads_is_closed_and_hurts_nobody() {
    let mut limits = RelayLimits::default();
    limits.drain_time = Duration::from_secs(1);
    limits.outbound_bytes = 2 << 20;
    let relay = Relay::start(limits.clone()).await;
    let (alice, bob, mallory) = (identity(1), identity(2), identity(9));
    let (mut a, mut b, mut m) =
        (relay.node(&alice).await, relay.node(&bob).await, relay.node(&mallory).await);
    a.send(session_message("relayOpen", &alice, &mallory, SESSION)).await;
    assert_eq!(relay_open(&mut m).await, SESSION);
    let frame = relay_data(&alice, &mallory, SESSION, &"A".repeat(256 << 10));
    let mut told = Vec::new();
    // The system's buffers swallow some of it first.
    for _ in 0..200 {
        a.send_text(frame.clone()).await;
        while let Ok(message) = timeout(Duration::from_millis(1), a.receive()).await {
            told.push(message);
        }
        if told.len() >= 2 {
            break;
        }
        let metrics = relay.handle.metrics();
        assert!(metrics.buffered_bytes <= limits.outbound_bytes + (1 << 20), "{}", metrics.buffered_bytes);
    }
    // What was dropped is said, and the session that lost it is over.
    assert_eq!(told[0], session_message("relayClose", &mallory, &alice, SESSION), "{told:?}");
    assert_eq!(told[1]["error"]["code"], "rate_limited", "{told:?}");
    assert!(count(&relay, DropReason::QueueFull) > 0);
    for _ in 0..10 {
        // The full queue is another's.
        let took = round_trip(&mut a, &mut b, &alice, &bob).await;
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    let start = Instant::now();
    while relay.handle.metrics().peers > 2 {
        assert!(start.elapsed() < PATIENCE, "the reader stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(count(&relay, DropReason::SlowReader), 1);
    while relay.handle.metrics().buffered_bytes > 0 {
        assert!(start.elapsed() < PATIENCE, "its bytes stay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    a.send_text(relay_data(&alice, &mallory, SESSION, "AAAA")).await;
    loop {
        let answer = a.receive().await;
        if answer["error"]["code"] == "peer_not_found" {
            break;
        }
    }
    println!("a reader that never reads: {} KiB", resident_kib());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_that_reads_on_stays() {
    let mut limits = RelayLimits::default();
    limits.drain_time = Duration::from_millis(600);
    let relay = Relay::start(limits).await;
    let (alice, bob) = (identity(1), identity(2));
    let (mut a, mut b) = (relay.node(&alice).await, relay.node(&bob).await);
    let reader = tokio::spawn(async move {
        let tokio_tungstenite::MaybeTlsStream::Plain(stream) = b.socket.get_mut() else {
            panic!("not plain")
        };
        let mut some = vec![0; 256 << 10];
        for _ in 0..20 {
            stream.read_exact(&mut some).await.unwrap();
            // Far less than the system buffers, far more than the relay asks for.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        b
    });
    let frame = relay_data(&alice, &bob, SESSION, &"A".repeat(256 << 10));
    while count(&relay, DropReason::QueueFull) == 0 {
        a.send_text(frame.clone()).await;
    }
    let _b = reader.await.unwrap();
    assert_eq!(count(&relay, DropReason::SlowReader), 0);
    assert_eq!(relay.handle.metrics().peers, 2);
}

async fn relay_open(client: &mut Client) -> String {
    client.receive().await["relayOpen"]["sessionID"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let mut limits = RelayLimits::default();
    limits.sockets_per_ip = 2;
    let relay = Relay::start(limits).await;
    let first = relay.connect().await;
    let _second = relay.connect().await;
    let mut third = TcpStream::connect(relay.address).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, third.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    drop(first);
    let start = Instant::now();
    while relay.handle.metrics().connections > 1 {
        assert!(start.elapsed() < PATIENCE, "the place stays taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    relay.connect().await;
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off() {
    let mut limits = RelayLimits::default();
    limits.http_header_time = Duration::from_millis(300);
    let relay = Relay::start(limits).await;
    let mut stream = TcpStream::connect(relay.address).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: ").await.unwrap();
    let mut answer = Vec::new();
    _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    let start = Instant::now();
    while relay.handle.metrics().connections > 0 {
        assert!(start.elapsed() < PATIENCE, "the connection stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_short_registration_that_takes_much_memory_is_refused() {
    let relay = Relay::start(RelayLimits::default()).await;
    let mut client = relay.connect().await;
    let mut large = register(&identity(1), Some(&client.nonce));
    large["register"]["capabilities"]["x"] = (0..2000).map(|_| json!([[0]])).collect();
    client.send(large).await;
    let (code, _) = client.error().await;
    assert_eq!(code, "invalid_register");
    // What the relay does not keep does not count.
    let mut unkept = register(&identity(1), Some(&client.nonce));
    unkept["register"]["x"] = (0..2000).map(|_| json!([[0]])).collect();
    client.send(unkept).await;
    assert!(client.receive().await["registerAck"].is_object());
    relay.stop().await;
}
