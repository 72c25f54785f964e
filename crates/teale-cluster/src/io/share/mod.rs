//! Model sharing on files and links: what this node offers, what it fetches.

mod folder;
mod hashes;
mod library;
mod pull;
mod serve;
mod worker;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use teale_wire::{ClusterMessage, Extra, ModelQuery, ModelQueryResponse, NodeId, TransferId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use self::pull::{Pull, PullOptions, PullState};
use self::{folder::ModelFolder, hashes::Hashes, library::Library, pull::PullTask, serve::Upload};
use super::host::{CarrierHost, ShareNews};
use crate::{
    LinkId, LinkPath,
    share::{Input, PullError, SenderConfig, bounds, model_folder},
};

/// The model id that asks for everything.
pub(super) const EVERYTHING: &str = "*";
/// Pulls at once.
const PULLS: usize = 16;
/// Messages of one pull that wait. A pull that does not keep up slows down the links that bring them.
const NEWS: usize = 32;
/// Requests of peers that wait.
const UPLOADS: usize = 64;
/// How long peers may take to say what they offer.
const LIST: Duration = Duration::from_secs(2);

/// How a node shares models.
#[derive(Debug, Clone)]
pub struct SharingConfig {
    /// Where fetched models live.
    pub models: PathBuf,
    /// Folders of other programs' GGUF files: offered, never written.
    pub caches: Vec<PathBuf>,
    /// Single files to offer: id and path.
    pub named: Vec<(String, PathBuf)>,
    /// Where hashes of files are kept.
    pub hashes: Option<PathBuf>,
    /// Whether anything is offered to others.
    pub enabled: bool,
    /// Peers sent to at once.
    pub uploads: usize,
    /// Bytes per second in all.
    pub upload_rate: Option<u64>,
    /// Bytes per second over relays; `None`: nothing is sent over relays.
    pub relay_rate: Option<u64>,
}

impl SharingConfig {
    /// Fetches to this folder, offers nothing.
    pub fn new(models: impl Into<PathBuf>) -> Self {
        Self {
            models: models.into(),
            caches: Vec::new(),
            named: Vec::new(),
            hashes: None,
            enabled: false,
            uploads: bounds::UPLOADS,
            upload_rate: None,
            relay_rate: None,
        }
    }
}

/// A model on this node's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalModelView {
    /// Its id.
    pub id: String,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// Whether it lies in the models' folder, and may be removed.
    pub own: bool,
}

/// A model on another node's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteModelView {
    /// Its id.
    pub id: String,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// Who offers it.
    pub nodes: Vec<NodeId>,
}

/// What the tasks share.
pub(super) struct Inner {
    host: CarrierHost,
    library: Arc<Library>,
    shares: bool,
    relay_rate: Option<u64>,
    stop: CancellationToken,
    /// Running pulls by what their transfers' ids begin with.
    pulls: Mutex<BTreeMap<u32, RunningPull>>,
    /// Whoever waits for lists of offers.
    lists: Mutex<Vec<mpsc::Sender<Offers>>>,
    received: AtomicU64,
    sent: AtomicU64,
    strays: AtomicU64,
}

/// Who offers what.
type Offers = (NodeId, Box<ModelQueryResponse>);

struct RunningPull {
    model: String,
    news: mpsc::Sender<Input>,
}

/// Model sharing of a running cluster. Clones are handles to the same one; it ends with the last of them.
#[derive(Clone)]
pub struct Sharing {
    inner: Arc<Inner>,
    _stop: Arc<tokio_util::sync::DropGuard>,
}

impl fmt::Debug for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharing").field("models", &self.inner.library.folder.root()).finish_non_exhaustive()
    }
}

