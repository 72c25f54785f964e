//! What of the API guests may ask: nodes that came by a way of their own and proved who they are. They get this node's own
//! models in their turn, and see nothing else of it.

use serde::Serialize;
use teale_cluster::Cluster;
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

/// One guest asks too much at once.
pub(crate) fn too_many() -> (u16, String) {
    let reason = "Too many requests at once in this session.";
    let error = ApiError::new(http::StatusCode::TOO_MANY_REQUESTS, "too_many_requests", reason);
    (error.status.as_u16(), error.to_json())
}

async fn completion(cluster: &Cluster, guest: NodeId, body: &[u8]) -> Result<String, ApiError> {
    let request = chat::parse(body)?;
    chat::check(&request)?;
    if request.stream == Some(true) {
        return Err(ApiError::invalid(Some("stream".into()), "Answers come whole here; leave `stream` out."));
    }
    let model = request.model.clone();
    let refused = |error| ApiError::from_ask(&error, &model);
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
        None => Err(ApiError::from_ask(&teale_cluster::AskError::ModelNotFound, id)),
    }
}

fn json(value: &impl Serialize) -> Result<String, ApiError> {
    serde_json::to_string(value).map_err(|_| {
        ApiError::new(
            http::StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "The answer cannot be written.",
        )
    })
}
