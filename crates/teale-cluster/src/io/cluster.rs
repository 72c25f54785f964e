//! The handle to a running cluster layer.

use std::{collections::BTreeMap, fmt, pin::pin, sync::Arc, time::Duration};

use teale_relay_client::{RelayConfig, RelayStatus};
use teale_wire::{HardwareCapability, NodeCapabilities, NodeId, PeerRecord, chat::ChatRequest};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::{
    answer::Answer,
    carriers::Carriers,
    host::CarrierHost,
    link,
    relay::Relays,
    share::{Sharing, SharingConfig},
    shared::Shared,
};
use crate::{
    AskError, Backend, CarriedLink, Carrier, ClusterEvent, ClusterStatus, Core, CoreConfig, Input, LinkPath,
    LoadState, ModelInfo, ModelView, PeerView,
};

/// How often the backend's list of models is looked at.
const MODELS_POLL: Duration = Duration::from_millis(250);
/// The least time between two questions to the relays while somebody waits for a model.
const DISCOVER_PAUSE: Duration = Duration::from_millis(500);
/// How long links and relays may take to close: a link's last words, then what the relay clients still hold.
const GOODBYE: Duration = Duration::from_secs(10);

/// How a node takes part.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// This node; the identity of all its relay configs.
    pub node: NodeId,
    /// A UUID, stable per data directory.
    pub device_id: String,
    /// For people.
    pub name: String,
    /// The machine.
    pub hardware: HardwareCapability,
    /// Names of our own for models: alias → model id.
    pub aliases: BTreeMap<String, String>,
    /// Requests that may wait for a slot before the answer is `queue_full`.
    pub queue_limit: usize,
    /// How long the first token may take, all attempts together.
    pub first_token_timeout: Duration,
    /// How long the next token may take.
    pub next_token_timeout: Duration,
    /// The cluster's passcode (checked in hello). With one, only peers that know it are served and asked.
    pub passcode: Option<String>,
    /// Whether links to providers are opened before anything is asked (a node that runs an API wants it). Without
    /// it they are kept from the first request on.
    pub eager_links: bool,
}

impl ClusterConfig {
    /// The defaults: no aliases, no passcode, 32 may wait, 120 s for the first token, 60 s for each next one.
    pub fn new(
        node: NodeId,
        device_id: impl Into<String>,
        name: impl Into<String>,
        hardware: HardwareCapability,
    ) -> Self {
        Self {
            node,
            device_id: device_id.into(),
            name: name.into(),
            hardware,
            aliases: BTreeMap::new(),
            queue_limit: 32,
            first_token_timeout: Duration::from_secs(120),
            next_token_timeout: Duration::from_secs(60),
            passcode: None,
            eager_links: false,
        }
    }
}

/// Ends the tasks when the last handle is gone.
struct Guard {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.handle(Input::Shutdown);
        self.stop.cancel();
    }
}

