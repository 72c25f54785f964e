//! Random schedules of requests, cancels, links that die (with a word or without, on the relay or the LAN), come back,
//! come twice or get stuck, and of dying nodes. Whatever happens: each request
//! ends exactly once, no slot leaks, the text of an answer is a prefix of what the provider said, and all of it when
//! the answer ended well.

mod world;

use std::collections::BTreeMap;

use proptest::prelude::*;
use teale_cluster::{AskId, LinkPath};
use world::{World, ms, request, secs, whole};

#[derive(Debug, Clone)]
enum Step {
    Ask { from: usize, tokens: u64 },
    Hang { from: usize },
    Break { from: usize, tokens: u64 },
    Cancel { which: usize },
    Cut { node: usize, which: usize },
    Stick { node: usize, which: usize },
    Unstick { node: usize },
    Mute { from: usize, to: usize },
    Unmute,
    Link { from: usize, to: usize },
    LanLink { from: usize, to: usize },
    Die { node: usize, which: usize, mine: u64, theirs: u64 },
    Meet { a: usize, b: usize },
    Pull { a: usize, b: usize },
    PullSilently { a: usize, b: usize, mine: u64, theirs: u64 },
    Lag { ms: u64 },
    Relay { up: bool },
    Kill { node: usize },
    Revive { node: usize },
    Discover,
    Wait { ms: u64 },
}

