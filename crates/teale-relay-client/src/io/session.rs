//! Sessions as the application holds them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use teale_identity::NodeId;
use teale_wire::SessionId;
use tokio::sync::{Semaphore, oneshot};

use super::{
    inbox::Inbox,
    outbox::{Item, Outbox},
    shared::{Asking, Note, Shared},
};
use crate::{Channel, FrameReader, FrameWriter, Security, SessionError, SessionKey};

/// A session a peer opened. Dropping it declines.
pub struct IncomingSession {
    shared: Arc<Shared>,
    key: SessionKey,
    peer: NodeId,
    over: Arc<AtomicBool>,
    decided: bool,
}

impl IncomingSession {
    pub(super) fn new(shared: Arc<Shared>, key: SessionKey, peer: NodeId, over: Arc<AtomicBool>) -> Self {
        Self { shared, key, peer, over, decided: false }
    }

    /// Who opened it, as the relay says.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// Runs the responder's handshake, or settles on plaintext where the policy allows it. Dropping the future
    /// closes the session.
    ///
    /// # Errors
    /// [`SessionError::Closed`] when the peer has left meanwhile, [`SessionError::Timeout`] when it sends nothing,
    /// [`SessionError::PlaintextRefused`], [`SessionError::Noise`] and [`SessionError::Protocol`] for what it sends.
    pub async fn accept(mut self) -> Result<RelaySession, SessionError> {
        self.decided = true;
        let asking = Asking::new(self.shared.clone());
        let (reply, answer) = oneshot::channel();
        self.shared.post(|mailbox| mailbox.notes.push(Note::Accept(self.key, reply)));
        let accepted = tokio::select! {
            answer = answer => answer.unwrap_or(Err(SessionError::Closed)),
            () = self.shared.done.cancelled() => Err(SessionError::Closed),
        };
        asking.answered();
        accepted
    }

    /// Whether the session has ended while it waited.
    pub(super) fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

impl Drop for IncomingSession {
    fn drop(&mut self) {
        if !self.decided && !self.over() {
            self.shared.post(|mailbox| mailbox.notes.push(Note::Decline(self.key)));
        }
    }
}

impl fmt::Debug for IncomingSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingSession").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// What a session's halves and the connection task share.
pub(super) struct Line {
    pub(super) inbox: Inbox,
    pub(super) room: Arc<Semaphore>,
}

impl Line {
    /// One half met an error that the session does not survive.
    fn fail(&self, lease: &Lease, error: &SessionError) {
        if self.inbox.ended().is_none() {
            lease.shared.post(|mailbox| mailbox.notes.push(Note::Fail(lease.key, error.clone())));
        }
        self.end(error.clone());
    }

    pub(super) fn end(&self, error: SessionError) {
        self.inbox.end(error);
        self.room.close();
    }
}

/// Held by both halves: when both are gone the session closes, after what was queued has been sent.
struct Lease {
    shared: Arc<Shared>,
    key: SessionKey,
}

impl Lease {
    fn close(&self) {
        if !self.shared.done.is_cancelled() {
            self.shared.outbox.push(self.key, Item::Close);
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.close();
    }
}

/// An open session: whole messages in order, both ways. Dropping both halves closes it.
pub struct RelaySession {
    peer: NodeId,
    id: SessionId,
    security: Security,
    sender: SessionSender,
    receiver: SessionReceiver,
}

impl RelaySession {
    pub(super) fn new(shared: Arc<Shared>, key: SessionKey, channel: Channel) -> (Self, Arc<Line>) {
        let line = Arc::new(Line { inbox: Inbox::new(shared.budget.clone()), room: Outbox::session_room() });
        let lease = Arc::new(Lease { shared, key });
        let (peer, id, security) = (channel.peer(), channel.id().clone(), channel.security());
        let (writer, reader) = channel.split();
        let sender = SessionSender { writer: Box::new(writer), line: line.clone(), lease: lease.clone() };
        let receiver = SessionReceiver { reader: Box::new(reader), line: line.clone(), lease };
        (Self { peer, id, security, sender, receiver }, line)
    }

    /// The peer.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.id.clone()
    }

    /// How it is protected.
    pub fn security(&self) -> Security {
        self.security
    }

    /// Takes it apart for two tasks.
    pub fn split(self) -> (SessionSender, SessionReceiver) {
        (self.sender, self.receiver)
    }
}

impl fmt::Debug for RelaySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelaySession")
            .field("peer", &self.peer)
            .field("id", &self.id)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

/// The sending half. `send` waits while the queue is full.
pub struct SessionSender {
    writer: Box<FrameWriter>,
    line: Arc<Line>,
    lease: Arc<Lease>,
}

impl SessionSender {
    /// Sends one message: waits for room in the queues, then seals it here and hands it to the connection. A
    /// future dropped while it waits has sent nothing.
    ///
    /// # Errors
    /// [`SessionError::TooBig`] and [`SessionError::NotPossible`] for a message that cannot be sent (the session
    /// goes on), otherwise the error that ended the session.
    pub async fn send(&mut self, message: Bytes) -> Result<(), SessionError> {
        let shared = &self.lease.shared;
        let size = FrameWriter::frame_size(message.len());
        let Some(room) = shared.outbox.room(&self.line.room, size).await else {
            return Err(self.line.inbox.ended().unwrap_or(SessionError::Closed));
        };
        let frame = self.writer.write(&message, shared.start.elapsed()).inspect_err(|error| {
            if !matches!(error, SessionError::TooBig { .. } | SessionError::NotPossible(_)) {
                self.line.fail(&self.lease, error);
            }
        })?;
        shared.outbox.push(self.lease.key, Item::Frame(frame, room));
        shared.wake.notify_one();
        Ok(())
    }

    /// Closes the session (relayClose) after what was sent before.
    pub fn close(self) {
        self.lease.close();
    }
}

/// The receiving half.
pub struct SessionReceiver {
    reader: Box<FrameReader>,
    line: Arc<Line>,
    lease: Arc<Lease>,
}

impl SessionReceiver {
    /// The next message; the error that ended the session otherwise ([`SessionError::Closed`] for a normal end).
    /// Opened here, in the caller's task. Cancelling it loses nothing.
    ///
    /// A relay can cut a session's end off and say that it closed normally: what matters as an end has to be said
    /// in a message.
    ///
    /// # Errors
    /// The error that ended the session, once everything that came before has been read.
    pub async fn recv(&mut self) -> Result<Bytes, SessionError> {
        let frame = self.line.inbox.next().await?;
        let shared = &self.lease.shared;
        self.reader.read(&frame, shared.start.elapsed()).inspect_err(|error| {
            self.line.fail(&self.lease, error);
            self.line.inbox.deafen();
        })
    }
}

impl Drop for SessionReceiver {
    fn drop(&mut self) {
        self.line.inbox.deafen();
    }
}
