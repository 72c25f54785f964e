//! Sessions over the relay: opening, accepting, the handshake, the end.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use teale_identity::NodeId;
use teale_noise::{Now, Session, initiate, respond};
use teale_wire::{PeekedKind, RelayData, RelayMessage, SessionId, SessionRef};

use super::{
    Client, Event, SessionKey,
    sessions::{Entry, Stage},
};
use crate::{Channel, SessionError, bounds, policy::Plan};

/// The first byte of a plaintext payload, and of message 1 and 2 of a handshake.
const PLAINTEXT: u8 = b'{';
const MESSAGE_1: u8 = 0x01;

/// Keeps answers to data of unknown sessions within [`bounds::STRAY_ANSWERS`].
#[derive(Debug, Default)]
pub(super) struct StrayAnswers {
    since: Duration,
    given: u32,
}

impl StrayAnswers {
    fn allowed(&mut self, now: Duration) -> bool {
        if now >= self.since + bounds::STRAY_WINDOW {
            *self = Self { since: now, given: 0 };
        }
        self.given += 1;
        self.given <= bounds::STRAY_ANSWERS
    }
}

impl Client {
    /// Opens a session with a peer whose X25519 key the relay says is `advertised` (hex). It is established, or has
    /// failed, within `patience`; [`Event::Established`] or [`Event::Ended`] tells.
    ///
    /// # Errors
    /// [`SessionError::RelayLost`] without a registered connection, [`SessionError::PlaintextRefused`] and
    /// [`SessionError::Noise`] by policy, [`SessionError::NotPossible`] with oneself or beyond the bounds.
    pub fn open(
        &mut self,
        now: Now,
        peer: NodeId,
        advertised: Option<&str>,
        patience: Duration,
    ) -> Result<SessionKey, SessionError> {
        if peer == self.me {
            return Err(SessionError::NotPossible("a session with oneself"));
        }
        if !self.link.registered() {
            return Err(SessionError::RelayLost);
        }
        if !self.sessions.room(peer, false) {
            return Err(SessionError::NotPossible("more sessions than the bound"));
        }
        let plan = self.policy.plan(peer, advertised)?;
        let mut random = [0; 16];
        self.rng.fill_bytes(&mut random);
        let id = SessionId::from_random(random);
        self.send(&RelayMessage::RelayOpen(self.session_ref(peer, &id)));
        let deadline = Some(now.monotonic.saturating_add(patience));
        Ok(self.sessions.insert(Entry { peer, id, stage: Stage::Opening(plan), deadline, patience }))
    }

    /// Accepts a session of [`Event::Incoming`]: relayReady, then the peer's first message decides.
    pub fn accept(&mut self, now: Now, key: SessionKey) {
        let Some(mut entry) = self.sessions.take(key) else {
            return;
        };
        let Stage::Offered(early) = entry.stage else {
            self.sessions.put(key, entry);
            return;
        };
        entry.stage = Stage::Accepted;
        entry.deadline = Some(now.monotonic + bounds::HANDSHAKE_WITHIN);
        entry.patience = bounds::HANDSHAKE_WITHIN;
        self.send(&RelayMessage::RelayReady(self.session_ref(entry.peer, &entry.id)));
        self.sessions.put(key, entry);
        for frame in early {
            self.data(now, key, frame);
        }
    }

    /// Closes a session, or declines one that was offered.
    pub fn close(&mut self, _now: Now, key: SessionKey) {
        self.end(key, SessionError::Closed, true);
    }

    /// Ends a session because of what its [`FrameReader`](crate::FrameReader) met, or its reader did not read.
    pub fn fail(&mut self, _now: Now, key: SessionKey, error: SessionError) {
        self.reject(key, error);
    }

    fn session_ref(&self, peer: NodeId, id: &SessionId) -> SessionRef {
        SessionRef { from: self.me, to: peer, session: id.clone(), extra: Default::default() }
    }

    /// Ends a session; `tell` says whether the peer has to hear of it.
    pub(super) fn end(&mut self, key: SessionKey, error: SessionError, tell: bool) {
        if let Some(entry) = self.sessions.take(key) {
            self.bury(key, &entry, error, tell);
        }
    }

    fn bury(&mut self, key: SessionKey, entry: &Entry, error: SessionError, tell: bool) {
        self.sessions.forget(entry);
        if tell && self.link.registered() {
            self.send(&RelayMessage::RelayClose(self.session_ref(entry.peer, &entry.id)));
        }
        self.event(Event::Ended { key, error });
    }

