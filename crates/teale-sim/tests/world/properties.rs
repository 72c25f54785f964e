//! Whatever happens in a world: the same seed gives the same run, no datagram is unaccounted for, and a stream is a
//! prefix of what was written.

use std::{collections::BTreeMap, net::IpAddr};

use proptest::prelude::*;
use teale_sim::{
    Context, Crash, Event, Link, Machine, NatConfig, NetId, NodeId, StreamEvent, StreamId, StreamRules, World,
};

use crate::host::{PORT, ms, secs};

/// Writes numbered bytes to its streams, reads those of others, answers some datagrams, wakes now and then.
#[derive(Debug, Default)]
struct Busy {
    written: BTreeMap<StreamId, u64>,
    read: BTreeMap<StreamId, u64>,
    opened: usize,
    closed: usize,
    time: std::time::Duration,
}

impl Machine for Busy {
    fn handle(&mut self, event: Event, context: &mut Context<'_>) {
        assert!(context.now() >= self.time, "time never goes back");
        self.time = context.now();
        match event {
            Event::Start => context.listen(PORT),
            Event::Datagram { from, to, payload } if payload[0] > 0 => {
                context.send_from(to, from, vec![payload[0] - 1; payload.len()]);
            }
            Event::Stream(stream, event) => {
                match event {
                    StreamEvent::Incoming { .. } | StreamEvent::Opened => self.opened += 1,
                    StreamEvent::Data(data) => {
                        let read = self.read.entry(stream).or_default();
                        for byte in data {
                            assert_eq!(byte, (*read % 251) as u8, "in order, nothing twice, nothing missing");
                            *read += 1;
                        }
                    }
                    StreamEvent::Room => {}
                    StreamEvent::Closed(_) => {
                        self.closed += 1;
                        return;
                    }
                    _ => {}
                }
                self.write(stream, context);
            }
            _ => {}
        }
    }
}

/// Bytes a machine writes to one stream: two that answer each other would never end.
const WRITTEN: u64 = 20_000;

impl Busy {
    fn write(&mut self, stream: StreamId, context: &mut Context<'_>) {
        let written = self.written.entry(stream).or_default();
        if *written >= WRITTEN {
            return;
        }
        let size = 1 + context.random().below(300);
        let data: Vec<u8> = (*written..*written + size).map(|n| (n % 251) as u8).collect();
        if context.write(stream, data).is_ok() {
            *written += size;
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Send { from: u8, to: u8, size: u16, echoes: u8 },
    Shout { from: u8 },
    Connect { from: u8, to: u8 },
    Close { node: u8, which: u8, reset: bool },
    Read { node: u8, which: u8, reads: bool },
    Trouble { node: u8, which: u8, kind: u8 },
    Freeze(u8),
    Thaw(u8),
    Crash { node: u8, power: bool },
    Restart(u8),
    Split { mask: u8 },
    Heal,
    Plug { node: u8, plugged: bool },
    Bad { from: u8, to: u8, loss: u8 },
    Wake { node: u8, after: u16 },
    Run { ms: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    let pair = (0..NODES, 0..NODES);
    prop_oneof![
        8 => (pair.clone(), 1..2000_u16, 0..4_u8)
            .prop_map(|((from, to), size, echoes)| Step::Send { from, to, size, echoes }),
        1 => node.clone().prop_map(|from| Step::Shout { from }),
        4 => pair.clone().prop_map(|(from, to)| Step::Connect { from, to }),
        2 => (node.clone(), 0..4_u8, any::<bool>())
            .prop_map(|(node, which, reset)| Step::Close { node, which, reset }),
        2 => (node.clone(), 0..4_u8, any::<bool>())
            .prop_map(|(node, which, reads)| Step::Read { node, which, reads }),
        2 => (node.clone(), 0..4_u8, 0..4_u8).prop_map(|(node, which, kind)| Step::Trouble { node, which, kind }),
        1 => node.clone().prop_map(Step::Freeze),
        2 => node.clone().prop_map(Step::Thaw),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, power)| Step::Crash { node, power }),
        2 => node.clone().prop_map(Step::Restart),
        1 => any::<u8>().prop_map(|mask| Step::Split { mask }),
        2 => Just(Step::Heal),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, plugged)| Step::Plug { node, plugged }),
        1 => (pair, 0..100_u8).prop_map(|((from, to), loss)| Step::Bad { from, to, loss }),
        1 => (node, 0..500_u16).prop_map(|(node, after)| Step::Wake { node, after }),
        8 => (0..3000_u16).prop_map(|ms| Step::Run { ms }),
    ]
}

const NODES: u8 = 6;

struct Run {
    world: World<Busy>,
    net: NetId,
    /// Bytes lost to memory: machines of nodes that died.
    told: u64,
}

/// Four nodes in the open, two in a home.
fn build(seed: u64) -> Run {
    let mut world = World::new(seed);
    let link = Link::WAN.loss(0.05).duplicate(0.05).reorder(0.05, ms(40)).bandwidth(200_000, 20_000);
    let net = world.add_net(link);
    let home = world.add_net(Link::LAN);
    world.add_nat(home, net, IpAddr::from([203, 0, 113, 1]), NatConfig::RESTRICTED_CONE.timeout(secs(10)));
    world.set_stream_rules(StreamRules {
        window: 2000,
        give_up: secs(5),
        keepalive: Some(secs(2)),
        segment: Some(100),
    });
    for n in 0..NODES {
        let net = if n < 4 { net } else { home };
        world.add_node(Busy::default(), net, IpAddr::from([192, 0, 2, n]));
    }
    Run { world, net, told: 0 }
}

