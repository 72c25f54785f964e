//! A node to be: identity, engines, cluster, API, composed and started in one step.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use futures_util::StreamExt;
use teale_cluster::{Backend, Cluster, ClusterConfig, PullOptions, Sharing};
use teale_identity::Identity;
use teale_noise::IdentityProof;
use teale_relay_client::{Encryption, KnownPeers, Policy, RelayConfig};
use teale_wire::{Extra, HardwareCapability, NodeCapabilities};

use crate::{
    DataDir, Node, NodeError, Secret, Settings,
    api::{self, Guard},
    config::{FIRST_TOKEN_SECONDS, NEXT_TOKEN_SECONDS, QUEUE, SLOTS},
    dht::{self, Dht, DhtOptions},
    engine::{self, EngineOptions, ModelSpec, UpstreamOptions},
    hardware, known_peers_file,
    lan::{self, LanOptions, Member, device_id, static_peer},
    late_backend::LateBackend,
    model_set::ModelSet,
    pulling::{self, PullLine},
    runtime::DataDirLock,
    sharing::{self, ShareOptions},
};

/// How long a starting node looks for a peer that offers its model.
const SEARCH: Duration = Duration::from_secs(60);

/// How the local API listens, and whom it lets in.
#[derive(Debug, Clone)]
pub struct ApiOptions {
    /// Where. Port 0 takes a free one.
    pub address: SocketAddr,
    /// What clients must present; needed beyond loopback.
    pub key: Option<Secret>,
    /// Host names under which it may be called, besides IP addresses and localhost.
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may call it; `*` for any.
    pub cors_origins: Vec<String>,
    /// How long a client may take nothing of its answer before it is cut off, and its slot freed. Default: 60 s.
    pub write_timeout: Duration,
}

impl ApiOptions {
    /// An API without key, names and origins.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            key: None,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            write_timeout: api::WRITE_TIMEOUT,
        }
    }
}

/// A node to be. Nothing is opened before [`NodeBuilder::start`].
#[derive(Debug)]
#[must_use]
pub struct NodeBuilder {
    data_dir: Option<DataDir>,
    identity: Option<Identity>,
    name: Option<String>,
    hardware: Option<HardwareCapability>,
    relays: Vec<String>,
    relay_ca: Option<String>,
    models: Vec<String>,
    engine: EngineOptions,
    upstream: Option<UpstreamOptions>,
    backends: Vec<Arc<dyn Backend>>,
    aliases: BTreeMap<String, String>,
    api: Option<ApiOptions>,
    encryption: Encryption,
    identity_proof: IdentityProof,
    queue: usize,
    first_token: Duration,
    next_token: Duration,
    passcode: Option<Secret>,
    known_peers: Option<KnownPeers>,
    lan: Option<LanOptions>,
    dht: Option<DhtOptions>,
    sharing: ShareOptions,
}

impl Default for NodeBuilder {
    fn default() -> Self {
        Self {
            data_dir: None,
            identity: None,
            name: None,
            hardware: None,
            relays: Vec::new(),
            relay_ca: None,
            models: Vec::new(),
            engine: EngineOptions { slots: SLOTS, ..EngineOptions::default() },
            upstream: None,
            backends: Vec::new(),
            aliases: BTreeMap::new(),
            api: None,
            encryption: Encryption::default(),
            identity_proof: IdentityProof::default(),
            queue: QUEUE,
            first_token: Duration::from_secs(FIRST_TOKEN_SECONDS),
            next_token: Duration::from_secs(NEXT_TOKEN_SECONDS),
            passcode: None,
            known_peers: None,
            lan: None,
            dht: None,
            sharing: ShareOptions::default(),
        }
    }
}

