//! One link: an ordered channel of cluster messages with one peer.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use teale_relay_client::Security;
use teale_wire::{Dialect, NodeId, RequestId};

use super::{AskId, JobId, LinkId, bounds, outbox::Outbox, pulse::Pulse};
use crate::LinkPath;

/// How far the introductions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Greeting {
    /// The peer opened the link and said no hello (gateways never do).
    Guest,
    /// We said hello and wait for the answer.
    Sent,
    /// Both said hello.
    Member,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: NodeId,
    pub(super) path: LinkPath,
    pub(super) security: Security,
    pub(super) initiator: bool,
    pub(super) greeting: Greeting,
    pub(super) dialect: Dialect,
    pub(super) outbox: Outbox,
    pub(super) pulse: Pulse,
    /// Requests of ours in flight here.
    pub(super) asks: BTreeMap<RequestId, AskId>,
    /// Requests of the peer in flight here.
    pub(super) jobs: BTreeMap<RequestId, JobId>,
    /// Requests of ours that ended here not long ago.
    pub(super) forgotten: VecDeque<RequestId>,
    /// Since when this link only finishes what it has.
    pub(super) retiring: Option<Duration>,
    pub(super) up_at: Duration,
    /// When a request last began or ended.
    pub(super) used_at: Duration,
    pub(super) malformed: u32,
}

impl Link {
    pub(super) fn new(
        peer: NodeId,
        path: LinkPath,
        security: Security,
        initiator: bool,
        now: Duration,
    ) -> Self {
        Self {
            peer,
            path,
            security,
            initiator,
            greeting: if initiator { Greeting::Sent } else { Greeting::Guest },
            dialect: Dialect::Flat,
            outbox: Outbox::default(),
            pulse: Pulse::new(now),
            asks: BTreeMap::new(),
            jobs: BTreeMap::new(),
            forgotten: VecDeque::new(),
            retiring: None,
            up_at: now,
            used_at: now,
            malformed: 0,
        }
    }

    pub(super) fn is_guest(&self) -> bool {
        self.greeting == Greeting::Guest
    }

    /// Whether no request and no message is left on it.
    pub(super) fn is_idle(&self) -> bool {
        self.asks.is_empty() && self.jobs.is_empty() && self.outbox.is_empty()
    }

    /// Whether routing may use it.
    pub(super) fn is_healthy(&self) -> bool {
        let most = if self.path < LinkPath::Relay { bounds::MISSED_LAN } else { bounds::MISSED_RELAYED };
        self.pulse.missed() < most
    }

    /// Remembers a request of ours that ended, so that its late chunks are not strange; false when it was known.
    pub(super) fn forget(&mut self, request: RequestId) -> bool {
        if self.forgotten.contains(&request) {
            return false;
        }
        if self.forgotten.len() >= bounds::FORGOTTEN {
            self.forgotten.pop_front();
        }
        self.forgotten.push_back(request);
        true
    }

    /// When something has to be done about it, requests aside.
    pub(super) fn deadline(&self) -> Duration {
        let idle = match (self.greeting, self.retiring) {
            (_, Some(since)) => since.max(self.used_at) + bounds::RETIRE_GRACE,
            (Greeting::Guest, None) => self.used_at + bounds::GUEST_IDLE,
            (Greeting::Sent, None) => self.up_at.max(self.used_at) + bounds::HELLO_TIMEOUT,
            (Greeting::Member, None) => self.used_at + bounds::LINK_IDLE,
        };
        if self.is_guest() { idle } else { idle.min(self.pulse.next()) }
    }
}

/// All links, by number and by peer.
#[derive(Debug, Default)]
pub(super) struct Links {
    all: BTreeMap<LinkId, Link>,
    of: BTreeMap<NodeId, Vec<LinkId>>,
}

impl Links {
    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.all.get_mut(&id)
    }

    pub(super) fn insert(&mut self, id: LinkId, link: Link) {
        self.of.entry(link.peer).or_default().push(id);
        self.all.insert(id, link);
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.all.remove(&id)?;
        if let Some(ids) = self.of.get_mut(&link.peer) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.of.remove(&link.peer);
            }
        }
        Some(link)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.all.iter().map(|(id, link)| (*id, link))
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn ids(&self) -> Vec<LinkId> {
        self.all.keys().copied().collect()
    }

    pub(super) fn guests(&self) -> usize {
        self.all.values().filter(|link| link.is_guest()).count()
    }

    /// A request that ended may still be made on the other links with a peer: the first sign of it there counts as
    /// strange.
    pub(super) fn remember_as_strange(&mut self, peer: NodeId, except: LinkId, request: &RequestId) {
        for id in self.of.get(&peer).into_iter().flatten().filter(|id| **id != except) {
            if let Some(link) = self.all.get_mut(id) {
                link.forgotten.retain(|known| known != request);
            }
        }
    }

    /// All links with a peer, guests included.
    pub(super) fn with(&self, peer: NodeId) -> impl Iterator<Item = (LinkId, &Link)> {
        let ids = self.of.get(&peer).into_iter().flatten();
        ids.filter_map(|id| self.all.get(id).map(|link| (*id, link)))
    }

    pub(super) fn has(&self, peer: NodeId) -> bool {
        self.of.contains_key(&peer)
    }

    /// The link for new requests to a peer: never a guest's, never one that retires.
    pub(super) fn of(&self, peer: NodeId) -> Option<(LinkId, &Link)> {
        self.with(peer).find(|(_, link)| !link.is_guest() && link.retiring.is_none())
    }

    /// A link to a peer that was set aside for another one.
    pub(super) fn retired(&mut self, peer: NodeId) -> Option<&mut Link> {
        let (id, _) = self.with(peer).find(|(_, link)| !link.is_guest())?;
        self.all.get_mut(&id)
    }

    /// The guest of this peer that was idle for longest.
    pub(super) fn idle_guest_of(&self, peer: NodeId) -> Option<LinkId> {
        let idle = self.with(peer).filter(|(_, link)| link.is_guest() && link.is_idle());
        idle.min_by_key(|(_, link)| link.used_at).map(|(id, _)| id)
    }

    /// The link that was idle for longest, guests only or all.
    pub(super) fn longest_idle(&self, guests_only: bool) -> Option<LinkId> {
        self.iter()
            .filter(|(_, link)| link.is_idle() && (link.is_guest() || !guests_only))
            .min_by_key(|(_, link)| link.used_at)
            .map(|(id, _)| id)
    }
}
