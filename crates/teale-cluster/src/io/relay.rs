//! Relays as a carrier: who is there, sessions out, sessions in.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use teale_relay_client::{
    IncomingSession, KnownPeers, RelayClient, RelayConfig, RelayEvent, RelayEvents, RelaySession,
    RelayStatus, SessionError, SessionReceiver, SessionSender,
};
use teale_wire::{AppleDate, Extra, NodeCapabilities, NodeId, PeerRecord, limits};
use tokio::{sync::Semaphore, time::Instant};

use super::{link, shared::Shared};
use crate::{
    CarriedLink, Carrier, ClusterEvent, Input, LinkError, LinkPath, LinkReceiver, LinkSender, bounds,
};

/// How long opening a session may take, handshake included.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer's handshake may take.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Sessions being opened by peers at once; beyond it they are dropped. Several times what the relay client lets one
/// peer leave half open, so that two strangers who never speak keep nobody out.
const ACCEPTING: usize = 512;
/// How long an on-demand discovery may take.
const DISCOVER_TIMEOUT: Duration = Duration::from_secs(12);

/// A peer as a relay described it.
struct Listing {
    relay: usize,
    record: PeerRecord,
    seen: Instant,
}

/// What it takes to open a session, without what a relay may have added at length.
fn address(record: &PeerRecord) -> PeerRecord {
    let mut record = record.clone();
    let capabilities = &mut record.capabilities;
    capabilities.loaded_models.clear();
    (capabilities.ptn_ids, capabilities.swappable_models) = (None, None);
    capabilities.extra.clear();
    capabilities.hardware.extra.clear();
    record.endpoints.clear();
    record.extra.clear();
    record
}

/// What it takes to open a session with a node no relay has told of, but whose key was proved before, on whatever way.
fn remembered(peer: NodeId, wg_public_key: String, capabilities: &NodeCapabilities) -> PeerRecord {
    PeerRecord {
        node_id: peer,
        public_key: peer,
        wg_public_key: Some(wg_public_key),
        display_name: String::new(),
        capabilities: capabilities.clone(),
        last_seen: AppleDate::from_unix_seconds(0.0),
        nat_type: String::new(),
        endpoints: Vec::new(),
        extra: Extra::new(),
    }
}

/// All relays, and which of them knows whom.
pub(super) struct Relays {
    clients: Vec<(RelayClient, NodeCapabilities)>,
    /// The relays' memories of peers' keys; one and the same in a node.
    known: Vec<KnownPeers>,
    /// At most [`bounds::PEERS`] per relay.
    listings: Mutex<HashMap<(NodeId, usize), Listing>>,
    accepting: Arc<Semaphore>,
}

impl Relays {
    /// Connects to all of them; the events are for [`Relays::follow`].
    pub(super) fn connect(configs: Vec<RelayConfig>) -> (Arc<Self>, Vec<(String, RelayEvents)>) {
        let mut clients = Vec::new();
        let mut events = Vec::new();
        let known = configs.iter().map(|config| config.known_peers.clone()).collect();
        for config in configs {
            let capabilities = config.capabilities.clone();
            let (client, news) = RelayClient::spawn(config);
            let url = client.status().url;
            clients.push((client, capabilities));
            events.push((url, news));
        }
        let accepting = Arc::new(Semaphore::new(ACCEPTING));
        (Arc::new(Self { clients, known, listings: Mutex::new(HashMap::new()), accepting }), events)
    }

    pub(super) fn status(&self) -> Vec<RelayStatus> {
        self.clients.iter().map(|(client, _)| client.status()).collect()
    }

    /// Tells every relay what this node can do, each on top of what its config said of the machine.
    pub(super) fn announce(&self, change: impl Fn(&mut NodeCapabilities)) {
        for (client, base) in &self.clients {
            let mut capabilities = base.clone();
            change(&mut capabilities);
            client.set_capabilities(capabilities);
        }
    }

    /// Asks every relay who is there; the answers arrive as events too.
    pub(super) async fn discover(&self, shared: &Shared) {
        let asked = self.clients.iter().enumerate().map(|(relay, (client, _))| async move {
            match client.discover(None, DISCOVER_TIMEOUT).await {
                Ok(records) => self.seen(shared, relay, records),
                Err(error) => tracing::debug!(%error, "discovery failed"),
            }
        });
        futures_util::future::join_all(asked).await;
    }

    fn seen(&self, shared: &Shared, relay: usize, records: Vec<PeerRecord>) {
        let now = Instant::now();
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        listings.retain(|_, listing| now.duration_since(listing.seen) < bounds::PEER_TTL);
        for record in &records {
            let key = (record.node_id, relay);
            if listings.len() < bounds::PEERS * self.clients.len() || listings.contains_key(&key) {
                listings.insert(key, Listing { relay, record: address(record), seen: now });
            }
        }
        drop(listings);
        shared.handle(Input::Peers { path: LinkPath::Relay, records });
        shared.changed();
    }