/// The running cluster layer. Clones are handles to the same one; the last one dropped ends it at once
/// ([`Cluster::drain`] ends it politely).
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
    relays: Arc<Relays>,
    carriers: Arc<Carriers>,
    _guard: Arc<Guard>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Starts it in the current tokio runtime: one relay client per config (their capabilities are kept up to
    /// date from the backend), links, health, serving.
    ///
    /// All relay configs carry the identity whose id `config` names.
    pub fn spawn(config: ClusterConfig, backend: Option<Arc<dyn Backend>>, relays: Vec<RelayConfig>) -> Self {
        let core = CoreConfig {
            node: config.node,
            device_id: config.device_id,
            name: config.name,
            hardware: config.hardware,
            aliases: config.aliases,
            queue_limit: config.queue_limit,
            first_token_timeout: config.first_token_timeout,
            next_token_timeout: config.next_token_timeout,
            passcode: config.passcode,
            eager_links: config.eager_links,
        };
        let (shared, wanted) = Shared::new(|now| Core::new(core, rand::random(), now), backend);
        let mut announced = None;
        look_at_backend(&shared, &mut announced);
        let first = announced.clone().unwrap_or_default();
        let relays = relays.into_iter().map(|mut relay| {
            first.apply(&mut relay.capabilities);
            relay
        });
        let (relays, news) = Relays::connect(relays.collect());
        for (number, (url, news)) in news.into_iter().enumerate() {
            let follow = Arc::clone(&relays).follow(Arc::clone(&shared), number, url, news);
            shared.tasks.spawn(follow);
        }
        let carriers = Arc::new(Carriers::default());
        carriers.add(Arc::clone(&relays) as Arc<dyn Carrier>);
        shared.tasks.spawn(Arc::clone(&carriers).open_wanted(Arc::clone(&shared), wanted));
        shared.tasks.spawn(watch_backend(Arc::clone(&shared), Arc::clone(&relays), announced));
        let timer = Arc::clone(&shared);
        shared.tasks.spawn(async move { timer.run_timer().await });
        let guard = Guard { shared: Arc::clone(&shared), stop: shared.stop.clone() };
        Self { shared, relays, carriers, _guard: Arc::new(guard) }
    }

    /// Adds a way to peers. It is shut down by [`Cluster::drain`], after the links.
    pub fn add_carrier(&self, carrier: Arc<dyn Carrier>) {
        self.carriers.add(carrier);
    }

    /// Takes in a link that a carrier brought unasked: a peer's, or one to a peer whose id was not known before.
    pub fn adopt(&self, carried: CarriedLink) {
        link::spawn(&self.shared, carried);
    }

    /// News of a discovery: who is there by which way.
    pub fn peers_found(&self, records: Vec<PeerRecord>, path: LinkPath) {
        self.host().peers_found(records, path);
    }

    /// A peer is not there any more on this way.
    pub fn peers_lost(&self, peer: NodeId, path: LinkPath) {
        self.host().peers_lost(peer, path);
    }

    /// Begins to share models: fetching, and offering as far as the config allows. A second call takes the messages away
    /// from the first.
    pub fn share(&self, config: SharingConfig) -> Sharing {
        Sharing::start(self.host(), config)
    }

    /// What a carrier, or model sharing, holds of this cluster; it does not keep it alive.
    pub fn host(&self) -> CarrierHost {
        CarrierHost::new(Arc::downgrade(&self.shared))
    }

    /// Asks the best provider, the own backend included; retries elsewhere before the first token.
    /// Resolves when the first chunk is here. Dropping the future cancels.
    ///
    /// # Errors
    /// Why no answer began; see [`AskError`].
    pub async fn chat(&self, request: ChatRequest) -> Result<Answer, AskError> {
        self.shared.ask(None, request).started().await
    }

    /// Answers a node that came by a way of its own and proved there who it is: with this node's own models only, in its
    /// turn among the peers. Otherwise as [`Cluster::chat`].
    ///
    /// # Errors
    /// Why no answer began; see [`AskError`].
    pub async fn serve(&self, guest: NodeId, request: ChatRequest) -> Result<Answer, AskError> {
        self.shared.ask(Some(guest), request).started().await
    }

    /// Waits until somebody (or the own backend) can answer for `model`, up to `timeout`. Asks the relays as often
    /// as they allow meanwhile.
    pub async fn wait_for_model(&self, model: &str, timeout: Duration) -> bool {
        let mut changed = self.shared.changed.subscribe();
        let able = || self.shared.look(|core| core.can_answer(model));
        if able() {
            return true;
        }
        let wait = async {
            while !able() {
                if changed.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        // The relays' own limit is the pace; the pause is for relays that fail at once.
        let discover = async {
            loop {
                self.relays.discover(&self.shared).await;
                tokio::time::sleep(DISCOVER_PAUSE).await;
            }
        };
        tokio::select! {
            () = wait => true,
            () = discover => able(),
            () = tokio::time::sleep(timeout) => able(),
        }
    }

    /// The model's name behind an alias of this node's; any other name is its own.
    pub fn resolve(&self, model: &str) -> String {
        self.shared.look(|core| core.resolve(model).to_owned())
    }

    /// Asks the relays who is there, as soon as they allow it (a relay answers once in ten seconds). Returns when
    /// they answered.
    pub async fn discover(&self) {
        self.relays.discover(&self.shared).await;
    }

    /// Peers, from memory, sorted by id.
    pub fn peers(&self) -> Vec<PeerView> {
        self.shared.look(Core::peers)
    }

    /// Models, own and remote, from memory, sorted by id.
    pub fn models(&self) -> Vec<ModelView> {
        self.shared.look(Core::models)
    }

    /// Numbers.
    pub fn status(&self) -> ClusterStatus {
        self.shared.look(Core::status)
    }

    /// The relays' state.
    pub fn relays(&self) -> Vec<RelayStatus> {
        self.relays.status()
    }

    /// News from now on.
    pub fn events(&self) -> broadcast::Receiver<ClusterEvent> {
        self.shared.events.subscribe()
    }

    /// Refuses new work (`unavailable`), lets running requests end up to `limit`, answers that wait on links that
    /// are backed up included, closes links and relays.
    pub async fn drain(&self, limit: Duration) {
        self.shared.handle(Input::Drain);
        let mut patience = pin!(tokio::time::sleep(limit));
        loop {
            let ended = self.shared.ended.notified();
            if self.shared.look(Core::is_drained) {
                break;
            }
            tokio::select! {
                () = ended => {}
                () = &mut patience => break,
            }
        }
        self.shared.handle(Input::Shutdown);
        let goodbye = async {
            self.shared.writers.close();
            self.shared.writers.wait().await;
            self.carriers.shutdown().await;
        };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        self.shared.stop.cancel();
        self.shared.tasks.close();
        let _ = tokio::time::timeout(GOODBYE, self.shared.tasks.wait()).await;
    }
}

/// What relays are told of the backend.
#[derive(Debug, Clone, Default, PartialEq)]
struct Announcement {
    models: Vec<ModelInfo>,
    slots: usize,
    draining: bool,
}

impl Announcement {
    fn apply(&self, capabilities: &mut NodeCapabilities) {
        let ready = || self.models.iter().filter(|model| model.state == LoadState::Ready);
        capabilities.loaded_models = ready().map(|model| model.id.clone()).collect();
        capabilities.is_available = !self.draining && ready().next().is_some();
        capabilities.max_concurrent_requests =
            (self.slots > 0).then_some(self.slots.try_into().unwrap_or(u32::MAX));
        capabilities.effective_context = ready().filter_map(|model| model.context).min();
    }
}

/// Brings the backend's state to the core if it changed; true when it did.
fn look_at_backend(shared: &Shared, last: &mut Option<Announcement>) -> bool {
    let draining = shared.look(Core::is_draining);
    let (models, slots) =
        shared.backend.as_ref().map_or((Vec::new(), 0), |backend| (backend.models(), backend.slots()));
    let now = Announcement { models, slots, draining };
    if last.as_ref() == Some(&now) {
        return false;
    }
    shared.handle(Input::Backend { models: now.models.clone(), slots });
    shared.changed();
    *last = Some(now);
    true
}

async fn watch_backend(shared: Arc<Shared>, relays: Arc<Relays>, mut last: Option<Announcement>) {
    let mut tick = tokio::time::interval(MODELS_POLL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        if look_at_backend(&shared, &mut last)
            && let Some(now) = &last
        {
            relays.announce(|capabilities| now.apply(capabilities));
        }
    }
}
