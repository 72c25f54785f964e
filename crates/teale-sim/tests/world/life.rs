//! Deadlines, and nodes that freeze, die and come back.

use std::time::Duration;

use teale_sim::{Context, Crash, Event, Link, Lost, Machine, World};

use crate::host::{Host, flat, ip, ms, secs, send};

#[test]
fn a_node_is_woken_once_at_the_last_moment_it_named() {
    let (mut world, _, nodes) = flat(1, Link::PERFECT, 1);
    let wake = |world: &mut World<Host>, at| world.with(nodes[0], |_, context| context.wake_at(at));
    wake(&mut world, Some(ms(50)));
    wake(&mut world, Some(ms(10)));
    wake(&mut world, Some(ms(30)));
    world.run_for(ms(100));
    assert_eq!(world.machine(nodes[0]).wakes(), [ms(30)]);
    wake(&mut world, Some(ms(150)));
    wake(&mut world, None);
    world.run_for(ms(100));
    assert_eq!(world.machine(nodes[0]).wakes().len(), 1);
    wake(&mut world, Some(ms(1)));
    world.run_for(Duration::ZERO);
    assert_eq!(world.machine(nodes[0]).wakes(), [ms(30), ms(200)], "a moment that has passed is now");
}

#[test]
fn a_frozen_node_hears_later_as_much_as_its_socket_holds() {
    let (mut world, _, nodes) = flat(1, Link::PERFECT.delay(ms(1)), 2);
    world.with(nodes[1], |_, context| context.wake_at(Some(ms(100))));
    world.freeze(nodes[1]);
    (0..30).for_each(|_| send(&mut world, nodes[0], nodes[1], vec![0; 10_000]));
    world.run_for(secs(10));
    assert!(!world.is_up(nodes[1]));
    assert_eq!((world.machine(nodes[1]).heard(), world.counters().in_flight), (0, 21));
    assert_eq!(world.counters().lost(Lost::SocketFull), 9);
    world.thaw(nodes[1]);
    world.run_for(Duration::ZERO);
    let host = world.machine(nodes[1]);
    assert_eq!((host.heard(), host.wakes()), (21, vec![secs(10)]));
    assert_eq!(host.log.last().unwrap().1, Event::Wake);
    assert!(world.counters().is_balanced());
}

#[test]
fn a_dead_node_hears_nothing_and_comes_back_as_somebody_new() {
    let (mut world, _, nodes) = flat(1, Link::PERFECT, 2);
    world.with(nodes[1], |_, context| context.wake_at(Some(ms(100))));
    world.crash(nodes[1], Crash::Process);
    send(&mut world, nodes[0], nodes[1], "x");
    world.run_for(secs(1));
    assert_eq!(world.counters().lost(Lost::NodeDown), 1);
    let old = world.restart(nodes[1], Host::echo());
    assert_eq!((old.heard(), old.wakes().len()), (0, 0));
    send(&mut world, nodes[0], nodes[1], "x");
    world.run_for(secs(1));
    let log: Vec<&Event> = world.machine(nodes[1]).log.iter().map(|(_, event)| event).collect();
    assert!(matches!(log[..], [Event::Start, Event::Datagram { .. }]), "{log:?}");
    assert_eq!(world.machine(nodes[0]).heard(), 1);
}

#[test]
fn what_a_frozen_node_had_in_its_socket_dies_with_it() {
    let (mut world, _, nodes) = flat(1, Link::PERFECT, 2);
    world.freeze(nodes[1]);
    send(&mut world, nodes[0], nodes[1], "x");
    world.run_for(secs(1));
    world.crash(nodes[1], Crash::Process);
    world.restart(nodes[1], Host::default());
    world.run_for(secs(1));
    assert_eq!(world.machine(nodes[1]).heard(), 0);
    assert_eq!(world.counters().lost(Lost::NodeDown), 1);
    assert!(world.counters().is_balanced() && world.counters().in_flight == 0);
}

#[test]
fn a_node_that_was_thawed_and_died_at_once_is_not_told_the_past() {
    let (mut world, _, nodes) = flat(1, Link::PERFECT, 2);
    world.freeze(nodes[1]);
    send(&mut world, nodes[0], nodes[1], "x");
    world.run_for(secs(1));
    world.thaw(nodes[1]);
    world.crash(nodes[1], Crash::Power);
    world.restart(nodes[1], Host::default());
    world.run_for(secs(1));
    let log: Vec<&Event> = world.machine(nodes[1]).log.iter().map(|(_, event)| event).collect();
    assert_eq!(log, [&Event::Start]);
    assert!(world.counters().is_balanced());
}

#[test]
fn groups_are_forgotten_with_the_process() {
    let (mut world, _, nodes) = flat(1, Link::PERFECT, 2);
    world.with(nodes[1], |_, context| context.join(ip("224.0.0.251")));
    world.crash(nodes[1], Crash::Process);
    world.restart(nodes[1], Host::default());
    world.run_for(ms(1));
    world.with(nodes[0], |_, context| context.send(7, "224.0.0.251:7".parse().unwrap(), "x"));
    world.run_for(secs(1));
    assert_eq!(world.machine(nodes[1]).heard(), 0);
}

#[test]
fn running_until_something_is_true_stops_there() {
    let (mut world, _, nodes) = flat(1, Link::PERFECT.delay(ms(10)), 2);
    send(&mut world, nodes[0], nodes[1], "x");
    assert!(world.run_for_until(secs(1), |world| world.machine(nodes[1]).heard() == 1));
    assert_eq!(world.now(), ms(10));
    assert!(!world.run_for_until(secs(1), |world| world.machine(nodes[1]).heard() == 2));
    assert_eq!(world.now(), ms(1010));
}

#[test]
#[should_panic(expected = "does not run")]
fn a_frozen_node_cannot_be_called() {
    let (mut world, _, nodes) = flat(1, Link::PERFECT, 1);
    world.freeze(nodes[0]);
    world.with(nodes[0], |_, _| ());
}

struct Spinner;

impl Machine for Spinner {
    fn handle(&mut self, _: Event, context: &mut Context<'_>) {
        context.wake_at(Some(context.now()));
    }
}

#[test]
#[should_panic(expected = "again and again")]
fn a_machine_that_never_waits_is_found() {
    let mut world = World::new(1);
    let net = world.add_net(Link::PERFECT);
    world.add_node(Spinner, net, ip("192.0.2.1"));
    world.run_for(secs(1));
}
