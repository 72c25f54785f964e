//! Streams, and the ways in which they fail.

use teale_sim::{Crash, Link, StreamEnd, StreamEvent, StreamId, StreamRules, World, WriteError};

use crate::host::{Host, connect, flat, ms, secs, socket, write};

const RULES: StreamRules =
    StreamRules { window: 1000, give_up: std::time::Duration::from_secs(5), keepalive: None, segment: None };

fn pair(rules: StreamRules) -> (World<Host>, teale_sim::NetId, Vec<teale_sim::NodeId>, StreamId) {
    let (mut world, net, nodes) = flat(1, Link::PERFECT.delay(ms(10)), 3);
    world.set_stream_rules(rules);
    let stream = connect(&mut world, nodes[0], nodes[1]);
    world.run_for(ms(100));
    (world, net, nodes, stream)
}

#[test]
fn a_stream_opens_carries_both_ways_in_order_and_ends() {
    let (mut world, _, nodes, stream) = pair(RULES);
    let there = stream.other();
    assert_eq!(world.machine(nodes[0]).log.last().unwrap().0, ms(20), "a round trip");
    for data in ["one ", "two ", "three"] {
        write(&mut world, nodes[0], stream, data);
    }
    write(&mut world, nodes[1], there, "back");
    world.run_for(ms(100));
    world.with(nodes[0], |_, context| context.close(stream));
    world.run_for(ms(100));
    assert_eq!(world.machine(nodes[1]).read(there), b"one two three");
    assert_eq!(world.machine(nodes[0]).read(stream), b"back");
    assert_eq!(world.machine(nodes[1]).end(there), Some((ms(210), StreamEnd::Finished)));
    assert_eq!(world.machine(nodes[0]).end(stream), None, "who closes hears nothing more");
    assert!(world.streams(nodes[0]).is_empty() && world.streams(nodes[1]).is_empty());
    let refused = world.with(nodes[0], |_, context| context.write(stream, "late"));
    assert_eq!(refused, Err(WriteError::NotOpen));
}

#[test]
fn loss_and_jitter_cost_time_and_nothing_else() {
    let (mut world, net, nodes, stream) = pair(RULES);
    world.set_link(
        net,
        Link::PERFECT.delay(ms(10)).jitter(ms(30)).loss(0.2).duplicate(0.2).reorder(0.2, ms(50)),
    );
    for n in 0..100_u8 {
        world.with(nodes[0], |_, context| context.write(stream, vec![n])).unwrap();
        world.run_for(ms(5));
    }
    world.run_for(secs(30));
    assert_eq!(world.machine(nodes[1]).read(stream.other()), (0..100).collect::<Vec<u8>>());
}

#[test]
fn a_window_that_is_full_says_when_there_is_room() {
    let (mut world, _, nodes, stream) = pair(RULES);
    let fill =
        |world: &mut World<Host>| world.with(nodes[0], |_, context| context.write(stream, vec![0; 600]));
    assert_eq!([fill(&mut world), fill(&mut world)], [Ok(()), Ok(())]);
    assert_eq!(fill(&mut world), Err(WriteError::Full));
    world.run_for(ms(15));
    assert_eq!(world.machine(nodes[0]).stream_events(stream).last(), Some(&&StreamEvent::Opened));
    world.run_for(ms(5));
    assert_eq!(world.machine(nodes[0]).stream_events(stream).last(), Some(&&StreamEvent::Room));
    assert_eq!(fill(&mut world), Ok(()));
}

#[test]
fn who_does_not_read_fills_the_other_sides_window() {
    let (mut world, _, nodes, stream) = pair(RULES);
    let there = stream.other();
    world.with(nodes[1], |_, context| context.set_reading(there, false));
    let mut taken = 0;
    while world.with(nodes[0], |_, context| context.write(stream, vec![0; 100])).is_ok() {
        taken += 100;
        world.run_for(ms(50));
    }
    assert_eq!(taken, 1000);
    world.run_for(secs(100));
    assert_eq!(world.machine(nodes[0]).end(stream), None, "a reader that stands still is alive");
    world.with(nodes[1], |_, context| context.set_reading(there, true));
    world.run_for(secs(1));
    assert_eq!(world.machine(nodes[1]).read(there).len(), 1000);
    assert_eq!(world.machine(nodes[0]).stream_events(stream).last(), Some(&&StreamEvent::Room));
}

