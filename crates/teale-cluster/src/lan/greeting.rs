//! The first frames of a connection: who is there, a handshake, or plaintext where that is allowed.
//!
//! One machine for each side, each state consumed by the next. Must never see a socket: frames and time go in,
//! frames to send and an open link come out. Whoever drives them waits at most until [`Dialling::deadline`] or
//! [`Answering::deadline`] and then calls `late`.
//!
//! ```text
//! dialler, key known      0x01 message 1 ─►        ◄─ 0x02 message 2            sealed
//! dialler, key unknown    nodeQuery ─►             ◄─ nodeQueryResponse         then as above
//!                         nodeQuery ─►             (nothing for 2 s)            plaintext, if the policy allows it
//! dialler, peer keyless   hello ─►                                              plaintext, if the policy allows it
//! ```

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use teale_identity::{Identity, NodeId};
use teale_noise::{AwaitingReply, Now, Packet, Phase, initiate, respond_to_anyone};
use teale_relay_client::{Plan, Policy, Security};
use teale_wire::{ClusterMessage, Dialect, Extra, NodeQuery};

use super::{
    advertisement::device_node_id,
    bounds,
    error::GreetingError,
    frames::{self, FrameOpener, FrameSealer},
};

/// Who we are, and the rules.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Our identity.
    pub identity: Arc<Identity>,
    /// The rules of encryption, and the memory of keys; the same as the relays'.
    pub policy: Policy,
}

/// Whom a connection is opened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A node, and the key it is said to have (hex), if it is said to have one.
    Node {
        /// Who.
        node: NodeId,
        /// Its key.
        wg: Option<String>,
    },
    /// A peer without a key, under the id made of its device.
    Device(NodeId),
    /// Whoever listens at an address.
    Address {
        /// The id that a peer gets which never says who it is.
        nameless: NodeId,
        /// Who has to be there, if that was said.
        expected: Option<NodeId>,
        /// Whether a sealed link to this address was up before: then it never falls back to plaintext.
        sealed_before: bool,
    },
}

/// A link that is open.
#[derive(Debug)]
pub struct Opened {
    /// With whom.
    pub peer: NodeId,
    /// Its protection.
    pub security: Security,
    /// Messages to frames.
    pub sealer: FrameSealer,
    /// Frames to messages.
    pub opener: FrameOpener,
    /// A frame to send before anything else, its length in front.
    pub reply: Option<Bytes>,
    /// A message that came already.
    pub first: Option<Bytes>,
}

/// What follows.
#[derive(Debug)]
#[must_use]
pub enum Next<State> {
    /// Send this frame (its length in front), if there is one, and wait for the next frame.
    Wait(State, Option<Bytes>),
    /// The link is open.
    Open(Box<Opened>),
}

#[derive(Debug)]
enum Dial {
    /// `nodeQuery` is on its way.
    Asked { nameless: NodeId, expected: Option<NodeId>, sealed_before: bool },
    /// Message 1 is on its way.
    Shaking(AwaitingReply),
}

/// The side that connected.
#[derive(Debug)]
pub struct Dialling {
    state: Dial,
    deadline: Duration,
    /// When all of it has to be over.
    end: Duration,
}

impl Dialling {
    /// Begins on a connection that has just been opened.
    ///
    /// # Errors
    /// [`GreetingError::OwnId`] for ourselves, [`GreetingError::Policy`] where the policy forbids plaintext or the
    /// key cannot be read, [`GreetingError::Handshake`].
    pub fn start(terms: &Terms, target: Target, now: Now) -> Result<Next<Self>, GreetingError> {
        let end = now.monotonic + bounds::GREETING_WITHIN;
        match target {
            Target::Node { node, wg } => Self::to_node(terms, node, wg.as_deref(), now, end),
            Target::Device(device) => plaintext(terms, device, None),
            Target::Address { nameless, expected, sealed_before } => {
                let question = ClusterMessage::NodeQuery(own_name(terms));
                let state = Dial::Asked { nameless, expected, sealed_before };
                let deadline = (now.monotonic + bounds::QUERY_WITHIN).min(end);
                Ok(Next::Wait(Self { state, deadline, end }, Some(encoded(&question)?)))
            }
        }
    }

    fn to_node(
        terms: &Terms,
        node: NodeId,
        wg: Option<&str>,
        now: Now,
        end: Duration,
    ) -> Result<Next<Self>, GreetingError> {
        if node == terms.identity.node_id() {
            return Err(GreetingError::OwnId);
        }
        // A key that was proved once outweighs what anybody says on the network.
        let proved = terms.policy.known.get(node).is_some_and(|known| known.proved);
        match terms.policy.plan(node, wg.filter(|_| !proved)).map_err(GreetingError::Policy)? {
            Plan::Plaintext => plaintext(terms, node, None),
            Plan::Seal { key, proof } => {
                let stamps = terms.policy.known.stamps();
                let (awaiting, packet) = initiate(&terms.identity, node, key, proof, stamps, now)?;
                let state = Dial::Shaking(awaiting);
                Ok(Next::Wait(Self { state, deadline: end, end }, Some(frames::frame(&packet))))
            }
        }
    }

