//! Speed of the hot paths: `cargo bench -p teale-wire --bench codec`. Best of several rounds, so that a busy machine
//! does little harm.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and its inputs are good")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use teale_wire::{ClusterMessage, Dialect, Extra, NodeId, RelayData, RelayMessage, SessionId, peek};

/// Seconds of one call, the best of 30 rounds of about 5 ms.
fn best(mut call: impl FnMut()) -> f64 {
    let mut calls = 1_u32;
    loop {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        if start.elapsed() > Duration::from_millis(5) {
            break;
        }
        calls *= 2;
    }
    (0..30)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(|_| call());
            start.elapsed().as_secs_f64() / f64::from(calls)
        })
        .fold(f64::INFINITY, f64::min)
}

fn relay_data(bytes: usize) -> RelayMessage {
    RelayMessage::RelayData(RelayData {
        from: NodeId::from_bytes([1; 32]),
        to: NodeId::from_bytes([2; 32]),
        session: SessionId::from_random([3; 16]),
        data: vec![0x5a; bytes].into(),
        extra: Extra::new(),
    })
}

fn main() {
    for size in [0, 1 << 10, 16 << 10, 256 << 10, 2 << 20] {
        let message = relay_data(size);
        let frame = message.encode().unwrap();
        let seconds = best(|| {
            black_box(peek(black_box(&frame)).unwrap());
        });
        let parse = best(|| {
            black_box(RelayMessage::parse(black_box(&frame)).unwrap());
        });
        let encode = best(|| {
            black_box(black_box(&message).encode().unwrap());
        });
        let rate = |seconds: f64| frame.len() as f64 / seconds / 1e9;
        println!(
            "relayData {:>8} bytes: peek {:>8.0} ns ({:>5.1} GB/s), parse {:>8.0} ns ({:>4.1} GB/s), encode {:>8.0} ns ({:>4.1} GB/s)",
            frame.len(),
            seconds * 1e9,
            rate(seconds),
            parse * 1e9,
            rate(parse),
            encode * 1e9,
            rate(encode),
        );
    }

    let (node, uuid) = ("03".repeat(32), "550E8400-E29B-41D4-A716-446655440000");
    let node_seconds = best(|| {
        black_box(NodeId::parse(black_box(node.as_bytes())).unwrap());
    });
    let session_seconds = best(|| {
        black_box(SessionId::parse(black_box(uuid)).unwrap());
    });
    println!("node id: {:.0} ns, session id: {:.0} ns", node_seconds * 1e9, session_seconds * 1e9);

    let chunk = include_str!("../tests/vectors/cluster_examples.jsonl")
        .lines()
        .find(|line| line.starts_with("{\"inferenceChunk\""))
        .unwrap()
        .as_bytes();
    let (message, _) = ClusterMessage::parse(chunk).unwrap();
    for dialect in [Dialect::Flat, Dialect::Wrapped] {
        let text = message.encode(dialect).unwrap();
        let parse = best(|| {
            black_box(ClusterMessage::parse(black_box(&text)).unwrap());
        });
        let encode = best(|| {
            black_box(black_box(&message).encode(dialect).unwrap());
        });
        println!(
            "inferenceChunk {dialect:?}: parse {:.0} ns, encode {:.0} ns, both {:.0} messages/s",
            parse * 1e9,
            encode * 1e9,
            1.0 / (parse + encode),
        );
    }
}
