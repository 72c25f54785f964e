//! [`LlamaBackend`]: a loaded model and the threads that run it.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    task::{Context, Poll},
    thread::{self, JoinHandle, Thread},
    time::Duration,
};

use futures_core::Stream;
use llama_cpp_2::model::LlamaModel;
use teale_cluster::{Backend, BackendError, ChunkStream, LoadState, ModelInfo};
use teale_wire::chat::ChatRequest;
use tokio::sync::mpsc;

use super::{
    answer::{BUFFER, Item, Job, Place},
    engine::Engine,
    loading::{self, CheckedFile},
    log::Lines,
    options::{LlamaOptions, LoadError},
    prompt::Prompter,
    request::Generation,
};
use crate::chunks::Answer;

/// Requests that may wait for a slot inside the engine. Whoever needs a real queue keeps it in front.
pub const QUEUE: usize = 64;

/// A GGUF model, run by llama.cpp in this process.
///
/// Dropping it stops the engine: running answers end with [`BackendError::Unavailable`], and the drop returns when
/// the engine's threads have ended, at the latest after the decoding step in progress.
pub struct LlamaBackend {
    options: LlamaOptions,
    shared: Arc<Shared>,
    requests: Option<SyncSender<Request>>,
    engine: Option<JoinHandle<()>>,
}

/// What an engine does, and has done since it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Activity {
    /// Slots that hold a request. One is free again when the engine has let go of the request, not when its stream
    /// was dropped.
    pub slots_busy: usize,
    /// Tokens of prompts read, those remembered from earlier requests aside.
    pub prompt_tokens: u64,
    /// The longest decoding step, in microseconds: what a cancelled request may have to wait for.
    pub longest_step_us: u64,
}

/// The engine's side of [`Activity`].
#[derive(Debug, Default)]
pub(super) struct Gauges {
    slots_busy: AtomicUsize,
    prompt_tokens: AtomicU64,
    longest_step_us: AtomicU64,
}

impl Gauges {
    pub(super) fn busy(&self, slots: usize) {
        self.slots_busy.store(slots, Ordering::Release);
    }

    pub(super) fn step(&self, prompt_tokens: usize, took: Duration) {
        self.prompt_tokens.fetch_add(prompt_tokens as u64, Ordering::Release);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.longest_step_us.fetch_max(micros, Ordering::Release);
    }

    fn read(&self) -> Activity {
        Activity {
            slots_busy: self.slots_busy.load(Ordering::Acquire),
            prompt_tokens: self.prompt_tokens.load(Ordering::Acquire),
            longest_step_us: self.longest_step_us.load(Ordering::Acquire),
        }
    }
}

/// What the engine's threads and their owner both see.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) gauges: Gauges,
    state: Mutex<State>,
    changed: Condvar,
    stopping: AtomicBool,
    waiting: Arc<AtomicUsize>,
    engine: OnceLock<Thread>,
    facts: Facts,
}

#[derive(Debug, Clone)]
enum State {
    Loading,
    Ready,
    Failed(LoadError),
}

/// What the header tells before the weights are loaded.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    context: Option<u32>,
    size: Option<u64>,
}

/// A request on its way to the tokenizer.
#[derive(Debug)]
struct Request {
    generation: Generation,
    answer: Answer,
    chunks: mpsc::Sender<Item>,
    place: Place,
}

impl LlamaBackend {
    /// Loads a model and waits until it answers. Blocks; large models take many seconds.
    ///
    /// # Errors
    /// Why it cannot be loaded; see [`LoadError`].
    pub fn load(options: LlamaOptions) -> Result<Self, LoadError> {
        let backend = Self::load_in_background(options)?;
        backend.wait()?;
        Ok(backend)
    }

    /// Begins to load a model. Until it is ready its state is [`LoadState::Loading`], and requests are refused.
    ///
    /// # Errors
    /// What is found without reading the weights: bad options, no such file, a malformed header.
    pub fn load_in_background(options: LlamaOptions) -> Result<Self, LoadError> {
        options.check()?;
        let file = loading::check(&options.path)?;
        let facts = Facts { context: Some(loading::context(&options, &file.header)), size: Some(file.size) };
        let shared = Arc::new(Shared::new(facts));
        let (requests, inbox) = sync_channel(QUEUE);
        let engine = spawn(options.clone(), file, Arc::clone(&shared), inbox)?;
        let _ = shared.engine.set(engine.thread().clone());
        Ok(Self { options, shared, requests: Some(requests), engine: Some(engine) })
    }

