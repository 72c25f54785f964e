//! The local HTTP API: OpenAI's shapes, health, metrics, and the node's own view of itself.

mod admin;
mod chat;
mod chunks;
mod errors;
mod guard;
pub(crate) mod guests;
mod lookout;
mod metrics;
mod models;
mod server;
mod sharing;
mod sse;
mod stalled;
mod telemetry;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router, middleware,
    routing::{delete, get, post},
};
use teale_cluster::{Cluster, Sharing, lan::Lan};
use teale_wire::NodeId;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Dht;

pub(crate) use chat::protection;
pub(crate) use guard::Guard;
pub(crate) use metrics::path_name;
pub(crate) use server::{ApiServer, WRITE_TIMEOUT, bind};
pub(crate) use sharing::PullRequest;

/// What the handlers share.
pub(crate) struct Api {
    cluster: Cluster,
    lan: Option<Lan>,
    sharing: Option<Sharing>,
    dht: Option<Dht>,
    guard: Guard,
    node: NodeId,
    name: String,
    started: Instant,
    telemetry: Arc<telemetry::Telemetry>,
    events: Arc<metrics::EventCounters>,
    lookout: lookout::Lookout,
    /// The server is gone.
    closed: CancellationToken,
}

impl Api {
    /// The API of a node. Must be called in a tokio runtime.
    pub(crate) fn new(cluster: Cluster, lan: Option<Lan>, guard: Guard, node: NodeId, name: String) -> Self {
        let events = Arc::new(metrics::EventCounters::default());
        tokio::spawn(Arc::clone(&events).follow(cluster.events()));
        let closed = CancellationToken::new();
        let lookout = lookout::Lookout::new(cluster.clone(), closed.clone());
        Self {
            cluster,
            lan,
            sharing: None,
            dht: None,
            guard,
            node,
            name,
            started: Instant::now(),
            telemetry: Arc::new(telemetry::Telemetry::new()),
            events,
            lookout,
            closed,
        }
    }

    /// What is known of model files.
    pub(crate) fn share(&mut self, sharing: Option<Sharing>) {
        self.sharing = sharing;
    }

    /// Who looks in the DHT for models that nobody known serves.
    pub(crate) fn meet(&mut self, dht: Option<Dht>) {
        self.dht = dht;
    }

    /// Serves on a listener. A client that takes nothing of an answer for `write_timeout` is cut off.
    pub(crate) fn serve(self, listener: TcpListener, write_timeout: Duration) -> ApiServer {
        let closed = self.closed.clone();
        ApiServer::spawn(listener, self.router(), write_timeout, closed)
    }

    /// All routes, guarded.
    fn router(self) -> Router {
        let api = Arc::new(self);
        Router::new()
            .route("/v1/chat/completions", post(chat::completions))
            .route("/v1/models", get(models::list))
            // Ids may hold slashes (`owner/name`).
            .route("/v1/models/{*id}", get(models::retrieve))
            .route("/health", get(admin::health))
            .route("/ready", get(admin::ready))
            .route("/metrics", get(metrics::metrics))
            .route("/teale/v1/status", get(admin::status))
            .route("/teale/v1/peers", get(admin::peers))
            .route("/teale/v1/models", get(admin::models))
            .route("/teale/v1/files", get(sharing::list))
            .route("/teale/v1/files/pull", post(sharing::pull))
            .route("/teale/v1/files/{*id}", delete(sharing::remove))
            .fallback(errors::not_found)
            .method_not_allowed_fallback(errors::method_not_allowed)
            .layer(middleware::from_fn_with_state(Arc::clone(&api), guard::check))
            .with_state(api)
    }
}