impl Run {
    fn take(&mut self, step: &Step) {
        let id = |n: u8| NodeId::nth(u32::from(n));
        let address = |n: u8| (IpAddr::from([192, 0, 2, n]), PORT).into();
        let (world, net) = (&mut self.world, self.net);
        let of = |world: &World<Busy>, node, which: u8| world.streams(node).get(usize::from(which)).copied();
        match *step {
            Step::Send { from, to, size, echoes } if world.is_up(id(from)) => {
                world.with(id(from), |_, cx| cx.send(PORT, address(to), vec![echoes; usize::from(size)]));
            }
            Step::Shout { from } if world.is_up(id(from)) => {
                world.with(id(from), |_, cx| cx.send(PORT, (IpAddr::from([255; 4]), PORT).into(), vec![0]));
            }
            Step::Connect { from, to } if world.is_up(id(from)) => {
                world.with(id(from), |_, cx| cx.connect(9, address(to)));
            }
            Step::Close { node, which, reset } if world.is_up(id(node)) => {
                if let Some(stream) = of(world, id(node), which) {
                    world.with(id(node), |_, cx| if reset { cx.reset(stream) } else { cx.close(stream) });
                }
            }
            Step::Read { node, which, reads } if world.is_up(id(node)) => {
                if let Some(stream) = of(world, id(node), which) {
                    world.with(id(node), |_, cx| cx.set_reading(stream, reads));
                }
            }
            Step::Trouble { node, which, kind } => {
                if let Some(stream) = of(world, id(node), which) {
                    match kind {
                        0 => world.break_stream(stream),
                        1 => world.set_stalled(stream, true),
                        2 => world.set_stalled(stream, false),
                        _ => world.abandon(stream),
                    }
                }
            }
            Step::Freeze(node) => world.freeze(id(node)),
            Step::Thaw(node) => world.thaw(id(node)),
            Step::Crash { node, power } => {
                world.thaw(id(node));
                world.crash(id(node), if power { Crash::Power } else { Crash::Process });
            }
            Step::Restart(node) => {
                world.thaw(id(node));
                if !world.is_up(id(node)) {
                    self.told += world.restart(id(node), Busy::default()).read.values().sum::<u64>();
                }
            }
            Step::Split { mask } => {
                let nodes: Vec<NodeId> = (0..4).filter(|n| mask & (1 << n) > 0).map(id).collect();
                world.partition(net, &[&nodes]);
            }
            Step::Heal => world.heal(net),
            Step::Plug { node, plugged } if node < 4 => world.set_plugged(id(node), net, plugged),
            Step::Bad { from, to, loss } if from < 4 && to < 4 => {
                let link = Link::WAN.loss(f64::from(loss) / 100.0);
                world.set_link_between(net, id(from), id(to), (loss > 10).then_some(link));
            }
            Step::Wake { node, after } if world.is_up(id(node)) => {
                world.with(id(node), |_, cx| cx.wake_at(Some(cx.now() + ms(after.into()))));
            }
            Step::Run { ms: time } => world.run_for(ms(time.into())),
            _ => {}
        }
        assert!(self.world.counters().is_balanced(), "{:?}", self.world.counters());
    }

    /// Runs all steps, and then until nothing is under way.
    fn all(mut self, steps: &[Step]) -> Self {
        steps.iter().for_each(|step| self.take(step));
        for node in self.world.nodes() {
            self.world.thaw(node);
        }
        self.world.run_for(secs(100));
        self
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_datagram_is_accounted_for_and_every_stream_is_in_order(
        seed: u64,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let run = build(seed).all(&steps);
        prop_assert_eq!(run.world.counters().in_flight, 0);
        prop_assert!(run.world.counters().is_balanced());
        for node in run.world.nodes() {
            let machine = run.world.machine(node);
            for (stream, read) in &machine.read {
                let Some(writer) = run.world.far_node(*stream) else { continue };
                let written = run.world.machine(writer).written.get(&stream.other()).copied();
                prop_assert!(written.is_none_or(|written| *read <= written));
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_run(seed: u64, steps in prop::collection::vec(step(), 1..40)) {
        let run = |traced: bool| {
            let mut run = build(seed);
            if traced {
                run.world.trace(None);
            }
            let mut run = run.all(&steps);
            let prints = (run.world.fingerprint(), *run.world.counters(), run.told);
            (run.world.take_trace(), prints)
        };
        let (first, second, silent) = (run(true), run(true), run(false));
        prop_assert_eq!(&first, &second);
        prop_assert_eq!(first.1, silent.1, "a trace changes nothing");
    }
}

#[test]
fn another_seed_gives_another_run() {
    let steps = [Step::Send { from: 0, to: 1, size: 100, echoes: 3 }, Step::Connect { from: 4, to: 2 }];
    let prints = [1, 2].map(|seed| build(seed).all(&steps).world.fingerprint());
    assert_ne!(prints[0], prints[1]);
}
