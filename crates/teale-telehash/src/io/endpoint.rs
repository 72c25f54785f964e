//! The handle to a running endpoint.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use teale_wire::telehash::{End, Ipp, Req, Res, TapRule};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    config::{EndpointConfig, EndpointError},
    shared::Shared,
    socket, task,
};
use crate::{v1, v2};

/// A socket with its switches. Clones are handles to the same one; the last one dropped ends it.
///
/// Calls return at once; what becomes of them is told by events. The `async` methods wait for theirs.
#[derive(Clone)]
pub struct Endpoint {
    shared: Arc<Shared>,
    _guard: Arc<DropGuard>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

/// Where a dial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialed {
    /// The switches nearest to the end that answered, the nearest first.
    pub closest: Vec<Ipp>,
    /// How many were asked.
    pub asked: usize,
}

impl Endpoint {
    /// Binds the socket and starts the switches in the current tokio runtime. What happens before the first
    /// [`Endpoint::events_v1`] is told to nobody: ask [`Endpoint::online`] and the switches for how things stand.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn bind(config: EndpointConfig) -> Result<Self, EndpointError> {
        let failed = |source| EndpointError::Bind { address: config.listen, source };
        let socket = socket::bind(config.listen).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let v1 = config.v1.map(|config| Ok::<_, EndpointError>((config, seed()?))).transpose()?;
        let v2 = config.v2.map(|config| Ok::<_, EndpointError>((config, seed()?))).transpose()?;
        let shared = Arc::new(Shared::new(socket, address, |now| {
            (
                v1.map(|(config, seed)| v1::Switch::new(config, now, seed)),
                v2.map(|(config, seed)| v2::Switch::new(config, now, seed)),
            )
        }));
        let stop = CancellationToken::new();
        tokio::spawn(task::run(Arc::clone(&shared), stop.clone()));
        Ok(Self { shared, _guard: Arc::new(stop.drop_guard()) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.address
    }

    /// Datagrams that the system did not take.
    pub fn unsent(&self) -> u64 {
        self.shared.unsent()
    }

    /// Calls the switch of v1, with the present moment of its clock; `None` if v1 is not spoken. Keep it short: the
    /// socket waits meanwhile.
    pub fn v1<R>(&self, call: impl FnOnce(&mut v1::Switch, Duration) -> R) -> Option<R> {
        self.shared.with(|switches, now| switches.v1.as_mut().map(|switch| call(switch, now)))
    }

    /// Calls the switch of v2; see [`Endpoint::v1`].
    pub fn v2<R>(&self, call: impl FnOnce(&mut v2::Switch, Duration) -> R) -> Option<R> {
        self.shared.with(|switches, now| switches.v2.as_mut().map(|switch| call(switch, now)))
    }

    /// News of v1 from now on. A reader that lags 1024 events behind loses the oldest.
    pub fn events_v1(&self) -> broadcast::Receiver<v1::Event> {
        self.shared.events_v1.subscribe()
    }

    /// News of v2 from now on. A reader that lags 1024 events behind loses the oldest.
    pub fn events_v2(&self) -> broadcast::Receiver<Arc<v2::Event>> {
        self.shared.events_v2.subscribe()
    }

    /// The own public address in v1's DHT, once it is known.
    pub async fn online(&self) -> Ipp {
        let mut events = self.events_v1();
        loop {
            if let Some(own) = self.v1(|switch, _| switch.own().filter(|_| switch.online())).flatten() {
                return own;
            }
            // An event that was missed does not matter: the state is looked at again.
            if events.recv().await == Err(RecvError::Closed) {
                return std::future::pending().await;
            }
        }
    }

    /// Dials an end with v1: asks nearer and nearer switches until nobody knows a nearer one. `None` if v1 is not
    /// spoken, or if more happened meanwhile than could be told.
    pub async fn dial(&self, end: End) -> Option<Dialed> {
        let mut events = self.events_v1();
        let dial = self.v1(|switch, now| switch.dial(now, end))?;
        loop {
            match events.recv().await.ok()? {
                v1::Event::Dialed { id, closest, asked } if id == dial => {
                    return Some(Dialed { closest, asked });
                }
                _ => {}
            }
        }
    }

    /// Announces signals at an end with v1: dials it, and tells the switches nearest to it, which are returned.
    pub async fn announce(&self, end: End, signals: BTreeMap<String, String>) -> Option<Vec<Ipp>> {
        let mut events = self.events_v1();
        let announcement = self.v1(|switch, now| switch.announce(now, end, signals))?;
        loop {
            match events.recv().await.ok()? {
                v1::Event::Announced { id, told } if id == announcement => return Some(told),
                _ => {}
            }
        }
    }

    /// Taps an end with v1, until [`v1::Switch::untap`]; signals arrive as [`v1::Event::Signal`].
    pub fn tap(&self, end: End, rules: Vec<TapRule>) -> Option<v1::TapId> {
        self.v1(|switch, now| switch.tap(now, end, rules))
    }

    /// Opens a session of v2 with a switch. `via` is the switch that told of it: it is asked to open the way through
    /// a NAT. Dropping the future gives the session up.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn open(&self, to: Ipp, via: Option<Ipp>) -> Result<v2::SessionId, v2::CloseReason> {
        let mut events = self.events_v2();
        let Some(session) = self.v2(|switch, now| switch.open(now, to, via)) else {
            return Err(v2::CloseReason::Closed);
        };
        // Whoever does not wait to the end wants no session.
        let mut unwanted = Unwanted { endpoint: self, session: Some(session) };
        loop {
            match events.recv().await.as_deref() {
                Ok(v2::Event::Opened { id, .. }) if *id == session => {
                    unwanted.session = None;
                    return Ok(session);
                }
                Ok(v2::Event::Closed { id, reason, .. }) if *id == session => return Err(*reason),
                Ok(_) => {}
                Err(_) => return Err(v2::CloseReason::Closed),
            }
        }
    }

    /// Asks in a session of v2, and waits for the answer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn request(
        &self,
        session: v2::SessionId,
        req: Req,
        body: Bytes,
    ) -> Result<(Res, Bytes), v2::RequestFailure> {
        let mut events = self.events_v2();
        let Some(request) = self.v2(|switch, now| switch.request(now, session, req, body)) else {
            return Err(v2::RequestFailure::NoSession);
        };
        loop {
            match events.recv().await.as_deref() {
                Ok(v2::Event::Response { id, res, body, .. }) if *id == request => {
                    return Ok((res.clone(), body.clone()));
                }
                Ok(v2::Event::RequestFailed { id, reason }) if *id == request => return Err(*reason),
                Ok(_) => {}
                Err(_) => return Err(v2::RequestFailure::TimedOut),
            }
        }
    }
}

/// Closes a session when dropped, unless somebody took it.
struct Unwanted<'a> {
    endpoint: &'a Endpoint,
    session: Option<v2::SessionId>,
}

impl Drop for Unwanted<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            self.endpoint.v2(|switch, now| switch.close(now, session));
        }
    }
}

fn seed() -> Result<[u8; 32], EndpointError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| EndpointError::NoRandomness)?;
    Ok(seed)
}
