//! What the tasks of the LAN carrier share.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use teale_noise::Now;
use teale_wire::NodeId;
use tokio::{sync::Notify, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{CarrierHost, LanConfig, mdns::Mdns, nics};
use crate::{
    ClusterEvent,
    lan::{
        Book, Doorkeeper, Hints, InterfaceRules, InterfaceView, LanStatus, MdnsStatus, Nic, Ration,
        StaticPeer, StaticPeerView, Terms, bounds, explain,
    },
};

/// A peer given by address, and what became of it.
#[derive(Debug)]
pub(super) struct Static {
    pub(super) peer: StaticPeer,
    /// Who answered there last.
    pub(super) node: Option<NodeId>,
    /// Where.
    pub(super) address: Option<SocketAddr>,
    /// Whether a sealed link was up there before.
    pub(super) sealed_before: bool,
    pub(super) error: Option<String>,
}

/// Numbers of multicast DNS.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sent: AtomicU64,
    pub(super) seen_own: AtomicU64,
    pub(super) seen_others: AtomicU64,
    pub(super) answers: AtomicU64,
    pub(super) refused_records: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// What changes.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) book: Book,
    pub(super) hints: Hints,
    pub(super) door: Doorkeeper,
    pub(super) statics: Vec<Static>,
    /// Links up, by peer.
    pub(super) live: HashMap<NodeId, usize>,
    /// Our ends of connections being opened, to know ourselves when we answer.
    pub(super) own_dials: HashSet<SocketAddr>,
    pub(super) nics: Vec<Nic>,
    pub(super) mdns: Option<Mdns>,
    pub(super) mdns_error: Option<String>,
    last_refusal: Option<String>,
    warnings: VecDeque<String>,
    /// Of warnings about copied identities.
    ration: Ration,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) terms: Terms,
    pub(super) rules: InterfaceRules,
    pub(super) host: CarrierHost,
    pub(super) listening: Vec<SocketAddr>,
    pub(super) counters: Counters,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    /// A link came or went.
    pub(super) links_changed: Notify,
    start: Instant,
    state: Mutex<State>,
}

impl Inner {
    pub(super) fn new(config: &LanConfig, host: CarrierHost, listening: Vec<SocketAddr>) -> Self {
        let statics = config.peers.iter().map(|peer| Static {
            peer: peer.clone(),
            node: peer.node,
            address: None,
            sealed_before: false,
            error: None,
        });
        let state = State { statics: statics.collect(), ..State::default() };
        Self {
            terms: config.terms.clone(),
            rules: config.interfaces.clone(),
            host,
            listening,
            counters: Counters::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            links_changed: Notify::new(),
            start: Instant::now(),
            state: Mutex::new(state),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { unix, monotonic: self.start.elapsed() }
    }

    /// A moment of [`Inner::now`]'s monotonic clock, for timers.
    pub(super) fn instant(&self, monotonic: Duration) -> Instant {
        self.start + monotonic
    }

    pub(super) fn knows(&self, peer: NodeId) -> bool {
        let now = self.now().monotonic;
        let state = self.state();
        state.book.knows(peer)
            || state.hints.knows(now, peer)
            || state.statics.iter().any(|known| known.node == Some(peer))
    }

    /// Looks at the machine's interfaces again.
    pub(super) fn rescan(&self) {
        let nics = nics::list();
        self.state().nics = nics;
    }

    /// Whether an address is one of this machine.
    pub(super) fn is_own_ip(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.state().nics.iter().any(|nic| nic.addresses.contains(&ip))
    }

    /// Whether an address is one this node listens on.
    pub(super) fn is_own_listener(&self, address: SocketAddr) -> bool {
        self.listening.iter().any(|own| own.port() == address.port()) && self.is_own_ip(address.ip())
    }

    /// A connection, packet or record was refused.
    pub(super) fn refused(&self, peer: NodeId, place: SocketAddr, reason: &str) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        tracing::info!(%place, reason, "a LAN connection was refused");
        self.state().last_refusal = Some(format!("{place}: {reason}"));
        self.host.refused(peer, reason.to_owned());
    }

