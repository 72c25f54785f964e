//! Listening, the switchboard's timer, and the end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::task::TaskTracker;

use super::{
    RelayMetrics, RelayServerConfig, RelayServerError, http,
    hub::{Hub, Seat},
};
use crate::Input;

/// Connections the system may hold before they are accepted.
const BACKLOG: u32 = 4096;
/// The pause after the system refused a new connection, for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a shutdown waits for the sockets to close.
const FAREWELL: Duration = Duration::from_secs(3);
/// The answer to a connection too many.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A relay that listens. [`run`](Self::run) makes it serve.
#[derive(Debug)]
pub struct RelayServer {
    listener: TcpListener,
    address: SocketAddr,
    hub: Arc<Hub>,
}

/// A hand on a running relay: its figures, and its end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RelayHandle {
    hub: Arc<Hub>,
}

impl RelayServer {
    /// Listens at the address of the configuration. Also raises the process's limit of open files as far as it may.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn bind(config: RelayServerConfig) -> Result<Self, RelayServerError> {
        let address = config.listen;
        let listener = listen(address).map_err(|source| RelayServerError::Listen { address, source })?;
        Self::start(listener, &config)
    }

    /// As [`bind`](Self::bind) with a socket that listens already: handed down by a service manager, or with options of
    /// the caller's, which the connections inherit. `config.listen` does not matter then.
    ///
    /// # Errors
    /// When it is no such socket.
    pub fn on(listener: std::net::TcpListener, config: RelayServerConfig) -> Result<Self, RelayServerError> {
        let address = config.listen;
        let taken = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
        Self::start(taken.map_err(|source| RelayServerError::Listen { address, source })?, &config)
    }

    fn start(listener: TcpListener, config: &RelayServerConfig) -> Result<Self, RelayServerError> {
        raise_file_limit();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| RelayServerError::Randomness)?;
        let address = config.listen;
        let address = listener.local_addr().map_err(|source| RelayServerError::Listen { address, source })?;
        Ok(Self { listener, address, hub: Arc::new(Hub::new(config, seed)) })
    }

    /// Where it listens, with the port the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A hand on it, for when [`run`](Self::run) has taken the relay itself.
    pub fn handle(&self) -> RelayHandle {
        RelayHandle { hub: self.hub.clone() }
    }

    /// Serves until [`RelayHandle::shutdown`], then closes every socket with 1001. Works on either tokio runtime;
    /// dropped, it stops accepting and keeping time, so let it end.
    ///
    /// # Errors
    /// None at present: trouble with single connections is not the relay's.
    pub async fn run(self) -> Result<(), RelayServerError> {
        let Self { listener, hub, .. } = self;
        let tasks = TaskTracker::new();
        let shutdown = hub.shutdown.clone();
        loop {
            let deadline = hub.deadline().map(Instant::from_std);
            let tick = async move {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tick => hub.tell(Input::Tick),
                () = hub.sooner.notified() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => take_in(&hub, &tasks, stream, from),
                    Err(error) if is_exhausted(&error) => {
                        tracing::warn!(%error, "no more connections can be accepted at present");
                        sleep(ACCEPT_PAUSE).await;
                    }
                    Err(error) => tracing::debug!(%error, "a connection was gone before it was accepted"),
                },
            }
        }
        drop(listener);
        hub.close_all();
        tasks.close();
        if tokio::time::timeout(FAREWELL, tasks.wait()).await.is_err() {
            tracing::warn!("some connections did not close in time");
        }
        Ok(())
    }
}

impl RelayHandle {
    /// The relay's figures now.
    pub fn metrics(&self) -> RelayMetrics {
        self.hub.metrics()
    }

    /// Makes [`RelayServer::run`] close every socket and end.
    pub fn shutdown(&self) {
        self.hub.shutdown.cancel();
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn take_in(hub: &Arc<Hub>, tasks: &TaskTracker, stream: TcpStream, from: SocketAddr) {
    match Seat::take(hub, from.ip()) {
        Ok(seat) => {
            // Without it small frames would wait for acknowledgements; where it fails they do.
            let _ = stream.set_nodelay(true);
            tasks.spawn(http::serve(hub.clone(), tasks.clone(), stream, seat));
        }
        Err(refusal) => {
            tracing::debug!(?refusal, "a connection too many");
            // Best effort: nobody waits for a stranger to read this.
            let _ = stream.try_write(FULL);
        }
    }
}

/// Whether the system lacks descriptors or memory, rather than the connection being gone.
fn is_exhausted(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Windows has no such limit.
#[cfg(not(unix))]
fn raise_file_limit() {}

/// Each socket is an open file; the usual soft limit is 1024.
#[cfg(unix)]
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}
