//! `POST /v1/chat/completions`, streamed and whole.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::HttpBody,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use teale_cluster::{Answer, AskError, Cluster};
use teale_relay_client::Security;
use teale_wire::{
    chat::{ChatChunk, ChatCompletion, ChatRequest},
    limits,
};

use super::{
    Api,
    chunks::{Collector, Shaper, TooLong},
    errors::ApiError,
    metrics::path_name,
    sse::{Pending, SseBody},
    telemetry::RequestRecord,
};

/// A request's body, in bytes: as large as a cluster message may be.
const BODY_LIMIT: usize = limits::CLUSTER_MESSAGE;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Messages in one request.
const MAX_MESSAGES: usize = 4096;
/// So long a streamed request waits for the first chunk before its head is sent with status 200. Until then a
/// failure has a status of its own; later ones end the stream with an error event.
const HEAD_AFTER: Duration = Duration::from_secs(15);
/// While a node is younger than this it may not have heard of its peers yet …
const JOIN_GRACE: Duration = Duration::from_secs(5);
/// How long an unknown model is looked for in the DHT.
const DHT_WAIT: Duration = Duration::from_secs(10);
/// … so an unknown model is waited for, so long at most. Also how long a request waits for fresh news of its peers.
const DISCOVERY_WAIT: Duration = Duration::from_secs(2);

pub(super) async fn completions(State(api): State<Arc<Api>>, request: Request) -> Response {
    let request = match read(request).await {
        Ok(request) => request,
        Err(error) => return error.into_response(),
    };
    let record = RequestRecord::start(&api.telemetry, label(&api.cluster, &request.model));
    if request.stream == Some(true) {
        stream(&api, request, record).await
    } else {
        whole(&api, request, record).await
    }
}

/// The label of a model in metrics: our own models by name, everything else in one word.
fn label(cluster: &Cluster, model: &str) -> String {
    let models = cluster.models();
    let own = models.into_iter().find(|have| have.local && teale_wire::model_matches(model, &have.id));
    own.map_or_else(|| "remote".to_owned(), |model| model.id)
}

/// Reads and checks the body. The content type is not looked at: many clients send none or a wrong one.
async fn read(request: Request) -> Result<ChatRequest, ApiError> {
    let too_large = || {
        let message = format!("The request body may have at most {BODY_LIMIT} bytes.");
        Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message))
    };
    // What is announced as too large is not waited for.
    if request.body().size_hint().lower() > BODY_LIMIT as u64 {
        return too_large();
    }
    let body = Limited::new(request.into_body(), BODY_LIMIT).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return too_large(),
        Ok(Err(_)) => return Err(ApiError::invalid(None, "The request body could not be read.")),
        Err(_) => {
            return Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "The request body took too long.",
            ));
        }
    };
    let request = parse(&body)?;
    check(&request)?;
    Ok(request)
}

pub(super) fn parse(body: &[u8]) -> Result<ChatRequest, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let request: ChatRequest = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        // It may repeat what it does not like, at any length.
        let reason = short(&inner.to_string());
        if inner.is_data() {
            let path = Some(short(&path)).filter(|path| path != ".");
            return ApiError::invalid(path, format!("Invalid request: {reason}"));
        }
        ApiError::invalid(None, format!("The request body is not valid JSON: {reason}"))
    })?;
    json.end()
        .map_err(|error| ApiError::invalid(None, format!("The request body is not valid JSON: {error}")))?;
    Ok(request)
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

/// What no backend could make sense of. The rest is the backend's to judge.
pub(super) fn check(request: &ChatRequest) -> Result<(), ApiError> {
    let invalid = |param: &str, message: &str| Err(ApiError::invalid(Some(param.into()), message));
    if request.model.is_empty() || request.model.len() > limits::MODEL_ID {
        return invalid("model", "`model` must name a model; GET /v1/models lists them.");
    }
    if request.messages.is_empty() {
        return invalid("messages", "`messages` must hold at least one message.");
    }
    if request.messages.len() > MAX_MESSAGES {
        return invalid("messages", "`messages` holds too many messages.");
    }
    if request.n.is_some_and(|n| n != 1) {
        return invalid("n", "`n` must be 1: one answer per request.");
    }
    Ok(())
}

/// Asks the cluster. Where nobody known can answer, the relays are asked who is there now: what a node knows of its
/// peers is up to half a minute old, and right after its start nothing.
async fn ask(api: Arc<Api>, request: ChatRequest) -> Result<Answer, AskError> {
    let young = api.started.elapsed() < JOIN_GRACE;
    let result = api.cluster.chat(request.clone()).await;
    match result {
        // Nobody known has it: somebody in the DHT may.
        Err(AskError::ModelNotFound) if let Some(dht) = &api.dht => {
            drop(api.lookout.look());
            if dht.find(&request.model, DHT_WAIT).await {
                return api.cluster.chat(request).await;
            }
            result
        }
        // An unknown model is answered at once by a node that has looked around before; the next try knows more.
        Err(AskError::ModelNotFound) if !young => {
            drop(api.lookout.look());
            result
        }
        Err(AskError::ModelNotFound) => {
            if api.cluster.wait_for_model(&request.model, DISCOVERY_WAIT).await {
                return api.cluster.chat(request).await;
            }
            result
        }
        Err(AskError::Unavailable(_)) => {
            if tokio::time::timeout(DISCOVERY_WAIT, api.lookout.look()).await.is_err() {
                return result;
            }
            api.cluster.chat(request).await
        }
        result => result,
    }
}

