//! A large world: 50,000 nodes that talk to random others.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use teale_sim::{Context, Event, Link, Machine, World};

use crate::host::secs;

/// Sends to somebody each second and answers everybody.
struct Gossip;

const NODES: u32 = 50_000;

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
                let to = address(context.random().below(NODES.into()) as u32);
                context.send(7, SocketAddr::new(to, 7), &b"ping"[..]);
                context.wake_at(Some(context.now() + secs(1)));
            }
            Event::Datagram { from, payload, .. } if &payload[..] == b"ping" => {
                context.send(7, from, &b"pong"[..]);
            }
            _ => {}
        }
    }
}

/// Memory of this process in bytes, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(status.split(' ').nth(1)?.parse::<u64>().ok()? * 4096)
}

#[test]
fn fifty_thousand_nodes_fit_and_talk() {
    let before = resident();
    let mut world = World::new(1);
    let net = world.add_net(Link::WAN.loss(0.01));
    for n in 0..NODES {
        world.add_node(Gossip, net, address(n));
    }
    let start = Instant::now();
    world.run_until(secs(10));
    let took = start.elapsed();
    let counters = *world.counters();
    let grown = before.zip(resident()).map(|(before, after)| after.saturating_sub(before));
    let rate = counters.events as f64 / took.as_secs_f64();
    let mut out = std::io::stderr();
    writeln!(out, "{} events in {took:.1?}, {rate:.0}/s; {grown:?} bytes more", counters.events).unwrap();
    assert!(counters.is_balanced());
    assert!(counters.delivered > 950_000, "{counters:?}");
    assert!(grown.is_none_or(|grown| grown < 100 << 20), "{grown:?} bytes for the world");
}
