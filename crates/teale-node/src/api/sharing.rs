//! Model files over the local API: what is here, what peers offer, fetching, removing.

use std::{path::PathBuf, sync::Arc};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State, rejection::JsonRejection},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use teale_cluster::{PullOptions, Sharing, share::PullError};
use teale_wire::NodeId;

use super::{Api, errors::ApiError};
use crate::pulling::{self, PullLine};

/// `GET /teale/v1/files`.
#[derive(Serialize)]
struct Files {
    local: Vec<Local>,
    remote: Vec<Remote>,
}

#[derive(Serialize)]
struct Local {
    id: String,
    size_bytes: u64,
    own: bool,
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Remote {
    id: String,
    size_bytes: u64,
    nodes: Vec<NodeId>,
}

/// The body of `POST /teale/v1/files/pull`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PullRequest {
    /// Which model.
    pub(crate) model: String,
    /// Only from this node.
    #[serde(default)]
    pub(crate) from: Option<NodeId>,
    /// Also over relays.
    #[serde(default)]
    pub(crate) over_relay: bool,
}

impl PullRequest {
    /// The same for the cluster.
    pub(crate) fn options(&self) -> PullOptions {
        PullOptions { from: self.from, relay: self.over_relay, ..PullOptions::default() }
    }
}

fn sharing(api: &Api) -> Result<&Sharing, ApiError> {
    let none = || {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "This node keeps no model files: it has no folder.",
        )
    };
    api.sharing.as_ref().ok_or_else(none)
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    let sharing = sharing(&api)?;
    let disk = sharing.clone();
    let local = tokio::task::spawn_blocking(move || disk.local()).await.unwrap_or_default();
    let local = local.into_iter().map(|model| Local {
        id: model.id,
        size_bytes: model.size_bytes,
        own: model.own,
        files: model.files,
    });
    let remote = sharing.remote().await;
    let remote = remote.into_iter().map(|model| Remote {
        id: model.id,
        size_bytes: model.size_bytes,
        nodes: model.nodes,
    });
    Ok(Json(Files { local: local.collect(), remote: remote.collect() }).into_response())
}

pub(super) async fn pull(
    State(api): State<Arc<Api>>,
    request: Result<Json<PullRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(request) = request.map_err(|error| ApiError::invalid(None, error.body_text()))?;
    let pull = sharing(&api)?.pull(&request.model, request.options()).map_err(|error| refusal(&error))?;
    let line = |line: PullLine| {
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        Ok::<_, serde_json::Error>(Bytes::from(text))
    };
    let body = Body::from_stream(pulling::lines(request.model, pull).map(line));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-cache")], body)
        .into_response())
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Path(model): Path<String>,
) -> Result<Response, ApiError> {
    let sharing = sharing(&api)?.clone();
    let id = model.clone();
    match tokio::task::spawn_blocking(move || sharing.remove(&id)).await {
        Ok(Ok(true)) => Ok(Json(serde_json::json!({ "removed": model })).into_response()),
        Ok(Ok(false)) => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "model_not_found",
            "There is no such model in this node's folder; other programs' files are never removed.",
        )),
        Ok(Err(error)) => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "storage", error.to_string())),
        Err(_) => {
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "The work was cut off."))
        }
    }
}

fn refusal(error: &PullError) -> ApiError {
    let status = match error {
        PullError::Name(_) => StatusCode::BAD_REQUEST,
        PullError::Exists | PullError::Running => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    ApiError::new(status, pulling::code(error), error.to_string())
}
