//! The DHT as a node uses it: providers are found by the name of a model, with no relay.
//!
//! A provider taps the end of each of its models (v1). Who looks for a model announces itself at that end. The
//! provider hears of it, opens a session of v2 with the seeker, and the two exchange signed contact records. Then they
//! connect as nodes of one network do: a TCP connection with the cluster's handshake, or a relay both know.
//!
//! What strangers say here is a hint. A signal names an address that gets one session; a record names addresses that
//! get the first bytes of a handshake; who answers there is proved by the handshake alone.

mod contact;
mod ends;
mod guests;
mod meeting;
mod sealed;
mod seeking;
mod tapping;

use std::{
    collections::HashMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use teale_cluster::{Cluster, lan::Lan};
use teale_identity::Identity;
use teale_telehash::{Endpoint, EndpointConfig, Ipp, Party, v1, v2};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::NodeError;

pub(crate) use contact::{Places, check as check_contact};
pub(crate) use meeting::unix;
pub(crate) use sealed::SealedPeer;
pub(crate) use seeking::{PAUSE, announce_once};

/// The signal with which a seeker says where it takes a session of v2.
const SIGNAL: &str = "+teale";
/// What a request for the other side's contact record is addressed to.
pub(crate) const CONTACT_URI: &str = "teale:contact";
/// Requests of peers that are being answered at once.
const ANSWERS: usize = 64;
/// Bytes a question may have.
pub(crate) const QUESTION: usize = 1 << 20;
/// The same with what sealing adds, in bytes.
const REQUEST: usize = QUESTION + 4096;
/// How long a question waits while nothing comes: models are slow, and there is a queue before them.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// Meetings at once; a signal beyond them is dropped, and announced again by who means it. One with nobody there holds its
/// place for ten seconds.
const MEETINGS: usize = 64;
/// Seekers and models remembered, so that the same one is not met or looked for again at once.
const REMEMBERED: usize = 1024;
/// Seeds of one node.
const SEEDS: usize = 16;
/// How long answers that were given have to arrive when the node ends …
const SETTLE: Duration = Duration::from_secs(1);
/// … and how often it is looked whether they have.
const SETTLE_LOOK: Duration = Duration::from_millis(20);
/// How long looking up a seed's name may take.
const LOOKUP: Duration = Duration::from_secs(10);

/// How a node takes part in the DHT.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DhtOptions {
    /// Where its switch listens (UDP). Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Switches to begin with, `HOST:PORT`; at least one.
    pub seeds: Vec<String>,
}

impl DhtOptions {
    /// Any free port of IPv4, and these seeds.
    pub fn new(seeds: Vec<String>) -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), seeds }
    }
}

/// What of a node its DHT works with.
pub(crate) struct Member {
    pub(crate) identity: Arc<Identity>,
    pub(crate) cluster: Cluster,
    pub(crate) lan: Lan,
    pub(crate) relays: Vec<String>,
}

#[derive(Debug, Default)]
struct Counters {
    signals: AtomicU64,
    met: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
}

struct Inner {
    endpoint: Endpoint,
    member: Member,
    meetings: Arc<Semaphore>,
    /// One question to the relays at a time.
    discovering: Arc<Semaphore>,
    counters: Counters,
    guests: guests::Guests,
    state: Mutex<State>,
    /// Nobody new is met.
    stop: CancellationToken,
    /// Nothing is answered any more.
    closed: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    /// When somebody was met last.
    met: HashMap<Party, Instant>,
    /// Models that nobody was found for, and when.
    missed: HashMap<String, Instant>,
    /// Whoever presents itself until then may be an answer to an announcement.
    seeking_until: Option<Instant>,
    /// Models that are tapped.
    taps: HashMap<String, v1::TapId>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node's place in the DHT. Clones are handles to the same one.
#[derive(Clone)]
pub struct Dht {
    inner: Arc<Inner>,
    _guard: Arc<Guard>,
}

struct Guard(CancellationToken);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl fmt::Debug for Dht {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dht").field("endpoint", &self.inner.endpoint).finish_non_exhaustive()
    }
}

/// What there is to see of it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct DhtStatus {
    /// Where the switch listens.
    pub listening: String,
    /// Its public address, once a seed has told it.
    pub own: Option<String>,
    /// Whether it has a place in the DHT.
    pub online: bool,
    /// Switches it has lines with.
    pub lines: usize,
    /// Sessions of v2.
    pub sessions: usize,
    /// Models it can be found by, and how many switches pass seekers on.
    pub taps: Vec<DhtTap>,
    /// Signals of seekers that came.
    pub signals: u64,
    /// Contact records exchanged.
    pub met: u64,
    /// Meetings that came to nothing.
    pub failed: u64,
    /// Records and requests that were refused.
    pub refused: u64,
}

/// A tapped model.
#[derive(Debug, Clone, Serialize)]
pub struct DhtTap {
    /// Which.
    pub model: String,
    /// How many switches keep the tap; 0 while none does.
    pub switches: usize,
}

