//! Who is plugged in where, and which way leads to whom.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use super::{Fabric, Nat};
use crate::{
    Link, NatConfig, NatId, NetId, NodeId, PlugId,
    nat::{FixedMap, Table},
    queue::Nanos,
};

/// Whose plug it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Node(NodeId),
    NatInside(NatId),
    NatOutside(NatId),
}

#[derive(Debug)]
pub(super) struct Plug {
    pub(super) net: NetId,
    pub(super) ip: IpAddr,
    pub(super) owner: Owner,
    /// Which part of a partitioned network it is in.
    side: u32,
    is_in: bool,
    /// Its own outgoing link, as an index; the network's otherwise.
    link: Option<u32>,
    /// When its line is free.
    line: Nanos,
}

#[derive(Debug)]
pub(super) struct Net {
    link: u32,
    pub(super) hosts: FixedMap<IpAddr, PlugId>,
    pub(super) members: Vec<PlugId>,
    pub(super) gateway: Option<NatId>,
    pub(super) groups: BTreeMap<IpAddr, Vec<PlugId>>,
    pub(super) multicast: bool,
}

/// A link between two plugs only.
#[derive(Debug)]
pub(super) struct PairLine {
    link: Link,
    line: Nanos,
}

impl Fabric {
    pub(crate) fn add_net(&mut self, link: Link) -> NetId {
        let id = NetId(self.nets.len() as u32);
        let link = self.add_link(link);
        self.nets.push(Net {
            link,
            hosts: FixedMap::default(),
            members: Vec::new(),
            gateway: None,
            groups: BTreeMap::new(),
            multicast: true,
        });
        id
    }

    fn add_link(&mut self, link: Link) -> u32 {
        self.links.push(link);
        (self.links.len() - 1) as u32
    }

    pub(super) fn plug_in(&mut self, owner: Owner, net: NetId, ip: IpAddr) -> PlugId {
        let id = PlugId(self.plugs.len() as u32);
        self.plugs.push(Plug { net, ip, owner, side: 0, is_in: true, link: None, line: 0 });
        let entry = &mut self.nets[net.index()];
        entry.members.push(id);
        if !ip.is_unspecified() {
            let before = entry.hosts.insert(ip, id);
            assert!(before.is_none(), "{ip} is taken in {net}");
        }
        id
    }

