//! [`UpstreamBackend`]: the HTTP side.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::stream;
use reqwest::{
    Client, Response, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect::Policy,
};
use teale_cluster::{Backend, BackendError, ChunkStream, LoadState, ModelInfo};
use teale_wire::chat::{ChatChunk, ChatCompletion, ChatRequest};
use tokio::{runtime::Handle, task::AbortHandle};

use super::{
    failure,
    options::{UpstreamError, UpstreamOptions},
    shape::Shape,
    sse::SseParser,
    wire::{ErrorWords, ModelList},
};

/// Bytes read of an error's body, and of a model list.
const LONGEST_BODY: usize = 1 << 20;
/// Bytes read of an answer that is not streamed.
const LONGEST_ANSWER: usize = 16 << 20;
/// How soon a server is asked again whose model list could not be had.
const RETRY: Duration = Duration::from_secs(2);
/// Failures in a row after which the models are no longer offered.
const PATIENCE: u32 = 3;

/// A server that speaks OpenAI's chat completions.
#[derive(Debug)]
pub struct UpstreamBackend {
    options: UpstreamOptions,
    client: Client,
    completions: Url,
    models: Arc<Mutex<Option<Vec<ModelInfo>>>>,
    poll: Option<AbortHandle>,
}

impl UpstreamBackend {
    /// Sets up the client and, unless the options name the models, begins to ask for them. Does not wait for the
    /// server: it may come later. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Options that make no sense.
    pub fn new(options: UpstreamOptions) -> Result<Self, UpstreamError> {
        if options.slots == 0 {
            return Err(UpstreamError::Slots);
        }
        let runtime = Handle::try_current().map_err(|_| UpstreamError::NoRuntime)?;
        let completions = options.endpoint("chat/completions")?;
        let list = options.endpoint("models")?;
        let client = client(&options, &completions)?;
        let named =
            (!options.models.is_empty()).then(|| options.models.iter().map(|id| ready(id, None)).collect());
        let models = Arc::new(Mutex::new(named));
        let asks = options.models.is_empty();
        let poll = asks.then(|| {
            let poll = poll(client.clone(), list, Arc::clone(&models), options.poll_every);
            runtime.spawn(poll).abort_handle()
        });
        Ok(Self { options, client, completions, models, poll })
    }

    fn known(&self) -> Option<Vec<ModelInfo>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Backend for UpstreamBackend {
    fn models(&self) -> Vec<ModelInfo> {
        self.known().unwrap_or_default()
    }

    fn slots(&self) -> usize {
        self.options.slots
    }

    fn start(&self, request: ChatRequest) -> Result<ChunkStream, BackendError> {
        if request.n.is_some_and(|n| n != 1) {
            let reason = "only one answer per request".to_owned();
            return Err(BackendError::InvalidRequest { field: "n".to_owned(), reason });
        }
        let unknown =
            || BackendError::ModelNotLoaded("the upstream server has not listed its models yet".to_owned());
        let models = self.known().ok_or_else(unknown)?;
        let model =
            models.iter().find(|model| model.id == request.model).ok_or(BackendError::ModelNotFound)?;
        if let LoadState::Failed(reason) = &model.state {
            return Err(BackendError::Unavailable(reason.clone()));
        }
        let shape = Shape::new(&request.model);
        let send = Phase::Send(self.client.clone(), self.completions.clone(), Box::new(streamed(request)));
        let asking = Asking { phase: send, ready: VecDeque::new(), shape: Some(shape) };
        Ok(Box::pin(stream::unfold(asking, Asking::next)))
    }
}

impl Drop for UpstreamBackend {
    fn drop(&mut self) {
        if let Some(poll) = &self.poll {
            poll.abort();
        }
    }
}

fn client(options: &UpstreamOptions, url: &Url) -> Result<Client, UpstreamError> {
    // Somebody may have installed a provider already; theirs serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    if let Some(key) = &options.api_key {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| UpstreamError::ApiKey)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let mut builder = Client::builder()
        .default_headers(headers)
        .redirect(Policy::none()) // the key must not go elsewhere
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.silence_timeout)
        .tcp_nodelay(true);
    if is_local(url) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|_| UpstreamError::Client)
}

fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn ready(id: &str, context: Option<u32>) -> ModelInfo {
    ModelInfo { id: id.to_owned(), state: LoadState::Ready, context, size_bytes: None }
}

/// The request as it is sent: streamed, with the usage.
fn streamed(mut request: ChatRequest) -> ChatRequest {
    request.stream = Some(true);
    request.stream_options.get_or_insert_default().include_usage = Some(true);
    request
}

