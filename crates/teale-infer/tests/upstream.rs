//! The upstream backend against a scripted server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::HeaderMap,
    response::Response,
    routing::{get, post},
};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use teale_cluster::{Backend, BackendError, ChunkStream, LoadState};
use teale_infer::{UpstreamBackend, UpstreamError, UpstreamOptions};
use teale_wire::chat::{ChatChunk, ChatRequest, Usage};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

const PATIENCE: Duration = Duration::from_secs(10);

/// What the server answers, and what it was asked.
#[derive(Debug, Default)]
struct Script {
    status: u16,
    kind: &'static str,
    /// Sent one by one, so that each is read alone.
    pieces: Vec<Vec<u8>>,
    /// Whether the answer stays open after the pieces; closed when the client goes away.
    hang: Option<mpsc::Sender<()>>,
    asked: Vec<(HeaderMap, Value)>,
}

type Shared = Arc<Mutex<Script>>;

async fn complete(State(script): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mut script = script.lock().unwrap();
    script.asked.push((headers, serde_json::from_slice(&body).unwrap()));
    let pieces = script.pieces.clone().into_iter();
    let hang = script.hang.clone();
    let slow = stream::iter(pieces).then(async |piece| {
        tokio::task::yield_now().await;
        Ok::<_, std::io::Error>(piece)
    });
    let tail = stream::once(async move {
        if let Some(gone) = hang {
            // Dropped, with the guard in it, when the connection ends.
            let _guard = Guard(gone);
            std::future::pending::<()>().await;
        }
        Ok(Vec::new())
    });
    let (status, kind) = (script.status, script.kind);
    Response::builder()
        .status(status)
        .header("content-type", kind)
        .body(Body::from_stream(slow.chain(tail)))
        .unwrap()
}

struct Guard(mpsc::Sender<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

/// A server with this script, and a backend that knows its models.
async fn serve(script: Script) -> (UpstreamBackend, Shared) {
    let script = Arc::new(Mutex::new(script));
    let models = r#"{"object":"list","data":[{"id":"m","max_model_len":512},{"id":"other"}]}"#;
    let router = Router::new()
        .route("/v1/models", get(async move || models))
        .route("/v1/chat/completions", post(complete))
        .with_state(Arc::clone(&script));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    let mut options = UpstreamOptions::new(format!("http://{address}/v1/"));
    options.api_key = Some("secret".to_owned());
    let backend = UpstreamBackend::new(options).unwrap();
    let listed = async {
        while backend.models().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, listed).await.unwrap();
    (backend, script)
}

/// Events as a server sends them, cut into pieces of `cut` bytes.
fn events(text: &str, cut: usize) -> Script {
    let pieces = text.as_bytes().chunks(cut).map(<[u8]>::to_vec).collect();
    Script { status: 200, kind: "text/event-stream; charset=utf-8", pieces, ..Script::default() }
}

fn json(status: u16, body: &str) -> Script {
    Script { status, kind: "application/json", pieces: vec![body.as_bytes().to_vec()], ..Script::default() }
}

fn request() -> ChatRequest {
    let text = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"frobnicate":[1,2],"top_k":3}"#;
    serde_json::from_str(text).unwrap()
}

async fn collect(stream: ChunkStream) -> (Vec<ChatChunk>, Option<BackendError>) {
    let items: Vec<_> = timeout(PATIENCE, stream.collect()).await.unwrap();
    let mut chunks = Vec::new();
    let mut error = None;
    for item in items {
        assert!(error.is_none(), "an error is the last item");
        match item {
            Ok(chunk) => chunks.push(chunk),
            Err(failure) => error = Some(failure),
        }
    }
    (chunks, error)
}

/// Text, finish reason, usage of a well-formed answer.
async fn hear(script: Script) -> (String, String, Usage) {
    let (backend, _) = serve(script).await;
    let (mut chunks, error) = collect(backend.start(request()).unwrap()).await;
    assert_eq!(error, None);
    let usage = chunks.pop().unwrap();
    assert!(usage.choices.is_empty() && chunks.iter().all(|chunk| chunk.choices.len() == 1));
    assert!(chunks.iter().all(|chunk| chunk.id == usage.id && chunk.usage.is_none() && chunk.model == "m"));
    assert_eq!(chunks[0].choices[0].delta.role.as_deref(), Some("assistant"));
    let text = chunks.iter().filter_map(|chunk| chunk.choices[0].delta.content.clone()).collect();
    let finish = chunks.last().unwrap().choices[0].finish_reason.clone().unwrap();
    (text, finish, usage.usage.unwrap())
}

