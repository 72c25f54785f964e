//! Networks of our own switches: joining, finding, losing.

use std::collections::BTreeSet;

use teale_telehash::{
    end_of, end_of_switch,
    v2::{Event, RecvId},
};

use crate::{
    support::secs,
    world::{World, address},
};

/// A network in which everybody learned of the first one.
fn network(count: usize, seed: u8) -> World {
    let mut world = World::new(count, seed, true);
    for n in 1..count {
        world.act(n, |switch, now| switch.learn(now, address(0)));
        world.run(secs(0.2));
    }
    world.run(secs(300.0));
    world
}

fn online(world: &mut World) -> usize {
    (0..world.switches.len()).filter(|n| world.switches[*n].own() == Some(address(*n))).count()
}

#[test]
fn everybody_learns_its_address_and_meets_its_neighbours() {
    let mut world = network(40, 1);
    assert_eq!(online(&mut world), 40);
    for n in 0..40 {
        let own = end_of_switch(address(n));
        let mut others: Vec<usize> = (0..40).filter(|other| *other != n).collect();
        others.sort_by_key(|other| end_of_switch(address(*other)).distance(own));
        let peers: BTreeSet<_> = world.switches[n].sessions().filter(|s| s.open).map(|s| s.peer).collect();
        assert!(others[..3].iter().all(|near| peers.contains(&address(*near))), "{n} lacks a neighbour");
    }
}

#[test]
fn who_listens_is_found() {
    let mut world = network(40, 2);
    let end = end_of("a meeting place");
    let listening: RecvId = world.act(7, |switch, now| switch.recv(now, end));
    world.run(secs(20.0));
    let events = world.take_events(7);
    let at = events.iter().rev().find_map(|event| match event {
        Event::Listening { id, at } if *id == listening => Some(at.clone()),
        _ => None,
    });
    let mut nearest: Vec<usize> = (0..40).filter(|n| *n != 7).collect();
    nearest.sort_by_key(|n| end_of_switch(address(*n)).distance(end));
    let nearest: Vec<_> = nearest[..3].iter().map(|n| address(*n)).collect();
    assert_eq!(at, Some(nearest), "at the three closest of all");

    let bind = serde_json::value::RawValue::from_string(r#"{"s":1}"#.into()).unwrap();
    let seek = world.act(23, |switch, now| switch.seek(now, end, Some(bind), "hello".into()));
    world.run(secs(3.0));
    let heard: Vec<Event> =
        world.take_events(7).into_iter().filter(|event| matches!(event, Event::Heard { .. })).collect();
    assert_eq!(heard.len(), 1, "three relay it, one is told");
    let Some(Event::Heard { source, via, tid, bind, body, .. }) = heard.into_iter().next() else {
        unreachable!()
    };
    assert_eq!((source, &body[..], bind.unwrap().get()), (address(23), &b"hello"[..], r#"{"s":1}"#));
    world.act(7, |switch, now| switch.accept(now, source, via, tid, None));
    world.run(secs(3.0));
    let found = world.take_events(23).into_iter().find_map(|event| match event {
        Event::Sought { id, found } if id == seek => found,
        _ => None,
    });
    let session = found.expect("found");
    let peer = world.switches[23].sessions().find(|info| info.id == session).unwrap().peer;
    assert_eq!(peer, address(7));
}

#[test]
fn a_listener_is_found_after_its_switches_died() {
    let mut world = network(40, 3);
    let end = end_of("a meeting place");
    world.act(7, |switch, now| switch.recv(now, end));
    world.run(secs(20.0));
    let mut nearest: Vec<usize> = (0..40).filter(|n| ![7, 23].contains(n)).collect();
    nearest.sort_by_key(|n| end_of_switch(address(*n)).distance(end));
    for n in &nearest[..3] {
        world.dead[*n] = true;
    }
    world.run(secs(240.0));
    world.take_events(7);
    world.act(23, |switch, now| switch.seek(now, end, None, "".into()));
    world.run(secs(10.0));
    assert!(world.take_events(7).iter().any(|event| matches!(event, Event::Heard { .. })));
}

#[test]
fn nobody_there_is_an_answer_too() {
    let mut world = network(10, 4);
    let seek = world.act(3, |switch, now| switch.seek(now, end_of("empty"), None, "".into()));
    world.run(secs(25.0));
    let ended = |event: &Event| matches!(event, Event::Sought { id, found: None } if *id == seek);
    assert!(world.take_events(3).iter().any(ended));
}

#[test]
fn a_seed_that_comes_back_is_found_again() {
    let mut world = World::new(2, 5, true);
    let mut config = teale_telehash::v2::Config::default();
    config.seeds = vec![address(0)];
    world.switches[1] = teale_telehash::v2::Switch::new(config, world.now, [9; 32]);
    world.drain(1);
    world.run(secs(5.0));
    let online = |world: &mut World| {
        let events = world.take_events(1);
        let news = |event: &Event| match event {
            Event::Online { .. } => Some(true),
            Event::Offline => Some(false),
            _ => None,
        };
        events.iter().filter_map(news).collect::<Vec<_>>()
    };
    assert_eq!(online(&mut world), [true]);
    world.dead[0] = true;
    world.run(secs(90.0));
    assert_eq!(online(&mut world), [false]);
    world.dead[0] = false;
    world.run(secs(60.0));
    assert_eq!(online(&mut world), [true]);
}
