//! The API's client: what the verbs use to talk to a running node.

use std::{collections::VecDeque, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use reqwest::{Client, RequestBuilder, Response, header::HeaderMap};
use serde::de::DeserializeOwned;
use teale_infer::{Event, SseParser};
use teale_wire::{
    NodeId,
    chat::{ChatChunk, ChatRequest},
};
use thiserror::Error;

use crate::{Secret, api::PullRequest, pulling::PullLine};

/// How long a connection may take to be made: the node is on this machine or near it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long `status`, `peers` and `models` wait: they are answered from memory.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Text of an error that is shown, in characters.
const ERROR_TEXT: usize = 500;
/// A line of a streamed document, in bytes.
const LINE: usize = 1 << 20;

/// Why the API did not answer as hoped.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// Nobody listens there.
    #[error("cannot reach the node's API at {url}: {reason}")]
    Unreachable { url: String, reason: String },
    /// An answer with an error status.
    #[error("{message}")]
    Refused { message: String, code: Option<String> },
    /// An answer that is not the API's.
    #[error("the answer of {url} is not a node's: {reason}")]
    Malformed { url: String, reason: String },
    /// The stream broke off.
    #[error("the answer broke off: {0}")]
    Broken(String),
}

/// A client of one node's API.
#[derive(Debug)]
pub(crate) struct ApiClient {
    base: String,
    key: Option<Secret>,
    http: Client,
}

/// Who answers and how the answer travels, from the response's headers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    pub(crate) node: Option<NodeId>,
    pub(crate) path: Option<String>,
    pub(crate) encrypted: Option<bool>,
    pub(crate) verified: Option<bool>,
}

impl ApiClient {
    /// A client for `http://HOST:PORT`, or `HOST:PORT`.
    pub(crate) fn new(url: &str, key: Option<Secret>) -> Result<Self, ClientError> {
        let base = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let base = base.trim_end_matches('/').to_owned();
        // Fails when another provider was installed first, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().connect_timeout(CONNECT_TIMEOUT).no_proxy().build();
        let http =
            http.map_err(|error| ClientError::Unreachable { url: base.clone(), reason: error.to_string() })?;
        Ok(Self { base, key, http })
    }

    /// Asks for a JSON document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.http.get(format!("{}{path}", self.base)).timeout(QUERY_TIMEOUT);
        let response = self.send(request).await?;
        response.json().await.map_err(|error| self.malformed(&error))
    }

    /// Asks for a streamed answer.
    pub(crate) async fn chat(
        &self,
        request: &ChatRequest,
    ) -> Result<(Origin, impl Stream<Item = Result<ChatChunk, ClientError>> + Unpin + use<>), ClientError>
    {
        let response =
            self.send(self.http.post(format!("{}/v1/chat/completions", self.base)).json(request)).await?;
        let origin = Origin::of(response.headers());
        let state = Some((response.bytes_stream(), Pieces::default()));
        let chunks = stream::unfold(state, |state| async move {
            let (mut body, mut pieces) = state?;
            loop {
                match pieces.next() {
                    Ok(Some(Piece::Done)) => return None,
                    Ok(Some(Piece::Chunk(chunk))) => return Some((Ok(*chunk), Some((body, pieces)))),
                    Ok(None) => {}
                    Err(error) => return Some((Err(error), None)),
                }
                let more = match body.next().await {
                    Some(Ok(bytes)) => pieces.push(&bytes),
                    Some(Err(error)) => Err(ClientError::Broken(root_cause(&error))),
                    None => Err(ClientError::Broken("it ended before it was complete".to_owned())),
                };
                if let Err(error) = more {
                    return Some((Err(error), None));
                }
            }
        });
        Ok((origin, Box::pin(chunks)))
    }

    /// Deletes what stands there.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.send(self.http.delete(format!("{}{path}", self.base)).timeout(QUERY_TIMEOUT)).await?;
        Ok(())
    }

    /// Fetches a model's files through the node; one item per line, the end last.
    pub(crate) async fn pull(
        &self,
        request: &PullRequest,
    ) -> Result<impl Stream<Item = Result<PullLine, ClientError>> + use<>, ClientError> {
        let response =
            self.send(self.http.post(format!("{}/teale/v1/files/pull", self.base)).json(request)).await?;
        let state = Some((response.bytes_stream(), Vec::new()));
        let lines = stream::unfold(state, |state| async move {
            let (mut body, mut text) = state?;
            loop {
                if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    let line = serde_json::from_slice(&line);
                    let line =
                        line.map_err(|error| ClientError::Broken(format!("a line cannot be read: {error}")));
                    return Some((line, Some((body, text))));
                }
                match body.next().await {
                    Some(Ok(bytes)) if text.len() + bytes.len() <= LINE => text.extend_from_slice(&bytes),
                    Some(Ok(_)) => {
                        return Some((Err(ClientError::Broken("a line is too long".into())), None));
                    }
                    Some(Err(error)) => return Some((Err(ClientError::Broken(root_cause(&error))), None)),
                    None => return None,
                }
            }
        });
        Ok(Box::pin(lines))
    }

    async fn send(&self, mut request: RequestBuilder) -> Result<Response, ClientError> {
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.reveal());
        }
        let response = request.send().await.map_err(|error| ClientError::Unreachable {
            url: self.base.clone(),
            reason: root_cause(&error),
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.bytes().await.unwrap_or_default();
        Err(refusal(&body).unwrap_or_else(|| ClientError::Malformed {
            url: self.base.clone(),
            reason: format!("status {status} without an error object"),
        }))
    }

    fn malformed(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Malformed { url: self.base.clone(), reason: root_cause(error) }
    }
}