    /// Waits until the model answers. Blocks.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub fn wait(&self) -> Result<(), LoadError> {
        let state = self.shared.lock();
        let loading = |state: &mut State| matches!(state, State::Loading);
        let state = self.shared.changed.wait_while(state, loading).unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Failed(error) => Err(error.clone()),
            State::Loading | State::Ready => Ok(()),
        }
    }

    /// What it was loaded with.
    pub fn options(&self) -> &LlamaOptions {
        &self.options
    }

    /// What the engine does at present.
    pub fn activity(&self) -> Activity {
        self.shared.gauges.read()
    }

    fn admit(&self) -> Result<Place, BackendError> {
        match &*self.shared.lock() {
            State::Ready => {}
            State::Loading => return Err(BackendError::ModelNotLoaded("still loading".to_owned())),
            State::Failed(error) => return Err(BackendError::ModelNotLoaded(error.to_string())),
        }
        Place::take(&self.shared.waiting, QUEUE)
            .ok_or_else(|| BackendError::Unavailable("the engine's queue is full".to_owned()))
    }
}

impl Backend for LlamaBackend {
    fn models(&self) -> Vec<ModelInfo> {
        let state = match &*self.shared.lock() {
            State::Loading => LoadState::Loading,
            State::Ready => LoadState::Ready,
            State::Failed(error) => LoadState::Failed(error.to_string()),
        };
        let Facts { context, size } = self.shared.facts;
        vec![ModelInfo { id: self.options.id.clone(), state, context, size_bytes: size }]
    }

    fn slots(&self) -> usize {
        self.options.slots
    }

    fn start(&self, request: ChatRequest) -> Result<ChunkStream, BackendError> {
        if request.model != self.options.id {
            return Err(BackendError::ModelNotFound);
        }
        let place = self.admit()?;
        let generation = Generation::new(request)?;
        let (chunks, receiver) = mpsc::channel(BUFFER);
        let request = Request { generation, answer: Answer::new(&self.options.id), chunks, place };
        let gone = || BackendError::Unavailable("the engine has stopped".to_owned());
        self.requests.as_ref().ok_or_else(gone)?.try_send(request).map_err(|_| gone())?;
        Ok(Box::pin(Chunks::new(receiver, Arc::clone(&self.shared))))
    }
}

impl fmt::Debug for LlamaBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlamaBackend").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Drop for LlamaBackend {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.requests = None;
        self.shared.wake();
        if let Some(engine) = self.engine.take()
            && engine.join().is_err()
        {
            tracing::error!("the engine's thread panicked");
        }
    }
}

impl Shared {
    fn new(facts: Facts) -> Self {
        Self {
            gauges: Gauges::default(),
            state: Mutex::new(State::Loading),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
            waiting: Arc::new(AtomicUsize::new(0)),
            engine: OnceLock::new(),
            facts,
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.lock() = state;
        self.changed.notify_all();
    }

    fn wake(&self) {
        if let Some(engine) = self.engine.get() {
            engine.unpark();
        }
    }
}

fn spawn(
    options: LlamaOptions,
    file: CheckedFile,
    shared: Arc<Shared>,
    inbox: Receiver<Request>,
) -> Result<JoinHandle<()>, LoadError> {
    let outer = tracing::dispatcher::get_default(Clone::clone);
    let work = move || {
        let lines = Lines::default();
        lines.catch(outer, || {
            let _guard = MarkFailed(&shared);
            if let Err(error) = run(&options, &file, &shared, inbox, &lines) {
                tracing::warn!(model = options.id, %error, "the model was not loaded");
                shared.set(State::Failed(error));
            }
        });
    };
    let builder = thread::Builder::new().name("teale-engine".to_owned());
    builder.spawn(work).map_err(|error| LoadError::Engine(format!("no thread: {error}")))
}

/// Says that the engine is gone, also after a panic, so that nobody waits for it.
struct MarkFailed<'a>(&'a Shared);