impl Sharing {
    /// Starts it in the current tokio runtime. It does not keep the cluster alive.
    pub(super) fn start(host: CarrierHost, config: SharingConfig) -> Self {
        let library = Library::new(
            ModelFolder::new(config.models),
            Hashes::load(config.hashes),
            config.caches,
            config.named,
        );
        let stop = CancellationToken::new();
        let news = host.take_sharing();
        let inner = Arc::new(Inner {
            host,
            library: Arc::new(library),
            shares: config.enabled,
            relay_rate: config.relay_rate,
            stop: stop.clone(),
            pulls: Mutex::default(),
            lists: Mutex::default(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            strays: AtomicU64::new(0),
        });
        let sender =
            SenderConfig { uploads: config.uploads, rate: config.upload_rate, relay_rate: config.relay_rate };
        let (give, uploads) = mpsc::channel(UPLOADS);
        tokio::spawn(serve::run(Arc::clone(&inner), sender, uploads));
        tokio::spawn(route(Arc::clone(&inner), news, give));
        Self { inner, _stop: Arc::new(stop.drop_guard()) }
    }

    /// Starts to fetch a model from whoever offers it.
    ///
    /// # Errors
    /// [`PullError::Name`], [`PullError::Exists`], [`PullError::Running`].
    pub fn pull(&self, model: &str, options: PullOptions) -> Result<Pull, PullError> {
        model_folder(model)?;
        if self.inner.library.folder.model(model)?.exists() {
            return Err(PullError::Exists);
        }
        let (news, incoming) = mpsc::channel(NEWS);
        let tag = {
            let mut pulls = self.inner.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            if pulls.len() >= PULLS || pulls.values().any(|pull| pull.model == model) {
                return Err(PullError::Running);
            }
            let tag =
                std::iter::repeat_with(rand::random).find(|tag| !pulls.contains_key(tag)).unwrap_or_default();
            pulls.insert(tag, RunningPull { model: model.to_owned(), news });
            tag
        };
        let (tell, state) = watch::channel(PullState::default());
        let stop = CancellationToken::new();
        let task = PullTask {
            inner: Arc::clone(&self.inner),
            model: model.to_owned(),
            tag,
            options,
            news: incoming,
            state: tell,
            stop: stop.clone(),
        };
        tokio::spawn(task.run());
        Ok(Pull { state, _stop: stop.drop_guard() })
    }

    /// The models on this node's disk. Blocks while folders are read.
    pub fn local(&self) -> Vec<LocalModelView> {
        let view = |model: &library::LocalModel| LocalModelView {
            id: model.id.clone(),
            size_bytes: model.size(),
            files: model.files.iter().map(|file| file.path.clone()).collect(),
            own: model.own,
        };
        self.inner.library.models().iter().map(view).collect()
    }

    /// The model that a name asks for, if it is on this node's disk. Blocks while folders are read.
    pub fn find(&self, name: &str) -> Option<LocalModelView> {
        let id = self.inner.library.find(name)?.id;
        self.local().into_iter().find(|model| model.id == id)
    }

    /// The models that linked peers offer, sorted by id. Waits at most two seconds for them.
    pub async fn remote(&self) -> Vec<RemoteModelView> {
        let peers = self.inner.host.peers();
        let (tell, mut answers) = mpsc::channel(peers.len().max(1));
        self.inner.lists.lock().unwrap_or_else(PoisonError::into_inner).push(tell);
        let query = ModelQuery { model_id: EVERYTHING.into(), extra: Extra::new() };
        let asked = peers.iter().filter(|peer| peer.path.is_some() && peer.healthy);
        let asked: Vec<NodeId> = asked.map(|peer| peer.node).collect();
        let ask = |peer: &&NodeId| {
            self.inner.host.share_send(**peer, ClusterMessage::ModelQuery(query.clone())).is_ok()
        };
        let mut missing: Vec<NodeId> = asked.iter().filter(ask).copied().collect();
        let mut all: BTreeMap<String, RemoteModelView> = BTreeMap::new();
        let gather = async {
            while !missing.is_empty() {
                let Some((node, response)) = answers.recv().await else { return };
                if !missing.contains(&node) {
                    continue;
                }
                missing.retain(|other| *other != node);
                for offer in response.models {
                    let view = all.entry(offer.model_id.clone()).or_insert_with(|| RemoteModelView {
                        id: offer.model_id,
                        size_bytes: offer.total_size_bytes,
                        nodes: Vec::new(),
                    });
                    view.nodes.push(node);
                }
            }
        };
        let _ = tokio::time::timeout(LIST, gather).await; // Who is late is left out.
        drop(answers);
        self.inner.lists.lock().unwrap_or_else(PoisonError::into_inner).retain(|list| !list.is_closed());
        all.into_values().collect()
    }

    /// Removes a model from the models' folder, and what was begun of it; whether there was one. Blocks.
    ///
    /// # Errors
    /// From the file system.
    pub fn remove(&self, model: &str) -> std::io::Result<bool> {
        let removed = self.inner.library.folder.remove(model);
        self.inner.library.forget_seen();
        removed
    }

    /// Bytes of model files received and sent since the start.
    pub fn bytes(&self) -> (u64, u64) {
        (self.inner.received.load(Ordering::Relaxed), self.inner.sent.load(Ordering::Relaxed))
    }

    /// The models' folder.
    pub fn folder(&self) -> &Path {
        self.inner.library.folder.root()
    }
}

/// Removes a model from a folder that no running node uses, and what was begun of it; whether there was one. Blocks.
///
/// # Errors
/// From the file system.
pub fn remove_model(folder: &Path, model: &str) -> std::io::Result<bool> {
    ModelFolder::new(folder.to_owned()).remove(model)
}

/// Brings each message to whom it concerns, until the cluster or the sharing ends.
async fn route(inner: Arc<Inner>, mut news: mpsc::Receiver<ShareNews>, uploads: mpsc::Sender<Upload>) {
    loop {
        let news = tokio::select! {
            () = inner.stop.cancelled() => return,
            news = news.recv() => news,
        };
        match news {
            Some(ShareNews::Message {
                message: ClusterMessage::ModelTransferChunk(chunk),
                peer,
                beside_answers,
                ..
            }) => match inner.pull_with(&chunk.transfer_id) {
                Some(pull) => {
                    let _ = pull.send(Input::Chunk { peer, chunk, beside_answers }).await;
                }
                None => inner.stray(peer),
            },
            Some(ShareNews::Message { link, peer, path, message, .. }) => {
                message_to(&inner, &uploads, (link, peer, path), message).await;
            }
            Some(ShareNews::LinkDown { link, peer }) => {
                let _ = uploads.send(Upload::Gone(link)).await;
                for pull in inner.all_pulls() {
                    let _ = pull.send(Input::Lost(peer)).await; // A pull that ended hears nothing.
                }
            }
            None => return,
        }
    }
}

async fn message_to(
    inner: &Arc<Inner>,
    uploads: &mpsc::Sender<Upload>,
    (link, peer, path): (LinkId, NodeId, LinkPath),
    message: ClusterMessage,
) {
    let relayed = path == LinkPath::Relay;
    match message {
        ClusterMessage::ModelQuery(query) => {
            let worker = Arc::clone(inner);
            tokio::spawn(async move {
                let answered = Arc::clone(&worker);
                let answer =
                    tokio::task::spawn_blocking(move || serve::answer(&answered, &query, relayed)).await;
                if let Ok(response) = answer {
                    let _ =
                        worker.host.share_send(peer, ClusterMessage::ModelQueryResponse(Box::new(response)));
                }
            });
        }
        ClusterMessage::ModelQueryResponse(response) if response.model_id == EVERYTHING => {
            for list in inner.lists.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let _ = list.try_send((peer, response.clone())); // Who asked has gone, or has his answer.
            }
        }
        ClusterMessage::ModelQueryResponse(response) => {
            if let Some(pull) = inner.pull_of(&response.model_id) {
                let _ = pull.send(Input::Response(peer, response)).await;
            }
        }
        ClusterMessage::ModelTransferRequest(request) => {
            let _ = uploads.send(Upload::Request { link, peer, relayed, request }).await;
        }
        ClusterMessage::ModelTransferComplete(complete) => {
            if let Some(pull) = inner.pull_with(&complete.transfer_id) {
                let _ = pull.send(Input::Complete(peer, complete.transfer_id)).await;
            }
        }
        ClusterMessage::ModelTransferCancel(cancel) => match inner.pull_with(&cancel.transfer_id) {
            Some(pull) => {
                let _ = pull.send(Input::Cancelled(peer, cancel.transfer_id, cancel.reason)).await;
            }
            None => {
                let _ = uploads.send(Upload::Cancel(link, cancel.transfer_id)).await;
            }
        },
        _ => {}
    }
}

impl Inner {
    fn all_pulls(&self) -> Vec<mpsc::Sender<Input>> {
        let pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.values().map(|pull| pull.news.clone()).collect()
    }

    fn pull_of(&self, model: &str) -> Option<mpsc::Sender<Input>> {
        let pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.values().find(|pull| pull.model == model).map(|pull| pull.news.clone())
    }

    /// The pull that this id was made for.
    fn pull_with(&self, id: &TransferId) -> Option<mpsc::Sender<Input>> {
        let tag = u32::from_str_radix(id.as_str().get(..8)?, 16).ok()?;
        let pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.get(&tag).map(|pull| pull.news.clone())
    }

    /// A chunk that no pull asked for: dropped, and told of now and then.
    fn stray(&self, peer: NodeId) {
        /// One of so many is told of.
        const TELL: u64 = 1000;
        if self.strays.fetch_add(1, Ordering::Relaxed).is_multiple_of(TELL) {
            self.host.refused(peer, "chunks of model files that nobody asked for".into());
        }
    }
}