const NODES: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    prop_oneof![
        6 => (node.clone(), 0..40u64).prop_map(|(from, tokens)| Step::Ask { from, tokens }),
        2 => (node.clone(), 0..600u64).prop_map(|(from, tokens)| Step::Ask { from, tokens }),
        1 => node.clone().prop_map(|from| Step::Hang { from }),
        1 => (node.clone(), 0..5u64).prop_map(|(from, tokens)| Step::Break { from, tokens }),
        3 => (0..64usize).prop_map(|which| Step::Cancel { which }),
        2 => (node.clone(), 0..8usize).prop_map(|(node, which)| Step::Cut { node, which }),
        2 => (node.clone(), 0..8usize).prop_map(|(node, which)| Step::Stick { node, which }),
        2 => node.clone().prop_map(|node| Step::Unstick { node }),
        1 => (node.clone(), node.clone()).prop_map(|(from, to)| Step::Mute { from, to }),
        1 => Just(Step::Unmute),
        1 => (node.clone(), node.clone()).prop_map(|(from, to)| Step::Link { from, to }),
        1 => (node.clone(), node.clone()).prop_map(|(from, to)| Step::LanLink { from, to }),
        2 => (node.clone(), 0..8usize, 0..8000u64, 0..8000u64)
            .prop_map(|(node, which, mine, theirs)| Step::Die { node, which, mine, theirs }),
        3 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Meet { a, b }),
        2 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Pull { a, b }),
        2 => (node.clone(), node.clone(), 0..8000u64, 0..8000u64)
            .prop_map(|(a, b, mine, theirs)| Step::PullSilently { a, b, mine, theirs }),
        1 => (0..3000u64).prop_map(|ms| Step::Lag { ms }),
        1 => any::<bool>().prop_map(|up| Step::Relay { up }),
        1 => node.clone().prop_map(|node| Step::Kill { node }),
        2 => node.prop_map(|node| Step::Revive { node }),
        1 => Just(Step::Discover),
        8 => (1..3000u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

struct Run {
    world: World,
    /// Who asked, and how many tokens the answer would have.
    asks: BTreeMap<AskId, (usize, u64)>,
}

impl Run {
    fn new() -> Self {
        let mut world = World::new();
        for slots in [2, 1, 0, 1] {
            world.add(slots, |config| {
                config.queue_limit = 3;
                config.first_token_timeout = secs(30);
                config.next_token_timeout = secs(20);
            });
        }
        world.discover();
        Self { world, asks: BTreeMap::new() }
    }

    fn ask(&mut self, from: usize, script: &str, tokens: u64) {
        if self.world.nodes[from].up {
            let ask = self.world.ask(from, request(script));
            self.asks.insert(ask, (from, tokens));
        }
    }

    fn take(&mut self, step: Step) {
        let world = &mut self.world;
        match step {
            Step::Ask { from, tokens } => self.ask(from, &tokens.to_string(), tokens),
            Step::Hang { from } => self.ask(from, "hang", 0),
            Step::Break { from, tokens } => self.ask(from, &format!("break {tokens}"), tokens),
            Step::Cancel { which } => {
                if let Some((ask, (from, _))) = self.asks.iter().nth(which)
                    && !world.answer(*from, *ask).cancelled
                    && world.answer(*from, *ask).ends == 0
                {
                    world.cancel(*from, *ask);
                }
            }
            Step::Cut { node, which } => {
                if let Some(link) = world.links(node).get(which).copied() {
                    world.cut(node, link);
                }
            }
            Step::Stick { node, which } => {
                if let Some(link) = world.links(node).get(which).copied() {
                    world.nodes[node].stuck.insert(link);
                }
            }
            Step::Unstick { node } => {
                for link in world.links(node) {
                    world.unstick(node, link);
                }
            }
            Step::Mute { from, to } => drop(world.mute.insert((from, to))),
            Step::Unmute => self.restore_sound(),
            Step::Link { from, to } => {
                if from != to && world.nodes[from].up && world.nodes[to].up {
                    world.link(from, to);
                }
            }
            Step::LanLink { from, to } => {
                if from != to && world.nodes[from].up && world.nodes[to].up {
                    world.link_by(from, to, LinkPath::Lan);
                }
            }
            Step::Die { node, which, mine, theirs } => {
                if let Some(link) = world.links(node).get(which).copied() {
                    world.die(node, link, ms(mine), ms(theirs));
                }
            }
            Step::Meet { a, b } => {
                if a != b {
                    world.meet(a, b);
                }
            }
            Step::Pull { a, b } => world.pull(a, b),
            Step::PullSilently { a, b, mine, theirs } => world.pull_silently(a, b, ms(mine), ms(theirs)),
            Step::Lag { ms: time } => world.lag = ms(time),
            Step::Relay { up } => world.relay = up,
            Step::Kill { node } => world.kill(node),
            Step::Revive { node } => world.nodes[node].up = true,
            Step::Discover => world.discover(),
            Step::Wait { ms: time } => world.run_for(ms(time)),
        }
    }

    /// An ordered link that lost messages is not a link any more: it goes down.
    fn restore_sound(&mut self) {
        for (from, _) in std::mem::take(&mut self.world.mute) {
            for link in self.world.links(from) {
                self.world.cut(from, link);
            }
        }
    }

    fn finish(mut self) {
        self.restore_sound();
        for node in 0..NODES {
            self.world.nodes[node].up = true;
            for link in self.world.links(node) {
                self.world.unstick(node, link);
            }
        }
        self.world.run_for(secs(300));
        for (ask, (from, tokens)) in &self.asks {
            let answer = self.world.answer(*from, *ask);
            assert_eq!(answer.ends, usize::from(!answer.cancelled), "{ask:?}: {answer:?}");
            assert!(whole(*tokens).starts_with(&answer.text()), "{ask:?}: {}", answer.text());
            if answer.end == Some(Ok(())) {
                assert_eq!(answer.text(), whole(*tokens), "{ask:?}");
                assert_eq!(answer.chunks.iter().filter(|chunk| chunk.usage.is_some()).count(), 1, "{ask:?}");
            }
        }
        for node in &self.world.nodes {
            assert!(node.core.is_idle());
            let status = node.core.status();
            assert_eq!((status.slots_busy, status.queued, status.detached), (0, 0, 0));
            assert!(node.core.peers().iter().all(|peer| peer.in_flight == 0));
        }
    }
}

/// What two nodes with a relay between them may live through without losing an answer that began.
fn harmless() -> impl Strategy<Value = Step> {
    let late = 0..6000u64;
    prop_oneof![
        4 => (1..500u64).prop_map(|tokens| Step::Ask { from: ASKER, tokens }),
        3 => (0..2usize, 0..4usize, late.clone(), late.clone())
            .prop_map(|(node, which, mine, theirs)| Step::Die { node, which, mine, theirs }),
        2 => (0..2usize, 0..4usize).prop_map(|(node, which)| Step::Cut { node, which }),
        3 => Just(Step::Meet { a: ASKER, b: PROVIDER }),
        1 => Just(Step::Pull { a: ASKER, b: PROVIDER }),
        3 => (late.clone(), late).prop_map(|(mine, theirs)| Step::PullSilently { a: ASKER, b: PROVIDER, mine, theirs }),
        1 => (0..2usize).prop_map(|from| Step::Link { from, to: 1 - from }),
        1 => (0..2usize).prop_map(|from| Step::LanLink { from, to: 1 - from }),
        1 => (0..500u64).prop_map(|ms| Step::Lag { ms }),
        8 => (1..4000u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

const ASKER: usize = 0;
const PROVIDER: usize = 1;

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn while_a_way_is_left_an_answer_that_began_is_whole(steps in prop::collection::vec(harmless(), 1..50)) {
        let mut world = World::new();
        world.add(0, |_| {});
        world.add(3, |_| {});
        world.discover();
        world.meet(ASKER, PROVIDER);
        world.run_for(secs(1));
        let mut run = Run { world, asks: BTreeMap::new() };
        for step in steps {
            run.take(step);
        }
        run.world.run_for(secs(200));
        for (ask, (from, tokens)) in &run.asks {
            let answer = run.world.answer(*from, *ask);
            assert_eq!(answer.ends, 1, "{ask:?}: {answer:?}");
            if answer.begun.is_some() {
                assert_eq!((answer.text(), &answer.end), (whole(*tokens), &Some(Ok(()))), "{ask:?}");
            }
        }
        let status = run.world.nodes[PROVIDER].core.status();
        assert_eq!((status.slots_busy, status.queued, status.detached), (0, 0, 0));
        assert!(run.world.nodes.iter().all(|node| node.core.is_idle()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_request_ends_once_and_no_slot_leaks(steps in prop::collection::vec(step(), 1..80)) {
        let mut run = Run::new();
        for step in steps {
            run.take(step);
        }
        run.finish();
    }
}
