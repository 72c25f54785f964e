//! Datagrams: sent, carried from hop to hop, translated by NAT boxes, delivered or lost.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;

use super::{Fabric, Packet, What, hosts::Owner};
use crate::{
    Event, NatId, NodeId, PlugId,
    counters::Lost,
    trace::{Kind, NOBODY},
};

fn is_group(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

impl Fabric {
    /// A node sends. With an unspecified source address the way to the target decides.
    pub(crate) fn send(&mut self, node: NodeId, from: SocketAddr, to: SocketAddr, payload: Bytes) {
        self.counters.sent += 1;
        self.trace.mark(self.now, Kind::Sent, node, payload.len() as u64);
        let plug = if from.ip().is_unspecified() {
            self.way_out(node, to.ip())
        } else {
            let own = self.nodes[node.index()].plugs().find(|plug| self.plugs[plug.index()].ip == from.ip());
            assert!(own.is_some(), "{node} has no address {}", from.ip());
            own
        };
        let Some(out) = plug else { return };
        let from = SocketAddr::new(self.plugs[out.index()].ip, from.port());
        if self.trace.is_on() {
            let what = self.trace.payload(&payload);
            self.trace.line(self.now, node, format_args!("sends {from} > {to} {what}"));
        }
        self.counters.in_flight += 1;
        let packet = Packet { out, into: out, from, to, payload };
        if is_group(to.ip()) { self.spread(packet) } else { self.forward(packet) }
    }

    /// To everybody in a group, the sender left out.
    fn spread(&mut self, packet: Packet) {
        let net = &self.nets[self.plugs[packet.out.index()].net.index()];
        let group = packet.to.ip();
        let members = if group.is_multicast() { net.groups.get(&group) } else { Some(&net.members) };
        let allowed = net.multicast;
        let is_receiver =
            |plug: &PlugId| *plug != packet.out && matches!(self.plugs[plug.index()].owner, Owner::Node(_));
        let receivers: Vec<PlugId> =
            members.into_iter().flatten().copied().filter(is_receiver).take_while(|_| allowed).collect();
        if receivers.is_empty() {
            return self.lose(&packet, if allowed { Lost::NoRoute } else { Lost::Filtered });
        }
        self.counters.copies += receivers.len() as u64 - 1;
        self.counters.in_flight += receivers.len() as u64 - 1;
        for into in receivers {
            let payload = packet.payload.clone();
            self.hop(Packet { into, payload, ..packet });
        }
    }

    /// On from the plug it is at.
    fn forward(&mut self, packet: Packet) {
        match self.next_hop(packet.out, packet.to.ip()) {
            Some(into) => self.hop(Packet { into, ..packet }),
            None => self.lose(&packet, Lost::NoRoute),
        }
    }

    fn hop(&mut self, packet: Packet) {
        if packet.out == packet.into {
            let slot = self.packets.insert(packet); // To itself: no link is between.
            return self.queue.push(self.now, What::Packet(slot));
        }
        if !self.is_joined(packet.out, packet.into) {
            return self.lose(&packet, Lost::Cut);
        }
        let (now, size) = (self.now, packet.payload.len());
        let fate =
            self.on_line(packet.out, packet.into, |link, line, random| link.carry(now, size, line, random));
        match fate {
            Err(reason) => self.lose(&packet, reason),
            Ok((first, second)) => {
                if let Some(second) = second {
                    (self.counters.copies, self.counters.in_flight) =
                        (self.counters.copies + 1, self.counters.in_flight + 1);
                    let double = Packet { payload: packet.payload.clone(), ..packet };
                    let slot = self.packets.insert(double);
                    self.queue.push(second, What::Packet(slot));
                }
                let slot = self.packets.insert(packet);
                self.queue.push(first, What::Packet(slot));
            }
        }
    }

    /// A datagram reached the end of a hop.
    pub(super) fn packet_due(&mut self, slot: u32) -> Option<(NodeId, Event)> {
        let packet = self.packets.take(slot)?;
        if !self.is_joined(packet.out, packet.into) {
            self.lose(&packet, Lost::Cut);
            return None;
        }
        match self.plugs[packet.into.index()].owner {
            Owner::Node(node) => return self.deliver(node, packet),
            Owner::NatInside(nat) => self.leave(nat, packet),
            Owner::NatOutside(nat) => self.enter(nat, packet),
        }
        None
    }

    /// Through a NAT box, from inside.
    fn leave(&mut self, id: NatId, packet: Packet) {
        let nat = &mut self.nats[id.index()];
        let ip = self.plugs[nat.outside.index()].ip;
        let (out, hairpin) = (nat.outside, nat.hairpin);
        match nat.datagrams.outbound(self.now, packet.from, packet.to, &mut self.random) {
            Err(reason) => self.lose(&packet, reason),
            Ok(port) => {
                let packet = Packet { out, from: SocketAddr::new(ip, port), ..packet };
                if packet.to.ip() != ip {
                    self.forward(packet);
                } else if hairpin {
                    self.enter(id, packet);
                } else {
                    self.lose(&packet, Lost::NoHairpin);
                }
            }
        }
    }

    /// Through a NAT box, from outside.
    fn enter(&mut self, id: NatId, packet: Packet) {
        let nat = &mut self.nats[id.index()];
        let out = nat.inside;
        match nat.datagrams.inbound(self.now, packet.to.port(), packet.from) {
            Err(reason) => self.lose(&packet, reason),
            Ok(to) => self.forward(Packet { out, to, ..packet }),
        }
    }

    fn deliver(&mut self, node: NodeId, packet: Packet) -> Option<(NodeId, Event)> {
        let Packet { from, to, payload, .. } = packet;
        let event = self.admit(node, Event::Datagram { from, to, payload })?;
        Some((node, event))
    }

    /// A datagram is in the hands of its node.
    pub(super) fn count_delivered(
        &mut self,
        node: NodeId,
        from: SocketAddr,
        to: SocketAddr,
        payload: &Bytes,
    ) {
        self.counters.in_flight -= 1;
        self.counters.delivered += 1;
        self.counters.bytes += payload.len() as u64;
        self.trace.mark(self.now, Kind::Delivered, node, payload.len() as u64);
        if self.trace.is_on() {
            let what = self.trace.payload(payload);
            self.trace.line(self.now, node, format_args!("gets  {from} > {to} {what}"));
        }
    }

    fn lose(&mut self, packet: &Packet, reason: Lost) {
        let near = match self.plugs[packet.out.index()].owner {
            Owner::Node(node) => Some(node),
            Owner::NatInside(_) | Owner::NatOutside(_) => None,
        };
        self.count_lost(near, packet.from, packet.to, &packet.payload, reason);
    }

    pub(super) fn count_lost(
        &mut self,
        near: Option<NodeId>,
        from: SocketAddr,
        to: SocketAddr,
        payload: &Bytes,
        reason: Lost,
    ) {
        self.counters.in_flight -= 1;
        self.counters.lose(reason);
        let node = near.unwrap_or(NOBODY);
        self.trace.mark(self.now, Kind::Lost, node, reason as u64);
        if self.trace.is_on() {
            let what = self.trace.payload(payload);
            let why = reason.as_str();
            self.trace.line(self.now, node, format_args!("loses {from} > {to} {what} ({why})"));
        }
    }
}
