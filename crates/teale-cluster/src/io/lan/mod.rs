//! The local network on tokio: a listener, connections dialled, multicast DNS.
//!
//! What a connection's bytes mean is decided in `crate::lan`; here are only sockets, tasks and clocks.

mod dial;
mod hinted;
mod inner;
mod link;
mod listen;
mod lookout;
mod mdns;
mod nics;
mod statics;
mod stream;

use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use teale_relay_client::SessionError;
use teale_wire::{HardwareCapability, NodeId};
use thiserror::Error;

use self::inner::Inner;
use super::host::CarrierHost;
use crate::{
    CarriedLink, Carrier, LinkError, LinkPath,
    lan::{InterfaceRules, LanStatus, StaticPeer, Terms, bounds},
};

/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// How a node takes part in its local network.
#[derive(Debug, Clone)]
pub struct LanConfig {
    /// Who we are, and when plaintext is acceptable; the same policy as the relays'.
    pub terms: Terms,
    /// The node's name, for people.
    pub name: String,
    /// A UUID, stable per data directory.
    pub device_id: String,
    /// The machine.
    pub hardware: HardwareCapability,
    /// Where to listen; `None` listens nowhere. If the port is taken, any free one is.
    pub listen: Option<SocketAddr>,
    /// Whether to find and be found. Without it only [`peers`](Self::peers) are reached.
    pub mdns: bool,
    /// Which interfaces count.
    pub interfaces: InterfaceRules,
    /// Peers given by address; at most [`bounds::STATIC_PEERS`].
    pub peers: Vec<StaticPeer>,
}

impl LanConfig {
    /// The defaults: port [`bounds::PORT`] on all addresses, mDNS on all interfaces but virtual ones, no static peers.
    pub fn new(
        terms: Terms,
        name: impl Into<String>,
        device_id: impl Into<String>,
        hardware: HardwareCapability,
    ) -> Self {
        Self {
            terms,
            name: name.into(),
            device_id: device_id.into(),
            hardware,
            listen: Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, bounds::PORT))),
            mdns: true,
            interfaces: InterfaceRules::default(),
            peers: Vec::new(),
        }
    }
}

/// Why the local network could not be joined.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LanStartError {
    /// No socket, not even on another port.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// More static peers than [`bounds::STATIC_PEERS`].
    #[error("at most {} peers can be given by address", bounds::STATIC_PEERS)]
    TooManyPeers,
}

/// The running LAN carrier. Clones are handles to the same one; the last one dropped ends it at once
/// ([`Carrier::shutdown`] says goodbye first).
#[derive(Clone, Debug)]
pub struct Lan {
    inner: Arc<Inner>,
    _guard: Arc<Guard>,
}

/// Ends the tasks when the last handle is gone.
#[derive(Debug)]
struct Guard(Arc<Inner>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.stop.cancel();
        mdns::leave(&self.0);
    }
}

impl Lan {
    /// Listens, is advertised, looks for others, dials static peers. Links go to `host`; give the result to
    /// [`Cluster::add_carrier`](crate::Cluster::add_carrier).
    ///
    /// # Errors
    /// [`LanStartError`]. That mDNS does not work is none: [`Lan::status`] says it.
    pub fn start(config: LanConfig, host: CarrierHost) -> Result<Self, LanStartError> {
        if config.peers.len() > bounds::STATIC_PEERS {
            return Err(LanStartError::TooManyPeers);
        }
        let listeners = config.listen.map(listen::bind).transpose()?.unwrap_or_default();
        let listening = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let inner = Arc::new(Inner::new(&config, host, listening));
        for listener in listeners {
            inner.tasks.spawn(listen::run(Arc::clone(&inner), listener));
        }
        inner.rescan();
        inner.tasks.spawn(nics::watch(Arc::clone(&inner)));
        if config.mdns {
            inner.tasks.spawn(lookout::run(Arc::clone(&inner)));
            mdns::start(&inner, &config);
        }
        for number in 0..config.peers.len() {
            inner.tasks.spawn(statics::keep(Arc::clone(&inner), number));
        }
        inner.tasks.spawn(hinted::keep(Arc::clone(&inner)));
        inner.tasks.spawn(diagnose(Arc::clone(&inner)));
        Ok(Self { _guard: Arc::new(Guard(Arc::clone(&inner))), inner })
    }

    /// What there is to see.
    pub fn status(&self) -> LanStatus {
        self.inner.status()
    }

    /// Tells of a peer that something else found, a DHT say: where it says that it can be reached, its key (hex), a name
    /// for people, and for how long that holds. The caller has checked that the peer itself said so. A link is opened at
    /// once. False if nothing of it can be dialled.
    pub fn hint(
        &self,
        peer: NodeId,
        wg: Option<String>,
        name: &str,
        addresses: Vec<SocketAddr>,
        last: Duration,
    ) -> bool {
        hinted::add(&self.inner, peer, wg, name, addresses, last)
    }

    /// Where it listens.
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.inner.listening.clone()
    }
}

/// Says once what was looked at, if that brought nobody.
async fn diagnose(inner: Arc<Inner>) {
    tokio::select! {
        () = inner.stop.cancelled() => return,
        () = tokio::time::sleep(bounds::DIAGNOSE_AFTER) => {}
    }
    if let Some(diagnosis) = inner.status().diagnosis {
        tracing::warn!("LAN: {diagnosis}");
    }
}

#[async_trait]
impl Carrier for Lan {
    fn path(&self) -> LinkPath {
        LinkPath::Lan
    }

    fn reaches(&self, peer: NodeId) -> bool {
        self.inner.knows(peer)
    }

    async fn open(&self, peer: NodeId) -> Result<CarriedLink, LinkError> {
        dial::peer(&self.inner, peer).await
    }

    async fn shutdown(&self) {
        let goodbye = async {
            mdns::goodbye(&self.inner).await;
            self.inner.stop.cancel();
            self.inner.tasks.close();
            self.inner.tasks.wait().await;
        };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        self.inner.stop.cancel();
    }
}

/// An error of a socket, in our own words.
fn broke(error: &std::io::Error) -> LinkError {
    use std::io::ErrorKind;
    if let Some(wire) = error.get_ref().and_then(|inner| inner.downcast_ref::<teale_wire::WireError>()) {
        return LinkError::Refused(wire.to_string());
    }
    match error.kind() {
        ErrorKind::TimedOut => LinkError::Lost("the peer stopped acknowledging".into()),
        ErrorKind::UnexpectedEof => LinkError::Lost("the connection ended in the middle of a frame".into()),
        kind => LinkError::Lost(kind.to_string()),
    }
}

/// Whether an error says that a peer did not keep the rules, rather than that the network failed.
fn is_refusal(error: &LinkError) -> bool {
    matches!(
        error,
        LinkError::Refused(_)
            | LinkError::Session(
                SessionError::Noise(_) | SessionError::PlaintextRefused(_) | SessionError::Protocol(_)
            )
    )
}
