//! The table of sessions: who, which, how far, until when.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use bytes::Bytes;
use teale_identity::NodeId;
use teale_noise::AwaitingReply;
use teale_wire::SessionId;

use super::ports::SessionKey;
use crate::{bounds, policy::Plan};

/// How far a session is. A step takes the stage out of the table and puts its successor in.
pub(crate) enum Stage {
    /// We sent relayOpen; relayReady is awaited.
    Opening(Plan),
    /// We sent message 1; message 2 is awaited.
    Initiating(Box<AwaitingReply>),
    /// A peer sent relayOpen; nobody has accepted yet. What it sent without waiting for relayReady is kept.
    Offered(Vec<Bytes>),
    /// We sent relayReady; the first message is awaited.
    Accepted,
    /// Frames are the business of the channel's halves.
    Established,
}

impl Stage {
    fn half_open(&self) -> bool {
        matches!(self, Self::Offered(_) | Self::Accepted)
    }
}

/// A session.
pub(crate) struct Entry {
    pub(crate) peer: NodeId,
    pub(crate) id: SessionId,
    pub(crate) stage: Stage,
    /// When it must be established, and how long that was from its start.
    pub(crate) deadline: Option<Duration>,
    pub(crate) patience: Duration,
}

#[derive(Default)]
struct PeerCount {
    sessions: usize,
    half_open: usize,
}

/// All sessions, found by key (ours) and by route (the wire's).
#[derive(Default)]
pub(crate) struct Sessions {
    entries: BTreeMap<SessionKey, Entry>,
    routes: HashMap<(NodeId, SessionId), SessionKey>,
    peers: HashMap<NodeId, PeerCount>,
    half_open: usize,
    deadlines: BTreeSet<(Duration, SessionKey)>,
    early_bytes: usize,
    last_key: u64,
}

impl Sessions {
    pub(crate) fn established(&self) -> usize {
        self.entries.values().filter(|entry| matches!(entry.stage, Stage::Established)).count()
    }

    pub(crate) fn find(&self, peer: NodeId, id: &SessionId) -> Option<SessionKey> {
        self.routes.get(&(peer, id.clone())).copied()
    }

    pub(crate) fn get(&self, key: SessionKey) -> Option<&Entry> {
        self.entries.get(&key)
    }

    /// Whether one more session with this peer is within the bounds, opened by the peer or by us.
    pub(crate) fn room(&self, peer: NodeId, by_peer: bool) -> bool {
        let none = PeerCount::default();
        let count = self.peers.get(&peer).unwrap_or(&none);
        let most = if by_peer { bounds::SESSIONS - bounds::SESSIONS_OURS } else { bounds::SESSIONS };
        self.entries.len() < most
            && count.sessions < bounds::SESSIONS_PER_PEER
            && (!by_peer
                || (self.half_open < bounds::HALF_OPEN && count.half_open < bounds::HALF_OPEN_PER_PEER))
    }

    /// Adds a session. The caller has asked for [`room`](Self::room), and the route is free.
    pub(crate) fn insert(&mut self, entry: Entry) -> SessionKey {
        self.last_key += 1;
        let key = SessionKey(self.last_key);
        self.routes.insert((entry.peer, entry.id.clone()), key);
        self.peers.entry(entry.peer).or_default().sessions += 1;
        self.put(key, entry);
        key
    }

    /// Takes a session out for a step; put it back, or [`forget`](Self::forget) it.
    pub(crate) fn take(&mut self, key: SessionKey) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, key));
        }
        if let Stage::Offered(early) = &entry.stage {
            self.early_bytes -= early.iter().map(Bytes::len).sum::<usize>();
        }
        self.count_half_open(&entry, |count| *count -= 1);
        Some(entry)
    }

    pub(crate) fn put(&mut self, key: SessionKey, entry: Entry) {
        if let Some(deadline) = entry.deadline {
            self.deadlines.insert((deadline, key));
        }
        if let Stage::Offered(early) = &entry.stage {
            self.early_bytes += early.iter().map(Bytes::len).sum::<usize>();
        }
        self.count_half_open(&entry, |count| *count += 1);
        self.entries.insert(key, entry);
    }

    fn count_half_open(&mut self, entry: &Entry, step: impl Fn(&mut usize)) {
        if entry.stage.half_open() {
            step(&mut self.half_open);
            step(&mut self.peers.entry(entry.peer).or_default().half_open);
        }
    }

    /// A session taken out does not come back.
    pub(crate) fn forget(&mut self, entry: &Entry) {
        self.routes.remove(&(entry.peer, entry.id.clone()));
        if let Some(count) = self.peers.get_mut(&entry.peer) {
            count.sessions -= 1;
            if count.sessions == 0 {
                self.peers.remove(&entry.peer);
            }
        }
    }

    /// Whether a frame that came before relayReady may be kept.
    pub(crate) fn early_room(&self, early: &[Bytes], frame: &Bytes) -> bool {
        early.len() < bounds::EARLY_FRAMES && self.early_bytes + frame.len() <= bounds::EARLY_BYTES
    }

    pub(crate) fn with_peer(&self, peer: NodeId) -> Vec<SessionKey> {
        if !self.peers.contains_key(&peer) {
            return Vec::new();
        }
        self.entries.iter().filter(|(_, entry)| entry.peer == peer).map(|(key, _)| *key).collect()
    }

    pub(crate) fn keys(&self) -> Vec<SessionKey> {
        self.entries.keys().copied().collect()
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// A session whose time is over.
    pub(crate) fn expired(&self, now: Duration) -> Option<SessionKey> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, key)| *key)
    }
}
