//! A running node.

use std::{fmt, net::SocketAddr, time::Duration};

use teale_cluster::{Cluster, Sharing, lan::Lan};
use teale_identity::NodeId;
use teale_relay_client::KnownPeers;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    ApiOptions, DataDir, Dht, NodeBuilder, NodeError, Secret,
    api::{Api, ApiServer, Guard},
    known_peers_file,
    runtime::{DataDirLock, RuntimeFile},
};

/// What API connections get on top of the time running requests had, to write out what is left.
const API_LINGER: Duration = Duration::from_secs(2);

/// A running node. Dropping it stops it at once; [`Node::shutdown`] lets running requests end.
pub struct Node {
    id: NodeId,
    name: String,
    cluster: Cluster,
    lan: Option<Lan>,
    api: Option<SocketAddr>,
    server: Option<ApiServer>,
    lock: Option<DataDirLock>,
    keeper: Option<Keeper>,
    sharing: Option<Sharing>,
    dht: Option<Dht>,
}

/// The task that saves the memory of peers' keys; it ends, after a last look, when this is dropped.
struct Keeper {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Node {
    /// A node to be.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// A node without API around a running cluster.
    pub(crate) fn new(
        id: NodeId,
        name: String,
        cluster: Cluster,
        lan: Option<Lan>,
        lock: Option<DataDirLock>,
    ) -> Self {
        Self { id, name, cluster, lan, api: None, server: None, lock, keeper: None, sharing: None, dht: None }
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its API listens, if it has one.
    pub fn api_addr(&self) -> Option<SocketAddr> {
        self.api
    }

    /// Its API's base URL, `http://HOST:PORT`.
    pub fn api_url(&self) -> Option<String> {
        self.api.map(base_url)
    }

    /// Asking, peers, models, status, events.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The local network, if the node takes part in it.
    pub fn lan(&self) -> Option<&Lan> {
        self.lan.as_ref()
    }

    /// Model files, if the node has a folder for them.
    pub fn sharing(&self) -> Option<&Sharing> {
        self.sharing.as_ref()
    }

    /// The DHT, if the node takes part in it.
    pub fn dht(&self) -> Option<&Dht> {
        self.dht.as_ref()
    }

    pub(crate) fn meet(&mut self, dht: Option<Dht>) {
        self.dht = dht;
    }

    pub(crate) fn share(&mut self, sharing: Option<Sharing>) {
        self.sharing = sharing;
    }

    /// Refuses new work, lets running requests end within `limit`, and closes everything.
    pub async fn shutdown(mut self, limit: Duration) {
        if let Some(dht) = &self.dht {
            dht.stop();
        }
        self.cluster.drain(limit).await;
        if let Some(dht) = self.dht.take() {
            dht.shutdown().await;
        }
        if let Some(server) = self.server.take() {
            server.shutdown(API_LINGER).await;
        }
        if let Some(keeper) = self.keeper.take() {
            drop(keeper.stop);
            let _ = keeper.task.await;
        }
        drop(self.lock.take());
    }

    /// Opens the API, and says in the data directory how to reach it.
    pub(crate) fn open_api(&mut self, listener: TcpListener, options: ApiOptions) -> Result<(), NodeError> {
        let address = listener.local_addr().unwrap_or(options.address);
        let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let guard = Guard {
            key: options.key,
            token: Secret::new(&token),
            hosts: options.allowed_hosts,
            origins: options.cors_origins,
        };
        let mut api = Api::new(self.cluster.clone(), self.lan.clone(), guard, self.id, self.name.clone());
        api.share(self.sharing.clone());
        api.meet(self.dht.clone());
        self.server = Some(api.serve(listener, options.write_timeout));
        self.api = Some(address);
        if let Some(lock) = &mut self.lock {
            lock.publish(&RuntimeFile {
                pid: std::process::id(),
                node: self.id,
                api: base_url(address),
                token,
            })?;
        }
        Ok(())
    }

    /// Keeps the memory of peers' keys on disk from now on.
    pub(crate) fn keep(&mut self, known: KnownPeers, dir: DataDir) {
        let stop = CancellationToken::new();
        let task = tokio::spawn(known_peers_file::keep(known, dir, stop.clone()));
        self.keeper = Some(Keeper { stop: stop.drop_guard(), task });
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

/// `http://HOST:PORT`, with an address one can connect to where the API listens on all of them.
fn base_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    format!("http://{address}")
}
