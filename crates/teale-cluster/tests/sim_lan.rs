//! LAN worlds in virtual time: nodes that find each other by multicast, heartbeats under delay and loss, frozen nodes,
//! partitions, many requests over links that break, better ways that come and go.

mod sim;
mod world;

use std::time::Duration;

use sim::{Lan, Setup, within};
use teale_cluster::{AskError, LinkPath};
use teale_sim::{Crash, Link};
use world::{MODEL, ms, secs, whole};

/// A relay's way: 40 ms, and some more.
const RELAY: Link = Link::PERFECT.delay(Duration::from_millis(40)).jitter(Duration::from_millis(5));

/// All nodes have a link to all others, on this path.
fn all_linked(lan: &Lan, path: LinkPath) -> bool {
    let count = lan.nodes.len();
    let pairs = (0..count).flat_map(|a| (0..count).map(move |b| (a, b))).filter(|(a, b)| a != b);
    pairs.into_iter().all(|(a, b)| lan.has_way(a, b) && lan.view(a, b).path == Some(path))
}

#[test]
fn five_nodes_find_each_other_within_three_seconds_and_keep_one_link_per_pair() {
    for seed in 0..10 {
        let link = Link::LAN.delay(ms(2)).jitter(ms(3)).loss(0.02).duplicate(0.02);
        let mut lan = Lan::new(seed, &[1; 5], link, None);
        within(&mut lan, ms(0)..=secs(3), "all linked", |lan| all_linked(lan, LinkPath::Lan));
        lan.run_for(secs(30));
        assert!(all_linked(&lan, LinkPath::Lan));
        for index in 0..5 {
            assert_eq!(lan.peer(index).streams(LinkPath::Lan).len(), 4, "seed {seed}, node {index}");
            assert_eq!(lan.view(index, (index + 1) % 5).models, [MODEL]);
        }
    }
}

#[test]
fn heartbeats_come_in_time_over_delay_jitter_and_loss() {
    for (loss, late) in [(0.0, ms(100)), (0.05, ms(900)), (0.2, ms(3500))] {
        let link = Link::PERFECT.delay(ms(20)).jitter(ms(20)).loss(loss);
        let mut lan = Lan::new(7, &[1, 1, 0], link, None);
        lan.run_for(secs(65));
        for (a, b) in [(0, 1), (1, 0), (2, 0), (2, 1)] {
            let view = lan.view(a, b);
            assert!(view.healthy, "{loss}");
            assert!((10..=13).contains(&view.heartbeats), "{loss}: {}", view.heartbeats);
            let gap = Duration::from_secs_f64(view.heartbeat_gap_ms.unwrap() / 1000.0);
            assert!(gap <= secs(5) + late, "{loss}: {gap:?}");
            assert!((40.0..=5000.0).contains(&view.latency_ms.unwrap()), "{loss}: {view:?}");
        }
    }
}

#[test]
fn tokens_on_a_slow_link_do_not_delay_heartbeats() {
    let link = Link::PERFECT.delay(ms(5)).bandwidth(30_000, 20_000);
    let mut lan = Lan::new(3, &[], link, None);
    let rules = teale_sim::StreamRules { window: 8 << 10, ..sim::RULES };
    lan.world.set_stream_rules(rules);
    let provider = lan.add(Setup { slots: 8, token_time: ms(1), relay: false });
    let asker = lan.add(Setup { slots: 0, token_time: ms(1), relay: false });
    lan.run_for(secs(3));
    let asks: Vec<_> = (0..8).map(|_| lan.ask(asker, 20_000)).collect();
    lan.run_for(secs(60));
    let view = lan.view(asker, provider);
    assert!(view.healthy && view.heartbeats >= 11, "{}", view.heartbeats);
    assert!(view.heartbeat_gap_ms.unwrap() < 5600.0, "{view:?}");
    assert!(view.latency_ms.unwrap() < 800.0, "{view:?}");
    for ask in asks {
        let text = lan.answer(asker, ask).text();
        assert!(text.len() > 10_000 && whole(20_000).starts_with(&text), "each has its share");
        lan.cancel(asker, ask);
    }
    lan.run_for(secs(10));
    lan.assert_idle();
}

#[test]
fn a_frozen_node_leaves_routing_after_three_missed_heartbeats_and_returns_by_itself() {
    for frozen_at in [3000, 4700, 6200] {
        let mut lan = Lan::new(1, &[1, 1, 0], Link::LAN, None);
        lan.run_for(ms(frozen_at));
        lan.freeze(0);
        within(&mut lan, secs(10)..=secs(20), "missed thrice", |lan| !lan.view(2, 0).healthy);
        assert!(lan.view(2, 1).healthy);
        let ask = lan.ask(2, 5);
        lan.run_for(secs(1));
        lan.assert_whole(2, ask, 5);
        assert_eq!(lan.answer(2, ask).begun.unwrap().0, Some(lan.peer(1).id), "goes to the other");
        lan.run_for(secs(10));
        lan.thaw(0);
        within(&mut lan, ms(0)..=secs(6), "back", |lan| lan.has_way(2, 0) && lan.has_way(0, 2));
        lan.run_for(secs(5));
        let asks = [lan.ask(2, 5), lan.ask(2, 5)];
        lan.run_for(secs(2));
        asks.iter().for_each(|ask| lan.assert_whole(2, *ask, 5));
        assert_eq!([0, 1].map(|index| lan.peer(index).started), [1, 2], "both serve");
        lan.assert_idle();
    }
}