    /// Ends a session because of what came from the peer.
    fn reject(&mut self, key: SessionKey, error: SessionError) {
        if let Some(entry) = self.sessions.take(key) {
            self.refuse(key, &entry, error);
        }
    }

    fn refuse(&mut self, key: SessionKey, entry: &Entry, error: SessionError) {
        self.rejected(entry.peer, error.clone());
        self.bury(key, entry, error, true);
    }

    fn rejected(&mut self, peer: NodeId, error: SessionError) {
        self.counters.rejected += 1;
        self.event(Event::Rejected { peer, error });
    }

    pub(super) fn session_tick(&mut self, now: Duration) {
        while let Some(key) = self.sessions.expired(now) {
            let patience = self.sessions.get(key).map_or(Duration::ZERO, |entry| entry.patience);
            self.end(key, SessionError::Timeout(patience), true);
        }
    }

    pub(super) fn session_frame(
        &mut self,
        now: Now,
        kind: PeekedKind,
        from: NodeId,
        id: SessionId,
        frame: Bytes,
    ) {
        let key = self.sessions.find(from, &id);
        match (kind, key) {
            (PeekedKind::RelayData, Some(key)) => self.data(now, key, frame),
            (PeekedKind::RelayData, None) => {
                self.counters.stray_frames += 1;
                if self.stray.allowed(now.monotonic) {
                    self.send(&RelayMessage::RelayClose(self.session_ref(from, &id)));
                }
            }
            (PeekedKind::RelayOpen, Some(_)) => {
                // No relayClose: it would end the session that has the id.
                self.rejected(from, SessionError::Protocol("a session id in use was opened again"));
            }
            (PeekedKind::RelayOpen, None) => self.offered(now.monotonic, from, id),
            (PeekedKind::RelayReady, Some(key)) => self.ready(now, key),
            (PeekedKind::RelayClose, Some(key)) => self.end(key, SessionError::Closed, false),
            _ => self.counters.stray_frames += 1,
        }
    }

    fn offered(&mut self, now: Duration, peer: NodeId, id: SessionId) {
        if !self.sessions.room(peer, true) {
            self.rejected(peer, SessionError::NotPossible("more sessions than the bound"));
            self.send(&RelayMessage::RelayClose(self.session_ref(peer, &id)));
            return;
        }
        let patience = bounds::ACCEPT_WITHIN;
        let stage = Stage::Offered(Vec::new());
        let key = self.sessions.insert(Entry { peer, id, stage, deadline: Some(now + patience), patience });
        self.event(Event::Incoming { key, peer });
    }

    fn ready(&mut self, now: Now, key: SessionKey) {
        let Some(entry) = self.sessions.take(key) else {
            return;
        };
        match entry.stage {
            // Asked again: the peer's key may have become known since the session was opened.
            Stage::Opening(Plan::Plaintext) => match self.policy.plaintext(entry.peer) {
                Ok(()) => {
                    let known = self.policy.known.clone();
                    let channel = Channel::plaintext(self.me, entry.peer, entry.id.clone(), known);
                    self.establish(key, entry, channel);
                }
                Err(error) => self.refuse(key, &with_stage(entry.peer, entry.id), error),
            },
            Stage::Opening(Plan::Seal { key: peer_key, proof }) => {
                let stamps = self.policy.known.stamps();
                match initiate(&self.identity, entry.peer, peer_key, proof, stamps, now) {
                    Ok((awaiting, packet)) => {
                        self.send(&self.packet(&entry, packet));
                        self.sessions
                            .put(key, Entry { stage: Stage::Initiating(Box::new(awaiting)), ..entry });
                    }
                    Err(error) => self.refuse(key, &with_stage(entry.peer, entry.id), error.into()),
                }
            }
            _ => {
                self.counters.stray_frames += 1;
                self.sessions.put(key, entry);
            }
        }
    }

    fn packet(&self, entry: &Entry, packet: Bytes) -> RelayMessage {
        RelayMessage::RelayData(RelayData {
            from: self.me,
            to: entry.peer,
            session: entry.id.clone(),
            data: packet,
            extra: Default::default(),
        })
    }