#[test]
fn bandwidth_paces_a_stream() {
    let (mut world, net, nodes, stream) = pair(StreamRules { window: 1 << 20, ..RULES });
    world.set_link(net, Link::PERFECT.delay(ms(10)).bandwidth(10_000, 0));
    (0..10).for_each(|_| world.with(nodes[0], |_, context| context.write(stream, vec![0; 1000])).unwrap());
    world.run_for(ms(560));
    assert_eq!(world.machine(nodes[1]).read(stream.other()).len(), 5000);
    world.run_for(ms(500));
    assert_eq!(world.machine(nodes[1]).read(stream.other()).len(), 10_000);
}

#[test]
fn pieces_are_cut_as_the_rules_say() {
    let (mut world, _, nodes, stream) = pair(StreamRules { segment: Some(3), ..RULES });
    write(&mut world, nodes[0], stream, "a message in several parts");
    world.run_for(secs(1));
    let host = world.machine(nodes[1]);
    assert_eq!(host.read(stream.other()), b"a message in several parts");
    let sizes: Vec<usize> = host
        .stream_events(stream.other())
        .iter()
        .filter_map(|event| if let StreamEvent::Data(data) = event { Some(data.len()) } else { None })
        .collect();
    assert!(sizes.iter().all(|size| (1..=3).contains(size)) && sizes.len() > 9, "{sizes:?}");
}

#[test]
fn nobody_listens_nobody_is_there_nobody_answers() {
    let (mut world, net, nodes) = flat(1, Link::PERFECT.delay(ms(10)), 4);
    world.set_stream_rules(RULES);
    let to = teale_sim::NodeId::nth(1);
    let mut socket = socket(&world, to);
    socket.set_port(8);
    let refused = world.with(nodes[0], |_, context| context.connect(1, socket));
    let nowhere = world.with(nodes[0], |_, context| context.connect(1, "203.0.113.77:7".parse().unwrap()));
    world.set_plugged(nodes[2], net, false);
    let unplugged = connect(&mut world, nodes[0], nodes[2]);
    world.crash(nodes[3], Crash::Power);
    let dark = connect(&mut world, nodes[0], nodes[3]);
    world.run_for(secs(20));
    let host = world.machine(nodes[0]);
    assert_eq!(host.end(refused), Some((ms(20), StreamEnd::Refused)));
    assert_eq!(host.end(nowhere), Some((ms(0), StreamEnd::Unreachable)));
    assert_eq!(host.end(unplugged), Some((secs(5), StreamEnd::TimedOut)));
    assert_eq!(host.end(dark), Some((secs(5), StreamEnd::TimedOut)));
}

#[test]
fn a_short_cut_delays_and_a_long_one_ends() {
    let (mut world, net, nodes, stream) = pair(RULES);
    world.partition(net, &[&nodes[..1]]);
    write(&mut world, nodes[0], stream, "through ");
    world.run_for(secs(4));
    world.heal(net);
    write(&mut world, nodes[0], stream, "the gap");
    world.run_for(ms(50));
    assert_eq!(world.machine(nodes[1]).read(stream.other()), b"through the gap");
    world.partition(net, &[&nodes[..1]]);
    let cut = world.now();
    write(&mut world, nodes[0], stream, "lost");
    world.run_for(secs(20));
    assert_eq!(world.machine(nodes[0]).end(stream), Some((cut + ms(10) + secs(5), StreamEnd::TimedOut)));
    assert_eq!(world.machine(nodes[1]).end(stream.other()), None, "nothing written, nothing noticed");
    world.heal(net);
    write(&mut world, nodes[1], stream.other(), "hello?");
    world.run_for(secs(1));
    assert_eq!(world.machine(nodes[1]).end(stream.other()).unwrap().1, StreamEnd::Reset);
}

#[test]
fn a_keepalive_notices_a_pulled_cable_on_both_sides() {
    let (mut world, net, nodes, stream) = pair(StreamRules { keepalive: Some(secs(1)), ..RULES });
    world.run_for(secs(60));
    assert_eq!(world.machine(nodes[0]).end(stream), None);
    let pulled = world.now();
    world.set_plugged(nodes[1], net, false);
    world.run_for(secs(10));
    for (node, end) in [(nodes[0], stream), (nodes[1], stream.other())] {
        let (when, why) = world.machine(node).end(end).unwrap();
        assert_eq!(why, StreamEnd::TimedOut);
        assert!((secs(5)..=secs(7)).contains(&(when - pulled)), "{when:?}");
    }
}