/// Asks for the models, now and then.
async fn poll(client: Client, url: Url, models: Arc<Mutex<Option<Vec<ModelInfo>>>>, every: Duration) {
    let mut failures = 0;
    loop {
        let result = list(&client, url.clone()).await;
        let pause = if result.is_ok() { every } else { RETRY.min(every) };
        failures = if result.is_ok() { 0 } else { failures + 1 };
        note(&mut models.lock().unwrap_or_else(PoisonError::into_inner), result, failures);
        tokio::time::sleep(pause).await;
    }
}

/// What an attempt to get the list means for what is offered.
fn note(known: &mut Option<Vec<ModelInfo>>, result: Result<ModelList, BackendError>, failures: u32) {
    match result {
        Ok(list) => *known = Some(list.models().iter().map(|(id, context)| ready(id, *context)).collect()),
        Err(error) => {
            tracing::debug!(%error, failures, "the upstream server does not list its models");
            if failures >= PATIENCE {
                let away = || LoadState::Failed("the upstream server is away".to_owned());
                known.iter_mut().flatten().for_each(|model| model.state = away());
            }
        }
    }
}

async fn list(client: &Client, url: Url) -> Result<ModelList, BackendError> {
    let response = client.get(url).send().await.map_err(|error| failure::of_transport(&error))?;
    let status = response.status();
    let body = body(response, LONGEST_BODY).await?;
    if !status.is_success() {
        return Err(failure::of_status(status, ErrorWords::of_body(&body)));
    }
    serde_json::from_slice(&body)
        .map_err(|_| BackendError::Internal("the list of models is no such list".to_owned()))
}

/// A body of bounded size.
async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, BackendError> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(|error| failure::of_transport(&error))? {
        if body.len() + bytes.len() > limit {
            return Err(BackendError::Internal("the upstream server's answer is too long".to_owned()));
        }
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

/// A request on its way. Dropping it closes the connection.
struct Asking {
    phase: Phase,
    ready: VecDeque<Result<ChatChunk, BackendError>>,
    shape: Option<Shape>,
}

enum Phase {
    Send(Client, Url, Box<ChatRequest>),
    Read(Response, SseParser),
    Over,
}

impl Asking {
    async fn next(mut self) -> Option<(Result<ChatChunk, BackendError>, Self)> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some((item, self));
            }
            match self.advance().await {
                Ok(Some(phase)) => self.phase = phase,
                Ok(None) => return None,
                // After the chunks that came before it; the phase is over.
                Err(error) => self.ready.push_back(Err(error)),
            }
        }
    }

    /// One step on; `None` when all is over. After an error all is over, too.
    async fn advance(&mut self) -> Result<Option<Phase>, BackendError> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Send(client, url, request) => self.send(client, url, *request).await.map(Some),
            Phase::Read(response, parser) => self.read(response, parser).await.map(Some),
            Phase::Over => Ok(None),
        }
    }

    async fn send(&mut self, client: Client, url: Url, request: ChatRequest) -> Result<Phase, BackendError> {
        let sent = client.post(url).header(ACCEPT, "text/event-stream").json(&request).send().await;
        let response = sent.map_err(|error| failure::of_transport(&error))?;
        let status = response.status();
        if !status.is_success() {
            let words = body(response, LONGEST_BODY).await.ok().and_then(|body| ErrorWords::of_body(&body));
            return Err(failure::of_status(status, words));
        }
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/event-stream") {
            return Ok(Phase::Read(response, SseParser::new()));
        }
        let whole = body(response, LONGEST_ANSWER).await?;
        if let Some(words) = ErrorWords::of_body(&whole) {
            return Err(failure::of_event(words));
        }
        let wrong =
            |_| BackendError::Internal("the upstream server's answer is no chat completion".to_owned());
        let completion: ChatCompletion = serde_json::from_slice(&whole).map_err(wrong)?;
        let chunks = self.shape.as_mut().map(|shape| shape.whole(completion)).unwrap_or_default();
        self.ready.extend(chunks.into_iter().map(Ok));
        self.end(false)
    }

    async fn read(&mut self, mut response: Response, mut parser: SseParser) -> Result<Phase, BackendError> {
        let Some(bytes) = response.chunk().await.map_err(|error| failure::of_transport(&error))? else {
            return self.end(false);
        };
        let events = parser.push(&bytes).map_err(|error| BackendError::Internal(error.to_string()))?;
        for event in events {
            let Some(shape) = self.shape.as_mut() else { break };
            match shape.event(&event.data)? {
                Some(chunks) => self.ready.extend(chunks.into_iter().map(Ok)),
                None => return self.end(true),
            }
        }
        Ok(Phase::Read(response, parser))
    }

    fn end(&mut self, told: bool) -> Result<Phase, BackendError> {
        if let Some(shape) = self.shape.take() {
            self.ready.extend(shape.end(told)?.into_iter().map(Ok));
        }
        Ok(Phase::Over)
    }
}
