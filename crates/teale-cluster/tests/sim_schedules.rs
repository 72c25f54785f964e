//! Random days on a LAN with a relay beside it: cables, partitions, frozen and dying nodes, bad links, streams that
//! stall, break and stay half open, requests and cancels all the while. Whatever happens: each request of a node that
//! lives ends once, an answer is a prefix of what the provider said and all of it when it ended well, no slot leaks,
//! and in the end everybody finds everybody again.

mod sim;
mod world;

use proptest::prelude::*;
use sim::{Lan, RULES, within};
use teale_cluster::AskId;
use teale_sim::{Crash, Link, StreamRules};
use world::{ms, secs, whole};

const NODES: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Ask { node: usize, tokens: u64 },
    Cancel { which: usize },
    Plug { node: usize, plugged: bool },
    Split { mask: usize },
    Heal,
    Freeze(usize),
    Thaw(usize),
    Kill { node: usize, power: bool },
    Restart(usize),
    Break { node: usize, which: usize },
    Stall { node: usize, which: usize, stalled: bool },
    Abandon { node: usize, which: usize },
    Weather { loss: u8, delay: u8 },
    Run { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    let stream = (0..NODES, 0..6_usize);
    prop_oneof![
        8 => (node.clone(), 0..150_u64).prop_map(|(node, tokens)| Step::Ask { node, tokens }),
        2 => (0..32_usize).prop_map(|which| Step::Cancel { which }),
        2 => (node.clone(), any::<bool>()).prop_map(|(node, plugged)| Step::Plug { node, plugged }),
        1 => (1..8_usize).prop_map(|mask| Step::Split { mask }),
        1 => Just(Step::Heal),
        1 => node.clone().prop_map(Step::Freeze),
        2 => node.clone().prop_map(Step::Thaw),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, power)| Step::Kill { node, power }),
        2 => node.prop_map(Step::Restart),
        2 => stream.clone().prop_map(|(node, which)| Step::Break { node, which }),
        2 => (stream.clone(), any::<bool>())
            .prop_map(|((node, which), stalled)| Step::Stall { node, which, stalled }),
        1 => stream.prop_map(|(node, which)| Step::Abandon { node, which }),
        1 => (0..30_u8, 0..100_u8).prop_map(|(loss, delay)| Step::Weather { loss, delay }),
        8 => (1..4000_u64).prop_map(|ms| Step::Run { ms }),
    ]
}

struct Day {
    lan: Lan,
    /// Who asked what for how many tokens.
    asks: Vec<(usize, AskId, u64)>,
}

impl Day {
    fn new(seed: u64) -> Self {
        let relay = Link::PERFECT.delay(ms(30)).jitter(ms(10));
        let mut lan = Lan::new(seed, &[2, 1, 0, 1], Link::LAN, Some(relay));
        lan.world.set_stream_rules(StreamRules { window: 4 << 10, ..RULES });
        lan.run_for(secs(2));
        Self { lan, asks: Vec::new() }
    }

    fn is_up(&self, node: usize) -> bool {
        self.lan.world.is_up(self.lan.nodes[node])
    }

    fn take(&mut self, step: &Step) {
        let stream = |lan: &Lan, node, which| lan.world.streams(lan.nodes[node]).get::<usize>(which).copied();
        match *step {
            Step::Ask { node, tokens } if self.is_up(node) => {
                let ask = self.lan.ask(node, tokens);
                self.asks.push((node, ask, tokens));
            }
            Step::Cancel { which } => {
                let Some(&(node, ask, _)) = self.asks.get(which) else { return };
                if self.is_up(node)
                    && !self.lan.answer(node, ask).cancelled
                    && self.lan.answer(node, ask).ends == 0
                {
                    self.lan.cancel(node, ask);
                }
            }
            Step::Plug { node, plugged } => self.lan.plug(node, plugged),
            Step::Split { mask } => {
                let side: Vec<usize> = (0..NODES).filter(|node| mask & (1 << node) > 0).collect();
                self.lan.split(&side);
            }
            Step::Heal => self.lan.heal(),
            Step::Freeze(node) => self.lan.freeze(node),
            Step::Thaw(node) => self.lan.thaw(node),
            Step::Kill { node, power } => {
                self.lan.kill(node, if power { Crash::Power } else { Crash::Process });
                self.asks.retain(|(asker, ..)| *asker != node);
            }
            Step::Restart(node) => self.revive(node),
            Step::Break { node, which } => {
                stream(&self.lan, node, which).into_iter().for_each(|id| self.lan.world.break_stream(id));
            }
            Step::Stall { node, which, stalled } => {
                stream(&self.lan, node, which)
                    .into_iter()
                    .for_each(|id| self.lan.world.set_stalled(id, stalled));
            }
            Step::Abandon { node, which } => {
                stream(&self.lan, node, which).into_iter().for_each(|id| self.lan.world.abandon(id));
            }
            Step::Weather { loss, delay } => {
                let link = Link::PERFECT.delay(ms(delay.into())).loss(f64::from(loss) / 100.0);
                self.lan.world.set_link(self.lan.lan, link);
            }
            Step::Run { ms: time } => self.lan.run_for(ms(time)),
            Step::Ask { .. } => {}
        }
    }

    fn revive(&mut self, node: usize) {
        self.lan.thaw(node);
        if !self.is_up(node) {
            self.lan.restart(node);
        }
    }

    /// Fair weather again, and time enough for everything to end.
    fn finish(mut self) {
        self.lan.heal();
        self.lan.world.set_link(self.lan.lan, Link::LAN);
        for node in 0..NODES {
            self.revive(node);
            self.lan.plug(node, true);
            for stream in self.lan.world.streams(self.lan.nodes[node]) {
                self.lan.world.set_stalled(stream, false);
            }
        }
        self.lan.run_for(secs(180));
        for (node, ask, tokens) in &self.asks {
            let answer = self.lan.answer(*node, *ask);
            assert_eq!(answer.ends, usize::from(!answer.cancelled), "{ask:?} of node {node}: {answer:?}");
            assert!(whole(*tokens).starts_with(&answer.text()), "{ask:?} of node {node}: {}", answer.text());
            if answer.end == Some(Ok(())) {
                self.lan.assert_whole(*node, *ask, *tokens);
            }
        }
        self.lan.assert_idle();
        let all = |lan: &Lan| (0..NODES).all(|a| (0..NODES).all(|b| a == b || lan.has_way(a, b)));
        within(&mut self.lan, ms(0)..=secs(75), "everybody has everybody", all);
        let asks = [0, 1, 2, 3].map(|node| (node, self.lan.ask(node, 20)));
        self.lan.run_for(secs(5));
        asks.iter().for_each(|(node, ask)| self.lan.assert_whole(*node, *ask, 20));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_request_ends_once_and_everybody_is_found_again(
        seed: u64,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut day = Day::new(seed);
        steps.iter().for_each(|step| day.take(step));
        day.finish();
    }
}