impl Origin {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let flag = |name: &str| text(name).map(|value| value == "true");
        Self {
            node: text("x-teale-node").and_then(|node| node.parse().ok()),
            path: text("x-teale-path").map(|path| crate::output::plain(&path)),
            encrypted: flag("x-teale-encrypted"),
            verified: flag("x-teale-verified"),
        }
    }
}

/// The innermost reason of an HTTP error: the outer ones only repeat the URL.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The error an answer holds, if it holds one.
fn refusal(body: &[u8]) -> Option<ClientError> {
    #[derive(serde::Deserialize)]
    struct Body {
        error: Inner,
    }
    #[derive(serde::Deserialize)]
    struct Inner {
        message: String,
        #[serde(default)]
        code: Option<String>,
    }
    let Body { error } = serde_json::from_slice(body).ok()?;
    Some(ClientError::Refused { message: error.message.chars().take(ERROR_TEXT).collect(), code: error.code })
}

/// What a stream holds.
enum Piece {
    Chunk(Box<ChatChunk>),
    Done,
}

/// Takes chunks out of a stream's bytes.
#[derive(Debug, Default)]
struct Pieces {
    parser: SseParser,
    ready: VecDeque<Event>,
}

impl Pieces {
    fn push(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let events = self.parser.push(bytes).map_err(|error| ClientError::Broken(error.to_string()))?;
        self.ready.extend(events);
        Ok(())
    }

    /// The next piece; `None` when more bytes are needed.
    fn next(&mut self) -> Result<Option<Piece>, ClientError> {
        let Some(Event { data, .. }) = self.ready.pop_front() else { return Ok(None) };
        if data == "[DONE]" {
            return Ok(Some(Piece::Done));
        }
        if let Some(error) = refusal(data.as_bytes()) {
            return Err(error);
        }
        let chunk = serde_json::from_str(&data);
        chunk
            .map(|chunk| Some(Piece::Chunk(Box::new(chunk))))
            .map_err(|error| ClientError::Broken(format!("a chunk cannot be read: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: &str = r#"data: {"id":"a","object":"o","created":1,"model":"m","choices":[]}"#;

    #[test]
    fn chunks_then_the_end() {
        let mut pieces = Pieces::default();
        pieces.push(format!(": ping\n\n{CHUNK}\n\ndata: [DO").as_bytes()).unwrap();
        assert!(matches!(pieces.next(), Ok(Some(Piece::Chunk(chunk))) if chunk.id == "a"));
        assert!(matches!(pieces.next(), Ok(None)));
        pieces.push(b"NE]\n\n").unwrap();
        assert!(matches!(pieces.next(), Ok(Some(Piece::Done))));
    }

    #[test]
    fn an_error_event_is_an_error() {
        let mut pieces = Pieces::default();
        pieces.push(b"data: {\"error\":{\"message\":\"gone\",\"code\":\"link_lost\"}}\n\n").unwrap();
        let Err(ClientError::Refused { code, .. }) = pieces.next() else { panic!("no error") };
        assert_eq!(code.as_deref(), Some("link_lost"));
    }
}
