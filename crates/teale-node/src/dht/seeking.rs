//! Looking for a model's providers.

use std::{collections::BTreeMap, time::Duration};

use teale_telehash::{Endpoint, Ipp};
use tokio::time::{Instant, sleep};

use super::{Inner, REMEMBERED, SIGNAL, ends};

/// The pause between two announcements: a telex may be lost, a provider may come.
pub(crate) const PAUSE: Duration = Duration::from_secs(5);
/// So long after an announcement somebody may present itself because of it.
const EXPECTED: Duration = Duration::from_secs(60);
/// A model that nobody was found for is not waited for again so soon.
const MISSED: Duration = Duration::from_secs(30);

pub(super) async fn find(inner: &Inner, model: &str, limit: Duration) -> bool {
    let cluster = &inner.member.cluster;
    if cluster.wait_for_model(model, Duration::ZERO).await {
        return true;
    }
    if inner.state().missed.get(model).is_some_and(|at| Instant::now() < *at + MISSED) {
        return false;
    }
    let found = tokio::select! {
        found = cluster.wait_for_model(model, limit) => found,
        () = announce(inner, model) => false,
        () = inner.stop.cancelled() => false,
    };
    remember(inner, model, found);
    found
}

/// Announces this node at the model's end, again and again.
async fn announce(inner: &Inner, model: &str) {
    // Under the name as it was asked for, or what it stands for here: providers tap all of theirs.
    let name = inner.member.cluster.resolve(model);
    loop {
        let own = inner.endpoint.online().await;
        inner.state().seeking_until = Some(Instant::now() + EXPECTED);
        announce_once(&inner.endpoint, own, &name).await;
        sleep(PAUSE).await;
    }
}

/// Says at a model's end that somebody at this address looks for it.
pub(crate) async fn announce_once(endpoint: &Endpoint, own: Ipp, model: &str) {
    let signals = BTreeMap::from([(SIGNAL.to_owned(), own.to_string())]);
    let told = endpoint.announce(ends::end(model), signals).await.unwrap_or_default();
    tracing::debug!(model, switches = told.len(), "looking in the DHT");
    // Those who pass the signal on are asked next to open a way to us: they must know us in v2 as well.
    endpoint.v2(|switch, now| told.iter().for_each(|ipp| switch.learn(now, *ipp)));
}

fn remember(inner: &Inner, model: &str, found: bool) {
    let now = Instant::now();
    let mut state = inner.state();
    if found {
        state.missed.remove(model);
        return;
    }
    if state.missed.len() >= REMEMBERED {
        state.missed.retain(|_, at| now < *at + MISSED);
    }
    if state.missed.len() < REMEMBERED {
        state.missed.insert(model.to_owned(), now);
    }
}