#[test]
fn over_a_relay_five_may_be_missed() {
    let mut lan = Lan::new(1, &[1, 0], Link::LAN, Some(RELAY));
    lan.plug(0, false);
    let ask = {
        lan.run_for(secs(8));
        lan.ask(1, 3)
    };
    lan.run_for(secs(3));
    lan.assert_whole(1, ask, 3);
    assert_eq!(lan.view(1, 0).path, Some(LinkPath::Relay));
    lan.freeze(0);
    within(&mut lan, secs(20)..=secs(30), "missed five times", |lan| !lan.view(1, 0).healthy);
    lan.thaw(0);
    within(&mut lan, ms(0)..=secs(6), "back", |lan| lan.has_way(1, 0));
    lan.assert_idle();
}

#[test]
fn a_node_frozen_for_minutes_is_given_up_and_comes_back() {
    let mut lan = Lan::new(4, &[1, 0], Link::LAN, None);
    lan.run_for(secs(5));
    let ask = lan.ask(1, 100);
    lan.run_for(secs(1));
    lan.freeze(0);
    lan.run_for(secs(180));
    let answer = lan.answer(1, ask);
    assert!(matches!(answer.end, Some(Err(AskError::Timeout | AskError::LinkLost(_)))), "{:?}", answer.end);
    lan.thaw(0);
    within(&mut lan, ms(0)..=secs(10), "linked again", |lan| lan.has_way(1, 0) && lan.has_way(0, 1));
    let ask = lan.ask(1, 10);
    lan.run_for(secs(30));
    lan.assert_whole(1, ask, 10);
    lan.assert_idle();
}

#[test]
fn a_partition_ends_what_cannot_move_and_heals() {
    for seed in 0..5 {
        let mut lan = Lan::new(seed, &[2, 2, 0, 0], Link::LAN, None);
        lan.run_for(secs(4));
        let asks: Vec<_> = (0..4).map(|_| lan.ask(2, 1000)).collect();
        lan.run_for(secs(2));
        lan.split(&[0, 3]);
        lan.run_for(secs(40));
        let ends: Vec<_> = asks.iter().map(|ask| lan.answer(2, *ask)).collect();
        let good = ends.iter().filter(|answer| answer.end == Some(Ok(()))).count();
        assert_eq!(good, 2, "those of the provider on this side");
        for answer in ends.iter().filter(|answer| answer.end != Some(Ok(()))) {
            assert!(matches!(answer.end, Some(Err(AskError::LinkLost(_)))), "{:?}", answer.end);
            assert!(answer.ended_at <= secs(6 + 8 + 4) + ms(500), "{:?}", answer.ended_at);
            assert!(whole(1000).starts_with(&answer.text()));
        }
        let near = lan.ask(3, 10);
        lan.run_for(secs(3));
        lan.assert_whole(3, near, 10);
        lan.heal();
        within(&mut lan, ms(0)..=secs(75), "one LAN again", |lan| all_linked(lan, LinkPath::Lan));
        let asks: Vec<_> = (0..4).map(|_| lan.ask(2, 10)).collect();
        lan.run_for(secs(3));
        asks.iter().for_each(|ask| lan.assert_whole(2, *ask, 10));
        lan.assert_idle();
    }
}

#[test]
fn a_pulled_cable_moves_the_answer_to_the_relay_and_back_without_a_lost_or_doubled_word() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed, &[2, 0], Link::LAN.jitter(ms(2)), Some(RELAY.loss(0.01)));
        lan.run_for(secs(4));
        let asks = [lan.ask(1, 2000), lan.ask(1, 2000)];
        lan.run_for(secs(2) + ms(37 * seed));
        let (pulled, others) = if seed % 2 == 0 { (0, 1) } else { (1, 0) };
        lan.plug(pulled, false);
        lan.run_for(secs(12));
        assert_eq!(lan.view(1, 0).path, Some(LinkPath::Relay), "seed {seed}");
        lan.plug(pulled, true);
        lan.run_for(secs(20));
        assert_eq!(lan.view(1, 0).path, Some(LinkPath::Lan), "seed {seed}");
        lan.run_for(secs(30));
        asks.iter().for_each(|ask| lan.assert_whole(1, *ask, 2000));
        assert_eq!(lan.moves(1), [[LinkPath::Relay; 2], [LinkPath::Lan; 2]].concat(), "seed {seed}");
        assert_eq!(lan.peer(0).started, 2, "made once");
        assert!(lan.peer(pulled).streams(LinkPath::Relay).is_empty());
        assert!(lan.peer(others).streams(LinkPath::Relay).is_empty());
        lan.assert_idle();
    }
}

