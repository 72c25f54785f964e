//! Connections this node opens: all addresses of a peer, one after the other and beside each other (RFC 8305).

use std::{net::SocketAddr, sync::Arc};

use futures_util::{StreamExt, stream::FuturesUnordered};
use teale_wire::NodeId;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, lookup_host, tcp::OwnedWriteHalf},
    time::{timeout, timeout_at},
};

use super::{
    broke,
    inner::{Inner, OwnDial},
    link,
    stream::{FrameReader, tune},
};
use crate::{
    CarriedLink, LinkError,
    lan::{Dialling, GreetingError, Next, Opened, StaticPeer, Target, bounds, dial_order},
};

/// Opens a link to a peer that is known: found on the network, or given by address and met before.
pub(super) async fn peer(inner: &Arc<Inner>, peer: NodeId) -> Result<CarriedLink, LinkError> {
    let (ways, given) = {
        let state = inner.state();
        let given: Vec<_> = state
            .statics
            .iter()
            .filter(|known| known.node == Some(peer))
            .map(|known| known.peer.clone())
            .collect();
        let hinted = state.hints.ways(inner.now().monotonic, peer);
        ([state.book.ways(peer), hinted].concat(), given)
    };
    // What a person said comes before what anybody on the network says, and is not crowded out by it.
    let mut addresses = Vec::new();
    for known in given {
        addresses.extend(resolve(&known).await.unwrap_or_default());
    }
    let known = inner.terms.policy.known.get(peer).is_some();
    let of_peer = |address| {
        let (now, state) = (inner.now().monotonic, inner.state());
        state.book.target(peer, address).or_else(|| state.hints.target(now, peer, address))
    };
    let target = |address| match of_peer(address) {
        Some(target) => target,
        None if known => Target::Node { node: peer, wg: None },
        None => Target::Address { nameless: peer, expected: Some(peer), sealed_before: true },
    };
    let worked = ways.first().copied();
    addresses.extend(ways);
    let addresses = dial_order(&addresses, worked);
    match first(inner, &addresses, target).await {
        Ok((address, carried)) => {
            inner.state().book.worked(peer, address);
            Ok(carried)
        }
        Err(error) => {
            inner.state().book.failed(peer);
            Err(error)
        }
    }
}

/// The addresses of a peer given by address.
pub(super) async fn resolve(peer: &StaticPeer) -> Result<Vec<SocketAddr>, LinkError> {
    let unreachable = |reason: &str| LinkError::Unreachable(reason.to_owned());
    match timeout(bounds::DIAL_WITHIN, lookup_host((peer.host.as_str(), peer.port))).await {
        Ok(Ok(found)) => Ok(dial_order(&found.collect::<Vec<_>>(), None)),
        Ok(Err(_)) => Err(unreachable("the host name is not known")),
        Err(_) => Err(unreachable("the host name is not resolved in time")),
    }
}

/// Tries all addresses; the first that becomes a link wins.
pub(super) async fn first(
    inner: &Arc<Inner>,
    addresses: &[SocketAddr],
    target: impl Fn(SocketAddr) -> Target,
) -> Result<(SocketAddr, CarriedLink), LinkError> {
    let mut waiting = addresses.iter().copied();
    let mut running = FuturesUnordered::new();
    let mut last = LinkError::Unreachable("no address of the peer is known".into());
    loop {
        match waiting.next() {
            Some(address) => {
                let target = target(address);
                running.push(async move { (address, attempt(inner, address, target).await) });
            }
            None if running.is_empty() => return Err(last),
            None => {}
        }
        let stagger = async {
            if waiting.len() == 0 {
                return std::future::pending().await;
            }
            tokio::time::sleep(bounds::STAGGER).await;
        };
        tokio::select! {
            done = running.next() => match done {
                Some((address, Ok(carried))) => return Ok((address, carried)),
                // Who refused says more than what was not reached.
                Some((_, Err(error))) if !matches!(last, LinkError::Refused(_) | LinkError::Session(_)) => last = error,
                _ => {}
            },
            () = stagger => {}
        }
    }
}

async fn attempt(inner: &Arc<Inner>, address: SocketAddr, target: Target) -> Result<CarriedLink, LinkError> {
    let connected = timeout(bounds::DIAL_WITHIN, TcpStream::connect(address)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(LinkError::Unreachable(error.kind().to_string())),
        Err(_) => return Err(LinkError::Unreachable("nothing answers there".into())),
    };
    let own = OwnDial::note(inner, stream.local_addr().ok());
    tune(&stream);
    let (read, write) = stream.into_split();
    let mut halves = (FrameReader::new(read), write);
    let greeted = greet(inner, &mut halves, target).await;
    drop(own);
    match greeted {
        Ok(opened) => Ok(link::carried(inner, opened, halves, address, None)),
        Err(Failure::Greeting(GreetingError::OwnId)) if inner.is_own_listener(address) => {
            Err(LinkError::Refused("that is this node itself".into()))
        }
        Err(Failure::Greeting(error)) => {
            if error == GreetingError::OwnId {
                inner.copied(address.to_string());
            }
            Err(error.into())
        }
        Err(Failure::Link(error)) => Err(error),
    }
}

enum Failure {
    Greeting(GreetingError),
    Link(LinkError),
}

impl From<GreetingError> for Failure {
    fn from(error: GreetingError) -> Self {
        Self::Greeting(error)
    }
}

async fn greet(
    inner: &Inner,
    (reader, writer): &mut (FrameReader, OwnedWriteHalf),
    target: Target,
) -> Result<Opened, Failure> {
    let mut next = Dialling::start(&inner.terms, target, inner.now())?;
    loop {
        let (state, frame) = match next {
            Next::Open(opened) => return Ok(*opened),
            Next::Wait(state, frame) => (state, frame),
        };
        let deadline = inner.instant(state.deadline());
        if let Some(frame) = frame {
            let written = timeout_at(deadline, writer.write_all(&frame)).await;
            written
                .map_err(|_| GreetingError::Silent(bounds::GREETING_WITHIN))?
                .map_err(|error| Failure::Link(broke(&error)))?;
        }
        next = match timeout_at(deadline, reader.next(bounds::FIRST_FRAME)).await {
            Err(_) => state.late(&inner.terms)?,
            Ok(Ok(Some(frame))) => state.frame(&inner.terms, &frame, inner.now())?,
            Ok(Ok(None)) => {
                return Err(Failure::Link(LinkError::Lost("the peer closed the connection at once".into())));
            }
            Ok(Err(error)) => return Err(Failure::Link(broke(&error))),
        };
    }
}
