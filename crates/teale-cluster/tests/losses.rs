//! Relays and providers that die without a word.

mod loopback;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use loopback::{
    MODEL, PATIENCE, joined, mortal, node, read, relay, relay_at, request, runtime, scripted, until, whole,
};
use teale_cluster::AskError;

/// How long the relay is away.
const OUTAGE: Duration = Duration::from_secs(3);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_provider_is_an_error_after_the_first_token() {
    let relay = relay().await;
    let backend = scripted(1, ms(5));
    let mut provider = mortal(move || node(relay, 1, Some(backend)));
    joined(provider.cluster.as_ref().unwrap()).await;
    let consumer = node(relay, 2, None);
    assert!(consumer.wait_for_model(MODEL, PATIENCE).await);
    let mut answer = consumer.chat(request("100000")).await.unwrap();
    assert!(answer.next().await.is_some());
    provider.kill();
    let (_, _, end) = tokio::time::timeout(Duration::from_secs(5), read(&mut answer)).await.unwrap();
    assert!(matches!(end, Err(AskError::LinkLost(_))), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_provider_is_replaced_before_the_first_token() {
    let relay = relay().await;
    let backends = [scripted(1, ms(5)), scripted(1, ms(5))];
    let mut providers = Vec::new();
    for (seed, backend) in (1..).zip(backends.clone()) {
        let provider = mortal(move || node(relay, seed, Some(backend)));
        joined(provider.cluster.as_ref().unwrap()).await;
        providers.push(provider);
    }
    let consumer = node(relay, 3, None);
    assert!(consumer.wait_for_model(MODEL, PATIENCE).await);
    let chat = tokio::spawn({
        let consumer = consumer.clone();
        async move { consumer.chat(request("hang")).await.map(|answer| answer.node) }
    });
    until("a provider has the request", PATIENCE, || backends.iter().any(|backend| backend.running() == 1))
        .await;
    let first = usize::from(backends[1].running() == 1);
    let second = &backends[1 - first];
    providers[first].kill();
    until("the other has the request", Duration::from_secs(5), || second.running() == 1).await;
    chat.abort();
    until("its slot is free", PATIENCE, || second.running() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_relay_is_an_error_a_free_slot_and_a_new_registration() {
    let relays = runtime();
    let address = relays.spawn(relay()).await.unwrap();
    let backend = scripted(1, ms(5));
    let provider = node(address, 1, Some(Arc::clone(&backend)));
    joined(&provider).await;
    let consumer = node(address, 2, None);
    assert!(consumer.wait_for_model(MODEL, PATIENCE).await);
    let mut answer = consumer.chat(request("100000")).await.unwrap();
    assert!(answer.next().await.is_some());
    let died = Instant::now();
    relays.shutdown_background();
    let (_, _, end) = tokio::time::timeout(Duration::from_secs(5), read(&mut answer)).await.unwrap();
    assert!(matches!(end, Err(AskError::LinkLost(_))), "{end:?}");
    until("the slot is free", Duration::from_secs(5), || backend.running() == 0).await;
    until("both notice", PATIENCE, || [&provider, &consumer].iter().all(|node| !node.relays()[0].registered))
        .await;

    tokio::time::sleep(OUTAGE.saturating_sub(died.elapsed())).await;
    let relays = runtime();
    assert_eq!(relays.spawn(relay_at(address)).await.unwrap(), address);
    let registered = || [&provider, &consumer].iter().all(|node| node.relays()[0].registered);
    until("both are registered again", Duration::from_secs(5), registered).await;
    let mut answer = consumer.chat(request("10")).await.unwrap();
    assert_eq!(read(&mut answer).await.0, whole(10));
    drop((provider, consumer));
    relays.shutdown_background();
}