    /// The relays that told of a peer; all of them for one whose key is proved: it may have come a moment ago.
    fn ways_to(&self, peer: NodeId) -> Vec<(usize, PeerRecord)> {
        let listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = (0..self.clients.len()).filter_map(|relay| listings.get(&(peer, relay)));
        let mut ways: Vec<_> = listed.map(|listing| (listing.relay, listing.record.clone())).collect();
        drop(listings);
        for (relay, (known, (client, base))) in self.known.iter().zip(&self.clients).enumerate() {
            let key = known.get(peer).filter(|key| key.proved && client.status().registered);
            if let (Some(key), false) = (key, ways.iter().any(|(listed, _)| *listed == relay)) {
                ways.push((relay, remembered(peer, key.key.to_hex(), base)));
            }
        }
        ways
    }

    /// Brings one relay's news to the core, until the relay client or the cluster ends.
    pub(super) async fn follow(
        self: Arc<Self>,
        shared: Arc<Shared>,
        relay: usize,
        url: String,
        mut news: RelayEvents,
    ) {
        loop {
            let event = tokio::select! {
                () = shared.stop.cancelled() => return,
                event = news.next() => event,
            };
            let Some(event) = event else { return };
            let tell = |event| {
                let _ = shared.events.send(event); // Nobody listening is fine.
            };
            match event {
                RelayEvent::Registered => tell(ClusterEvent::Registered { relay: url.clone() }),
                RelayEvent::Disconnected { reason, retry_in } => {
                    tell(ClusterEvent::RelayLost { relay: url.clone(), reason, retry_in });
                }
                RelayEvent::Peers(records) => self.seen(&shared, relay, records),
                RelayEvent::Incoming(session) => self.accept(&shared, session),
                RelayEvent::Rejected { peer, error } => {
                    shared.count_rejected();
                    tell(ClusterEvent::Refused { node: peer, reason: error.to_string() });
                }
                _ => {}
            }
        }
    }

    fn accept(&self, shared: &Arc<Shared>, session: IncomingSession) {
        let Ok(permit) = Arc::clone(&self.accepting).try_acquire_owned() else {
            tracing::warn!(peer = %session.peer(), "too many sessions are being opened; one is dropped");
            return;
        };
        let shared = Arc::clone(shared);
        let tasks = shared.tasks.clone();
        tasks.spawn(async move {
            let peer = session.peer();
            let accepted = tokio::select! {
                () = shared.stop.cancelled() => return,
                accepted = tokio::time::timeout(ACCEPT_TIMEOUT, session.accept()) => accepted,
            };
            drop(permit);
            match accepted {
                Ok(Ok(session)) => link::spawn(&shared, carried(session, false)),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a session was not accepted"),
                Err(_) => tracing::debug!(%peer, "a handshake took too long"),
            }
        });
    }
}

#[async_trait]
impl Carrier for Relays {
    fn path(&self) -> LinkPath {
        LinkPath::Relay
    }

    fn reaches(&self, peer: NodeId) -> bool {
        !self.ways_to(peer).is_empty()
    }

    async fn open(&self, peer: NodeId) -> Result<CarriedLink, LinkError> {
        let mut last = LinkError::Unreachable("no relay knows the peer".into());
        for (relay, record) in self.ways_to(peer) {
            let Some((client, _)) = self.clients.get(relay) else { continue };
            match client.open(&record, OPEN_TIMEOUT).await {
                Ok(session) => return Ok(carried(session, true)),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    async fn shutdown(&self) {
        futures_util::future::join_all(self.clients.iter().map(|(client, _)| client.shutdown())).await;
    }
}

fn carried(session: RelaySession, initiator: bool) -> CarriedLink {
    let (peer, security) = (session.peer(), session.security());
    let (sender, receiver) = session.split();
    CarriedLink {
        peer,
        path: LinkPath::Relay,
        security,
        initiator,
        sender: Box::new(Sender(Some(sender))),
        receiver: Box::new(Receiver(receiver)),
    }
}

/// `None` once closed.
struct Sender(Option<SessionSender>);

#[async_trait]
impl LinkSender for Sender {
    async fn send(&mut self, message: Bytes) -> Result<(), LinkError> {
        let sender = self.0.as_mut().ok_or(LinkError::Closed)?;
        sender.send(message).await.map_err(|error| match error {
            SessionError::TooBig { got, limit } => LinkError::TooBig { got, limit },
            error => error.into(),
        })
    }

    fn limit(&self) -> usize {
        limits::RELAY_PAYLOAD
    }

    fn close(&mut self) {
        if let Some(sender) = self.0.take() {
            sender.close();
        }
    }
}

struct Receiver(SessionReceiver);

#[async_trait]
impl LinkReceiver for Receiver {
    async fn recv(&mut self) -> Result<Bytes, LinkError> {
        Ok(self.0.recv().await?)
    }
}
