//! Relays, clients and a wire that can be cut.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::json;
use teale_identity::Identity;
use teale_relay_client::{
    IncomingSession, RelayClient, RelayConfig, RelayEvent, RelayEvents, RelaySession, SessionError,
};
use teale_relay_server::{RelayHandle, RelayServer, RelayServerConfig};
use teale_wire::{NodeCapabilities, PeerRecord};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// Longer than anything here takes; a test that gets there has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn capabilities(models: &[&str]) -> NodeCapabilities {
    serde_json::from_value(json!({
        "hardware": {"chipFamily": "amdCPU", "chipName": "x", "totalRAMGB": 64.0, "gpuCoreCount": 0,
            "memoryBandwidthGBs": 50.0, "tier": 2},
        "loadedModels": models, "maxModelSizeGB": 60.0, "isAvailable": true,
    }))
    .unwrap()
}

/// A relay in this process; it ends when dropped.
pub struct Relay {
    pub address: SocketAddr,
    handle: RelayHandle,
}

impl Relay {
    pub async fn start() -> Self {
        let mut config = RelayServerConfig::new(([127, 0, 0, 1], 0).into());
        config.limits.discover_interval = Duration::from_secs(1);
        let server = RelayServer::bind(config).await.unwrap();
        let (address, handle) = (server.local_addr(), server.handle());
        tokio::spawn(server.run());
        Self { address, handle }
    }

    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

pub fn config(url: &str, seed: u8) -> RelayConfig {
    let identity = Arc::new(Identity::from_seed([seed; 32]));
    RelayConfig::new(url, identity, format!("node {seed}"), capabilities(&[]))
}

/// How a relay would describe the node of this seed.
pub fn record(seed: u8) -> PeerRecord {
    let identity = Identity::from_seed([seed; 32]);
    serde_json::from_value(json!({
        "nodeID": identity.node_id(), "publicKey": identity.node_id(),
        "wgPublicKey": identity.x25519_public().to_hex(), "displayName": "x",
        "capabilities": capabilities(&[]), "lastSeen": 1.0,
    }))
    .unwrap()
}

pub async fn registered(url: &str, seed: u8) -> (RelayClient, RelayEvents) {
    let (client, events) = RelayClient::spawn(config(url, seed));
    client.registered(PATIENCE).await.unwrap();
    (client, events)
}

pub async fn incoming(events: &mut RelayEvents) -> IncomingSession {
    timeout(PATIENCE, async {
        loop {
            match events.next().await {
                Some(RelayEvent::Incoming(session)) => return session,
                Some(_) => {}
                None => panic!("the client is gone"),
            }
        }
    })
    .await
    .unwrap()
}

/// A session opened by the first with the node of `seed`, whose events are given.
pub async fn session(
    opener: &RelayClient,
    seed: u8,
    events: &mut RelayEvents,
) -> (RelaySession, RelaySession) {
    let peer = record(seed);
    let accept = async { incoming(events).await.accept().await };
    let (opened, accepted) = tokio::join!(opener.open(&peer, PATIENCE), accept);
    (opened.unwrap(), accepted.unwrap())
}

/// The error that ends a session, whatever messages come before.
pub async fn end(receiver: &mut teale_relay_client::SessionReceiver) -> SessionError {
    timeout(PATIENCE, async {
        loop {
            if let Err(error) = receiver.recv().await {
                return error;
            }
        }
    })
    .await
    .unwrap()
}

/// A TCP proxy on a port of its own that can be cut and mended.
pub struct Wire {
    pub address: SocketAddr,
    target: SocketAddr,
    running: Option<JoinSet<()>>,
}

impl Wire {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut wire = Self { address, target, running: None };
        wire.run(listener);
        wire
    }

    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }

    fn run(&mut self, listener: TcpListener) {
        let target = self.target;
        let mut set = JoinSet::new();
        set.spawn(async move {
            let mut carried = JoinSet::new();
            loop {
                let (mut from, _) = listener.accept().await.unwrap();
                carried.spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(target).await {
                        let _ = copy_bidirectional(&mut from, &mut to).await;
                    }
                });
            }
        });
        self.running = Some(set);
    }

    /// Every connection dies, and new ones are refused.
    pub async fn cut(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.shutdown().await;
        }
    }

    pub async fn mend(&mut self) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        self.run(socket.listen(64).unwrap());
    }
}
