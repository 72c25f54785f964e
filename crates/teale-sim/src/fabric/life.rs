//! Nodes: their addresses, their deadlines, and whether they run.

use std::{collections::VecDeque, net::IpAddr};

use super::{Fabric, What, hosts::Owner};
use crate::{
    Event, NetId, NodeId, PlugId,
    counters::Lost,
    queue::{NEVER, Nanos},
    trace::Kind,
};

/// Bytes of datagrams that wait for a frozen node, as in the socket's buffer of a Linux system (its default).
const SOCKET_BUFFER: usize = 212_992;
/// Times a node may ask to be woken at the very moment it was woken.
const SPINS: u32 = 100_000;

/// How a node goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Crash {
    /// Its process dies: the system closes its streams with a reset and refuses new ones.
    Process,
    /// Its power goes: nobody is told.
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Up,
    Frozen,
    Down(Crash),
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) state: State,
    pub(super) first: PlugId,
    pub(super) more: Vec<PlugId>,
    /// Ports on which it takes streams.
    pub(super) listening: Vec<u16>,
    deadline: Nanos,
    /// The earliest event in the queue that will look at the deadline.
    scheduled: Nanos,
    woken_at: Nanos,
    spins: u32,
}

impl Node {
    pub(super) fn plugs(&self) -> impl Iterator<Item = PlugId> + '_ {
        std::iter::once(self.first).chain(self.more.iter().copied())
    }
}

