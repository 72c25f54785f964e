//! The world: nodes, what joins them, and time.

use std::{fmt, net::IpAddr, net::SocketAddr, time::Duration};

use crate::{
    Context, Counters, Crash, Label, Link, Machine, NatConfig, NatId, NetId, NodeId, StreamId, StreamRules,
    fabric::Fabric, link::nanos,
};

/// A world in virtual time. The same seed and the same calls give the same run.
///
/// Misuse, such as a node that is not there or an address given out twice, panics: this is a crate for tests.
pub struct World<M> {
    machines: Vec<M>,
    fabric: Fabric,
}

impl<M> fmt::Debug for World<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("now", &Duration::from_nanos(self.fabric.now))
            .field("nodes", &self.machines.len())
            .finish_non_exhaustive()
    }
}

/// Building it.
impl<M: Machine> World<M> {
    /// An empty world.
    pub fn new(seed: u64) -> Self {
        Self { machines: Vec::new(), fabric: Fabric::new(seed) }
    }

    /// A network whose nodes reach each other over this link: a LAN, or the internet.
    pub fn add_net(&mut self, link: Link) -> NetId {
        self.fabric.add_net(link)
    }

    /// Puts a NAT box between two networks; it has this address in the outer one. Outer networks may be behind boxes
    /// of their own.
    pub fn add_nat(&mut self, inner: NetId, outer: NetId, address: IpAddr, config: NatConfig) -> NatId {
        self.fabric.add_nat(inner, outer, address, config)
    }

    /// A node with an address in a network. It hears [`Event::Start`](crate::Event::Start) first.
    pub fn add_node(&mut self, machine: M, net: NetId, address: IpAddr) -> NodeId {
        self.machines.push(machine);
        self.fabric.add_node(net, address)
    }

    /// Gives a node an address in one more network.
    pub fn attach(&mut self, node: NodeId, net: NetId, address: IpAddr) {
        self.fabric.attach(node, net, address);
    }

    /// Rules for all streams, from now on.
    pub fn set_stream_rules(&mut self, rules: StreamRules) {
        self.fabric.set_rules(rules);
    }

    /// A name for the trace.
    pub fn set_name(&mut self, node: NodeId, name: impl Into<String>) {
        self.fabric.trace.name(node, name.into());
    }
}

/// Letting it run.
impl<M: Machine> World<M> {
    /// Time since it began.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.fabric.now)
    }

    /// Works through the next event of a node; false if none comes until `limit`.
    pub fn step(&mut self, limit: Duration) -> bool {
        let Some((node, event)) = self.fabric.advance(nanos(limit)) else {
            return false;
        };
        self.machines[node.index()].handle(event, &mut Context::new(&mut self.fabric, node));
        true
    }

    /// Runs until this moment, which is then now.
    pub fn run_until(&mut self, moment: Duration) {
        while self.step(moment) {}
        self.fabric.now = self.fabric.now.max(nanos(moment));
    }

    /// Runs for a time.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now() + time);
    }

    /// Runs until something is true, but not longer than a time; says whether it became true. It is looked at after
    /// each event.
    pub fn run_for_until(&mut self, time: Duration, mut is: impl FnMut(&Self) -> bool) -> bool {
        let limit = self.now() + time;
        while !is(self) {
            if !self.step(limit) {
                self.fabric.now = nanos(limit);
                return is(self);
            }
        }
        true
    }

    /// When something happens next, if anything is due.
    pub fn next_at(&self) -> Option<Duration> {
        self.fabric.next_at().map(Duration::from_nanos)
    }

    /// Things on their way, timers included.
    pub fn pending(&self) -> usize {
        self.fabric.pending()
    }
}

/// Looking into it.
impl<M: Machine> World<M> {
    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<M> {
        (0..self.machines.len() as u32).map(NodeId::nth)
    }

    /// A node's machine.
    pub fn machine(&self, node: NodeId) -> &M {
        &self.machines[node.index()]
    }

    /// A node's machine, to change; it cannot act meanwhile. [`Self::with`] lets it act.
    pub fn machine_mut(&mut self, node: NodeId) -> &mut M {
        &mut self.machines[node.index()]
    }

    /// Calls a node's machine from outside, as its user would.
    ///
    /// # Panics
    /// If the node is frozen or down.
    pub fn with<R>(&mut self, node: NodeId, f: impl FnOnce(&mut M, &mut Context<'_>) -> R) -> R {
        assert!(self.fabric.is_up(node), "{node} does not run");
        f(&mut self.machines[node.index()], &mut Context::new(&mut self.fabric, node))
    }

    /// A node's first address.
    pub fn address(&self, node: NodeId) -> Option<IpAddr> {
        self.fabric.addresses(node).next()
    }

    /// Whether a node runs: neither frozen nor down.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.fabric.is_up(node)
    }

    /// What became of every datagram.
    pub fn counters(&self) -> &Counters {
        &self.fabric.counters
    }