#[test]
fn a_keepalive_finds_a_half_open_stream() {
    let (mut world, _, nodes, stream) = pair(StreamRules { keepalive: Some(secs(1)), ..RULES });
    world.abandon(stream.other());
    world.run_for(secs(3));
    assert_eq!(world.machine(nodes[0]).end(stream).unwrap().1, StreamEnd::Reset);
}

#[test]
fn a_half_open_stream_is_found_by_writing() {
    let (mut world, _, nodes, stream) = pair(RULES);
    world.abandon(stream.other());
    world.run_for(secs(100));
    assert_eq!(world.machine(nodes[0]).end(stream), None);
    write(&mut world, nodes[0], stream, "anybody there?");
    world.run_for(secs(1));
    assert_eq!(world.machine(nodes[0]).end(stream), Some((ms(100) + secs(100) + ms(20), StreamEnd::Reset)));
    assert!(world.machine(nodes[1]).read(stream.other()).is_empty());
}

#[test]
fn a_dead_process_resets_and_a_dead_machine_is_silent() {
    for (how, when, why) in
        [(Crash::Process, ms(110), StreamEnd::Reset), (Crash::Power, ms(110) + secs(5), StreamEnd::TimedOut)]
    {
        let (mut world, _, nodes, stream) = pair(RULES);
        world.crash(nodes[1], how);
        write(&mut world, nodes[0], stream, "x");
        world.run_for(secs(60));
        assert_eq!(world.machine(nodes[0]).end(stream), Some((when, why)));
    }
}

#[test]
fn a_machine_that_comes_back_resets_what_it_forgot() {
    let (mut world, _, nodes, stream) = pair(RULES);
    world.crash(nodes[1], Crash::Power);
    world.run_for(secs(1));
    world.restart(nodes[1], Host::default());
    write(&mut world, nodes[0], stream, "x");
    world.run_for(secs(1));
    assert_eq!(world.machine(nodes[0]).end(stream).unwrap().1, StreamEnd::Reset);
    let again = connect(&mut world, nodes[0], nodes[1]);
    world.run_for(secs(1));
    assert_eq!(world.machine(nodes[0]).stream_events(again), [&StreamEvent::Opened]);
}

#[test]
fn a_frozen_node_accepts_and_reads_when_it_thaws() {
    let (mut world, _, nodes, stream) = pair(RULES);
    world.freeze(nodes[1]);
    write(&mut world, nodes[0], stream, "later");
    let second = connect(&mut world, nodes[2], nodes[1]);
    world.run_for(secs(30));
    assert_eq!(world.machine(nodes[2]).stream_events(second), [&StreamEvent::Opened], "its system accepts");
    assert!(world.machine(nodes[1]).read(stream.other()).is_empty());
    assert_eq!(world.machine(nodes[0]).end(stream), None, "its system answers");
    world.thaw(nodes[1]);
    world.run_for(ms(0));
    assert_eq!(world.machine(nodes[1]).read(stream.other()), b"later");
    assert_eq!(world.machine(nodes[1]).stream_events(second.other()).len(), 1);
}

#[test]
fn a_stalled_stream_goes_on_and_a_broken_one_does_not() {
    let (mut world, _, nodes, stream) = pair(RULES);
    world.set_stalled(stream, true);
    write(&mut world, nodes[0], stream, "waits");
    world.run_for(secs(2));
    assert!(world.machine(nodes[1]).read(stream.other()).is_empty());
    world.set_stalled(stream, false);
    world.run_for(ms(10));
    assert_eq!(world.machine(nodes[1]).read(stream.other()), b"waits");
    write(&mut world, nodes[0], stream, "never arrives");
    world.break_stream(stream);
    world.run_for(secs(1));
    assert_eq!(world.machine(nodes[0]).end(stream).unwrap().1, StreamEnd::Reset);
    assert_eq!(world.machine(nodes[1]).end(stream.other()).unwrap().1, StreamEnd::Reset);
    assert_eq!(world.machine(nodes[1]).read(stream.other()), b"waits");
}

#[test]
fn a_reset_loses_what_was_not_read() {
    let (mut world, _, nodes, stream) = pair(RULES);
    write(&mut world, nodes[0], stream, "lost");
    world.with(nodes[0], |_, context| context.reset(stream));
    world.run_for(secs(1));
    assert!(world.machine(nodes[1]).read(stream.other()).is_empty());
    assert_eq!(world.machine(nodes[1]).end(stream.other()).unwrap().1, StreamEnd::Reset);
    assert_eq!(world.far_node(stream), None, "nothing is left of it");
}
