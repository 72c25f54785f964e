//! Two homes behind NAT boxes: who reaches whom, and for how long.

use std::net::SocketAddr;

use teale_sim::{Link, Lost, NatConfig, NatId, NodeId, StreamEnd, StreamEvent, World};

use crate::host::{Host, PORT, at, ip, ms, secs};

struct Homes {
    world: World<Host>,
    server: NodeId,
    left: NodeId,
    right: NodeId,
    nats: [NatId; 2],
}

/// A server that says what it sees, and two nodes in a home each.
fn homes(left: NatConfig, right: NatConfig) -> Homes {
    let mut world = World::new(5);
    let internet = world.add_net(Link::PERFECT.delay(ms(20)));
    let server = world.add_node(Host::echo(), internet, ip("198.51.100.1"));
    let mut nats = Vec::new();
    let mut nodes = Vec::new();
    for (n, config) in [(1, left), (2, right)] {
        let home = world.add_net(Link::PERFECT.delay(ms(1)));
        nats.push(world.add_nat(home, internet, ip(&format!("203.0.113.{n}")), config));
        nodes.push(world.add_node(Host::default(), home, ip("192.168.0.2")));
    }
    world.run_for(ms(0));
    Homes { world, server, left: nodes[0], right: nodes[1], nats: [nats[0], nats[1]] }
}

const SERVER: &str = "198.51.100.1:7";

impl Homes {
    /// The node's address as the server sees it.
    fn outside(&mut self, node: NodeId) -> SocketAddr {
        self.world.with(node, |_, context| context.send(PORT, at(SERVER), "who am I"));
        self.world.run_for(ms(100));
        self.world.machine(self.server).datagrams().last().unwrap().1
    }

    fn send(&mut self, from: NodeId, to: SocketAddr) {
        self.world.with(from, |_, context| context.send(PORT, to, "x"));
        self.world.run_for(ms(100));
    }

    /// Both send to what the server saw, then to where they heard from; true if both heard something.
    fn punch(&mut self) -> bool {
        let (left, right) = (self.outside(self.left), self.outside(self.right));
        self.send(self.left, right);
        self.send(self.right, left);
        for _ in 0..2 {
            let heard = [self.left, self.right].map(|node| self.heard_from(node));
            self.send(self.left, heard[0].unwrap_or(right));
            self.send(self.right, heard[1].unwrap_or(left));
        }
        self.heard_from(self.left).is_some() && self.heard_from(self.right).is_some()
    }

    /// The last address heard that is not the server's.
    fn heard_from(&self, node: NodeId) -> Option<SocketAddr> {
        let mut sources = self.world.machine(node).datagrams().into_iter().map(|(_, from, _)| from);
        sources.rfind(|from| *from != at(SERVER))
    }
}

#[test]
fn an_answer_gets_back_in_and_takes_every_hops_time() {
    let mut homes = homes(NatConfig::PORT_RESTRICTED, NatConfig::PORT_RESTRICTED);
    let outside = homes.outside(homes.left);
    assert_eq!(outside, at("203.0.113.1:1024"));
    let heard = homes.world.machine(homes.left).datagrams();
    assert_eq!((heard.len(), heard[0].0), (1, ms(42)));
    assert_eq!(homes.world.nat_mappings(homes.nats[0]), 1);
    assert_eq!(homes.world.nat_address(homes.nats[0]), ip("203.0.113.1"));
}

#[test]
fn a_stranger_gets_in_only_through_a_full_cone() {
    for (config, gets_in) in [
        (NatConfig::FULL_CONE, true),
        (NatConfig::RESTRICTED_CONE, false),
        (NatConfig::PORT_RESTRICTED, false),
        (NatConfig::SYMMETRIC, false),
    ] {
        let mut homes = homes(config, NatConfig::FULL_CONE);
        let left = homes.outside(homes.left);
        homes.send(homes.right, left);
        assert_eq!(homes.world.machine(homes.left).heard(), 1 + usize::from(gets_in), "{config:?}");
        assert_eq!(homes.world.counters().lost(Lost::Filtered), u64::from(!gets_in));
    }
}

#[test]
fn hole_punching_works_between_the_kinds_that_theory_says() {
    let kinds =
        [NatConfig::FULL_CONE, NatConfig::RESTRICTED_CONE, NatConfig::PORT_RESTRICTED, NatConfig::SYMMETRIC];
    for (l, left) in kinds.iter().enumerate() {
        for (r, right) in kinds.iter().enumerate() {
            let works = !matches!((l, r), (3, 3) | (2, 3) | (3, 2));
            assert_eq!(homes(*left, *right).punch(), works, "{left:?} {right:?}");
        }
    }
}

#[test]
fn a_hole_closes_after_the_time_out() {
    let mut homes = homes(NatConfig::PORT_RESTRICTED.timeout(secs(30)), NatConfig::FULL_CONE);
    assert!(homes.punch());
    let left = at("203.0.113.1:1024");
    let before = homes.world.machine(homes.left).heard();
    homes.world.run_for(secs(29));
    homes.send(homes.right, left);
    assert_eq!(homes.world.machine(homes.left).heard(), before + 1);
    homes.world.run_for(secs(2));
    homes.send(homes.right, left);
    assert_eq!(homes.world.machine(homes.left).heard(), before + 1);
    assert_eq!(homes.world.nat_mappings(homes.nats[0]), 0);
}