    /// Writes the trace from now on; `label` turns a payload into a few words.
    pub fn trace(&mut self, label: Option<Label>) {
        self.fabric.trace.turn_on(label);
    }

    /// The trace since the last call: one line per thing, with the time in milliseconds.
    pub fn take_trace(&mut self) -> String {
        self.fabric.trace.take()
    }

    /// A number made of everything that happened, written or not: equal runs have equal ones.
    pub fn fingerprint(&self) -> u64 {
        self.fabric.trace.fingerprint()
    }
}

/// Trouble with nodes.
impl<M: Machine> World<M> {
    /// Stops a node as SIGSTOP does: its system goes on taking datagrams, as many as fit its socket's buffer, and
    /// streams; its program hears of them later.
    pub fn freeze(&mut self, node: NodeId) {
        self.fabric.freeze(node);
    }

    /// Lets a frozen node go on: first it hears what came meanwhile, then that its deadline is over.
    pub fn thaw(&mut self, node: NodeId) {
        self.fabric.thaw(node);
    }

    /// Takes a node down. Its machine can still be looked at.
    pub fn crash(&mut self, node: NodeId, how: Crash) {
        self.fabric.crash(node, how);
    }

    /// Starts a node that is down with a new machine; returns the old one.
    ///
    /// # Panics
    /// If the node is not down.
    pub fn restart(&mut self, node: NodeId, machine: M) -> M {
        let restarted = self.fabric.restart(node);
        assert!(restarted, "{node} is not down");
        std::mem::replace(&mut self.machines[node.index()], machine)
    }
}

/// Trouble with links.
impl<M: Machine> World<M> {
    /// Changes the link of a whole network.
    pub fn set_link(&mut self, net: NetId, link: Link) {
        self.fabric.set_net_link(net, link);
    }

    /// Gives a node an outgoing link of its own.
    pub fn set_uplink(&mut self, node: NodeId, net: NetId, link: Link) {
        self.fabric.set_node_link(node, net, link);
    }

    /// Gives what goes from one node straight to another a link of its own, one way; `None` takes it away.
    pub fn set_link_between(&mut self, net: NetId, from: NodeId, to: NodeId, link: Option<Link>) {
        self.fabric.set_pair_link(net, from, to, link);
    }

    /// Splits a network: the nodes of each slice reach each other and nobody else; those not named stay together, with
    /// the NAT boxes. Takes the place of an earlier split. Datagrams on their way across are lost, streams wait.
    pub fn partition(&mut self, net: NetId, sides: &[&[NodeId]]) {
        self.fabric.partition(net, sides);
    }

    /// Ends a split.
    pub fn heal(&mut self, net: NetId) {
        self.fabric.heal(net);
    }

    /// Pulls a node's cable, or puts it back.
    pub fn set_plugged(&mut self, node: NodeId, net: NetId, plugged: bool) {
        self.fabric.set_plugged(node, net, plugged);
    }

    /// Whether a network carries multicast and broadcast.
    pub fn set_multicast(&mut self, net: NetId, on: bool) {
        self.fabric.set_multicast(net, on);
    }
}

/// Trouble with streams.
impl<M: Machine> World<M> {
    /// A node's ends of streams that are opening or open, oldest first.
    pub fn streams(&self, node: NodeId) -> Vec<StreamId> {
        self.fabric.ends_of(node)
    }

    /// The node at the other end of a stream.
    pub fn far_node(&self, stream: StreamId) -> Option<NodeId> {
        self.fabric.far_node(stream)
    }

    /// Breaks a stream: both ends hear it at once, and what was on its way is lost.
    pub fn break_stream(&mut self, stream: StreamId) {
        self.fabric.break_stream(stream);
    }

    /// Holds a stream still, or lets it go on: nothing is lost, nothing arrives.
    pub fn set_stalled(&mut self, stream: StreamId, stalled: bool) {
        self.fabric.set_stalled(stream, stalled);
    }

    /// Lets one end forget the stream without a word: the other is half open, and learns it when it writes.
    pub fn abandon(&mut self, stream: StreamId) {
        self.fabric.abandon(stream);
    }
}

/// NAT boxes.
impl<M: Machine> World<M> {
    /// A NAT box's outside address.
    pub fn nat_address(&self, nat: NatId) -> IpAddr {
        self.fabric.nat_address(nat)
    }

    /// Mappings for datagrams that live now.
    pub fn nat_mappings(&mut self, nat: NatId) -> usize {
        let now = self.fabric.now;
        self.fabric.nat_tables(nat)[0].len(now)
    }

    /// Sends what arrives at an outside port to an inside address, datagrams and streams, for good.
    pub fn forward_port(&mut self, nat: NatId, port: u16, inside: SocketAddr) {
        for table in self.fabric.nat_tables(nat) {
            table.forward(port, inside);
        }
    }

    /// Lets a NAT box forget all its mappings; streams through it are stuck for good.
    pub fn reboot_nat(&mut self, nat: NatId) {
        self.fabric.reboot_nat(nat);
    }
}
