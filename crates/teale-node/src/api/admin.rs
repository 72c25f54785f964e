//! The node's own view of itself: health, readiness, status, peers, models.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use teale_cluster::{ClusterStatus, lan::LanStatus};
use teale_wire::NodeId;

use super::{Api, errors::ApiError};
use crate::{Dht, DhtStatus};

/// `GET /teale/v1/status`.
#[derive(Debug, Clone, Serialize)]
struct Status {
    node: NodeId,
    name: String,
    version: &'static str,
    pid: u32,
    uptime_seconds: u64,
    relays: Vec<Relay>,
    /// `null` for a node that is not on its local network.
    lan: Option<LanStatus>,
    /// `null` for a node that is not in the DHT.
    dht: Option<DhtStatus>,
    peers: usize,
    #[serde(flatten)]
    cluster: ClusterStatus,
}

/// A relay, as `status` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Relay {
    url: String,
    registered: bool,
    last_error: Option<String>,
    sessions: usize,
    ping_ms: Option<f64>,
}

/// The process is up.
pub(super) async fn health() -> Response {
    Json(serde_json::json!({ "status": "ok" })).into_response()
}

/// Some model, own or remote, could answer.
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Response {
    let models = api.cluster.models();
    if models.iter().any(|model| !model.nodes.is_empty() || (model.local && model.state == "ready")) {
        return Json(serde_json::json!({ "status": "ready" })).into_response();
    }
    ApiError {
        retry_after: Some(2),
        ..ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            "No model is loaded and no peer serves one yet.",
        )
    }
    .into_response()
}

pub(super) async fn status(State(api): State<Arc<Api>>) -> Response {
    let relay = |status: teale_relay_client::RelayStatus| Relay {
        url: status.url,
        registered: status.registered,
        last_error: status.last_error,
        sessions: status.sessions,
        ping_ms: status.ping.map(|ping| ping.as_secs_f64() * 1e3),
    };
    Json(Status {
        node: api.node,
        name: api.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        uptime_seconds: api.started.elapsed().as_secs(),
        relays: api.cluster.relays().into_iter().map(relay).collect(),
        lan: api.lan.as_ref().map(teale_cluster::lan::Lan::status),
        dht: api.dht.as_ref().map(Dht::status),
        peers: api.cluster.peers().len(),
        cluster: api.cluster.status(),
    })
    .into_response()
}

pub(super) async fn peers(State(api): State<Arc<Api>>) -> Response {
    Json(serde_json::json!({ "peers": api.cluster.peers() })).into_response()
}

pub(super) async fn models(State(api): State<Arc<Api>>) -> Response {
    Json(serde_json::json!({ "models": api.cluster.models() })).into_response()
}
