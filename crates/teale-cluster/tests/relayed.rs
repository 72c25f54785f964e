//! The driver over a real relay: sealed links, many requests, cancel, back-pressure, drain.

mod loopback;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use loopback::{MODEL, PATIENCE, joined, node, read, relay, request, scripted, until, whole};
use teale_cluster::{AskError, ClusterEvent, LinkPath, LoadState};
use teale_relay_client::Security;
use teale_wire::ErrorCode;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_crosses_a_real_relay_sealed() {
    let relay = relay().await;
    let provider = node(relay, 1, Some(scripted(1, ms(1))));
    joined(&provider).await;
    let consumer = node(relay, 2, None);
    let (mut here, mut there) = (consumer.events(), provider.events());
    assert!(consumer.wait_for_model("ECHO", PATIENCE).await);
    let mut answer = consumer.chat(request("20")).await.unwrap();
    let Some(Security::Sealed { verified: true, handshake_hash }) = answer.security else {
        panic!("{:?}", answer.security)
    };
    assert_eq!(answer.path, LinkPath::Relay);
    let (text, usage, end) = read(&mut answer).await;
    assert_eq!((text, end), (whole(20), Ok(())));
    assert_eq!(usage.unwrap().completion_tokens, 20);
    for events in [&mut here, &mut there] {
        loop {
            let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
            if let ClusterEvent::LinkUp { security: Security::Sealed { handshake_hash: hash, .. }, .. } =
                event
            {
                assert_eq!(hash, handshake_hash);
                break;
            }
        }
    }
    assert_eq!(consumer.peers()[0].node, answer.node.unwrap());
    assert!(consumer.models().iter().any(|model| model.id == MODEL && !model.local));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_chats_at_once_on_four_slots_all_end() {
    let relay = relay().await;
    let backend = scripted(4, ms(2));
    let provider = node(relay, 1, Some(Arc::clone(&backend)));
    joined(&provider).await;
    let consumer = node(relay, 2, None);
    assert!(consumer.wait_for_model(MODEL, PATIENCE).await);
    let chats = (0..16u64).map(|n| {
        let consumer = consumer.clone();
        async move {
            let mut answer = consumer.chat(request(&(30 + n).to_string())).await.unwrap();
            assert_eq!(read(&mut answer).await.0, whole(30 + n));
        }
    });
    tokio::time::timeout(PATIENCE, futures_util::future::join_all(chats)).await.unwrap();
    assert_eq!(backend.most.load(Ordering::SeqCst), 4);
    until("the slots are free", PATIENCE, || provider.status().slots_busy == 0).await;
    assert_eq!(provider.status().served, 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_answer_frees_the_slot_within_100_ms() {
    let relay = relay().await;
    let backend = scripted(1, ms(5));
    let _provider = node(relay, 1, Some(Arc::clone(&backend)));
    joined(&_provider).await;
    let consumer = node(relay, 2, None);
    assert!(consumer.wait_for_model(MODEL, PATIENCE).await);
    let mut answer = consumer.chat(request("100000")).await.unwrap();
    assert!(answer.next().await.is_some());
    assert_eq!(backend.running(), 1);
    drop(answer);
    let took = until("the slot is free", PATIENCE, || backend.running() == 0).await;
    assert!(took < ms(100), "{took:?}");
    // Also while nothing has come yet, as while a prompt is being read.
    let silent = tokio::time::timeout(ms(300), consumer.chat(request("hang"))).await;
    assert!(silent.is_err());
    let took = until("the slot is free", PATIENCE, || backend.running() == 0).await;
    assert!(took < ms(100), "{took:?}");
}

#[tokio::test]
async fn the_own_backend_needs_no_relay_and_waits_for_a_slow_reader() {
    let backend = scripted(1, Duration::ZERO);
    let config = teale_cluster::ClusterConfig::new(
        teale_wire::NodeId::from_bytes([9; 32]),
        "d",
        "n",
        loopback::hardware(),
    );
    let cluster = teale_cluster::Cluster::spawn(config, Some(backend.clone()), Vec::new());
    assert!(cluster.wait_for_model(MODEL, PATIENCE).await);
    let mut answer = cluster.chat(request("2000")).await.unwrap();
    assert_eq!((answer.node, answer.path), (None, LinkPath::Own));
    tokio::time::sleep(ms(300)).await;
    let made = backend.made.load(Ordering::SeqCst);
    assert!(made < 100, "{made} tokens made for a reader that reads nothing");
    assert_eq!(read(&mut answer).await.0, whole(2000));
    let unknown = teale_wire::chat::ChatRequest { model: "other".into(), ..request("1") };
    assert_eq!(cluster.chat(unknown).await.unwrap_err(), AskError::ModelNotFound);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_pauses_for_long_still_gets_its_answer() {
    let backend = scripted(1, ms(10));
    let config = teale_cluster::ClusterConfig::new(
        teale_wire::NodeId::from_bytes([9; 32]),
        "d",
        "n",
        loopback::hardware(),
    );
    let cluster = teale_cluster::Cluster::spawn(config, Some(backend), Vec::new());
    let mut answer = cluster.chat(request("500")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(read(&mut answer).await.0, whole(500));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_stalls_in_the_middle_is_an_error_and_frees_its_slot() {
    let backend = scripted(1, Duration::from_secs(100));
    let config = teale_cluster::ClusterConfig::new(
        teale_wire::NodeId::from_bytes([9; 32]),
        "d",
        "n",
        loopback::hardware(),
    );
    let cluster = teale_cluster::Cluster::spawn(config, Some(backend.clone()), Vec::new());
    let mut answer = cluster.chat(request("5")).await.unwrap();
    assert_eq!(read(&mut answer).await.2, Err(AskError::Timeout));
    assert_eq!((backend.running(), cluster.status().slots_busy), (0, 0));
}

#[tokio::test]
async fn a_backend_that_panics_costs_its_request_only() {
    let backend = scripted(1, ms(1));
    let config = teale_cluster::ClusterConfig::new(
        teale_wire::NodeId::from_bytes([9; 32]),
        "d",
        "n",
        loopback::hardware(),
    );
    let cluster = teale_cluster::Cluster::spawn(config, Some(backend.clone()), Vec::new());
    let error = cluster.chat(request("panic")).await.unwrap_err();
    assert!(matches!(error, AskError::Provider { code: ErrorCode::InternalError, .. }), "{error:?}");
    assert_eq!(cluster.status().slots_busy, 0);
    let mut answer = cluster.chat(request("3")).await.unwrap();
    assert_eq!(read(&mut answer).await.0, whole(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_becomes_ready_is_announced() {
    let relay = relay().await;
    let backend = scripted(1, ms(1));
    *backend.state.lock().unwrap() = LoadState::Loading;
    let provider = node(relay, 1, Some(Arc::clone(&backend)));
    joined(&provider).await;
    let consumer = node(relay, 2, None);
    assert!(!consumer.wait_for_model(MODEL, ms(300)).await);
    assert_eq!(provider.models()[0].state, "loading");
    *backend.state.lock().unwrap() = LoadState::Ready;
    assert!(provider.wait_for_model(MODEL, PATIENCE).await);
    // The relay answers one discovery in ten seconds.
    assert!(consumer.wait_for_model(MODEL, Duration::from_secs(20)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_lets_running_answers_end_and_refuses_new_ones() {
    let relay = relay().await;
    let provider = node(relay, 1, Some(scripted(2, ms(10))));
    joined(&provider).await;
    let consumer = node(relay, 2, None);
    assert!(consumer.wait_for_model(MODEL, PATIENCE).await);
    let mut answer = consumer.chat(request("50")).await.unwrap();
    let drained = provider.clone();
    let mut draining = Box::pin(async move { drained.drain(PATIENCE).await });
    assert!(futures_util::poll!(&mut draining).is_pending(), "an answer is running");
    let draining = tokio::spawn(draining);
    let refused = consumer.chat(request("1")).await.unwrap_err();
    assert!(matches!(refused, AskError::Provider { .. } | AskError::Unavailable(_)), "{refused:?}");
    assert_eq!(read(&mut answer).await.0, whole(50));
    tokio::time::timeout(PATIENCE, draining).await.unwrap().unwrap();
    assert_eq!(provider.chat(request("1")).await.unwrap_err(), AskError::ShuttingDown);
    until("the link is gone", PATIENCE, || consumer.status().links == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_engine_keeps_its_speed_over_the_relay() {
    let relay = relay().await;
    let backend = scripted(1, Duration::ZERO);
    let _provider = node(relay, 1, Some(Arc::clone(&backend)));
    joined(&_provider).await;
    let consumer = node(relay, 2, None);
    assert!(consumer.wait_for_model(MODEL, PATIENCE).await);
    let mut seen = BTreeMap::new();
    let start = Instant::now();
    let mut answer = consumer.chat(request("3000")).await.unwrap();
    let (text, usage, end) = read(&mut answer).await;
    let speed = 3000.0 / start.elapsed().as_secs_f64();
    seen.insert("tokens/s", speed);
    println!("a backend without delay over relay and Noise, debug build: {seen:?}");
    assert_eq!((text.len(), end), (whole(3000).len(), Ok(())));
    assert_eq!(usage.unwrap().completion_tokens, 3000);
}

#[tokio::test]
async fn patience_without_end_is_patience() {
    let config = teale_cluster::ClusterConfig::new(
        teale_wire::NodeId::from_bytes([9; 32]),
        "d",
        "n",
        loopback::hardware(),
    );
    let cluster = teale_cluster::Cluster::spawn(config, Some(scripted(1, ms(1))), Vec::new());
    assert!(cluster.wait_for_model(MODEL, Duration::MAX).await);
    let unknown = cluster.wait_for_model("other", Duration::MAX);
    assert!(tokio::time::timeout(ms(50), unknown).await.is_err());
    let mut answer = cluster.chat(request("20")).await.unwrap();
    let drained = async { cluster.drain(Duration::MAX).await };
    let ((text, ..), ()) = tokio::join!(read(&mut answer), drained);
    assert_eq!(text, whole(20));
}
