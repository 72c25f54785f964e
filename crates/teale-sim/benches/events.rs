//! Events per second and memory per node of a world in which everybody sends to random others and answers.

#![allow(clippy::print_stdout, reason = "a bench prints")]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use teale_sim::{Context, Event, Link, Machine, NatConfig, NetId, World};

/// Sends to somebody each second and answers everybody.
struct Gossip {
    others: u32,
}

fn address(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n))
}

impl Machine for Gossip {
    fn handle(&mut self, event: Event, context: &mut Context<'_>) {
        match event {
            Event::Start => {
                let first = Duration::from_nanos(context.random().below(1_000_000_000));
                context.wake_at(Some(first));
            }
            Event::Wake => {
                let to = address(context.random().below(self.others.into()) as u32);
                context.send(7, SocketAddr::new(to, 7), &b"ping"[..]);
                context.wake_at(Some(context.now() + Duration::from_secs(1)));
            }
            Event::Datagram { from, payload, .. } if &payload[..] == b"ping" => {
                context.send(7, from, &b"pong"[..]);
            }
            _ => {}
        }
    }
}

/// Memory of this process in bytes, where the system tells.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.map_or(f64::NAN, |pages| pages * 4096.0)
}

/// A world of `open` nodes in one network, and as many homes with one node behind a NAT box each as `homes` says.
fn run(open: u32, homes: u32) {
    let before = resident();
    let mut world = World::new(1);
    let net: NetId = world.add_net(Link::WAN.loss(0.01));
    for n in 0..open {
        world.add_node(Gossip { others: open }, net, address(n));
    }
    for n in open..open + homes {
        let home = world.add_net(Link::LAN);
        world.add_nat(home, net, address(n), NatConfig::PORT_RESTRICTED);
        world.add_node(Gossip { others: open }, home, IpAddr::from([192, 168, 0, 2]));
    }
    let seconds = (2_000_000 / u64::from(open + homes)).clamp(10, 1000);
    let start = Instant::now();
    world.run_until(Duration::from_secs(seconds));
    let rate = world.counters().events as f64 / start.elapsed().as_secs_f64();
    let memory = (resident() - before) / f64::from(open + homes);
    println!("{open:>6} nodes, {homes:>6} behind NAT: {rate:>10.0} events/s, {memory:>6.0} bytes per node");
}

fn main() {
    for (open, homes) in [(50_000, 0), (25_000, 25_000), (1_000, 0), (10, 0)] {
        run(open, homes);
    }
}