impl NodeBuilder {
    /// Keeps identity, runtime file and the memory of peers' keys in a directory, which this node then holds for
    /// itself. Without one the node lives in memory only, with a fresh identity.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(DataDir::new(path));
        self
    }

    /// Takes this identity instead of the data directory's.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The name people see. Default: the machine's.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What the machine is said to be. Default: what it is.
    pub fn hardware(mut self, hardware: HardwareCapability) -> Self {
        self.hardware = Some(hardware);
        self
    }

    /// Joins a relay, `ws://HOST[:PORT]/ws` or `wss://…`. May be said several times.
    pub fn relay(mut self, url: impl Into<String>) -> Self {
        self.relays.push(url.into());
        self
    }

    /// Trusts these certificates (PEM) for `wss` relays, beside the system's.
    pub fn relay_ca(mut self, pem: impl Into<String>) -> Self {
        self.relay_ca = Some(pem.into());
        self
    }

    /// Serves a model file, `FILE.gguf` or `NAME=FILE.gguf`. May be said several times: one engine each.
    pub fn model(mut self, spec: impl Into<String>) -> Self {
        self.models.push(spec.into());
        self
    }

    /// How the engines run.
    pub fn engine(mut self, options: EngineOptions) -> Self {
        self.engine = options;
        self
    }

    /// Serves what an OpenAI-compatible server serves.
    pub fn upstream(mut self, upstream: UpstreamOptions) -> Self {
        self.upstream = Some(upstream);
        self
    }

    /// Serves with an engine of the caller's. May be said several times.
    pub fn backend(mut self, backend: Arc<dyn Backend>) -> Self {
        self.backends.push(backend);
        self
    }

    /// Another name for a model.
    pub fn alias(mut self, name: impl Into<String>, model: impl Into<String>) -> Self {
        self.aliases.insert(name.into(), model.into());
        self
    }

    /// Opens the HTTP API. Without this there is none.
    pub fn api(mut self, options: ApiOptions) -> Self {
        self.api = Some(options);
        self
    }

    /// Whether plaintext with peers that have no key is acceptable. Default: it is, with a warning.
    pub fn encryption(mut self, encryption: Encryption) -> Self {
        self.encryption = encryption;
        self
    }

    /// Whether peers must prove their node id. Default: they must.
    pub fn identity_proof(mut self, proof: IdentityProof) -> Self {
        self.identity_proof = proof;
        self
    }

    /// How many requests may wait for a slot.
    pub fn queue(mut self, limit: usize) -> Self {
        self.queue = limit;
        self
    }

    /// How long the first token, and each next one, may take.
    pub fn timeouts(mut self, first_token: Duration, next_token: Duration) -> Self {
        self.first_token = first_token;
        self.next_token = next_token;
        self
    }

    /// The cluster's passcode.
    pub fn passcode(mut self, passcode: Secret) -> Self {
        self.passcode = Some(passcode);
        self
    }

    /// Starts from this memory of peers' keys instead of the data directory's.
    pub fn known_peers(mut self, known: KnownPeers) -> Self {
        self.known_peers = Some(known);
        self
    }

    /// Takes part in the local network. Without this the node neither listens there nor looks for others.
    pub fn lan(mut self, options: LanOptions) -> Self {
        self.lan = Some(options);
        self
    }

    /// Takes part in the DHT: providers are found by the name of a model, without a relay. The node then also listens for
    /// peers' TCP connections, as on the local network ([`NodeBuilder::lan`] says where; by default on port 11436).
    pub fn dht(mut self, options: DhtOptions) -> Self {
        self.dht = Some(options);
        self
    }

    /// Where model files lie, and what of them is offered. Without this, and with a data directory, the node can fetch
    /// models and offers nothing.
    pub fn sharing(mut self, options: ShareOptions) -> Self {
        self.sharing = options;
        self
    }

    /// Starts the node in the current tokio runtime: takes the data directory, binds the API, loads the models,
    /// joins the relays. Returns when the API answers; relays may still be connecting.
    ///
    /// # Errors
    /// [`NodeError`], before anything has been announced to anybody.
    pub async fn start(mut self) -> Result<Node, NodeError> {
        for url in &self.relays {
            check_relay_url(url)?;
        }
        for peer in self.lan.iter().flat_map(|lan| &lan.peers) {
            static_peer(peer)?;
        }
        let models = std::mem::take(&mut self.models);
        let (names, files): (Vec<_>, Vec<_>) =
            models.iter().partition(|text| sharing::model_name(text).is_some());
        let mut specs =
            files.into_iter().map(|text| ModelSpec::parse(text)).collect::<Result<Vec<_>, _>>()?;
        if let Some(api) = &self.api {
            check_exposure(api.address, api.key.as_ref())?;
        }
        let lock = self.data_dir.as_ref().map(DataDirLock::acquire).transpose()?;
        let identity = match (self.identity.take(), &self.data_dir) {
            (Some(identity), _) => identity,
            (None, Some(dir)) => Identity::load_or_create(&dir.identity())?,
            (None, None) => Identity::generate()?,
        };
        let known = match (self.known_peers.take(), &self.data_dir) {
            (Some(known), _) => known,
            (None, Some(dir)) => known_peers_file::load(dir)?,
            (None, None) => KnownPeers::new(),
        };
        let seeds = match &self.dht {
            Some(_) if self.passcode.is_some() => return Err(NodeError::DhtWithPasscode),
            Some(options) => dht::resolve(&options.seeds, options.listen.is_ipv4()).await?,
            None => Vec::new(),
        };
        let listener = self.listen().await?;
        let on_disk = specs.iter().filter(|spec| !spec.is_built_in());
        let named = on_disk.map(|spec| (spec.id.clone(), spec.path.clone())).collect();
        let shared = self.sharing.config(self.data_dir.as_ref(), named);
        // What has to be fetched first is loaded after joining.
        let late = (!names.is_empty()).then(|| Arc::new(LateBackend::default()));
        let backend = match &late {
            Some(late) => Some(Arc::clone(late) as Arc<dyn Backend>),
            None => self.load(std::mem::take(&mut specs)).await?,
        };
        let id = identity.node_id();
        let name = self.name.take().filter(|name| !name.is_empty()).unwrap_or_else(hardware::host_name);
        let identity = Arc::new(identity);
        let hardware = self.hardware.take().unwrap_or_else(hardware::detect);
        let joined_relays = self.relays.clone();
        let cluster = self.join(Arc::clone(&identity), &name, &hardware, backend, &known);
        let lan = match self.lan_to_join() {
            Some(options) => {
                let (encryption, identity_proof) = (self.encryption, self.identity_proof);
                let policy = Policy { encryption, identity_proof, known: known.clone() };
                let identity = Arc::clone(&identity);
                Some(lan::join(&cluster, options, Member { identity, policy, name: name.clone(), hardware })?)
            }
            None => None,
        };
        let dht = match (self.dht.take(), &lan) {
            (Some(options), Some(lan)) => {
                let (cluster, lan) = (cluster.clone(), lan.clone());
                let member = dht::Member { identity, cluster, lan, relays: joined_relays };
                Some(Dht::start(options.listen, seeds, member)?)
            }
            _ => None,
        };
        let sharing = shared.map(|config| cluster.share(config));
        if let Some(late) = late {
            for name in names {
                specs.push(named_model(sharing.as_ref(), name, self.sharing.relay_rate.is_some()).await?);
            }
            if let Some(backend) = self.load(specs).await? {
                late.fill(backend);
                shows_own_models(&cluster).await;
            }
        }
        let mut node = Node::new(id, name, cluster, lan, lock);
        node.meet(dht);
        node.share(sharing);
        if let (Some(listener), Some(options)) = (listener, self.api.take()) {
            node.open_api(listener, options)?;
        }
        if let Some(dir) = self.data_dir.take() {
            node.keep(known, dir);
        }
        Ok(node)
    }

    /// The local network as it was asked for; with a DHT at least a listener, where those who met there connect.
    fn lan_to_join(&mut self) -> Option<LanOptions> {
        match self.lan.take() {
            None if self.dht.is_some() => Some(LanOptions { discover: false, ..LanOptions::default() }),
            Some(mut options) if self.dht.is_some() => {
                options.listen = options.listen.or_else(|| LanOptions::default().listen);
                Some(options)
            }
            options => options,
        }
    }

    async fn listen(&self) -> Result<Option<tokio::net::TcpListener>, NodeError> {
        let Some(options) = &self.api else { return Ok(None) };
        let address = options.address;
        api::bind(address).await.map(Some).map_err(|source| NodeError::ApiBind { address, source })
    }

    /// Loads all engines; the files are read one after the other, off the runtime's threads.
    async fn load(&mut self, specs: Vec<ModelSpec>) -> Result<Option<Arc<dyn Backend>>, NodeError> {
        let mut backends = std::mem::take(&mut self.backends);
        for spec in specs {
            let options = self.engine.clone();
            let id = spec.id.clone();
            let loading = tokio::task::spawn_blocking(move || engine::load(&spec, &options));
            let crashed =
                |_| NodeError::Model { model: id, reason: "the engine crashed while loading".into() };
            backends.push(loading.await.map_err(crashed)??);
        }
        if let Some(upstream) = &self.upstream {
            backends.push(engine::upstream(upstream, self.engine.slots)?);
        }
        let backend = ModelSet::combine(backends);
        let mut ids: Vec<_> =
            backend.iter().flat_map(|backend| backend.models()).map(|model| model.id).collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(NodeError::Model {
                model: pair[0].clone(),
                reason: "two engines have this name; use NAME=FILE.gguf".into(),
            }),
            None => Ok(backend),
        }
    }

    fn join(
        &mut self,
        identity: Arc<Identity>,
        name: &str,
        hardware: &HardwareCapability,
        backend: Option<Arc<dyn Backend>>,
        known: &KnownPeers,
    ) -> Cluster {
        let capabilities = NodeCapabilities {
            max_model_size_gb: hardware.ram_for_models_gb(),
            hardware: hardware.clone(),
            loaded_models: Vec::new(),
            is_available: backend.is_some(),
            ptn_ids: Some(Vec::new()),
            swappable_models: None,
            max_concurrent_requests: None,
            effective_context: None,
            on_ac_power: None,
            extra: Extra::new(),
        };
        let relay = |url: String| {
            let mut relay = RelayConfig::new(url, Arc::clone(&identity), name, capabilities.clone());
            relay.encryption = self.encryption;
            relay.identity_proof = self.identity_proof;
            relay.known_peers = known.clone();
            relay.extra_ca_pem = self.relay_ca.clone();
            relay
        };
        let relays = std::mem::take(&mut self.relays).into_iter().map(relay).collect();
        // The device's name in hello is as stable as the identity it is made of.
        let id = identity.node_id();
        let mut config = ClusterConfig::new(id, device_id(id), name, hardware.clone());
        config.aliases = std::mem::take(&mut self.aliases);
        config.queue_limit = self.queue;
        config.first_token_timeout = self.first_token;
        config.next_token_timeout = self.next_token;
        config.passcode = self.passcode.as_ref().map(|passcode| passcode.reveal().to_owned());
        // Whoever opens an API means to ask.
        config.eager_links = self.api.is_some();
        Cluster::spawn(config, backend, relays)
    }
}

