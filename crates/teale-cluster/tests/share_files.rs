//! Models shared over real links and disks: several sources, one that dies, one that corrupts, a receiver that starts again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod loopback;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use loopback::PATIENCE;
use teale_cluster::{
    Cluster, ClusterConfig, PullOptions, Sharing, SharingConfig,
    share::{PullError, bounds},
};
use teale_identity::Identity;
use teale_relay_client::RelayConfig;
use teale_wire::{NodeCapabilities, NodeId};

const MODEL: &str = "org/Noise-1";

/// Bytes that no compression and no hole in a file makes smaller.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    out
}

struct Node {
    id: NodeId,
    cluster: Cluster,
    sharing: Sharing,
}

async fn node(url: &str, folder: &Path, change: impl FnOnce(&mut SharingConfig)) -> Node {
    let identity = Arc::new(Identity::generate().unwrap());
    let id = identity.node_id();
    let hardware = loopback::hardware();
    let capabilities: NodeCapabilities = loopback::capabilities();
    let relay = RelayConfig::new(url.to_owned(), identity, "node", capabilities);
    let config = ClusterConfig::new(id, "00000000-0000-4000-8000-000000000000", "node", hardware);
    let cluster = Cluster::spawn(config, None, vec![relay]);
    let mut config = SharingConfig::new(folder.join("models"));
    change(&mut config);
    let sharing = cluster.share(config);
    loopback::joined(&cluster).await;
    Node { id, cluster, sharing }
}

fn has_model(folder: &Path, data: &[u8]) {
    let model = folder.join("models/org%2FNoise-1");
    std::fs::create_dir_all(&model).unwrap();
    std::fs::write(model.join("noise.gguf"), data).unwrap();
    std::fs::write(model.join("config.json"), b"{}").unwrap();
}

async fn provider(url: &str, folder: &Path, data: &[u8]) -> Node {
    has_model(folder, data);
    node(url, folder, |config| (config.enabled, config.relay_rate) = (true, Some(u64::MAX))).await
}

fn options() -> PullOptions {
    PullOptions { relay: true, search: PATIENCE, patience: PATIENCE, ..PullOptions::default() }
}

