//! The client as a machine: no socket, no clock, no randomness of its own.

mod backoff;
mod discovery;
mod link;
mod ports;
mod registration;
mod relayed;
mod sessions;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use rand::{SeedableRng, rngs::StdRng};
use teale_identity::{Identity, NodeId};
use teale_noise::{IdentityProof, Now};
use teale_wire::{NodeCapabilities, RelayMessage};

use crate::{Encryption, KnownPeers, RelayError, bounds, policy::Policy};
use discovery::Discovery;
use link::Link;
pub use ports::{Counters, Event, Input, Inquiry, Output, SessionKey, Ticket};
use registration::Registration;
use relayed::StrayAnswers;
use sessions::Sessions;

/// What a [`Client`] is made of.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Who we are.
    pub identity: Arc<Identity>,
    /// For people.
    pub display_name: String,
    /// Machine and models.
    pub capabilities: NodeCapabilities,
    /// Whether plaintext sessions are allowed.
    pub encryption: Encryption,
    /// Whether peers must prove their identity.
    pub identity_proof: IdentityProof,
    /// The memory of peers' keys.
    pub known_peers: KnownPeers,
}

/// One relay's client: connection, registration, discovery, sessions.
///
/// Tell it what happens ([`handle`](Self::handle)) and what is wanted (the other methods); after each call, drain
/// [`poll`](Self::poll) until it answers [`Output::Wait`]. Time never goes backwards.
///
/// It seals and opens nothing but handshakes: an established session's [`Channel`](crate::Channel) goes to the
/// application, and with it the work of the ciphers.
pub struct Client {
    me: NodeId,
    identity: Arc<Identity>,
    policy: Policy,
    rng: StdRng,
    link: Link,
    registration: Registration,
    discovery: Discovery,
    sessions: Sessions,
    stray: StrayAnswers,
    counters: Counters,
    out: VecDeque<Output>,
}

impl Client {
    /// A client that wants to connect at once. `seed` is fresh randomness: session ids and back-off come of it.
    pub fn new(config: ClientConfig, now: Now, seed: [u8; 32]) -> Self {
        let ClientConfig { identity, display_name, capabilities, encryption, identity_proof, known_peers } =
            config;
        let mut client = Self {
            me: identity.node_id(),
            policy: Policy { encryption, identity_proof, known: known_peers },
            rng: StdRng::from_seed(seed),
            link: Link::new(now.monotonic),
            registration: Registration::new(identity.clone(), display_name, capabilities),
            identity,
            discovery: Discovery::new(),
            sessions: Sessions::default(),
            stray: StrayAnswers::default(),
            counters: Counters::default(),
            out: VecDeque::new(),
        };
        client.tick(now);
        client
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Connected => self.connected(now.monotonic),
            Input::Lost { reason } => self.lost(now.monotonic, reason, false),
            Input::Frame(frame) if self.link.connected() => {
                self.link.heard(now.monotonic);
                self.frame(now, frame);
            }
            Input::Pong if self.link.connected() => self.link.pong(now.monotonic),
            Input::Frame(_) | Input::Pong | Input::Tick => {}
        }
        self.tick(now);
    }

    /// What to do next.
    pub fn poll(&mut self) -> Output {
        self.out.pop_front().unwrap_or_else(|| Output::Wait(self.deadline()))
    }

    /// New capabilities: registered at once if they differ, or together with others of the same second.
    pub fn set_capabilities(&mut self, now: Now, capabilities: NodeCapabilities) {
        self.registration.set_capabilities(capabilities);
        self.tick(now);
    }

    /// Asks who is there; answered by [`Event::Discovered`]. It waits for the connection and for the relay's rate
    /// limit, and shares its request with others that wait.
    pub fn discover(&mut self, now: Now, inquiry: Inquiry) {
        let ticket = inquiry.ticket;
        if self.link.shut() {
            self.event(Event::Discovered { ticket, result: Err(RelayError::Closed) });
        } else if !self.discovery.add(inquiry) {
            self.event(Event::Discovered { ticket, result: Err(RelayError::Busy) });
        }
        self.tick(now);
    }

    /// Forgets an inquiry: no event tells of it.
    pub fn withdraw(&mut self, now: Now, ticket: Ticket) {
        self.discovery.withdraw(ticket);
        self.tick(now);
    }

    /// Closes every session and the connection, for good.
    pub fn shutdown(&mut self, now: Now) {
        for key in self.sessions.keys() {
            self.close(now, key);
        }
        for inquiry in self.discovery.drain() {
            self.event(Event::Discovered { ticket: inquiry.ticket, result: Err(RelayError::Closed) });
        }
        if self.link.shut_down() {
            self.out.push_back(Output::Disconnect);
        }
    }

    /// Whether the relay has acknowledged the registration of the present connection.
    pub fn registered(&self) -> bool {
        self.link.registered()
    }

    /// Sessions that can carry messages.
    pub fn sessions(&self) -> usize {
        self.sessions.established()
    }

    /// Round trip of the last ping.
    pub fn round_trip(&self) -> Option<Duration> {
        self.link.round_trip()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn send(&mut self, message: &RelayMessage) {
        // Only a display name or capabilities beyond a whole frame could fail here, and then there is no frame.
        match message.encode() {
            Ok(frame) => self.out.push_back(Output::Send(Bytes::from(frame))),
            Err(error) => {
                tracing::error!(kind = message.kind(), %error, "a relay message could not be written")
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        if self.link.shut() {
            return None;
        }
        let registered = self.link.registered();
        let refresh = if registered { self.registration.deadline() } else { None };
        [self.link.deadline(), refresh, self.discovery.deadline(registered), self.sessions.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what the time has come for.
    fn tick(&mut self, now: Now) {
        if self.link.shut() {
            return;
        }
        self.link_tick(now.monotonic);
        self.session_tick(now.monotonic);
        self.discovery_tick(now.monotonic);
    }

    fn discovery_tick(&mut self, now: Duration) {
        let registered = self.link.registered();
        for inquiry in self.discovery.expired(now) {
            let error = match self.link.trouble() {
                Some(reason) if !registered => RelayError::NotConnected(reason.to_owned()),
                None if !registered => RelayError::NotConnected("still connecting".into()),
                _ => self.discovery.verdict(now, &inquiry),
            };
            self.event(Event::Discovered { ticket: inquiry.ticket, result: Err(error) });
        }
        if registered && let Some(filter) = self.discovery.due(now) {
            let discover =
                teale_wire::Discover { requesting_node_id: self.me, filter, extra: Default::default() };
            self.send(&RelayMessage::Discover(discover));
        }
    }
}

/// A relay's `retryAfterSeconds`, within reason.
fn retry_after(seconds: Option<f64>) -> Duration {
    let least = Duration::from_secs(1);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(bounds::DISCOVER_GAP)
        .clamp(least, bounds::RETRY_AFTER_LAST)
}
