//! Connections that others open.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use teale_wire::NodeId;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::timeout_at,
};

use super::{
    LanStartError, broke,
    inner::{Inner, Place},
    is_refusal, link,
    stream::{FrameReader, plain_address, tune},
};
use crate::{
    LinkError,
    lan::{Answering, GreetingError, Next, Opened, bounds},
};

/// Connections the kernel may hold for us.
const BACKLOG: i32 = 128;
/// After an error of `accept` (out of descriptors, mostly) nothing is accepted for so long.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens at `address`; on another port if that one is taken, and on IPv4 alone where there is no IPv6.
pub(super) fn bind(address: SocketAddr) -> Result<Vec<TcpListener>, LanStartError> {
    let any_port = SocketAddr::new(address.ip(), 0);
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    let mut tries = vec![address, any_port];
    if address.is_ipv6() && address.ip().is_unspecified() {
        tries.extend([v4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))]);
    }
    let mut failed = None;
    for candidate in tries {
        match listener(candidate) {
            Ok(listener) => {
                if candidate.port() != address.port() {
                    tracing::warn!(%address, "the LAN port is taken; another one is used and advertised");
                }
                return Ok(vec![listener]);
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let source = failed.unwrap_or_else(|| std::io::ErrorKind::AddrNotAvailable.into());
    Err(LanStartError::Listen { address, source })
}

fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restart finds its port again; on Windows the option means something else.
    #[cfg(not(target_os = "windows"))]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

pub(super) async fn run(inner: Arc<Inner>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            () = inner.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let address = plain_address(address);
                match Place::take(&inner, address.ip()) {
                    Ok(place) => {
                        inner.tasks.spawn(answer(Arc::clone(&inner), stream, address, place));
                    }
                    Err(full) => inner.refused(nobody(), address, &full.to_string()),
                }
            }
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "cannot accept LAN connections");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Who a stranger is before it said so.
fn nobody() -> NodeId {
    NodeId::from_bytes([0; 32])
}

async fn answer(inner: Arc<Inner>, stream: TcpStream, address: SocketAddr, mut place: Place) {
    tune(&stream);
    let (read, write) = stream.into_split();
    let mut halves = (FrameReader::new(read), write);
    let greeted = tokio::select! {
        () = inner.stop.cancelled() => return,
        greeted = greet(&inner, &mut halves) => greeted,
    };
    match greeted {
        Ok(opened) => {
            place.settle();
            let host = inner.host.clone();
            host.adopt(link::carried(&inner, opened, halves, address, Some(place)));
        }
        Err(Refusal::OwnId) => {
            let ours = inner.state().own_dials.contains(&address);
            if ours {
                tracing::debug!(%address, "a connection of this node to itself");
            } else {
                inner.refused(nobody(), address, &GreetingError::OwnId.to_string());
                inner.copied(address.ip().to_string());
            }
        }
        Err(Refusal::Link(LinkError::Closed)) => tracing::debug!(%address, "a LAN connection without a word"),
        Err(Refusal::Link(error)) if is_refusal(&error) => {
            inner.refused(nobody(), address, &error.to_string());
        }
        Err(Refusal::Link(error)) => tracing::debug!(%address, %error, "a LAN connection broke"),
    }
}

enum Refusal {
    OwnId,
    Link(LinkError),
}

impl From<GreetingError> for Refusal {
    fn from(error: GreetingError) -> Self {
        if error == GreetingError::OwnId { Self::OwnId } else { Self::Link(error.into()) }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Link(broke(&error))
    }
}

async fn greet(
    inner: &Inner,
    (reader, writer): &mut (FrameReader, tokio::net::tcp::OwnedWriteHalf),
) -> Result<Opened, Refusal> {
    let mut state = Answering::start(inner.now());
    let deadline = inner.instant(state.deadline());
    loop {
        let Ok(frame) = timeout_at(deadline, reader.next(bounds::FIRST_FRAME)).await else {
            return Err(GreetingError::Silent(bounds::GREETING_WITHIN).into());
        };
        let frame = frame?.ok_or(Refusal::Link(LinkError::Closed))?;
        let (waiting, reply, opened) = match state.frame(&inner.terms, &frame, inner.now())? {
            Next::Wait(state, reply) => (Some(state), reply, None),
            Next::Open(mut opened) => (None, opened.reply.take(), Some(*opened)),
        };
        if let Some(reply) = reply {
            let Ok(written) = timeout_at(deadline, writer.write_all(&reply)).await else {
                return Err(GreetingError::Silent(bounds::GREETING_WITHIN).into());
            };
            written?;
        }
        match (waiting, opened) {
            (Some(next), _) => state = next,
            (None, Some(opened)) => return Ok(opened),
            (None, None) => return Err(Refusal::Link(LinkError::Closed)),
        }
    }
}
