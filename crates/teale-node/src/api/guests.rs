//! What of the API guests may ask: nodes that came by a way of their own and proved who they are. They get this node's own
//! models in their turn, and see nothing else of it.

use http::StatusCode;
use serde::Serialize;
use teale_cluster::{AskError, Cluster};
use teale_wire::{NodeId, model_matches};

use super::{
    chat,
    chunks::unix_now,
    errors::ApiError,
    models::{Entry, List},
};

/// Answers a request: the status, and JSON.
pub(crate) async fn answer(
    cluster: &Cluster,
    guest: NodeId,
    (method, path): (&str, &str),
    body: &[u8],
) -> (u16, String) {
    let result = match (method, path) {
        ("POST", "/v1/chat/completions") => completion(cluster, guest, body).await,
        ("GET", "/v1/models") => models(cluster),
        ("GET", path) if path.starts_with("/v1/models/") => model(cluster, &path["/v1/models/".len()..]),
        (_, "/v1/chat/completions" | "/v1/models") => Err(ApiError::wrong_method(method)),
        _ => Err(ApiError::unknown_url(method, path)),
    };
    match result {
        Ok(text) => (200, text),
        Err(error) => (error.status.as_u16(), error.to_json()),
    }
}

/// One guest, or all together, ask too much at once.
pub(crate) fn too_many() -> (u16, String) {
    let reason = "Too many questions at once.";
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", reason);
    (error.status.as_u16(), error.to_json())
}

async fn completion(cluster: &Cluster, guest: NodeId, body: &[u8]) -> Result<String, ApiError> {
    let request = chat::parse(body)?;
    chat::check(&request)?;
    if request.stream == Some(true) {
        return Err(ApiError::invalid(Some("stream".into()), "Answers come whole here; leave `stream` out."));
    }
    let model = request.model.clone();
    let refused = |error| match error {
        AskError::ModelNotFound => not_here(&model),
        error => ApiError::from_ask(&error, &model),
    };
    let answer = cluster.serve(guest, request).await.map_err(refused)?;
    let completion = chat::gather(answer, &model, |_| ()).await?;
    tracing::debug!(%guest, model, "a guest was answered");
    json(&completion)
}

fn models(cluster: &Cluster) -> Result<String, ApiError> {
    let own = cluster.models().into_iter().filter(|model| model.local);
    json(&List::of(own, unix_now()))
}

fn model(cluster: &Cluster, id: &str) -> Result<String, ApiError> {
    let own = cluster.models().into_iter().find(|model| model.local && model_matches(id, &model.id));
    match own {
        Some(model) => json(&Entry::of(model, unix_now())),
        None => Err(not_here(id)),
    }
}

fn not_here(model: &str) -> ApiError {
    let model: String = model.chars().take(200).collect();
    let message =
        format!("This node does not serve the model `{model}`; GET /v1/models lists what it serves.");
    let error = ApiError::new(StatusCode::NOT_FOUND, "model_not_found", message);
    ApiError { param: Some("model".into()), ..error }
}

fn json(value: &impl Serialize) -> Result<String, ApiError> {
    serde_json::to_string(value).map_err(|_| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "The answer cannot be written.")
    })
}
