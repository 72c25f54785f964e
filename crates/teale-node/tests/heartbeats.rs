//! Heartbeats under load: sixteen chats at a time on one provider with four slots, over a relay, with a real engine
//! that has work for all the time.
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
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use common::{relay, slow_model};
use futures_util::StreamExt;
use teale_node::{
    EngineOptions, Node,
    chat::{ChatMessage, ChatRequest},
    cluster::{Cluster, ClusterEvent, PeerView},
};
use tokio::task::JoinSet;

const CHATS: usize = 16;
const SLOTS: usize = 4;
/// A new link's interval.
const INTERVAL: Duration = Duration::from_secs(5);
/// How late a heartbeat may be: what a machine busy with other things may take.
const LATE: Duration = Duration::from_secs(2);
/// Heartbeats after 5, 10 and 15 s.
const LOAD: Duration = Duration::from_millis(16_500);

/// Chats for ever; every one with a prompt that takes its time and an answer that takes its own.
async fn chat(cluster: Cluster, number: usize, tokens: Arc<AtomicUsize>) {
    for turn in 0.. {
        let text = format!("{turn} {number} {}", "tell me more of it ".repeat(12));
        let request = ChatRequest {
            model: "slow".into(),
            messages: vec![ChatMessage::text("user", text)],
            max_tokens: Some(40),
            ..ChatRequest::default()
        };
        let mut answer = cluster.chat(request).await.unwrap();
        while let Some(chunk) = answer.next().await {
            chunk.unwrap();
            tokens.fetch_add(1, Relaxed);
        }
    }
}

fn peer(node: &Node) -> PeerView {
    node.cluster().peers().into_iter().find(|peer| peer.path.is_some()).expect("the link stays up")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_are_never_late_under_sixteen_chats() {
    let dir = tempfile::tempdir().unwrap();
    let (url, _relay) = relay().await;
    let engine = EngineOptions { slots: SLOTS, threads: Some(1), ..EngineOptions::default() };
    let model = slow_model(dir.path()).display().to_string();
    let provider = Node::builder().relay(&url).engine(engine).model(model).start().await.unwrap();
    common::registered(&provider).await;
    let consumer = common::consumer(Node::builder().relay(&url), "slow").await;

    let mut events = consumer.cluster().events();
    let tokens = Arc::new(AtomicUsize::new(0));
    let mut chats = JoinSet::new();
    for number in 0..CHATS {
        chats.spawn(chat(consumer.cluster().clone(), number, tokens.clone()));
    }
    common::until("all slots are taken", || provider.cluster().status().slots_busy == SLOTS).await;
    let started = Instant::now();
    let (mut looks, mut busy, mut slowest) = (0, 0, 0.0_f64);
    while started.elapsed() < LOAD {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let status = provider.cluster().status();
        looks += 1;
        busy += usize::from(status.slots_busy == SLOTS && status.queued + SLOTS + 2 >= CHATS);
        for node in [&provider, &consumer] {
            slowest = slowest.max(peer(node).latency_ms.unwrap_or_default());
        }
    }
    let seen = [peer(&provider), peer(&consumer)];
    assert!(chats.try_join_next().is_none(), "a chat ended");
    chats.abort_all();

    println!(
        "{busy} of {looks} looks found all slots busy and the rest waiting; {} chunks",
        tokens.load(Relaxed)
    );
    for (at, peer) in ["provider", "consumer"].iter().zip(&seen) {
        let gap = Duration::from_secs_f64(peer.heartbeat_gap_ms.unwrap_or_default() / 1000.0);
        let late = gap.saturating_sub(INTERVAL);
        println!("at the {at}: {} heartbeats, the latest one {late:?} late", peer.heartbeats);
        assert!(peer.heartbeats >= 3, "{peer:?}");
        assert!(late <= LATE, "{peer:?}");
        assert!(peer.healthy, "{peer:?}");
    }
    println!("the slowest answer to a heartbeat took {slowest:.1} ms");
    assert!(slowest < LATE.as_secs_f64() * 1000.0);
    assert!(busy * 2 > looks, "there was hardly any load");
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, ClusterEvent::LinkDown { .. } | ClusterEvent::Refused { .. }), "{event:?}");
    }
}
