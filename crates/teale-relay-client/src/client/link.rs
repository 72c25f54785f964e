//! The connection to the relay: connecting, registering, staying alive, backing off.

use std::time::Duration;

use bytes::Bytes;
use teale_identity::NodeId;
use teale_noise::Now;
use teale_wire::{DiscoverResponse, Peek, RelayErrorCode, RelayErrorMessage, RelayMessage, peek};

use super::{Client, Event, Output, backoff::Backoff, retry_after};
use crate::{SessionError, bounds};
use teale_identity::X25519Public;

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No connection; the next attempt starts then.
    Waiting { until: Duration },
    /// An attempt is under way.
    Connecting { until: Duration },
    /// Connected; a challenge may come until then.
    Greeting { until: Duration },
    /// Registered, not acknowledged.
    Registering { until: Duration },
    /// Acknowledged.
    Registered { since: Duration },
    /// Over.
    Shut,
}

#[derive(Debug)]
pub(super) struct Link {
    phase: Phase,
    backoff: Backoff,
    heard_at: Duration,
    next_ping: Duration,
    ping_sent: Option<Duration>,
    round_trip: Option<Duration>,
    trouble: Option<String>,
}

impl Link {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            phase: Phase::Waiting { until: now },
            backoff: Backoff::default(),
            heard_at: now,
            next_ping: now,
            ping_sent: None,
            round_trip: None,
            trouble: None,
        }
    }

    pub(super) fn connected(&self) -> bool {
        matches!(self.phase, Phase::Greeting { .. } | Phase::Registering { .. } | Phase::Registered { .. })
    }

    pub(super) fn registered(&self) -> bool {
        matches!(self.phase, Phase::Registered { .. })
    }

    pub(super) fn shut(&self) -> bool {
        self.phase == Phase::Shut
    }

    /// Whether there was a connection, or an attempt at one, to give up.
    pub(super) fn shut_down(&mut self) -> bool {
        let was = std::mem::replace(&mut self.phase, Phase::Shut);
        !matches!(was, Phase::Waiting { .. } | Phase::Shut)
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Why the last connection or attempt failed.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub(super) fn heard(&mut self, now: Duration) {
        self.heard_at = now;
    }

    pub(super) fn pong(&mut self, now: Duration) {
        self.heard_at = now;
        if let Some(sent) = self.ping_sent.take() {
            self.round_trip = Some(now.saturating_sub(sent));
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let own = match self.phase {
            Phase::Waiting { until } | Phase::Connecting { until } => return Some(until),
            Phase::Greeting { until } | Phase::Registering { until } => until,
            Phase::Registered { .. } => Duration::MAX,
            Phase::Shut => return None,
        };
        Some(own.min(self.next_ping).min(self.heard_at + bounds::DEAD_AFTER))
    }
}

impl Client {
    pub(super) fn connected(&mut self, now: Duration) {
        if !matches!(self.link.phase, Phase::Connecting { .. }) {
            return;
        }
        self.link.phase = Phase::Greeting { until: now + bounds::CHALLENGE_WITHIN };
        self.link.heard_at = now;
        self.link.next_ping = now + bounds::PING_EVERY;
        self.link.ping_sent = None;
        self.registration.connected();
    }

    /// The connection is gone, or is given up (`hang_up`).
    pub(super) fn lost(&mut self, now: Duration, reason: String, hang_up: bool) {
        let was = self.link.phase;
        if matches!(was, Phase::Waiting { .. } | Phase::Shut) {
            return;
        }
        if hang_up {
            self.out.push_back(Output::Disconnect);
        }
        if matches!(was, Phase::Registered { since } if now >= since + bounds::STABLE_AFTER) {
            self.link.backoff.reset();
        }
        let retry_in = self.link.backoff.next(&mut self.rng);
        self.link.phase = Phase::Waiting { until: now + retry_in };
        self.link.trouble = Some(reason.clone());
        self.discovery.lost();
        for key in self.sessions.keys() {
            self.end(key, SessionError::RelayLost, false);
        }
        self.event(Event::Disconnected { reason, retry_in });
    }

    pub(super) fn link_tick(&mut self, now: Duration) {
        match self.link.phase {
            Phase::Waiting { until } if now >= until => {
                self.link.phase = Phase::Connecting { until: now + bounds::CONNECT_WITHIN };
                self.out.push_back(Output::Connect);
            }
            Phase::Connecting { until } if now >= until => {
                self.lost(now, "the connection attempt took too long".into(), true);
            }
            Phase::Greeting { until } if now >= until => self.register(now),
            Phase::Registering { until } if now >= until => {
                self.lost(now, "the relay did not acknowledge the registration".into(), true);
            }
            Phase::Registered { .. } if self.registration.deadline().is_some_and(|at| now >= at) => {
                self.register(now);
            }
            _ => {}
        }
        if !self.link.connected() {
            return;
        }
        if now >= self.link.heard_at + bounds::DEAD_AFTER {
            self.lost(now, "the relay fell silent".into(), true);
        } else if now >= self.link.next_ping {
            self.link.next_ping = now + bounds::PING_EVERY;
            self.link.ping_sent = Some(now);
            self.out.push_back(Output::Ping);
        }
    }

    fn register(&mut self, now: Duration) {
        if matches!(self.link.phase, Phase::Greeting { .. }) {
            self.link.phase = Phase::Registering { until: now + bounds::REGISTER_WITHIN };
        }
        let message = self.registration.message(now);
        self.send(&message);
    }

    /// Sends a frame to where it belongs.
    pub(super) fn frame(&mut self, now: Now, frame: Bytes) {
        match peek(&frame) {
            Ok(Peek::Forward { kind, from, to, session }) => {
                if to == self.me && from != self.me && self.link.registered() {
                    self.session_frame(now, kind, from, session, frame);
                } else {
                    self.counters.bad_frames += 1;
                }
            }
            Ok(Peek::Other) => match RelayMessage::parse(&frame) {
                Ok(message) => self.relay_message(now.monotonic, message),
                Err(error) => self.bad_frame(&error),
            },
            Err(error) => self.bad_frame(&error),
        }
    }

    fn bad_frame(&mut self, error: &teale_wire::WireError) {
        self.counters.bad_frames += 1;
        tracing::debug!(%error, "the relay sent a frame that is no message");
    }

    fn relay_message(&mut self, now: Duration, message: RelayMessage) {
        match message {
            RelayMessage::Challenge(challenge) => {
                if self.registration.challenge(challenge.nonce) {
                    self.register(now);
                } else {
                    self.counters.bad_frames += 1;
                }
            }
            RelayMessage::RegisterAck(ack) if ack.node_id == self.me => {
                self.registration.acknowledged(ack.ttl_seconds);
                if matches!(self.link.phase, Phase::Registering { .. }) {
                    self.link.phase = Phase::Registered { since: now };
                    self.link.trouble = None;
                    self.discovery.registered(now);
                    self.event(Event::Registered);
                }
            }
            RelayMessage::DiscoverResponse(response) => self.discover_response(response),
            RelayMessage::Error(error) => self.relay_error(now, &error),
            RelayMessage::PeerJoined(_) | RelayMessage::PeerLeft(_) => {}
            other => {
                self.counters.bad_frames += 1;
                tracing::debug!(
                    known = !matches!(other, RelayMessage::Unknown { .. }),
                    "an unexpected relay message"
                );
            }
        }
    }

    fn discover_response(&mut self, response: DiscoverResponse) {
        let mut peers = response.peers;
        peers.retain(|record| record.node_id == record.public_key && record.node_id != self.me);
        peers.truncate(teale_wire::limits::DISCOVER_PEERS);
        let Some(answers) = self.discovery.answered(&peers) else {
            self.counters.bad_frames += 1;
            return;
        };
        for record in &peers {
            let key = record.wg_public_key.as_deref().map(X25519Public::parse_hex);
            if let Some(Ok(key)) = key {
                self.policy.known.advertise(record.node_id, key);
            }
        }
        for (ticket, result) in answers {
            self.event(Event::Discovered { ticket, result });
        }
        self.event(Event::Peers(peers));
    }

    fn relay_error(&mut self, now: Duration, error: &RelayErrorMessage) {
        match &error.code {
            RelayErrorCode::PeerNotFound => {
                let keys = missing_peer(&error.message)
                    .map(|peer| self.sessions.with_peer(peer))
                    .unwrap_or_default();
                if keys.is_empty() {
                    self.counters.relay_errors += 1;
                }
                for key in keys {
                    self.end(key, SessionError::PeerNotFound, false);
                }
            }
            RelayErrorCode::InvalidRegister => {
                self.lost(now, "the relay refused the registration (invalid_register)".into(), true);
            }
            RelayErrorCode::RateLimited
                if self.discovery.rate_limited(now, retry_after(error.retry_after_seconds)) => {}
            code => {
                self.counters.relay_errors += 1;
                tracing::warn!(code = code_name(code), "the relay refused a frame");
            }
        }
    }
}

/// The node a `peer_not_found` is about: its text is exactly `Peer <nodeID> is not connected`.
fn missing_peer(message: &str) -> Option<NodeId> {
    let id = message.strip_prefix("Peer ")?.strip_suffix(" is not connected")?;
    NodeId::parse(id.as_bytes()).ok()
}

/// A code without the relay's own words.
fn code_name(code: &RelayErrorCode) -> &'static str {
    match code {
        RelayErrorCode::PeerNotFound => "peer_not_found",
        RelayErrorCode::InvalidJson => "invalid_json",
        RelayErrorCode::InvalidMessage => "invalid_message",
        RelayErrorCode::InvalidRegister => "invalid_register",
        RelayErrorCode::RateLimited => "rate_limited",
        RelayErrorCode::UnsupportedMessage => "unsupported_message",
        RelayErrorCode::Other(_) => "other",
    }
}