#[test]
fn neighbours_meet_at_their_outside_address_only_with_hairpin() {
    for hairpin in [true, false] {
        let mut world = World::new(1);
        let internet = world.add_net(Link::PERFECT);
        let home = world.add_net(Link::PERFECT);
        world.add_nat(home, internet, ip("203.0.113.1"), NatConfig::FULL_CONE.hairpin(hairpin));
        let server = world.add_node(Host::default(), internet, ip("198.51.100.1"));
        let pair = [2, 3].map(|n| world.add_node(Host::default(), home, ip(&format!("192.168.0.{n}"))));
        for (node, port) in pair.into_iter().zip([5000, 6000]) {
            world.with(node, |_, context| context.send(port, at(SERVER), "x"));
        }
        world.run_for(secs(1));
        assert_eq!(world.machine(server).heard(), 2);
        world.with(pair[0], |_, context| context.send(5000, at("203.0.113.1:6000"), "neighbour"));
        world.run_for(secs(1));
        let heard = world.machine(pair[1]).datagrams();
        assert_eq!(heard.len(), usize::from(hairpin));
        if hairpin {
            assert_eq!(heard[0].1, at("203.0.113.1:5000"), "the outside address is the source");
        }
        assert_eq!(world.counters().lost(Lost::NoHairpin), u64::from(!hairpin));
    }
}

#[test]
fn boxes_stand_behind_boxes() {
    let mut world = World::new(1);
    let internet = world.add_net(Link::PERFECT.delay(ms(10)));
    let carrier = world.add_net(Link::PERFECT.delay(ms(5)));
    let home = world.add_net(Link::PERFECT.delay(ms(1)));
    world.add_nat(carrier, internet, ip("203.0.113.1"), NatConfig::SYMMETRIC);
    world.add_nat(home, carrier, ip("100.64.0.9"), NatConfig::FULL_CONE);
    let server = world.add_node(Host::echo(), internet, ip("198.51.100.1"));
    let laptop = world.add_node(Host::default(), home, ip("192.168.0.2"));
    world.run_for(ms(0));
    world.with(laptop, |_, context| context.send(5000, at(SERVER), "x"));
    world.run_for(secs(1));
    assert_eq!(world.machine(server).datagrams()[0].1.ip(), ip("203.0.113.1"));
    assert_eq!(world.machine(laptop).datagrams()[0].0, ms(32));
}

#[test]
fn a_rebooted_box_forgets_and_a_forwarded_port_stays() {
    let mut homes = homes(NatConfig::FULL_CONE, NatConfig::FULL_CONE);
    let left = homes.outside(homes.left);
    homes.world.reboot_nat(homes.nats[0]);
    homes.send(homes.right, left);
    assert_eq!(homes.world.machine(homes.left).heard(), 1);
    homes.world.forward_port(homes.nats[0], 80, at("192.168.0.2:7"));
    homes.world.reboot_nat(homes.nats[0]);
    homes.send(homes.right, at("203.0.113.1:80"));
    assert_eq!(homes.world.machine(homes.left).heard(), 2);
}

#[test]
fn streams_leave_a_home_and_enter_it_through_a_forwarded_port_only() {
    let mut homes = homes(NatConfig::PORT_RESTRICTED, NatConfig::PORT_RESTRICTED);
    homes.world.forward_port(homes.nats[1], 80, at("192.168.0.2:7"));
    let connect = |world: &mut World<Host>, from, to| world.with(from, |_, cx| cx.connect(40_000, at(to)));
    let out = connect(&mut homes.world, homes.left, SERVER);
    let inside = connect(&mut homes.world, homes.left, "203.0.113.2:80");
    let refused = connect(&mut homes.world, homes.right, "203.0.113.1:7");
    homes.world.run_for(secs(1));
    let left = homes.world.machine(homes.left);
    assert_eq!(left.stream_events(out), [&StreamEvent::Opened]);
    assert_eq!(left.stream_events(inside), [&StreamEvent::Opened]);
    let incoming = StreamEvent::Incoming { from: at("203.0.113.1:40000"), to: at("192.168.0.2:7") };
    assert_eq!(homes.world.machine(homes.right).stream_events(inside.other()), [&incoming]);
    assert_eq!(homes.world.machine(homes.right).end(refused).unwrap().1, StreamEnd::Unreachable);
    // What is written after the box forgot the stream never arrives.
    homes.world.reboot_nat(homes.nats[0]);
    homes.world.with(homes.left, |_, context| context.write(out, "x")).unwrap();
    homes.world.run_for(secs(61));
    assert_eq!(homes.world.machine(homes.left).end(out).unwrap().1, StreamEnd::TimedOut);
    assert_eq!(homes.world.machine(homes.server).end(out.other()), None, "half open");
}