async fn whole(api: &Arc<Api>, request: ChatRequest, mut record: RequestRecord) -> Response {
    let model = request.model.clone();
    let refuse = |error: ApiError, mut record: RequestRecord| {
        record.finish(error.status.as_u16(), None);
        error.into_response()
    };
    let answer = match ask(Arc::clone(api), request).await {
        Ok(answer) => answer,
        Err(error) => return refuse(ApiError::from_ask(&error, &model), record),
    };
    let headers = answer_headers(api, &answer);
    match gather(answer, &model, |chunk| record.chunk(chunk)).await {
        Ok(completion) => {
            record.finish(200, completion.usage.as_ref());
            (headers, Json(completion)).into_response()
        }
        Err(error) => refuse(error, record),
    }
}

/// The whole answer; `seen` is shown its chunks.
pub(super) async fn gather(
    mut answer: Answer,
    model: &str,
    mut seen: impl FnMut(&ChatChunk),
) -> Result<ChatCompletion, ApiError> {
    let mut shaper = Shaper::new(false);
    let mut collector = Collector::default();
    while let Some(chunk) = answer.next().await {
        let chunk = chunk.map_err(|error| ApiError::from_ask(&error, model))?;
        seen(&chunk);
        if let Some(chunk) = shaper.chunk(chunk)
            && collector.chunk(chunk) == Err(TooLong)
        {
            // Dropping the answer ends it.
            let reason = "The answer is longer than can be gathered; ask for it as a stream.";
            return Err(ApiError::new(StatusCode::BAD_GATEWAY, "answer_too_long", reason));
        }
    }
    Ok(collector.finish(shaper.usage().cloned()))
}

async fn stream(api: &Arc<Api>, mut request: ChatRequest, mut record: RequestRecord) -> Response {
    let model = request.model.clone();
    let options = request.stream_options.get_or_insert_default();
    let include_usage = options.include_usage.unwrap_or(false);
    let mut asked: BoxFuture<'static, _> = ask(Arc::clone(api), request).boxed();
    let (pending, headers) = match tokio::time::timeout(HEAD_AFTER, asked.as_mut()).await {
        Ok(Ok(answer)) => {
            let headers = answer_headers(api, &answer);
            (Pending::Flowing(Box::new(answer)), headers)
        }
        Ok(Err(error)) => {
            let error = ApiError::from_ask(&error, &model);
            record.finish(error.status.as_u16(), None);
            return error.into_response();
        }
        Err(_) => (Pending::Asked(asked), HeaderMap::new()),
    };
    SseBody::new(pending, Shaper::new(include_usage), record, model).into_response(headers)
}

/// Who answers, and how the answer is protected.
fn answer_headers(api: &Api, answer: &Answer) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let node = answer.node.unwrap_or(api.node).to_string();
    if let Ok(value) = HeaderValue::from_str(&node) {
        headers.insert("x-teale-node", value);
    }
    headers.insert("x-teale-path", HeaderValue::from_static(path_name(answer.path)));
    let (encrypted, verified) = protection(answer.security.as_ref());
    let text = |value: bool| HeaderValue::from_static(if value { "true" } else { "false" });
    // On this node itself nothing travels, so there is nothing to protect.
    if answer.security.is_some() {
        headers.insert("x-teale-encrypted", text(encrypted));
        headers.insert("x-teale-verified", text(verified));
    }
    headers
}

/// Whether a link is sealed, and whether the peer proved its id.
pub(crate) fn protection(security: Option<&Security>) -> (bool, bool) {
    match security {
        Some(Security::Sealed { verified, .. }) => (true, *verified),
        Some(Security::Plaintext) | None => (false, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> ApiError {
        parse(body.as_bytes()).and_then(|request| check(&request)).unwrap_err()
    }

    #[test]
    fn bad_bodies_name_the_field() {
        assert_eq!(refused("{").param, None);
        assert_eq!(refused(r#"{"model":"m","messages":[]} x"#).param, None);
        assert_eq!(
            refused(r#"{"model":"m","messages":[{"content":"x"}]}"#).param.as_deref(),
            Some("messages[0]")
        );
        assert_eq!(refused(r#"{"model":"m","messages":[]}"#).param.as_deref(), Some("messages"));
        assert_eq!(refused(r#"{"model":"","messages":[{"role":"user"}]}"#).param.as_deref(), Some("model"));
        assert_eq!(
            refused(r#"{"model":"m","messages":[{"role":"user"}],"n":2}"#).param.as_deref(),
            Some("n")
        );
        assert!(refused("[]").status == StatusCode::BAD_REQUEST);
    }

    #[test]
    fn an_error_does_not_repeat_all_it_was_sent() {
        let long = "\u{7f}".repeat(100_000);
        let body = serde_json::json!({"model": "m", "messages": [], "stream": long}).to_string();
        assert!(refused(&body).to_json().len() < 3_000);
        let body = format!(r#"{{"model":"m","messages":[],"{long}":1,"stream":"x"}}"#);
        assert!(refused(&body).to_json().len() < 3_000);
    }

    #[test]
    fn unknown_fields_are_welcome() {
        let body =
            br#"{"model":"m","messages":[{"role":"user","content":"x"}],"logit_bias":{"1":2},"future":true}"#;
        let request = parse(body).unwrap();
        assert!(check(&request).is_ok());
        assert_eq!(request.extra["future"], true);
    }
}