#[test]
fn a_silent_way_is_noticed_and_the_answer_goes_another() {
    // The stream stands still without an end; or one side has forgotten it.
    for seed in 0..10 {
        let mut lan = Lan::new(seed, &[1, 0], Link::LAN, Some(RELAY));
        lan.run_for(secs(4));
        let ask = lan.ask(1, 1500);
        lan.run_for(secs(3));
        let stream = lan.peer((seed % 2) as usize).streams(LinkPath::Lan)[0];
        if seed < 5 {
            lan.world.set_stalled(stream, true);
        } else {
            lan.world.abandon(stream);
        }
        lan.run_for(secs(60));
        lan.assert_whole(1, ask, 1500);
        assert_eq!(lan.peer(0).started, 1);
        lan.run_for(secs(30));
        lan.assert_idle();
    }
}

#[test]
fn a_lan_that_comes_later_takes_over() {
    let mut lan = Lan::new(2, &[1, 0], Link::LAN, Some(RELAY));
    lan.plug(0, false);
    lan.run_for(secs(10));
    let ask = lan.ask(1, 1000);
    lan.run_for(secs(5));
    assert_eq!(lan.view(1, 0).path, Some(LinkPath::Relay));
    lan.plug(0, true);
    within(&mut lan, ms(0)..=secs(11), "on the LAN", |lan| lan.view(1, 0).path == Some(LinkPath::Lan));
    lan.run_for(secs(30));
    lan.assert_whole(1, ask, 1000);
    assert_eq!(lan.moves(1), [LinkPath::Lan]);
    lan.assert_idle();
}

#[test]
fn eighty_requests_end_well_while_links_break() {
    for seed in 0..3 {
        let mut lan = Lan::new(seed, &[4, 4, 4, 0, 0], Link::LAN, Some(RELAY));
        lan.run_for(secs(4));
        let asks: Vec<_> = (0..80).map(|n| (3 + n % 2, lan.ask(3 + n % 2, 50))).collect();
        for round in 0..25 {
            lan.run_for(ms(300));
            let streams = lan.world.streams(lan.nodes[round % 5]);
            if let Some(stream) = streams.get(round % streams.len().max(1)) {
                lan.world.break_stream(*stream);
            }
        }
        lan.run_for(secs(60));
        for (node, ask) in asks {
            lan.assert_whole(node, ask, 50);
        }
        lan.assert_idle();
    }
}

#[test]
fn a_dead_provider_is_replaced_or_an_error_and_comes_back() {
    for how in [Crash::Process, Crash::Power] {
        let mut lan = Lan::new(5, &[1, 1, 0], Link::LAN, None);
        lan.run_for(secs(4));
        let asks = [lan.ask(2, 1000), lan.ask(2, 1000), lan.ask(2, 10), lan.ask(2, 10)];
        lan.run_for(secs(1));
        let died = lan.world.now();
        lan.kill(0, how);
        lan.run_for(secs(60));
        let ends = asks.map(|ask| lan.answer(2, ask).end.clone());
        assert_eq!(ends.iter().filter(|end| **end == Some(Ok(()))).count(), 3, "{ends:?}");
        let lost = asks.iter().map(|ask| lan.answer(2, *ask)).find(|answer| answer.end != Some(Ok(())));
        let patience = if how == Crash::Process { secs(5) } else { secs(12) };
        assert!(lost.unwrap().ended_at - died < patience, "{:?}", lost.unwrap().ended_at - died);
        lan.restart(0);
        within(&mut lan, ms(0)..=secs(70), "back", |lan| lan.has_way(2, 0));
        let asks = [lan.ask(2, 10), lan.ask(2, 10)];
        lan.run_for(secs(3));
        asks.iter().for_each(|ask| lan.assert_whole(2, *ask, 10));
        assert_eq!(lan.peer(0).started, 1);
        lan.assert_idle();
    }
}

#[test]
fn the_same_seed_gives_the_same_day() {
    let run = |seed| {
        let mut lan = Lan::new(seed, &[2, 1, 0, 0], Link::LAN.loss(0.05), Some(RELAY));
        lan.run_for(secs(4));
        let asks: Vec<_> = (0..10).map(|_| lan.ask(2, 40)).collect();
        lan.plug(0, false);
        lan.run_for(secs(60));
        asks.iter().for_each(|ask| assert_eq!(lan.answer(2, *ask).ends, 1));
        lan.world.fingerprint()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
