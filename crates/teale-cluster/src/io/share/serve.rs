//! Answering peers: what there is, and the files themselves.

use std::{collections::HashMap, fs::File, sync::Arc, time::Duration};

use bytes::Bytes;
use teale_wire::{
    CancelReason, ClusterMessage, Extra, ModelOffer, ModelQuery, ModelQueryResponse, ModelTransferRequest,
    NodeId, TransferId,
};
use tokio::{sync::mpsc, time::Instant};

use super::{Inner, hashes::read_whole, library::Hashed};
use crate::{
    LinkId,
    share::{Offered, PREPARING, Sender, SenderConfig, SenderInput, SenderOutput},
};

/// Requests whose files are looked up at once, and answers that wait.
const QUEUE: usize = 256;
/// How long files that were opened serve further requests.
const OPEN_FOR: Duration = Duration::from_secs(1);
/// Models whose files stay open.
const OPEN_MODELS: usize = 16;

/// A model's files, opened.
type Files = Vec<Offered<Arc<File>>>;

/// What the upload task hears.
pub(super) enum Upload {
    Request { link: LinkId, peer: NodeId, relayed: bool, request: Box<ModelTransferRequest> },
    Cancel(LinkId, TransferId),
    Gone(LinkId),
}

/// Answers a query. Blocks for a moment.
pub(super) fn answer(inner: &Arc<Inner>, query: &ModelQuery, relayed: bool) -> ModelQueryResponse {
    let allowed = inner.shares && (!relayed || inner.relay_rate.is_some());
    let mut nothing = ModelQueryResponse {
        model_id: query.model_id.clone(),
        available: false,
        total_size_bytes: None,
        files: Vec::new(),
        models: Vec::new(),
        extra: Extra::new(),
    };
    if !allowed {
        return nothing;
    }
    if query.model_id == super::EVERYTHING {
        let offer = |model: &super::library::LocalModel| ModelOffer {
            model_id: model.id.clone(),
            total_size_bytes: model.size(),
            extra: Extra::new(),
        };
        let models = inner.library.models().iter().map(offer).collect();
        return ModelQueryResponse { models, available: true, ..nothing };
    }
    let Some(model) = inner.library.find(&query.model_id) else { return nothing };
    match inner.library.manifest(&model, &inner.stop) {
        Hashed::Known(manifest) => {
            ModelQueryResponse { model_id: query.model_id.clone(), ..manifest.response() }
        }
        Hashed::Soon => {
            nothing.extra.insert(PREPARING.into(), true.into());
            nothing
        }
    }
}

/// The files of a model, opened, as they were when they were hashed.
fn open(inner: &Arc<Inner>, model: &str) -> Result<Files, CancelReason> {
    let model = inner.library.find(model).ok_or(CancelReason::NotFound)?;
    let Hashed::Known(manifest) = inner.library.manifest(&model, &inner.stop) else {
        return Err(CancelReason::Busy);
    };
    let files = model.files.iter().zip(manifest.files());
    let open = files.map(|(file, entry)| {
        let opened = File::open(&file.path).map_err(|_| CancelReason::Failed)?;
        Ok(Offered { name: entry.name.clone(), size: entry.size, file: Arc::new(opened) })
    });
    open.collect()
}

/// The files of models that were asked for a moment ago: peers ask for many small parts.
#[derive(Default)]
struct OpenModels(HashMap<String, (Instant, Files)>);

impl OpenModels {
    async fn files(&mut self, inner: &Arc<Inner>, model: &str) -> Result<Files, CancelReason> {
        self.0.retain(|_, (opened, _)| opened.elapsed() < OPEN_FOR);
        if let Some((_, files)) = self.0.get(model) {
            return Ok(files.clone());
        }
        let (worker, id) = (Arc::clone(inner), model.to_owned());
        let opening = tokio::task::spawn_blocking(move || open(&worker, &id)).await;
        let files = opening.unwrap_or(Err(CancelReason::Failed))?;
        if self.0.len() < OPEN_MODELS {
            self.0.insert(model.to_owned(), (Instant::now(), files.clone()));
        }
        Ok(files)
    }
}

/// Drives the sender core until the cluster ends.
pub(super) async fn run(inner: Arc<Inner>, config: SenderConfig, mut uploads: mpsc::Receiver<Upload>) {
    let start = Instant::now();
    let mut sender: Sender<Arc<File>> = Sender::new(config, start.elapsed());
    let (tell, mut told) = mpsc::channel::<SenderInput<Arc<File>>>(QUEUE);
    let mut open_models = OpenModels::default();
    let mut sent = 0;
    loop {
        let wait = loop {
            match sender.poll() {
                SenderOutput::Wait(until) => break until,
                SenderOutput::Reply(peer, message) => {
                    let _ = inner.host.share_send(peer, message); // A link that is gone needs no answer.
                }
                SenderOutput::Bulk(link, message) => bulk(&inner, link, message, &tell),
                SenderOutput::Read { link, file, offset, length } => read(link, file, offset, length, &tell),
            }
        };
        inner.sent.fetch_add(sender.sent() - sent, std::sync::atomic::Ordering::Relaxed);
        sent = sender.sent();
        if sender.uploads() == 0 {
            open_models.0.clear();
        }
        let sleep = async {
            match wait {
                Some(until) => tokio::time::sleep_until(start + until).await,
                None => std::future::pending().await,
            }
        };
        let input = tokio::select! {
            () = inner.stop.cancelled() => return,
            Some(input) = told.recv() => input,
            Some(upload) = uploads.recv() => match upload {
                Upload::Cancel(link, id) => SenderInput::Cancel(link, id),
                Upload::Gone(link) => SenderInput::Gone(link),
                Upload::Request { link, peer, relayed, request } => {
                    let files = open_models.files(&inner, &request.model_id).await;
                    SenderInput::Request { link, peer, relayed, request, files }
                }
            },
            () = sleep => SenderInput::Tick,
        };
        sender.handle(start.elapsed(), input);
    }
}

/// Gives a message to a link, and tells when there may be room for another one. At most one per link is under way.
fn bulk(
    inner: &Arc<Inner>,
    link: LinkId,
    message: ClusterMessage,
    tell: &mpsc::Sender<SenderInput<Arc<File>>>,
) {
    let (host, tell) = (inner.host.clone(), tell.clone());
    tokio::spawn(async move {
        let input = match host.bulk(link, message).await {
            Ok(()) => SenderInput::Room(link),
            Err(_) => SenderInput::Gone(link),
        };
        let _ = tell.send(input).await; // The upload task ends with the cluster.
    });
}

/// Reads a part of a file. At most one per link is under way.
fn read(
    link: LinkId,
    file: Arc<File>,
    offset: u64,
    length: u64,
    tell: &mpsc::Sender<SenderInput<Arc<File>>>,
) {
    let tell = tell.clone();
    tokio::task::spawn_blocking(move || {
        let read = || {
            let mut buffer = vec![0; usize::try_from(length).ok()?];
            read_whole(&file, &mut buffer, offset).ok()?;
            Some(Bytes::from(buffer))
        };
        let _ = tell.blocking_send(SenderInput::Read(link, read()));
    });
}
