//! A model is pulled while somebody chats over the same link, in virtual time: what a token waits for is bounded by what the
//! pull has open, on whatever link, however much its queues would hold.

#![allow(clippy::unwrap_used, reason = "tests")]

mod sim;
mod world;

use std::time::Duration;

use sim::{Lan, Setup};
use teale_cluster::AskId;
use teale_sim::{Link, StreamRules};
use world::{ms, secs};

/// A real model's pace.
const TOKEN: Duration = Duration::from_millis(20);
const TOKENS: u64 = 50;

/// A provider that also offers a model, and who asks and pulls, on a link of so many bytes per second. Its queues hold
/// megabytes, as a kernel's do.
fn pair(rate: u64) -> Lan {
    let link = Link::PERFECT.delay(Duration::from_micros(300)).bandwidth(rate, 1 << 20);
    let mut lan = Lan::new(1, &[], link, None);
    lan.world.set_stream_rules(StreamRules { window: 4 << 20, ..sim::RULES });
    lan.add(Setup { slots: 1, token_time: TOKEN, relay: false });
    lan.add(Setup { slots: 0, token_time: TOKEN, relay: false });
    lan.run_for(secs(3));
    lan
}

/// The longest time between two tokens of an answer that is whole.
fn longest_gap(lan: &Lan, ask: AskId) -> Duration {
    lan.assert_whole(1, ask, TOKENS);
    // Its opening comes with the first of them, its usage a while after the last.
    let times = &lan.peer(1).arrivals[&ask][1..=TOKENS as usize];
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
}

#[test]
fn tokens_come_as_evenly_during_a_pull_as_without_one() {
    for rate in [6_000_000, 12_500_000, 40_000_000] {
        let mut lan = pair(rate);
        let idle = lan.ask(1, TOKENS);
        lan.run_for(secs(2));
        let idle = longest_gap(&lan, idle);
        assert!(idle < TOKEN + ms(1), "{idle:?}");

        let giver = lan.peer(0).id;
        lan.world.with(lan.nodes[0], |peer, _| peer.shares.offer(rate * 2));
        lan.world.with(lan.nodes[1], |peer, context| peer.pull(giver, context));
        lan.run_for(ms(400));
        let pulled = |lan: &mut Lan| lan.world.with(lan.nodes[1], |peer, _| peer.shares.pulled());
        let before = pulled(&mut lan);
        assert!(before > rate / 5, "alone it takes what the link has: {before} bytes");
        let ask = lan.ask(1, TOKENS);
        lan.run_for(ms(1500));
        let during = longest_gap(&lan, ask);
        println!("at {rate} bytes/s: longest gap idle {idle:?}, during a pull {during:?}");
        assert!(during <= idle * 3 / 2, "at {rate} bytes/s: {during:?} instead of {idle:?}");
        let meanwhile = pulled(&mut lan) - before;
        assert!(meanwhile > rate / 4, "it goes on: {meanwhile} bytes in 1.5 s");
        lan.run_for(secs(20));
        assert!(lan.peer(1).shares.done);
    }
}
