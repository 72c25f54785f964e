//! Two nodes exchange contact records in a session of v2. The provider opens it, the seeker answers.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use teale_telehash::{Asked, Ipp, Party, plausible, v2};
use teale_wire::{
    limits,
    telehash::{Req, Res},
};
use tokio::time::Instant;

use super::{
    ANSWERS, CONTACT_URI, Inner, Places, REMEMBERED, contact, guests,
    sealed::{NOISE_URI, SEALED_URI},
};

/// An address is met once in this time, however often it announces itself: less than a seeker looks.
const AGAIN: Duration = Duration::from_secs(8);
/// How long the exchange may take once the session is open.
const MEETING: Duration = Duration::from_secs(10);

/// A seeker was heard of: meets it, unless it was met a moment ago or too many are being met.
pub(super) fn begin(inner: &Arc<Inner>, seeker: Ipp, via: Ipp) {
    // Before the own address is known nobody can say what is near and what is far.
    let Some(own) = inner.endpoint.v1(|switch, _| switch.own()).flatten() else { return };
    // Our own announcement came back, or somebody points us at what is none of their business.
    if own == seeker || !plausible(seeker, Some(own)) {
        return;
    }
    let Ok(place) = Arc::clone(&inner.meetings).try_acquire_owned() else { return };
    if !is_first(inner, seeker) {
        return;
    }
    let inner = Arc::clone(inner);
    let tracker = inner.tasks.clone();
    tracker.spawn(async move {
        let _place = place;
        let met = tokio::select! {
            () = inner.stop.cancelled() => return,
            met = meet(&inner, seeker, via) => met,
        };
        if let Err(reason) = met {
            inner.counters.failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%seeker, reason, "a seeker in the DHT was not met");
        }
    });
}

/// Whether this is the first that is heard of somebody for a while; then it is remembered.
fn is_first(inner: &Inner, peer: Ipp) -> bool {
    let now = Instant::now();
    let key = Party::of(peer);
    let mut state = inner.state();
    if state.met.get(&key).is_some_and(|at| now < *at + AGAIN) {
        return false;
    }
    if state.met.len() >= REMEMBERED {
        state.met.retain(|_, at| now < *at + AGAIN);
    }
    if state.met.len() >= REMEMBERED {
        return false;
    }
    state.met.insert(key, now);
    true
}

async fn meet(inner: &Inner, seeker: Ipp, via: Ipp) -> Result<(), String> {
    let via = (via != seeker).then_some(via);
    let session = inner.endpoint.open(seeker, via).await.map_err(|reason| reason.to_string())?;
    let asked = tokio::time::timeout(MEETING, ask(inner, session)).await;
    // However it went: a session left open would be kept by a peer that says a word a minute.
    inner.endpoint.v2(|switch, now| switch.close(now, session));
    take(inner, seeker, &asked.map_err(|_| "it took too long".to_owned())??)
}

async fn ask(inner: &Inner, session: v2::SessionId) -> Result<Bytes, String> {
    let record = own_record(inner).ok_or("there is nothing to say of this node")?;
    let request = inner.endpoint.request(session, Req::new("POST", CONTACT_URI), record);
    let (res, body) = request.await.map_err(|reason| reason.to_string())?;
    if res.s == 200 { Ok(body) } else { Err(format!("it answered with status {}", res.s)) }
}

/// Answers the requests of peers.
pub(super) async fn answer(inner: Arc<Inner>) {
    let answering = inner.endpoint.serve(ANSWERS, |asked| reply(Arc::clone(&inner), asked));
    tokio::select! {
        () = inner.closed.cancelled() => {}
        () = answering => {}
    }
}

async fn reply(inner: Arc<Inner>, asked: Asked) -> (Res, Bytes) {
    let Asked { session, req, body, .. } = &asked;
    match req.uri.as_str() {
        CONTACT_URI => {
            let (status, body) = present(&inner, &asked);
            (Res::new(status), body)
        }
        NOISE_URI => guests::shake(&inner, &asked),
        SEALED_URI => guests::answer(&inner, *session, body).await,
        // The API is for those who proved who they are, and nobody else's eyes.
        uri if uri.starts_with("http:") || uri.starts_with("https:") => (Res::new(401), Bytes::new()),
        _ => (Res::new(404), Bytes::new()),
    }
}

/// Somebody presents itself while this node is looking for a provider.
fn present(inner: &Inner, Asked { peer, body, .. }: &Asked) -> (u16, Bytes) {
    if inner.stop.is_cancelled() {
        return (503, Bytes::new());
    }
    if body.len() > limits::CONTACT_RECORD {
        return (413, Bytes::new());
    }
    // Records are for those who may be an answer to our announcement, not for whoever asks.
    let expected = inner.state().seeking_until.is_some_and(|until| Instant::now() < until);
    if !expected {
        inner.counters.refused.fetch_add(1, Ordering::Relaxed);
        return (403, Bytes::new());
    }
    if !is_first(inner, *peer) {
        return (429, Bytes::new());
    }
    match (take(inner, *peer, body), own_record(inner)) {
        (Ok(()), Some(record)) => (200, record),
        (Ok(()), None) => (503, Bytes::new()),
        (Err(_), _) => (400, Bytes::new()),
    }
}

/// Uses what a record says: its addresses are dialled, and relays both know are asked who is there.
fn take(inner: &Inner, from: Ipp, bytes: &Bytes) -> Result<(), String> {
    let member = &inner.member;
    let checked = contact::check(bytes, member.identity.node_id(), unix());
    let (record, last) = checked.map_err(|error| {
        inner.counters.refused.fetch_add(1, Ordering::Relaxed);
        error.to_string()
    })?;
    inner.counters.met.fetch_add(1, Ordering::Relaxed);
    let own = inner.endpoint.v1(|switch, _| switch.own()).flatten();
    let addresses = contact::dialable(&record, from, own);
    tracing::debug!(node = %record.node_id, ?addresses, "met in the DHT");
    let name = record.node_id.short();
    member.lan.hint(record.node_id, record.wg_public_key, &name, addresses, last);
    if record.relays.iter().any(|relay| member.relays.contains(relay)) {
        // One question at a time, however many say that they are there.
        if let Ok(turn) = Arc::clone(&inner.discovering).try_acquire_owned() {
            let cluster = member.cluster.clone();
            inner.tasks.spawn(async move {
                cluster.discover().await;
                drop(turn);
            });
        }
    }
    Ok(())
}

fn own_record(inner: &Inner) -> Option<Bytes> {
    let status = inner.member.lan.status();
    let used = status.interfaces.iter().filter(|nic| nic.used).flat_map(|nic| &nic.addresses);
    let places = Places {
        own: inner.endpoint.v1(|switch, _| switch.own()).flatten(),
        listening: inner.member.lan.listening(),
        interfaces: used.filter_map(|text| text.parse::<IpAddr>().ok()).collect(),
        relays: inner.member.relays.clone(),
    };
    let record = places.record(&inner.member.identity, unix()).encode();
    record.map(Bytes::from).inspect_err(|error| tracing::error!(%error, "no contact record can be made")).ok()
}

pub(crate) fn unix() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