async fn failure(script: Script) -> BackendError {
    let (backend, _) = serve(script).await;
    collect(backend.start(request()).unwrap()).await.1.unwrap()
}

const PROPER: &str = concat!(
    ": a comment\r\n\r\n",
    r#"data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
    "\r\n\r\n",
    r#"data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":{"content":"Grüße "},"finish_reason":null}]}"#,
    "\r\n\r\n",
    r#"data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":{"content":"🦆"},"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#,
    "\n\n",
    r#"data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"M","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
    "\n\ndata: [DONE]\n\n",
);

#[tokio::test]
async fn a_proper_answer_arrives_however_it_is_cut() {
    for cut in [1, 7, 100, 10_000] {
        let (text, finish, usage) = hear(events(PROPER, cut)).await;
        assert_eq!((text.as_str(), finish.as_str()), ("Grüße 🦆", "length"));
        assert_eq!((usage.prompt_tokens, usage.total_tokens), (3, 5));
    }
}

#[tokio::test]
async fn what_a_server_leaves_out_is_added() {
    let sparse = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\ndata: [DONE]\n\n";
    let (text, finish, usage) = hear(events(sparse, 1000)).await;
    assert_eq!((text.as_str(), finish.as_str(), usage.completion_tokens), ("ab", "stop", 2));
    assert_eq!(usage.extra.get("estimated"), Some(&Value::Bool(true)));
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let body = r#"{"id":"x","object":"chat.completion","created":1,"model":"M","choices":[{"index":0,"message":{"role":"assistant","content":"all at once"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":3,"total_tokens":4}}"#;
    let (text, finish, usage) = hear(json(200, body)).await;
    assert_eq!((text.as_str(), finish.as_str(), usage.total_tokens), ("all at once", "stop", 4));
}

#[tokio::test]
async fn tool_calls_and_other_fields_pass_through() {
    let call = r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0}]},"logprobs":{"x":1},"finish_reason":"tool_calls"}]}"#;
    let (backend, _) = serve(events(&format!("{call}\n\ndata: [DONE]\n\n"), 1000)).await;
    let (chunks, error) = collect(backend.start(request()).unwrap()).await;
    assert_eq!(error, None);
    let choice = &chunks[0].choices[0];
    assert!(choice.delta.extra.contains_key("tool_calls") && choice.extra.contains_key("logprobs"));
    assert_eq!(choice.finish_reason.as_deref(), Some("tool_calls"));
}

#[tokio::test]
async fn the_request_goes_out_with_key_usage_and_unknown_fields() {
    let (backend, script) = serve(events(PROPER, 1000)).await;
    collect(backend.start(request()).unwrap()).await;
    let (headers, body) = script.lock().unwrap().asked.remove(0);
    assert_eq!(headers["authorization"], "Bearer secret");
    assert_eq!(body["stream"], true);
    assert_eq!(body["stream_options"]["include_usage"], true);
    assert_eq!((&body["frobnicate"][1], &body["top_k"]), (&Value::from(2), &Value::from(3)));
}