/// Waits until the cluster has seen that its backend has models now: it looks four times a second.
async fn shows_own_models(cluster: &Cluster) {
    let seen = async {
        while !cluster.models().iter().any(|model| model.local) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), seen).await; // It will be seen later.
}

/// The file of a model that was asked for by name: on this machine, or fetched from a peer.
async fn named_model(
    sharing: Option<&Sharing>,
    name: &str,
    over_relay: bool,
) -> Result<ModelSpec, NodeError> {
    let failed = |reason: String| NodeError::Model { model: name.to_owned(), reason };
    let no_folder = || failed("it is no file, and without a data directory it cannot be fetched".into());
    let sharing = sharing.ok_or_else(no_folder)?;
    if sharing::find(sharing, name).await.is_none() {
        tracing::info!(model = name, "no such file here: looking for a peer that offers it");
        let options = PullOptions { relay: over_relay, search: SEARCH, ..PullOptions::default() };
        let pull = sharing.pull(name, options).map_err(|error| failed(error.to_string()))?;
        let mut lines = std::pin::pin!(pulling::lines(name.to_owned(), pull));
        while let Some(line) = lines.next().await {
            match line {
                PullLine::Progress { total, done, rate, .. } if total > 0 => {
                    tracing::info!(model = name, done, total, rate = rate as u64, "fetching");
                }
                PullLine::Error { message, .. } => {
                    return Err(failed(format!("it is no file here, and it cannot be fetched: {message}")));
                }
                PullLine::Progress { .. } | PullLine::Done { .. } => {}
            }
        }
    }
    let found = sharing::find(sharing, name).await.ok_or_else(|| failed("it is gone again".into()))?;
    Ok(ModelSpec { id: name.to_owned(), path: sharing::engine_file(&found)? })
}