    pub(crate) fn add_nat(&mut self, inner: NetId, outer: NetId, ip: IpAddr, config: NatConfig) -> NatId {
        assert!(self.nets[inner.index()].gateway.is_none(), "{inner} has a NAT box already");
        let mut above = Some(outer);
        while let Some(net) = above {
            assert!(net != inner, "{inner} would be behind itself");
            let gateway = self.nets[net.index()].gateway;
            above = gateway.map(|nat| self.plugs[self.nats[nat.index()].outside.index()].net);
        }
        let id = NatId(self.nats.len() as u32);
        let inside = self.plug_in(Owner::NatInside(id), inner, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let outside = self.plug_in(Owner::NatOutside(id), outer, ip);
        let (datagrams, streams) = (Table::new(config), Table::new(config));
        self.nats.push(Nat { inside, outside, hairpin: config.hairpin, datagrams, streams });
        self.nets[inner.index()].gateway = Some(id);
        id
    }

    pub(crate) fn nat_tables(&mut self, nat: NatId) -> [&mut Table; 2] {
        let nat = &mut self.nats[nat.index()];
        [&mut nat.datagrams, &mut nat.streams]
    }

    pub(crate) fn reboot_nat(&mut self, nat: NatId) {
        for table in self.nat_tables(nat) {
            table.reboot();
        }
        let inside = self.nats[nat.index()].inside;
        self.sever(inside);
    }

    pub(crate) fn nat_address(&self, nat: NatId) -> IpAddr {
        self.plugs[self.nats[nat.index()].outside.index()].ip
    }

    pub(crate) fn set_multicast(&mut self, net: NetId, on: bool) {
        self.nets[net.index()].multicast = on;
    }

    pub(crate) fn set_net_link(&mut self, net: NetId, link: Link) {
        let index = self.nets[net.index()].link;
        self.links[index as usize] = link;
    }

    pub(crate) fn set_node_link(&mut self, node: NodeId, net: NetId, link: Link) {
        let plug = self.plug_of(node, net);
        match self.plugs[plug.index()].link {
            Some(index) => self.links[index as usize] = link,
            None => self.plugs[plug.index()].link = Some(self.add_link(link)),
        }
    }

    pub(crate) fn set_pair_link(&mut self, net: NetId, from: NodeId, to: NodeId, link: Option<Link>) {
        let pair = (self.plug_of(from, net), self.plug_of(to, net));
        match link {
            Some(link) => drop(self.pairs.insert(pair, PairLine { link, line: self.now })),
            None => drop(self.pairs.remove(&pair)),
        }
    }

    /// The node's plug in a network.
    pub(crate) fn plug_of(&self, node: NodeId, net: NetId) -> PlugId {
        let plug = self.nodes[node.index()].plugs().find(|plug| self.plugs[plug.index()].net == net);
        assert!(plug.is_some(), "{node} is not in {net}");
        plug.unwrap_or(PlugId(0))
    }

    pub(crate) fn set_plugged(&mut self, node: NodeId, net: NetId, is_in: bool) {
        let plug = self.plug_of(node, net);
        self.plugs[plug.index()].is_in = is_in;
        self.kick_streams();
    }

    pub(crate) fn partition(&mut self, net: NetId, sides: &[&[NodeId]]) {
        self.clear_sides(net);
        for (side, nodes) in (1..).zip(sides) {
            for node in *nodes {
                let plug = self.plug_of(*node, net);
                self.plugs[plug.index()].side = side;
            }
        }
        self.kick_streams();
    }

    pub(crate) fn heal(&mut self, net: NetId) {
        self.clear_sides(net);
        self.kick_streams();
    }

    fn clear_sides(&mut self, net: NetId) {
        for plug in &self.nets[net.index()].members {
            self.plugs[plug.index()].side = 0;
        }
    }

    /// Whether anything gets from one plug to another at present.
    pub(super) fn is_joined(&self, out: PlugId, into: PlugId) -> bool {
        let (out, into) = (&self.plugs[out.index()], &self.plugs[into.index()]);
        out.is_in && into.is_in && out.side == into.side
    }

    /// Does something with the link from one plug to another, and the moment its line is free.
    pub(super) fn on_line<R>(
        &mut self,
        out: PlugId,
        into: PlugId,
        f: impl FnOnce(&Link, &mut Nanos, &mut crate::Random) -> R,
    ) -> R {
        if !self.pairs.is_empty()
            && let Some(pair) = self.pairs.get_mut(&(out, into))
        {
            return f(&pair.link, &mut pair.line, &mut self.random);
        }
        let plug = &mut self.plugs[out.index()];
        let link = plug.link.unwrap_or(self.nets[plug.net.index()].link);
        f(&self.links[link as usize], &mut plug.line, &mut self.random)
    }

    /// The plug through which a node reaches an address: the network it is in, else one with a gateway.
    pub(super) fn way_out(&self, node: NodeId, to: IpAddr) -> Option<PlugId> {
        let node = &self.nodes[node.index()];
        let net = |plug: &PlugId| &self.nets[self.plugs[plug.index()].net.index()];
        if node.more.is_empty() {
            return Some(node.first);
        }
        let mut direct = node.plugs().filter(|plug| net(plug).hosts.contains_key(&to));
        let mut gateways = node.plugs().filter(|plug| net(plug).gateway.is_some());
        direct.next().or_else(|| gateways.next()).or(Some(node.first))
    }

    /// Where something for `to` goes next from a plug: its owner, or the gateway.
    pub(super) fn next_hop(&self, out: PlugId, to: IpAddr) -> Option<PlugId> {
        let net = &self.nets[self.plugs[out.index()].net.index()];
        let host = net.hosts.get(&to).copied();
        host.or_else(|| net.gateway.map(|nat| self.nats[nat.index()].inside))
            .filter(|next| *next != out || host.is_some())
    }
}