fn files_are(folder: &Path, data: &[u8]) {
    assert!(std::fs::read(folder.join("noise.gguf")).unwrap() == data, "the file is not what was offered");
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), b"{}");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 2, "nothing else lies there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_comes_over_a_relay_when_both_sides_allow_it() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("ws://{}/ws", loopback::relay().await);
    let data = noise(3 << 20, 7);
    let giver = provider(&url, &dir.path().join("giver"), &data).await;
    let taker = node(&url, &dir.path().join("taker"), |_| {}).await;

    let refused = PullOptions { relay: false, search: Duration::from_secs(2), ..options() };
    assert_eq!(taker.sharing.pull(MODEL, refused).unwrap().finished().await, Err(PullError::NotFound));

    let mut pull = taker.sharing.pull(MODEL, options()).unwrap();
    assert_eq!(taker.sharing.pull(MODEL, options()).unwrap_err(), PullError::Running);
    let mut last = 0;
    while pull.changed().await {
        let progress = pull.state().progress;
        assert!(progress.done >= last, "progress goes back");
        last = progress.done;
    }
    let folder = pull.finished().await.unwrap();
    assert_eq!(last, (3 << 20) + 2);
    files_are(&folder, &data);
    assert_eq!(taker.sharing.bytes().0, (3 << 20) + 2);
    assert_eq!(giver.sharing.bytes().1, (3 << 20) + 2);

    assert_eq!(taker.sharing.pull(MODEL, options()).unwrap_err(), PullError::Exists);
    let local = taker.sharing.find("noise-1").unwrap();
    assert_eq!((local.size_bytes, local.own), ((3 << 20) + 2, true));
    let remote = taker.sharing.remote().await;
    assert_eq!((remote[0].id.as_str(), remote[0].nodes.as_slice()), (MODEL, &[giver.id][..]));
    assert!(taker.sharing.remove(MODEL).unwrap() && !taker.sharing.remove(MODEL).unwrap());
    assert!(taker.sharing.find(MODEL).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_source_and_a_restart_cost_next_to_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("ws://{}/ws", loopback::relay().await);
    let size = 64 << 20;
    let data = noise(size, 8);
    let give = async |name: &str| {
        has_model(&dir.path().join(name), &data);
        let slow = |config: &mut SharingConfig| {
            (config.enabled, config.relay_rate, config.upload_rate) = (true, Some(u64::MAX), Some(16 << 20));
        };
        node(&url, &dir.path().join(name), slow).await
    };
    let (one, two) = (give("one").await, give("two").await);
    let taker_folder = dir.path().join("taker");
    let taker = node(&url, &taker_folder, |_| {}).await;

    let pull = taker.sharing.pull(MODEL, options()).unwrap();
    let until = |pull: teale_cluster::Pull, part: u64| async move {
        let mut pull = pull;
        let started = Instant::now();
        while pull.state().progress.done < part {
            assert!(pull.changed().await, "it ended early: {:?}", pull.state());
            assert!(started.elapsed() < 3 * PATIENCE, "{:?}", pull.state());
        }
        pull
    };
    let pull = until(pull, size as u64 / 3).await;
    assert!(pull.state().progress.sources.iter().all(|source| source.bytes > 0), "both give");
    drop(one);
    let pull = until(pull, size as u64 / 2).await;
    let first = pull.state().progress.fetched;
    drop(pull);
    drop(taker);

    let taker = node(&url, &taker_folder, |_| {}).await;
    let mut pull = taker.sharing.pull(MODEL, options()).unwrap();
    while pull.changed().await {}
    let second = pull.state().progress.fetched;
    files_are(&pull.finished().await.unwrap(), &data);
    // What was under way when it stopped is lost: at most what is asked of each source at once.
    let lost = (first + second).saturating_sub(size as u64);
    assert!(lost <= 3 * (bounds::WINDOW + 2 * bounds::BLOCK), "{lost} bytes were fetched twice");
    drop(two);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupting_source_is_dropped_and_the_other_one_finishes() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("ws://{}/ws", loopback::relay().await);
    let data = noise(24 << 20, 9);
    let good = provider(&url, &dir.path().join("good"), &data).await;
    let bad_folder = dir.path().join("bad");
    let bad = provider(&url, &bad_folder, &data).await;
    let taker = node(&url, &dir.path().join("taker"), |_| {}).await;
    // Both know their hashes now; then the disk of one changes bytes behind its back, size and time as before.
    let known = taker.sharing.pull(MODEL, options()).unwrap().finished().await.unwrap();
    files_are(&known, &data);
    taker.sharing.remove(MODEL).unwrap();
    let path = bad_folder.join("models/org%2FNoise-1/noise.gguf");
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let mut bent = data.clone();
    (0..24).for_each(|n| bent[(n << 20) + 4321] ^= 1);
    std::fs::write(&path, bent).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();

    let mut news = taker.cluster.events();
    let mut pull = taker.sharing.pull(MODEL, options()).unwrap();
    while pull.changed().await {}
    let progress = pull.state().progress;
    files_are(&pull.finished().await.unwrap(), &data);
    let state =
        |node: NodeId| progress.sources.iter().find(|source| source.node == node).unwrap().state.clone();
    assert!(state(bad.id).contains("corrupt"), "{progress:?}");
    assert!(!state(good.id).contains("corrupt"), "{progress:?}");
    assert!(progress.fetched <= (24 << 20) + 2 + bounds::WINDOW + 2 * bounds::BLOCK, "{progress:?}");
    let mut told = false;
    while let Ok(event) = news.try_recv() {
        told |= matches!(event, teale_cluster::ClusterEvent::Refused { node, .. } if node == bad.id);
    }
    assert!(told, "nobody was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_given_unless_it_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("ws://{}/ws", loopback::relay().await);
    let data = noise(1 << 20, 10);
    for (name, enabled, relay_rate) in [("closed", false, Some(1 << 20)), ("direct", true, None)] {
        let folder = dir.path().join(name);
        has_model(&folder, &data);
        let allow = |config: &mut SharingConfig| (config.enabled, config.relay_rate) = (enabled, relay_rate);
        let giver = node(&url, &folder, allow).await;
        let taker = node(&url, &dir.path().join("taker"), |_| {}).await;
        let options = PullOptions { search: Duration::from_secs(3), from: Some(giver.id), ..options() };
        assert_eq!(
            taker.sharing.pull(MODEL, options).unwrap().finished().await,
            Err(PullError::NotFound),
            "{name}"
        );
        assert_eq!(giver.sharing.bytes(), (0, 0));
    }
}

/// The time between two pieces of an answer: the median, and what nine of ten stay below.
async fn pace(cluster: &Cluster, tokens: u64) -> (Duration, Duration) {
    use futures_util::StreamExt;
    let mut answer = cluster.chat(loopback::request(&tokens.to_string())).await.unwrap();
    let (mut last, mut gaps) = (Instant::now(), Vec::new());
    while let Some(chunk) = answer.next().await {
        if chunk.unwrap().choices.iter().any(|choice| choice.delta.content.is_some()) {
            gaps.push(last.elapsed());
            last = Instant::now();
        }
    }
    gaps.sort_unstable();
    (gaps[gaps.len() / 2], gaps[gaps.len() * 9 / 10])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_goes_on_while_a_model_is_pulled_over_the_same_link() {
    let dir = tempfile::tempdir().unwrap();
    let relay = loopback::relay().await;
    let folder = dir.path().join("giver");
    has_model(&folder, &noise(12 << 20, 11));
    let giver = loopback::node(relay, 1, Some(loopback::scripted(2, Duration::from_millis(20))));
    let mut config = SharingConfig::new(folder.join("models"));
    // What a relay is sent by default: without a cap its own queues fill, and tokens stand in them too.
    (config.enabled, config.relay_rate) = (true, Some(bounds::RELAY_RATE));
    let _giving = giver.share(config);
    loopback::joined(&giver).await;
    let taker = loopback::node(relay, 2, None);
    let sharing = taker.share(SharingConfig::new(dir.path().join("taker")));
    assert!(taker.wait_for_model(loopback::MODEL, PATIENCE).await);
    let idle = pace(&taker, 60).await;
    let mut pull = sharing.pull(MODEL, options()).unwrap();
    while pull.state().progress.done == 0 {
        assert!(pull.changed().await, "{:?}", pull.state());
    }
    let busy = pace(&taker, 60).await;
    assert!(pull.state().end.is_none(), "the pull ended before the answer");
    println!("time between tokens (median, 90 %): idle {idle:?}, during a pull {busy:?}");
    // Loose: on a busy machine others compute besides.
    assert!(
        busy.0 < idle.0 * 3 && busy.1 < idle.1 * 3,
        "tokens wait for the pull: {busy:?} instead of {idle:?}"
    );
    files_are(&pull.finished().await.unwrap(), &noise(12 << 20, 11));
}