impl Fabric {
    pub(crate) fn add_node(&mut self, net: NetId, ip: IpAddr) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        let first = self.plug_in(Owner::Node(id), net, ip);
        self.nodes.push(Node {
            state: State::Up,
            first,
            more: Vec::new(),
            listening: Vec::new(),
            deadline: NEVER,
            scheduled: NEVER,
            woken_at: NEVER,
            spins: 0,
        });
        self.ready.push_back((id, Event::Start));
        id
    }

    pub(crate) fn attach(&mut self, node: NodeId, net: NetId, ip: IpAddr) {
        let plug = self.plug_in(Owner::Node(node), net, ip);
        self.nodes[node.index()].more.push(plug);
    }

    pub(crate) fn addresses(&self, node: NodeId) -> impl Iterator<Item = IpAddr> + '_ {
        self.nodes[node.index()].plugs().map(|plug| self.plugs[plug.index()].ip)
    }

    pub(crate) fn join(&mut self, node: NodeId, group: IpAddr) {
        let plugs: Vec<PlugId> = self.nodes[node.index()].plugs().collect();
        for plug in plugs {
            let net = self.plugs[plug.index()].net;
            let members = self.nets[net.index()].groups.entry(group).or_default();
            if !members.contains(&plug) {
                members.push(plug);
            }
        }
    }

    pub(crate) fn listen(&mut self, node: NodeId, port: u16) {
        let listening = &mut self.nodes[node.index()].listening;
        if !listening.contains(&port) {
            listening.push(port);
        }
    }

    pub(crate) fn wake_at(&mut self, node: NodeId, at: Option<Nanos>) {
        let entry = &mut self.nodes[node.index()];
        entry.deadline = at.map_or(NEVER, |at| at.max(self.now));
        if entry.deadline < entry.scheduled {
            entry.scheduled = entry.deadline;
            self.queue.push(entry.deadline, What::Wake(node));
        }
    }

    pub(super) fn wake_due(&mut self, node: NodeId) -> Option<(NodeId, Event)> {
        let entry = &mut self.nodes[node.index()];
        if entry.scheduled != self.now {
            return None; // An earlier one was put in later, and has seen to it.
        }
        entry.scheduled = NEVER;
        if entry.state != State::Up || entry.deadline == NEVER {
            return None;
        }
        if entry.deadline > self.now {
            entry.scheduled = entry.deadline;
            self.queue.push(entry.deadline, What::Wake(node));
            return None;
        }
        entry.deadline = NEVER;
        entry.spins = if entry.woken_at == self.now { entry.spins + 1 } else { 0 };
        entry.woken_at = self.now;
        assert!(entry.spins < SPINS, "{node} asks to be woken at the moment it is woken, again and again");
        Some((node, Event::Wake))
    }

    /// The last check before a machine is told: frozen nodes hear later, those that are down never.
    pub(super) fn admit(&mut self, node: NodeId, event: Event) -> Option<Event> {
        match self.nodes[node.index()].state {
            State::Up => {
                match &event {
                    Event::Datagram { from, to, payload } => self.count_delivered(node, *from, *to, payload),
                    Event::Wake => self.trace.mark(self.now, Kind::Woken, node, 0),
                    Event::Stream(end, _) => {
                        self.trace.mark(self.now, Kind::Stream, node, u64::from(end.0));
                    }
                    Event::Start => self.note(node, "starts"),
                }
                Some(event)
            }
            State::Frozen => {
                let (bytes, waiting) = self.frozen.entry(node).or_default();
                if let Event::Datagram { from, to, payload } = &event {
                    if *bytes + payload.len() > SOCKET_BUFFER {
                        self.count_lost(Some(node), *from, *to, payload, Lost::SocketFull);
                        return None;
                    }
                    *bytes += payload.len();
                }
                waiting.push_back(event);
                None
            }
            State::Down(_) => {
                if let Event::Datagram { from, to, payload } = &event {
                    self.count_lost(Some(node), *from, *to, payload, Lost::NodeDown);
                }
                None
            }
        }
    }

    pub(crate) fn is_up(&self, node: NodeId) -> bool {
        self.nodes[node.index()].state == State::Up
    }

    pub(super) fn state(&self, node: NodeId) -> State {
        self.nodes[node.index()].state
    }

    pub(crate) fn freeze(&mut self, node: NodeId) {
        if self.is_up(node) {
            self.nodes[node.index()].state = State::Frozen;
            self.note(node, "freezes");
        }
    }

    pub(crate) fn thaw(&mut self, node: NodeId) {
        if self.state(node) != State::Frozen {
            return;
        }
        self.nodes[node.index()].state = State::Up;
        self.note(node, "thaws");
        let (_, waiting) = self.frozen.remove(&node).unwrap_or_default();
        self.ready.extend(waiting.into_iter().map(|event| (node, event)));
        let deadline = self.nodes[node.index()].deadline;
        self.wake_at(node, (deadline != NEVER).then_some(deadline));
        self.kick_streams();
    }

    pub(crate) fn crash(&mut self, node: NodeId, how: Crash) {
        if matches!(self.state(node), State::Down(_)) {
            return;
        }
        let entry = &mut self.nodes[node.index()];
        entry.state = State::Down(how);
        entry.deadline = NEVER;
        entry.listening.clear();
        let (_, waiting): (usize, VecDeque<Event>) = self.frozen.remove(&node).unwrap_or_default();
        let (told, kept) = std::mem::take(&mut self.ready).into_iter().partition(|(to, _)| *to == node);
        self.ready = kept;
        let told: VecDeque<(NodeId, Event)> = told;
        for event in waiting.into_iter().chain(told.into_iter().map(|(_, event)| event)) {
            self.admit(node, event); // Counts the datagrams.
        }
        let plugs: Vec<PlugId> = self.nodes[node.index()].plugs().collect();
        for plug in plugs {
            let net = self.plugs[plug.index()].net;
            for members in self.nets[net.index()].groups.values_mut() {
                members.retain(|member| *member != plug);
            }
        }
        self.note(node, if how == Crash::Process { "dies" } else { "loses power" });
        self.orphan_streams(node, how == Crash::Process);
    }

    /// Starts a node that is down; false if it is not.
    pub(crate) fn restart(&mut self, node: NodeId) -> bool {
        let is_down = matches!(self.state(node), State::Down(_));
        if is_down {
            self.nodes[node.index()].state = State::Up;
            self.ready.push_back((node, Event::Start));
            self.kick_streams();
        }
        is_down
    }

    /// A line of the trace about a node's life.
    pub(crate) fn note(&mut self, node: NodeId, what: &str) {
        self.trace.mark(self.now, Kind::Life, node, what.len() as u64);
        if self.trace.is_on() {
            self.trace.line(self.now, node, format_args!("{what}"));
        }
    }
}