    /// A `relayData` of a session in the table.
    fn data(&mut self, now: Now, key: SessionKey, frame: Bytes) {
        if matches!(self.sessions.get(key), Some(Entry { stage: Stage::Established, .. })) {
            self.event(Event::Frame { key, frame });
            return;
        }
        let Some(entry) = self.sessions.take(key) else {
            return;
        };
        let Entry { peer, id, stage, deadline, patience } = entry;
        let rest = move |stage| Entry { peer, id, stage, deadline, patience };
        match stage {
            Stage::Offered(mut early) => {
                if self.sessions.early_room(&early, &frame) {
                    early.push(frame);
                    self.sessions.put(key, rest(Stage::Offered(early)));
                } else {
                    let error = SessionError::Protocol("too much was sent before relayReady");
                    self.refuse(key, &rest(Stage::Accepted), error);
                }
            }
            Stage::Accepted => self.first_message(now, key, rest(Stage::Accepted), frame),
            Stage::Initiating(awaiting) => {
                let session = payload(&frame).and_then(|packet| match packet.first() {
                    Some(&PLAINTEXT) => Err(SessionError::Protocol("plaintext in answer to a handshake")),
                    _ => awaiting.finish(&packet, now).map_err(SessionError::Noise),
                });
                let entry = rest(Stage::Established);
                match session {
                    Ok(session) => self.seal(key, entry, session),
                    Err(error) => self.refuse(key, &entry, error),
                }
            }
            stage @ (Stage::Opening(_) | Stage::Established) => {
                self.counters.stray_frames += 1;
                self.sessions.put(key, rest(stage));
            }
        }
    }

    /// The opener's first message: a handshake, or plaintext where that is allowed.
    fn first_message(&mut self, now: Now, key: SessionKey, entry: Entry, frame: Bytes) {
        let peer = entry.peer;
        let packet = match payload(&frame) {
            Ok(packet) => packet,
            Err(error) => return self.refuse(key, &entry, error),
        };
        match packet.first() {
            Some(&PLAINTEXT) => match self.policy.plaintext(peer) {
                Ok(()) => {
                    let known = self.policy.known.clone();
                    let channel = Channel::plaintext(self.me, peer, entry.id.clone(), known);
                    self.establish(key, entry, channel);
                    self.event(Event::Frame { key, frame });
                }
                Err(error) => self.refuse(key, &entry, error),
            },
            Some(&MESSAGE_1) => {
                let proof = self.policy.proof(peer);
                let answer = respond(&self.identity, peer, &packet, proof)
                    .and_then(|incoming| self.policy.known.with_guard(|guard| incoming.accept(guard, now)));
                match answer {
                    Ok((session, reply)) => {
                        self.send(&self.packet(&entry, reply));
                        self.seal(key, entry, session);
                    }
                    Err(error) => self.refuse(key, &entry, error.into()),
                }
            }
            _ => {
                let error = SessionError::Protocol("the first message is neither a handshake nor JSON");
                self.refuse(key, &entry, error);
            }
        }
    }

    fn seal(&mut self, key: SessionKey, entry: Entry, session: Session) {
        let (_, verified) = session.peer();
        self.policy.learn(entry.peer, session.peer_key(), verified);
        let channel = Channel::sealed(self.me, entry.peer, entry.id.clone(), session);
        self.establish(key, entry, channel);
    }

    fn establish(&mut self, key: SessionKey, entry: Entry, channel: Channel) {
        if channel.security() == crate::Security::Plaintext {
            self.counters.plaintext_sessions += 1;
            tracing::warn!(peer = ?entry.peer, "a session in plaintext: the peer has no key, the relay can read it");
        } else {
            self.counters.sealed_sessions += 1;
        }
        self.sessions.put(key, Entry { stage: Stage::Established, deadline: None, ..entry });
        self.event(Event::Established { key, channel: Box::new(channel) });
    }
}

/// What is left of an entry whose stage was consumed.
fn with_stage(peer: NodeId, id: SessionId) -> Entry {
    Entry { peer, id, stage: Stage::Established, deadline: None, patience: Duration::ZERO }
}

/// The bytes a `relayData` frame carries.
fn payload(frame: &[u8]) -> Result<Bytes, SessionError> {
    match RelayMessage::parse(frame) {
        Ok(RelayMessage::RelayData(data)) => Ok(data.data),
        _ => Err(SessionError::Protocol("a malformed relayData frame")),
    }
}