    /// Somebody else shows our own id.
    pub(super) fn copied(&self, place: String) {
        let warning = format!(
            "{place} shows this node's own id: its identity file was copied. Give one of the two its own data directory"
        );
        let mut state = self.state();
        if state.warnings.contains(&warning) {
            return;
        }
        let Some(left_out) = state.ration.take(self.now().monotonic) else { return };
        if state.warnings.len() >= bounds::WARNINGS {
            state.warnings.pop_front();
        }
        state.warnings.push_back(warning.clone());
        drop(state);
        tracing::warn!(left_out, "{warning}");
        self.host.tell(ClusterEvent::CopiedIdentity { place });
    }

    pub(super) fn status(&self) -> LanStatus {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let state = self.state();
        let mut status = LanStatus {
            listening: self.listening.iter().map(ToString::to_string).collect(),
            interfaces: state.nics.iter().map(|nic| self.view(nic)).collect(),
            mdns: MdnsStatus {
                running: state.mdns.is_some(),
                error: state.mdns_error.clone(),
                instance: state.mdns.as_ref().map(|mdns| mdns.instance.clone()),
                sent: load(&self.counters.sent),
                seen_own: load(&self.counters.seen_own),
                seen_others: load(&self.counters.seen_others),
                answers: load(&self.counters.answers),
                refused: load(&self.counters.refused_records),
                peers: state.book.peers().len(),
            },
            peers: state.statics.iter().map(|known| view_static(known, &state.live)).collect(),
            links: state.live.values().sum(),
            refused: load(&self.counters.refused),
            last_refusal: state.last_refusal.clone(),
            warnings: state.warnings.iter().cloned().collect(),
            diagnosis: None,
        };
        drop(state);
        status.diagnosis = explain(&status);
        status
    }

    fn view(&self, nic: &Nic) -> InterfaceView {
        let verdict = self.rules.judge(nic);
        InterfaceView {
            name: nic.name.clone(),
            used: verdict.is_ok(),
            reason: verdict.err().map(|reason| reason.to_string()),
            addresses: nic.addresses.iter().map(ToString::to_string).collect(),
        }
    }
}

fn view_static(known: &Static, live: &HashMap<NodeId, usize>) -> StaticPeerView {
    StaticPeerView {
        address: known.peer.to_string(),
        node: known.node.map(|node| node.to_string()),
        linked: known.node.is_some_and(|node| live.contains_key(&node)),
        error: known.error.clone(),
    }
}

/// A place among the incoming connections; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    inner: Arc<Inner>,
    address: IpAddr,
    half_open: bool,
}

impl Place {
    /// Takes one for a connection that just came.
    pub(super) fn take(inner: &Arc<Inner>, address: IpAddr) -> Result<Self, crate::lan::Full> {
        inner.state().door.enter(address)?;
        Ok(Self { inner: Arc::clone(inner), address, half_open: true })
    }

    /// The connection became a link.
    pub(super) fn settle(&mut self) {
        self.half_open = false;
        self.inner.state().door.settle(self.address);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.state().door.leave(self.address, self.half_open);
    }
}

/// Our end of a connection that is being opened; forgotten when dropped.
pub(super) struct OwnDial<'a> {
    inner: &'a Inner,
    local: Option<SocketAddr>,
}

impl<'a> OwnDial<'a> {
    pub(super) fn note(inner: &'a Inner, local: Option<SocketAddr>) -> Self {
        if let Some(local) = local {
            inner.state().own_dials.insert(local);
        }
        Self { inner, local }
    }
}

impl Drop for OwnDial<'_> {
    fn drop(&mut self) {
        if let Some(local) = self.local {
            self.inner.state().own_dials.remove(&local);
        }
    }
}