/// What can be said about settings without starting anything.
pub(crate) fn check_settings(settings: &Settings) -> Result<(), NodeError> {
    settings.relays.iter().try_for_each(|url| check_relay_url(url))?;
    settings.peers.iter().try_for_each(|peer| static_peer(peer).map(drop))?;
    settings.models.iter().filter(|text| sharing::model_name(text).is_none()).try_for_each(|text| {
        let spec = ModelSpec::parse(text)?;
        let missing = || NodeError::Model {
            model: spec.id.clone(),
            reason: format!("{} is no file", spec.path.display()),
        };
        if spec.is_built_in() || spec.path.is_file() { Ok(()) } else { Err(missing()) }
    })?;
    check_exposure(settings.api, settings.api_key.as_ref())
}

fn check_exposure(address: SocketAddr, key: Option<&Secret>) -> Result<(), NodeError> {
    if Guard::is_exposed(address) && key.is_none() { Err(NodeError::ApiKeyNeeded(address)) } else { Ok(()) }
}

fn check_relay_url(url: &str) -> Result<(), NodeError> {
    let refuse = |reason| Err(NodeError::RelayUrl { url: url.to_owned(), reason });
    let Ok(uri) = url.parse::<http::Uri>() else { return refuse("not a URL") };
    match (uri.scheme_str(), uri.host()) {
        (Some("ws" | "wss"), Some(host)) if !host.is_empty() => Ok(()),
        (Some("ws" | "wss"), _) => refuse("no host"),
        _ => refuse("the scheme is neither ws nor wss"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relay_urls_are_checked_before_anything_starts() {
        assert!(check_relay_url("ws://127.0.0.1:1/ws").is_ok());
        assert!(check_relay_url("wss://relay.example/ws").is_ok());
        for url in ["", "127.0.0.1:1", "http://x/ws", "ws://", "not a url"] {
            assert!(check_relay_url(url).is_err(), "{url:?}");
        }
    }
}