impl Drop for MarkFailed<'_> {
    fn drop(&mut self) {
        if !matches!(*self.0.lock(), State::Failed(_)) {
            self.0.set(State::Failed(LoadError::Engine("the engine has stopped".to_owned())));
        }
    }
}

/// The engine's thread: loads, then works until it is told to stop.
fn run(
    options: &LlamaOptions,
    file: &CheckedFile,
    shared: &Arc<Shared>,
    inbox: Receiver<Request>,
    lines: &Lines,
) -> Result<(), LoadError> {
    let context = loading::context(options, &file.header);
    let model: Arc<LlamaModel> = Arc::new(loading::load(options, shared, lines)?);
    let template = file.header.chat_template();
    let prompter = Prompter::new(Arc::clone(&model), template, context).map_err(LoadError::Template)?;
    let engine = Engine::new(&model, options, context, lines.clone());
    let problems = lines.drain();
    let engine = engine.ok_or_else(|| loading::failure(&problems))?;
    let (jobs, ready) = sync_channel(QUEUE);
    let awake = thread::current();
    thread::scope(|scope| {
        let prompts = move || prepare_all(&prompter, &inbox, &jobs, &awake);
        let spawned = thread::Builder::new().name("teale-prompt".to_owned()).spawn_scoped(scope, prompts);
        spawned.map_err(|error| LoadError::Engine(format!("no thread: {error}")))?;
        tracing::info!(model = options.id, slots = options.slots, context, "the model is ready");
        shared.set(State::Ready);
        // The scope waits for the prompt thread even when the engine panics: without this nobody would be told.
        let _guard = MarkFailed(shared);
        // Dropped with the engine: what the prompt thread prepares afterwards ends at once.
        let ready = ready;
        engine.run(&ready, shared);
        Ok(())
    })
}

/// The prompt thread: turns requests into jobs until the backend is dropped.
fn prepare_all(prompter: &Prompter, inbox: &Receiver<Request>, jobs: &SyncSender<Job>, engine: &Thread) {
    for request in inbox {
        let Request { generation, answer, chunks, place } = request;
        if chunks.is_closed() {
            continue;
        }
        match prompter.tokens(&generation) {
            Ok(prompt) => {
                let Generation { sampling, stops, limit, .. } = generation;
                let job = Job { prompt, sampling, stops, limit, answer, chunks, place };
                // The places bound the channel: it is never full. When the engine is gone, nobody reads prompts:
                // the streams of what is left say so.
                if jobs.try_send(job).is_err() {
                    return;
                }
                engine.unpark();
            }
            Err(error) => {
                let _ = chunks.try_send(Err(error));
            }
        }
    }
}

/// The reader's end of an answer.
struct Chunks {
    receiver: mpsc::Receiver<Item>,
    shared: Arc<Shared>,
    /// The usage or an error came: the last item.
    over: bool,
}

impl Chunks {
    fn new(receiver: mpsc::Receiver<Item>, shared: Arc<Shared>) -> Self {
        Self { receiver, shared, over: false }
    }
}

impl Stream for Chunks {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let Poll::Ready(item) = self.receiver.poll_recv(context) else { return Poll::Pending };
        // The slot may have waited for room.
        self.shared.wake();
        let over = self.over;
        self.over = match &item {
            Some(Ok(chunk)) => chunk.usage.is_some(),
            Some(Err(_)) | None => true,
        };
        // Let go of before its end, by an engine that stopped or crashed, an answer must not look complete.
        let gone = || Err(BackendError::Unavailable("the engine has stopped".to_owned()));
        Poll::Ready(item.or_else(|| (!over).then(gone)))
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.receiver.close();
        self.shared.wake();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn an_answer_that_the_engine_dropped_does_not_look_complete() {
        let (sender, receiver) = mpsc::channel(BUFFER);
        let mut stream = Chunks::new(receiver, Arc::new(Shared::new(Facts::default())));
        let mut answer = Answer::new("m");
        sender.try_send(Ok(answer.text("half".to_owned()))).unwrap();
        drop(sender);
        assert!(stream.next().await.unwrap().is_ok());
        assert!(matches!(stream.next().await, Some(Err(BackendError::Unavailable(_)))));
        assert!(stream.next().await.is_none());
    }
}
