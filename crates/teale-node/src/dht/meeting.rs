//! Two nodes exchange contact records in a session of v2. The provider opens it, the seeker answers.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use teale_telehash::{Ipp, plausible, v2};
use teale_wire::telehash::{Req, Res};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::Instant,
};

use super::{CONTACT_URI, Inner, Places, REMEMBERED, contact};

/// A seeker is met once in this time, however often it announces itself.
const AGAIN: Duration = Duration::from_secs(15);
/// How long a meeting may take.
const MEETING: Duration = Duration::from_secs(20);

/// A seeker was heard of: meets it, unless it was met a moment ago or too many are being met.
pub(super) fn begin(inner: &Arc<Inner>, seeker: Ipp, via: Ipp) {
    let own = inner.endpoint.v1(|switch, _| switch.own()).flatten();
    // Our own announcement came back, or somebody points us at what is none of their business.
    if own == Some(seeker) || !plausible(seeker, own) {
        return;
    }
    let now = Instant::now();
    let mut state = inner.state();
    if state.met.get(&seeker).is_some_and(|at| now < *at + AGAIN) {
        return;
    }
    if state.met.len() >= REMEMBERED {
        state.met.retain(|_, at| now < *at + AGAIN);
    }
    let Ok(place) = Arc::clone(&inner.meetings).try_acquire_owned() else { return };
    if state.met.len() >= REMEMBERED {
        return;
    }
    state.met.insert(seeker, now);
    drop(state);
    let inner = Arc::clone(inner);
    let tracker = inner.tasks.clone();
    tracker.spawn(async move {
        let _place = place;
        let met = tokio::select! {
            () = inner.stop.cancelled() => return,
            met = tokio::time::timeout(MEETING, meet(&inner, seeker, via)) => met,
        };
        let reason = match met {
            Ok(Ok(())) => return,
            Ok(Err(reason)) => reason,
            Err(_) => "it took too long".to_owned(),
        };
        inner.counters.failed.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%seeker, reason, "a seeker in the DHT was not met");
    });
}

async fn meet(inner: &Inner, seeker: Ipp, via: Ipp) -> Result<(), String> {
    let via = (via != seeker).then_some(via);
    let session = inner.endpoint.open(seeker, via).await.map_err(|reason| reason.to_string())?;
    let asked = ask(inner, session).await;
    inner.endpoint.v2(|switch, now| switch.close(now, session));
    take(inner, &asked?)
}

async fn ask(inner: &Inner, session: v2::SessionId) -> Result<Bytes, String> {
    let record = own_record(inner).ok_or("there is nothing to say of this node")?;
    let request = inner.endpoint.request(session, Req::new("POST", CONTACT_URI), record);
    let (res, body) = request.await.map_err(|reason| reason.to_string())?;
    if res.s == 200 { Ok(body) } else { Err(format!("it answered with status {}", res.s)) }
}

/// Answers those who present themselves while this node is looking for somebody.
pub(super) async fn answer(inner: Arc<Inner>, mut events: broadcast::Receiver<Arc<v2::Event>>) {
    loop {
        let event = tokio::select! {
            () = inner.stop.cancelled() => return,
            event = events.recv() => event,
        };
        match event {
            Ok(event) => {
                if let v2::Event::Request { session, tid, req, body, .. } = &*event {
                    let (status, body) = reply(&inner, req, body);
                    let responded = inner
                        .endpoint
                        .v2(|switch, now| switch.respond(now, *session, tid, Res::new(status), body));
                    if let Some(Err(error)) = responded {
                        tracing::debug!(%error, "a request in the DHT could not be answered");
                    }
                }
            }
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "news of the DHT were lost"),
            Err(RecvError::Closed) => return,
        }
    }
}

fn reply(inner: &Inner, req: &Req, body: &Bytes) -> (u16, Bytes) {
    if req.uri != CONTACT_URI {
        return (404, Bytes::new());
    }
    // Records are for those who may be an answer to our announcement, not for whoever asks.
    let expected = inner.state().seeking_until.is_some_and(|until| Instant::now() < until);
    if !expected {
        inner.counters.refused.fetch_add(1, Ordering::Relaxed);
        return (403, Bytes::new());
    }
    match (take(inner, body), own_record(inner)) {
        (Ok(()), Some(record)) => (200, record),
        (Ok(()), None) => (503, Bytes::new()),
        (Err(_), _) => (400, Bytes::new()),
    }
}

/// Uses what a record says: its addresses are dialled, and relays both know are asked who is there.
fn take(inner: &Inner, bytes: &Bytes) -> Result<(), String> {
    let member = &inner.member;
    let checked = contact::check(bytes, member.identity.node_id(), unix());
    let (record, last) = checked.map_err(|error| {
        inner.counters.refused.fetch_add(1, Ordering::Relaxed);
        error.to_string()
    })?;
    inner.counters.met.fetch_add(1, Ordering::Relaxed);
    let own = inner.endpoint.v1(|switch, _| switch.own()).flatten();
    let addresses = contact::dialable(&record, own);
    tracing::debug!(node = %record.node_id, ?addresses, "met in the DHT");
    let name = record.node_id.short();
    member.lan.hint(record.node_id, record.wg_public_key, &name, addresses, last);
    if record.relays.iter().any(|relay| member.relays.contains(relay)) {
        let cluster = member.cluster.clone();
        inner.tasks.spawn(async move { cluster.discover().await });
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

fn unix() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
