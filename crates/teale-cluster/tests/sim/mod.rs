//! Nodes on a simulated network: the cluster's core behind framed streams on a LAN and on a relay's way, multicast
//! news, a scripted backend; all of it in virtual time. `peer` drives the core as a driver has to.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its part")]

mod peer;
mod shares;
mod wire;

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use teale_cluster::{AskId, ClusterEvent, LinkPath, PeerView};
use teale_sim::{Crash, Link, NetId, NodeId, StreamRules, World};

pub use self::peer::{Peer, Setup};
use crate::world::{Answer, ms, request, whole};

/// A cable is noticed to be out after 5 to 8 s, as on the real LAN.
pub const RULES: StreamRules = StreamRules {
    window: 64 << 10,
    give_up: Duration::from_secs(5),
    keepalive: Some(Duration::from_secs(1)),
    segment: Some(1400),
};

/// A LAN, and where there is one the way over a relay, with some nodes on both.
pub struct Lan {
    pub world: World<Peer>,
    pub lan: NetId,
    pub relay: Option<NetId>,
    pub nodes: Vec<NodeId>,
    setups: Vec<Setup>,
}

impl Lan {
    /// Nodes with so many slots each; no slots is no backend.
    pub fn new(seed: u64, slots: &[usize], lan: Link, relay: Option<Link>) -> Self {
        let mut world = World::new(seed);
        world.set_stream_rules(RULES);
        let lan = world.add_net(lan);
        let relay = relay.map(|link| world.add_net(link));
        let mut this = Self { world, lan, relay, nodes: Vec::new(), setups: Vec::new() };
        for slots in slots {
            this.add(Setup { slots: *slots, token_time: ms(20), relay: relay.is_some() });
        }
        this
    }

    pub fn add(&mut self, setup: Setup) -> usize {
        let index = self.nodes.len();
        let n = index as u8 + 1;
        let seed = [n; 32];
        let peer = Peer::new(n, setup, seed, self.world.now());
        let node = self.world.add_node(peer, self.lan, IpAddr::from([10, 0, 0, n]));
        if let Some(relay) = self.relay {
            self.world.attach(node, relay, IpAddr::from([172, 16, 0, n]));
        }
        self.nodes.push(node);
        self.setups.push(setup);
        index
    }

    pub fn run_for(&mut self, time: Duration) {
        self.world.run_for(time);
    }

    pub fn peer(&self, index: usize) -> &Peer {
        self.world.machine(self.nodes[index])
    }

    /// How one node sees another.
    pub fn view(&self, index: usize, other: usize) -> PeerView {
        let id = self.peer(other).id;
        self.peer(index).core.peers().into_iter().find(|peer| peer.node == id).unwrap()
    }

    /// Whether one node has a link to another in use, and routing would take it if the other has a model.
    pub fn has_way(&self, index: usize, other: usize) -> bool {
        let id = self.peer(other).id;
        let view = self.peer(index).core.peers().into_iter().find(|peer| peer.node == id);
        let asks_only = self.setups[other].slots == 0;
        view.is_some_and(|view| view.path.is_some() && (view.healthy || asks_only))
    }

    /// Asks for so many tokens.
    pub fn ask(&mut self, index: usize, tokens: u64) -> AskId {
        self.world.with(self.nodes[index], |peer, context| peer.ask(request(&tokens.to_string()), context))
    }

    pub fn cancel(&mut self, index: usize, ask: AskId) {
        self.world.with(self.nodes[index], |peer, context| peer.cancel(ask, context));
    }

    pub fn answer(&self, index: usize, ask: AskId) -> &Answer {
        &self.peer(index).answers[&ask]
    }

    pub fn freeze(&mut self, index: usize) {
        self.world.freeze(self.nodes[index]);
    }

    pub fn thaw(&mut self, index: usize) {
        self.world.thaw(self.nodes[index]);
    }

    pub fn kill(&mut self, index: usize, how: Crash) {
        self.world.crash(self.nodes[index], how);
    }

    /// Starts a node that is down, as the same node with an empty memory.
    pub fn restart(&mut self, index: usize) {
        let mut seed = [index as u8 + 1; 32];
        seed[..16].copy_from_slice(&self.world.now().as_nanos().to_le_bytes());
        let peer = Peer::new(index as u8 + 1, self.setups[index], seed, self.world.now());
        self.world.restart(self.nodes[index], peer);
    }

    pub fn plug(&mut self, index: usize, plugged: bool) {
        self.world.set_plugged(self.nodes[index], self.lan, plugged);
    }

    /// Splits the LAN: these nodes on one side, the others on the other.
    pub fn split(&mut self, side: &[usize]) {
        let side: Vec<NodeId> = side.iter().map(|index| self.nodes[*index]).collect();
        self.world.partition(self.lan, &[&side]);
    }

    pub fn heal(&mut self) {
        self.world.heal(self.lan);
    }

    /// How answers of a node moved.
    pub fn moves(&self, index: usize) -> Vec<LinkPath> {
        let moved = |event: &ClusterEvent| match event {
            ClusterEvent::Moved { path, .. } => Some(*path),
            _ => None,
        };
        self.peer(index).events.iter().filter_map(moved).collect()
    }

    /// Ended well, with every word once.
    pub fn assert_whole(&self, index: usize, ask: AskId, tokens: u64) {
        let answer = self.answer(index, ask);
        assert_eq!(answer.end, Some(Ok(())), "{ask:?}");
        assert_eq!((answer.text(), answer.ends), (whole(tokens), 1), "{ask:?}");
        assert_eq!(answer.chunks.iter().filter(|chunk| chunk.usage.is_some()).count(), 1, "{ask:?}");
    }

    /// No request is left, no slot, nothing kept.
    pub fn assert_idle(&self) {
        for index in 0..self.nodes.len() {
            let peer = self.peer(index);
            let status = peer.core.status();
            let kept = (status.slots_busy, status.queued, status.detached, peer.running());
            assert_eq!(kept, (0, 0, 0, 0), "node {index}");
            assert!(peer.core.is_idle() && peer.core.peers().iter().all(|peer| peer.in_flight == 0));
        }
        assert!(self.world.counters().is_balanced());
    }
}

/// Runs until something is true and says how long that took, which has to be in a range.
pub fn within(
    lan: &mut Lan,
    range: RangeInclusive<Duration>,
    what: &str,
    is: impl Fn(&Lan) -> bool,
) -> Duration {
    let start = lan.world.now();
    let step = ms(10);
    while !is(lan) {
        let took = lan.world.now() - start;
        assert!(took <= *range.end(), "not within {range:?}: {what}");
        lan.run_for(step);
    }
    let took = lan.world.now() - start;
    assert!(range.contains(&took), "after {took:?}, not within {range:?}: {what}");
    took
}