#[tokio::test]
async fn statuses_and_codes_become_our_errors() {
    let openai = |code: &str, kind: &str| {
        format!(
            r#"{{"error":{{"message":"maximum context length is 512 tokens, but 600 were sent","type":"{kind}","param":"messages","code":"{code}"}}}}"#
        )
    };
    let too_long = BackendError::ContextLengthExceeded { prompt: 600, context: 512 };
    assert_eq!(
        failure(json(404, &openai("model_not_found", "invalid_request_error"))).await,
        BackendError::ModelNotFound
    );
    assert_eq!(
        failure(json(400, &openai("context_length_exceeded", "invalid_request_error"))).await,
        too_long
    );
    let llama_server = r#"{"error":{"code":400,"message":"too long","type":"exceed_context_size_error","n_prompt_tokens":600,"n_ctx":512}}"#;
    assert_eq!(failure(json(400, llama_server)).await, too_long);
    let invalid = failure(json(400, &openai("x", "invalid_request_error"))).await;
    assert!(matches!(invalid, BackendError::InvalidRequest { field, .. } if field == "messages"));
    for status in [401, 403, 404, 429, 502, 503] {
        let error = failure(json(status, "<html>")).await;
        assert!(matches!(error, BackendError::Unavailable(_)), "{status}: {error:?}");
    }
    // OpenAI repeats part of the key in these words, under the type of a bad request: they are not for askers.
    let key = r#"{"error":{"message":"Incorrect API key provided: sk-ab**yz","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#;
    for status in [401, 403] {
        let error = failure(json(status, key)).await;
        let told = matches!(&error, BackendError::Unavailable(words) if !words.contains("sk-"));
        assert!(told, "{status}: {error:?}");
    }
    let midway = format!("data: {key}\n\n");
    let error = failure(events(&midway, 1000)).await;
    assert!(matches!(&error, BackendError::Unavailable(words) if !words.contains("sk-")), "{error:?}");
    assert_eq!(failure(json(504, "")).await, BackendError::Timeout);
    assert!(matches!(failure(json(500, "")).await, BackendError::Internal(_)));
    assert!(matches!(failure(json(200, "nonsense")).await, BackendError::Internal(_)));
    assert!(matches!(failure(json(302, "")).await, BackendError::Internal(_)));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let half = &PROPER[..PROPER.find("data: [DONE]").unwrap() / 2];
    assert!(matches!(failure(events(half, 50)).await, BackendError::Unavailable(_)));
    let error = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"error\":{\"message\":\"boom\",\"code\":null}}\n\n";
    let (backend, _) = serve(events(error, 1000)).await;
    let (chunks, error) = collect(backend.start(request()).unwrap()).await;
    assert_eq!(chunks.len(), 1);
    assert!(matches!(error, Some(BackendError::Internal(_))));
    assert!(matches!(failure(events("data: {]\n\n", 1000)).await, BackendError::Internal(_)));
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let (gone, mut closed) = mpsc::channel(1);
    let mut script = events(&PROPER[..PROPER.find("🦆").unwrap()], 1000);
    script.hang = Some(gone);
    let (backend, _) = serve(script).await;
    let mut stream = backend.start(request()).unwrap();
    timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
    drop(stream);
    timeout(PATIENCE, closed.recv()).await.expect("the server sees the connection end");
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let (gone, _closed) = mpsc::channel(1);
    let mut script = events("", 1);
    script.hang = Some(gone);
    let (backend, _) = serve(script).await;
    let mut options = UpstreamOptions::new(backend_url(&backend));
    options.models = vec!["m".to_owned()];
    options.silence_timeout = Duration::from_millis(50);
    let impatient = UpstreamBackend::new(options).unwrap();
    assert_eq!(collect(impatient.start(request()).unwrap()).await.1, Some(BackendError::Timeout));
}

/// The address a backend was made with.
fn backend_url(backend: &UpstreamBackend) -> String {
    let shown = format!("{backend:?}");
    let start = shown.find("http://").unwrap();
    shown[start..].split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn models_are_listed_and_others_are_unknown() {
    let (backend, _) = serve(events(PROPER, 1000)).await;
    let models = backend.models();
    assert_eq!(
        models.iter().map(|model| (model.id.as_str(), model.context)).collect::<Vec<_>>(),
        [("m", Some(512)), ("other", None)]
    );
    assert!(models.iter().all(|model| model.state == LoadState::Ready));
    let mut unknown = request();
    unknown.model = "unknown".to_owned();
    assert_eq!(backend.start(unknown).err(), Some(BackendError::ModelNotFound));
    let mut two = request();
    two.n = Some(2);
    assert!(matches!(backend.start(two).err(), Some(BackendError::InvalidRequest { .. })));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut options = UpstreamOptions::new(url);
    assert!(matches!(
        UpstreamBackend::new(options.clone()).unwrap().start(request()).err(),
        Some(BackendError::ModelNotLoaded(_))
    ));
    options.models = vec!["m".to_owned()];
    let backend = UpstreamBackend::new(options).unwrap();
    assert!(matches!(collect(backend.start(request()).unwrap()).await.1, Some(BackendError::Unavailable(_))));
}

#[tokio::test]
async fn bad_options_are_refused_and_the_key_is_not_shown() {
    for url in ["", "localhost:1", "ftp://host", "file:///etc/passwd"] {
        assert_eq!(UpstreamBackend::new(UpstreamOptions::new(url)).err(), Some(UpstreamError::Url), "{url}");
    }
    let mut options = UpstreamOptions::new("http://127.0.0.1:1");
    options.api_key = Some("se\ncret".to_owned());
    assert!(!format!("{options:?}").contains("cret"));
    assert_eq!(UpstreamBackend::new(options).err(), Some(UpstreamError::ApiKey));
}
