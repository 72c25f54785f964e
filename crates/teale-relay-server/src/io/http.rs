//! The relay's HTTP endpoints, and the upgrade to a WebSocket.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use teale_wire::NodeId;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::TaskTracker;

use super::{
    hub::{Hub, Seat},
    socket,
};
use crate::websocket::accept_key;

/// What hyper may buffer of a request's head, in bytes.
const HEAD_BYTES: usize = 16 << 10;
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

type Answer = Response<Full<Bytes>>;

/// Serves one connection until it ends or becomes a WebSocket, which then has its own task.
pub(super) async fn serve(hub: Arc<Hub>, tasks: TaskTracker, stream: TcpStream, seat: Seat) {
    let seat = Arc::new(seat);
    let (life, shutdown) = (hub.limits.http_life, hub.shutdown.clone());
    let header_time = hub.limits.http_header_time;
    let service = service_fn(move |request| {
        let answer = answer(&hub, &tasks, request, &seat);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_time)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        served = timeout(life, connection) => {
            if let Ok(Err(error)) = served {
                tracing::debug!(%error, "an HTTP connection ended early");
            }
        }
        () = shutdown.cancelled() => {}
    }
}

fn answer(hub: &Arc<Hub>, tasks: &TaskTracker, mut request: Request<Incoming>, seat: &Arc<Seat>) -> Answer {
    let path = request.uri().path();
    if !matches!(path, "/health" | "/peers" | "/metrics" | "/metrics/prometheus" | "/ws") {
        return plain(StatusCode::NOT_FOUND, "no such page; there are /health, /peers, /metrics and /ws\n");
    }
    if request.method() != Method::GET && (path == "/ws" || request.method() != Method::HEAD) {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        refusal.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET"));
        return refusal;
    }
    match path {
        "/health" => body(JSON, json!({ "ok": true, "peers": hub.peer_count() }).to_string()),
        "/peers" => body(JSON, peers(hub)),
        "/metrics" if !accepts_text(request.headers()) => body(JSON, hub.metrics().to_json()),
        "/metrics" | "/metrics/prometheus" => body(PROMETHEUS, hub.metrics().to_prometheus()),
        _ => match upgrade(&request) {
            Ok((accept, claimed)) => {
                let upgrade = hyper::upgrade::on(&mut request);
                tasks.spawn(upgraded(hub.clone(), tasks.clone(), upgrade, claimed, seat.clone()));
                switching(&accept)
            }
            Err(refusal) => *refusal,
        },
    }
}

fn peers(hub: &Hub) -> String {
    let peers: Vec<_> = hub
        .peers()
        .into_iter()
        .map(|peer| {
            json!({
                "nodeID": peer.node_id.short(),
                "displayName": peer.display_name,
                "lastSeen": peer.last_seen,
            })
        })
        .collect();
    json!({ "peers": peers }).to_string()
}

/// Whether the client prefers text over JSON: it names `text/plain` and not JSON.
fn accepts_text(headers: &HeaderMap) -> bool {
    let named = |kind: &str| {
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
            value.split(',').any(|item| item.split(';').next().is_some_and(|name| name.trim() == kind))
        })
    };
    named("text/plain") && !named(JSON)
}

/// Checks the request for a WebSocket: the accept key, and the node the query names.
fn upgrade(request: &Request<Incoming>) -> Result<(String, Option<NodeId>), Box<Answer>> {
    let bad = |why: &'static str| Box::new(plain(StatusCode::BAD_REQUEST, why));
    let headers = request.headers();
    if request.version() != Version::HTTP_11
        || !has_token(headers, header::UPGRADE, "websocket")
        || !has_token(headers, header::CONNECTION, "upgrade")
    {
        let mut refusal = plain(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint\n");
        refusal.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
        return Err(Box::new(refusal));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut refusal = plain(StatusCode::UPGRADE_REQUIRED, "only version 13 of WebSocket is spoken\n");
        let version = header::HeaderValue::from_static("13");
        refusal.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, version);
        return Err(Box::new(refusal));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|key| key.as_bytes()).unwrap_or_default();
    let accept = accept_key(key).map_err(|_| bad("Sec-WebSocket-Key is not 16 bytes of base64\n"))?;
    let query = request.uri().query().unwrap_or_default();
    let claimed = query.split('&').find_map(|pair| pair.strip_prefix("node="));
    let claimed = claimed.map(|node| NodeId::parse(node.as_bytes())).transpose();
    let claimed = claimed.map_err(|_| bad("node has to be 64 lower-case hex digits\n"))?;
    Ok((accept, claimed))
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
}

/// Takes the stream out of hyper and serves it.
async fn upgraded(
    hub: Arc<Hub>,
    tasks: TaskTracker,
    upgrade: OnUpgrade,
    claimed: Option<NodeId>,
    seat: Arc<Seat>,
) {
    let Ok(upgraded) = upgrade.await else { return };
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
    let (stream, first) = (parts.io.into_inner(), parts.read_buf);
    // The socket's task is another one: this one's memory held the upgrade.
    tasks.spawn(socket::serve(hub, stream, claimed, first, seat));
}

fn switching(accept: &str) -> Answer {
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body(Full::default());
    answer.unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR, ""))
}

fn body(kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::from(text));
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    answer.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    answer
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = body(TEXT, text.to_owned());
    *answer.status_mut() = status;
    answer
}