    /// When [`Dialling::late`] is due.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// A frame came.
    ///
    /// # Errors
    /// Why the connection has to be closed.
    pub fn frame(self, terms: &Terms, frame: &Bytes, now: Now) -> Result<Next<Self>, GreetingError> {
        match self.state {
            Dial::Shaking(awaiting) => {
                let session = awaiting.finish(frame, now)?;
                Ok(Next::Open(Box::new(sealed(terms, session, None))))
            }
            Dial::Asked { expected, .. } => {
                let ClusterMessage::NodeQueryResponse(answer) = message(frame)? else {
                    // Something else of a peer that knows no nodeQuery: it does not answer, so it is late.
                    return self.late(terms);
                };
                if expected.is_some_and(|expected| expected != answer.node_id) {
                    return Err(GreetingError::OtherNode);
                }
                Self::to_node(terms, answer.node_id, answer.wg.as_deref(), now, self.end)
            }
        }
    }

    /// Nothing came until the deadline.
    ///
    /// # Errors
    /// [`GreetingError::Silent`], or [`GreetingError::Policy`] where plaintext is out of the question.
    pub fn late(self, terms: &Terms) -> Result<Next<Self>, GreetingError> {
        match self.state {
            Dial::Shaking(_) => Err(GreetingError::Silent(bounds::GREETING_WITHIN)),
            Dial::Asked { sealed_before: true, .. } | Dial::Asked { expected: Some(_), .. } => {
                Err(GreetingError::Silent(bounds::QUERY_WITHIN))
            }
            Dial::Asked { nameless, .. } => plaintext(terms, nameless, None),
        }
    }
}

/// The side that was connected to.
#[derive(Debug)]
pub struct Answering {
    queries: u32,
    deadline: Duration,
}

impl Answering {
    /// Begins on a connection that has just come.
    pub fn start(now: Now) -> Self {
        Self { queries: 0, deadline: now.monotonic + bounds::GREETING_WITHIN }
    }

    /// When the connection has to be a link: then it is closed with [`GreetingError::Silent`].
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// A frame came.
    ///
    /// # Errors
    /// Why the connection has to be closed.
    pub fn frame(mut self, terms: &Terms, frame: &Bytes, now: Now) -> Result<Next<Self>, GreetingError> {
        match Packet::classify(frame, Phase::Open) {
            Ok(Packet::Initiation) => {
                let incoming = respond_to_anyone(&terms.identity, frame)?;
                if incoming.peer().0 == terms.identity.node_id() {
                    return Err(GreetingError::OwnId);
                }
                let (session, reply) = terms.policy.known.with_guard(|guard| incoming.accept(guard, now))?;
                Ok(Next::Open(Box::new(sealed(terms, session, Some(frames::frame(&reply))))))
            }
            Ok(Packet::Plaintext) => match message(frame)? {
                ClusterMessage::NodeQuery(_) if self.queries >= bounds::QUERIES => {
                    Err(GreetingError::TooManyQueries)
                }
                ClusterMessage::NodeQuery(_) => {
                    self.queries += 1;
                    let answer = ClusterMessage::NodeQueryResponse(own_name(terms));
                    let answer = encoded(&answer)?;
                    Ok(Next::Wait(self, Some(answer)))
                }
                ClusterMessage::Hello(hello) => {
                    plaintext(terms, device_node_id(&hello.device_info.id), Some(frame.clone()))
                }
                _ => Err(GreetingError::NoHello),
            },
            Ok(Packet::Reply | Packet::Sealed) | Err(_) => Err(GreetingError::Garbage),
        }
    }
}

fn own_name(terms: &Terms) -> NodeQuery {
    NodeQuery {
        node_id: terms.identity.node_id(),
        wg: Some(terms.identity.x25519_public().to_hex()),
        extra: Extra::new(),
    }
}

fn encoded(message: &ClusterMessage) -> Result<Bytes, GreetingError> {
    message.encode(Dialect::Flat).map(|bytes| frames::frame(&bytes)).map_err(GreetingError::Unreadable)
}

fn message(frame: &[u8]) -> Result<ClusterMessage, GreetingError> {
    match Packet::classify(frame, Phase::Open) {
        Ok(Packet::Plaintext) => {
            ClusterMessage::parse(frame).map(|(message, _)| message).map_err(GreetingError::Unreadable)
        }
        _ => Err(GreetingError::Garbage),
    }
}

fn sealed(terms: &Terms, session: teale_noise::Session, reply: Option<Bytes>) -> Opened {
    let (peer, verified) = session.peer();
    terms.policy.learn(peer, session.peer_key(), verified);
    let security = Security::Sealed { verified, handshake_hash: session.handshake_hash() };
    let (sealer, opener) = frames::sealed(session);
    Opened { peer, security, sealer, opener, reply, first: None }
}

fn plaintext<State>(terms: &Terms, peer: NodeId, first: Option<Bytes>) -> Result<Next<State>, GreetingError> {
    terms.policy.plaintext(peer).map_err(GreetingError::Policy)?;
    let (sealer, opener) = frames::plain(peer, terms.policy.known.clone());
    let security = Security::Plaintext;
    Ok(Next::Open(Box::new(Opened { peer, security, sealer, opener, reply: None, first })))
}

#[cfg(test)]
mod tests;