impl Dht {
    /// Binds the socket and starts, with seeds that were looked up before.
    pub(crate) fn start(listen: SocketAddr, seeds: Vec<Ipp>, member: Member) -> Result<Self, NodeError> {
        let mut second = v2::Config::default();
        second.seeds.clone_from(&seeds);
        second.body_limit = REQUEST;
        second.patience = PATIENCE;
        let first = v1::Config { seeds, ..v1::Config::default() };
        let config = EndpointConfig { listen, v1: Some(first), v2: Some(second) };
        let endpoint = Endpoint::bind(config)?;
        let events = endpoint.events_v1();
        let closed = CancellationToken::new();
        let stop = closed.child_token();
        let inner = Arc::new(Inner {
            endpoint,
            member,
            meetings: Arc::new(Semaphore::new(MEETINGS)),
            discovering: Arc::new(Semaphore::new(1)),
            counters: Counters::default(),
            guests: guests::Guests::new(),
            state: Mutex::default(),
            stop: stop.clone(),
            closed: closed.clone(),
            tasks: TaskTracker::new(),
        });
        inner.tasks.spawn(tapping::keep(Arc::clone(&inner)));
        inner.tasks.spawn(tapping::listen(Arc::clone(&inner), events));
        inner.tasks.spawn(meeting::answer(Arc::clone(&inner)));
        Ok(Self { inner, _guard: Arc::new(Guard(closed)) })
    }

    /// What there is to see.
    pub fn status(&self) -> DhtStatus {
        let inner = &self.inner;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let first = inner.endpoint.v1(|switch, _| (switch.own(), switch.online(), switch.lines().count()));
        let (own, online, lines) = first.unwrap_or((None, false, 0));
        let sessions =
            inner.endpoint.v2(|switch, _| switch.sessions().filter(|session| session.open).count());
        let taps = inner.state().taps.clone();
        // The switch is asked: an event may have come before anybody listened.
        let tapped = |switch: &mut v1::Switch, _| {
            let tap = |(model, id)| DhtTap { model, switches: switch.tapped(id).len() };
            taps.into_iter().map(tap).collect()
        };
        let mut taps: Vec<DhtTap> = inner.endpoint.v1(tapped).unwrap_or_default();
        taps.sort_by(|one, other| one.model.cmp(&other.model));
        DhtStatus {
            listening: inner.endpoint.local_addr().to_string(),
            own: own.map(|own| own.to_string()),
            online,
            lines,
            sessions: sessions.unwrap_or(0),
            taps,
            signals: load(&inner.counters.signals),
            met: load(&inner.counters.met),
            failed: load(&inner.counters.failed),
            refused: load(&inner.counters.refused),
        }
    }

    /// Looks for a provider of a model until one can be asked, up to `limit`. What is known already is not looked for,
    /// and a model that nobody was found for lately is not waited for again.
    pub async fn find(&self, model: &str, limit: Duration) -> bool {
        seeking::find(&self.inner, model, limit).await
    }

    /// Meets nobody new. Questions are still answered, as the cluster sees fit.
    pub(crate) fn stop(&self) {
        self.inner.stop.cancel();
    }

    /// Whether no question is open, and what was answered has arrived.
    fn is_settled(&self) -> bool {
        let arrived = |switch: &mut v2::Switch, _| switch.sessions().all(|session| session.unconfirmed == 0);
        self.inner.guests.are_quiet() && self.inner.endpoint.v2(arrived).unwrap_or(true)
    }

    /// Ends the exchange with others; links that came of it are the cluster's.
    pub(crate) async fn shutdown(&self) {
        let settled = async {
            while !self.is_settled() {
                tokio::time::sleep(SETTLE_LOOK).await;
            }
        };
        let _ = tokio::time::timeout(SETTLE, settled).await; // Who takes nothing is not waited for.
        self.inner.closed.cancel();
        self.inner.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(2), self.inner.tasks.wait()).await;
    }
}

/// The addresses of the seeds, of the family the socket speaks. One that is not found now is left out, aloud, unless it is
/// the last.
pub(crate) async fn resolve(seeds: &[String], v4: bool) -> Result<Vec<Ipp>, NodeError> {
    let looked = seeds.iter().take(SEEDS).map(|seed| async move { (seed, look_up(seed, v4).await) });
    let (mut found, mut failed) = (Vec::new(), None);
    for (seed, looked) in futures_util::future::join_all(looked).await {
        match looked {
            Ok(ipps) => found.extend(ipps),
            Err(reason) => {
                tracing::warn!(seed, reason, "a seed of the DHT is left out");
                failed =
                    failed.or(Some(NodeError::DhtSeed { seed: seed.clone(), reason: reason.to_owned() }));
            }
        }
    }
    found.dedup();
    if found.is_empty() { Err(failed.unwrap_or(NodeError::DhtNoSeed)) } else { Ok(found) }
}

async fn look_up(seed: &str, v4: bool) -> Result<Vec<Ipp>, &'static str> {
    let addresses = match tokio::time::timeout(LOOKUP, tokio::net::lookup_host(seed)).await {
        Err(_) => return Err("its name is not resolved in time"),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidInput => {
            return Err("expected HOST:PORT");
        }
        Ok(Err(_)) => return Err("its name is not known"),
        Ok(Ok(addresses)) => addresses,
    };
    let ipps: Vec<Ipp> = addresses.filter_map(Ipp::new).filter(|ipp| ipp.is_v4() == v4).collect();
    match (ipps.is_empty(), v4) {
        (false, _) => Ok(ipps),
        (true, true) => Err("it has no IPv4 address"),
        (true, false) => Err("it has no IPv6 address"),
    }
}
