//! Multicast DNS: being found, and finding.

use std::{
    fmt,
    net::{SocketAddr, SocketAddrV6},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mdns_sd::{
    DaemonEvent, IfKind, IfPredicate, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent,
    ServiceInfo,
};
use tokio::time::MissedTickBehavior;

use super::{LanConfig, inner::Inner, nics, statics};
use crate::{
    LinkPath,
    lan::{Advertisement, News, SERVICE, bounds, instance_name, is_dialable},
};

/// How often the daemon's numbers are asked for.
const NUMBERS: Duration = Duration::from_secs(1);
/// After the daemon let go of us, the network is browsed again when so long has passed.
const BROWSE_AGAIN: Duration = Duration::from_secs(1);
/// How long the daemon may take to say goodbye to the network.
const GOODBYE: Duration = Duration::from_secs(1);
/// Hex digits of the node id in the host's name.
const HOST_DIGITS: usize = 16;

/// The running daemon.
pub(super) struct Mdns {
    daemon: ServiceDaemon,
    /// The instance's full name.
    pub(super) instance: String,
}

impl fmt::Debug for Mdns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mdns").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// Starts it; what goes wrong is told by the status, and static peers work all the same.
pub(super) fn start(inner: &Arc<Inner>, config: &LanConfig) {
    match launch(inner, config) {
        Ok((mdns, found, news)) => {
            let daemon = mdns.daemon.clone();
            inner.state().mdns = Some(mdns);
            inner.tasks.spawn(follow(Arc::clone(inner), daemon.clone(), found));
            inner.tasks.spawn(monitor(Arc::clone(inner), news));
            inner.tasks.spawn(numbers(Arc::clone(inner), daemon));
        }
        Err(error) => {
            tracing::warn!(%error, "mDNS does not start: peers are neither found nor find this node");
            inner.state().mdns_error = Some(error.to_string());
        }
    }
}

type Launched = (Mdns, Receiver<ServiceEvent>, Receiver<DaemonEvent>);

fn launch(inner: &Inner, config: &LanConfig) -> Result<Launched, mdns_sd::Error> {
    let identity = &config.terms.identity;
    let node = identity.node_id();
    let daemon = ServiceDaemon::new()?;
    let rules = inner.rules.clone();
    let left_out = IfPredicate::new(move |found| rules.judge(&nics::nic(found)).is_err());
    daemon.disable_interface(IfKind::Predicate(left_out))?;
    let news = daemon.monitor()?;
    let advertisement = Advertisement {
        device_id: config.device_id.clone(),
        chip: config.hardware.chip_name.clone(),
        ram_gb: whole(config.hardware.total_ram_gb),
        node: Some(node),
        wg: Some(identity.x25519_public()),
    };
    let digits: String = node.to_string().chars().take(HOST_DIGITS).collect();
    let port = inner.listening.first().map_or(bounds::PORT, SocketAddr::port);
    let service = ServiceInfo::new(
        SERVICE,
        &instance_name(&config.name, node),
        &format!("teale-{digits}.local."),
        "",
        port,
        advertisement.properties().as_slice(),
    )?
    .enable_addr_auto();
    let instance = service.get_fullname().to_owned();
    daemon.register(service)?;
    let found = daemon.browse(SERVICE)?;
    Ok((Mdns { daemon, instance }, found, news))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn whole(gigabytes: f64) -> Option<u32> {
    (gigabytes.is_finite() && gigabytes >= 1.0).then(|| gigabytes.round().min(1e6) as u32)
}

async fn follow(inner: Arc<Inner>, daemon: ServiceDaemon, mut found: Receiver<ServiceEvent>) {
    loop {
        let event = tokio::select! {
            () = inner.stop.cancelled() => return,
            event = found.recv_async() => event,
        };
        match event {
            Ok(ServiceEvent::ServiceResolved(service)) => resolved(&inner, &service),
            Ok(ServiceEvent::ServiceRemoved(_, instance)) => {
                let lost = inner.state().book.lost(&instance);
                if let Some(peer) = lost {
                    tracing::info!(%peer, "a peer left the network");
                    inner.host.peers_lost(peer, LinkPath::Lan);
                }
            }
            Ok(_) => {}
            // The daemon lets go of a reader that falls behind.
            Err(_) => {
                tokio::time::sleep(BROWSE_AGAIN).await;
                match daemon.browse(SERVICE) {
                    Ok(again) => found = again,
                    Err(_) => return,
                }
            }
        }
    }
}

fn resolved(inner: &Inner, service: &ResolvedService) {
    let properties = service.txt_properties.iter().map(|property| (property.key(), property.val()));
    let advertisement = match Advertisement::parse(properties) {
        Ok(advertisement) => advertisement,
        Err(error) => {
            inner.counters.refused_records.fetch_add(1, Ordering::Relaxed);
            tracing::info!(%error, "a peer's mDNS record cannot be used");
            return;
        }
    };
    let addresses = service.addresses.iter().filter_map(|ip| socket_address(ip, service.port));
    let addresses: Vec<SocketAddr> = addresses.filter(|address| is_dialable(*address)).collect();
    if addresses.is_empty() {
        inner.counters.refused_records.fetch_add(1, Ordering::Relaxed);
        tracing::info!("a peer's mDNS record names no address of another machine");
        return;
    }
    inner.counters.answers.fetch_add(1, Ordering::Relaxed);
    let peer = advertisement.id();
    if peer == inner.terms.identity.node_id() {
        let ours = addresses.iter().any(|address| inner.is_own_listener(*address));
        if !ours && let Some(address) = addresses.first() {
            inner.copied(address.to_string());
        }
        return;
    }
    let wg = advertisement.wg.map(|wg| wg.to_hex());
    let hardware = statics::hardware(advertisement.chip.clone(), advertisement.ram_gb.map_or(0.0, f64::from));
    let name = service.fullname.split('.').next().unwrap_or_default().to_owned();
    let gone = inner.state().book.renamed(&service.fullname, peer);
    if let Some(gone) = gone {
        tracing::info!(peer = %gone, "a peer left the network: its instance names another one now");
        inner.host.peers_lost(gone, LinkPath::Lan);
    }
    let news = inner.state().book.found(&service.fullname, advertisement, addresses);
    match news {
        News::New(peer) => tracing::info!(%peer, "found a peer on the network"),
        News::Known(_) => {}
        News::Full => {
            tracing::warn!("too many peers are advertised on this network; one is left out");
            return;
        }
    }
    inner.host.peers_found(vec![statics::record(peer, wg, &name, hardware)], LinkPath::Lan);
}

fn socket_address(ip: &ScopedIp, port: u16) -> Option<SocketAddr> {
    match ip {
        ScopedIp::V4(v4) => Some(SocketAddr::from((*v4.addr(), port))),
        ScopedIp::V6(v6) => {
            // Only link-local addresses need to know their interface.
            let scope = if v6.addr().is_unicast_link_local() { v6.scope_id().index } else { 0 };
            Some(SocketAddrV6::new(*v6.addr(), port, 0, scope).into())
        }
        _ => None,
    }
}

/// A name that another host holds already is changed: with our id in it, that is a copy of this node, or its ghost.
async fn monitor(inner: Arc<Inner>, news: Receiver<DaemonEvent>) {
    loop {
        let event = tokio::select! {
            () = inner.stop.cancelled() => return,
            event = news.recv_async() => event,
        };
        match event {
            Ok(DaemonEvent::NameChange(change)) => {
                tracing::warn!("another host on the network answers for this node's mDNS name");
                if change.original.ends_with(SERVICE)
                    && let Some(mdns) = &mut inner.state().mdns
                {
                    mdns.instance = change.new_name;
                }
            }
            Ok(DaemonEvent::Error(error)) => tracing::debug!(%error, "mDNS"),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

async fn numbers(inner: Arc<Inner>, daemon: ServiceDaemon) {
    let mut tick = tokio::time::interval(NUMBERS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = inner.stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let Ok(answer) = daemon.get_metrics() else { continue };
        let Ok(metrics) = answer.recv_async().await else { return };
        let count = |name: &str| metrics.get(name).copied().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        let kinds = [
            "browse",
            "register",
            "register-resend",
            "respond",
            "dns-registry-probe",
            "cache-refresh-ptr",
            "cache-refresh-srv-txt",
            "cache-refresh-addr",
        ];
        inner.counters.sent.store(kinds.iter().map(|kind| count(kind)).sum(), Ordering::Relaxed);
    }
}

/// The same without waiting: the daemon's thread says goodbye and ends by itself.
pub(super) fn leave(inner: &Inner) {
    let Some(mdns) = inner.state().mdns.take() else { return };
    let _ = mdns.daemon.unregister(&mdns.instance);
    let _ = mdns.daemon.shutdown();
}

/// Tells the network that this node is gone.
pub(super) async fn goodbye(inner: &Inner) {
    let Some(mdns) = inner.state().mdns.take() else { return };
    let said = async {
        if let Ok(done) = mdns.daemon.unregister(&mdns.instance) {
            let _ = done.recv_async().await;
        }
        if let Ok(done) = mdns.daemon.shutdown() {
            let _ = done.recv_async().await;
        }
    };
    let _ = tokio::time::timeout(GOODBYE, said).await;
}
