//! The listener: bounded connections, each in a task, each told when the node shuts down.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::stalled::Impatient;

/// Connections at a time; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
/// How long a request's head may take, and a connection may idle between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take nothing of an answer, unless told otherwise.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after the kernel refused to accept (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the API's listener.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// The running server. Dropping it cuts its connections.
#[derive(Debug)]
pub(crate) struct ApiServer {
    stop: Stop,
    connections: TaskTracker,
}

/// How connections are told to end.
#[derive(Debug, Clone)]
struct Stop {
    /// After the request in progress.
    soon: CancellationToken,
    /// Now.
    now: CancellationToken,
}

impl ApiServer {
    /// Serves on a listener until [`ApiServer::shutdown`], or until dropped, which cancels `closed` either way.
    pub(crate) fn spawn(
        listener: TcpListener,
        router: Router,
        write_timeout: Duration,
        closed: CancellationToken,
    ) -> Self {
        let stop = Stop { soon: CancellationToken::new(), now: closed };
        let connections = TaskTracker::new();
        let service = Service { router, write_timeout };
        connections.spawn(accept(listener, service, stop.clone(), connections.clone()));
        Self { stop, connections }
    }

    /// Takes no more connections, and waits until the running requests ended, so long at most.
    pub(crate) async fn shutdown(self, limit: Duration) {
        self.stop.soon.cancel();
        self.connections.close();
        if tokio::time::timeout(limit, self.connections.wait()).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "API connections are cut off at shutdown");
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.now.cancel();
    }
}

/// What every connection is served with.
#[derive(Debug, Clone)]
struct Service {
    router: Router,
    write_timeout: Duration,
}

async fn accept(listener: TcpListener, service: Service, stop: Stop, connections: TaskTracker) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.soon.cancelled() => return,
            () = stop.now.cancelled() => return,
            accepted = accepted => accepted,
        };
        let Ok(permit) = permit else { return };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, service.clone(), stop.clone(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "the API could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection. A client that closes it drops the request's future or body, and with it the answer.
async fn serve(stream: TcpStream, service: Service, stop: Stop, _permit: OwnedSemaphorePermit) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let stream = TokioIo::new(Impatient::new(stream, service.write_timeout));
    let connection = builder.serve_connection(stream, TowerToHyperService::new(service.router));
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.now.cancelled() => return,
        () = stop.soon.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection => result,
                () = stop.now.cancelled() => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an API connection ended early");
    }
}
