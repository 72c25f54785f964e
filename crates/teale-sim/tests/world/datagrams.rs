//! Datagrams in one network.

use std::{net::IpAddr, time::Duration};

use teale_sim::{Link, Lost};

use crate::host::{Host, at, flat, ip, ms, secs, send, socket};

#[test]
fn a_datagram_takes_the_links_time() {
    let (mut world, _, nodes) = flat(1, Link::PERFECT.delay(ms(10)), 2);
    send(&mut world, nodes[0], nodes[1], "hi");
    world.run_for(secs(1));
    let from = socket(&world, nodes[0]);
    assert_eq!(world.machine(nodes[1]).datagrams(), [(ms(10), from, &b"hi"[..])]);
}

#[test]
fn nothing_is_delivered_after_the_moment_asked_for() {
    let (mut world, _, nodes) = flat(1, Link::PERFECT.delay(ms(10)), 2);
    send(&mut world, nodes[0], nodes[1], "hi");
    world.run_for(ms(9));
    assert_eq!((world.machine(nodes[1]).heard(), world.counters().in_flight), (0, 1));
    assert_eq!(world.next_at(), Some(ms(10)));
    world.run_for(ms(1));
    assert_eq!((world.machine(nodes[1]).heard(), world.now()), (1, ms(10)));
}

#[test]
fn a_node_reaches_itself_at_once_even_unplugged() {
    let (mut world, net, nodes) = flat(1, Link::PERFECT.delay(ms(10)).loss(1.0), 1);
    send(&mut world, nodes[0], nodes[0], "me");
    world.run_for(Duration::ZERO);
    assert_eq!(world.machine(nodes[0]).heard(), 1);
    world.partition(net, &[&nodes]);
    send(&mut world, nodes[0], nodes[0], "me");
    world.run_for(Duration::ZERO);
    assert_eq!(world.machine(nodes[0]).heard(), 2);
}

#[test]
fn jitter_overtakes_and_without_it_order_is_kept() {
    for (jitter, ordered) in [(ms(0), true), (ms(50), false)] {
        let (mut world, _, nodes) = flat(1, Link::PERFECT.delay(ms(10)).jitter(jitter), 2);
        for n in 0..100_u8 {
            send(&mut world, nodes[0], nodes[1], vec![n]);
            world.run_for(ms(1));
        }
        world.run_for(secs(1));
        let heard: Vec<u8> = world.machine(nodes[1]).datagrams().iter().map(|(_, _, what)| what[0]).collect();
        assert_eq!(heard.len(), 100);
        assert_eq!(heard.is_sorted(), ordered);
    }
}

#[test]
fn reordering_holds_a_share_back() {
    let (mut world, _, nodes) = flat(1, Link::PERFECT.delay(ms(10)).reorder(0.25, ms(100)), 2);
    (0..1000).for_each(|_| send(&mut world, nodes[0], nodes[1], "x"));
    world.run_for(secs(1));
    let heard = world.machine(nodes[1]).datagrams();
    let late = heard.iter().filter(|(time, ..)| *time == ms(110)).count();
    assert!((200..300).contains(&late), "{late}");
    assert_eq!(heard.iter().filter(|(time, ..)| *time == ms(10)).count(), 1000 - late);
}

#[test]
fn losses_and_doubles_are_counted() {
    let (mut world, _, nodes) = flat(1, Link::PERFECT.loss(0.3).duplicate(0.5), 2);
    (0..1000).for_each(|_| send(&mut world, nodes[0], nodes[1], "x"));
    world.run_for(secs(1));
    let counters = world.counters();
    assert!((250..350).contains(&counters.lost(Lost::OnTheWay)), "{counters:?}");
    assert!((300..400).contains(&counters.copies), "{counters:?}");
    assert_eq!(world.machine(nodes[1]).heard() as u64, counters.delivered);
    assert!(counters.is_balanced() && counters.in_flight == 0);
}

#[test]
fn a_slow_line_spreads_a_burst_and_drops_its_end() {
    let (mut world, net, nodes) = flat(1, Link::PERFECT, 3);
    world.set_uplink(nodes[0], net, Link::PERFECT.bandwidth(10_000, 5_000));
    (0..10).for_each(|_| send(&mut world, nodes[0], nodes[1], vec![0; 1000]));
    send(&mut world, nodes[2], nodes[1], "another line");
    world.run_for(secs(10));
    let heard = world.machine(nodes[1]).datagrams();
    let times: Vec<u128> = heard.iter().map(|(time, ..)| time.as_millis()).collect();
    assert_eq!(times, [0, 100, 200, 300, 400, 500, 600]);
    assert_eq!(world.counters().lost(Lost::QueueFull), 4);
}

#[test]
fn a_pair_has_a_link_of_its_own_one_way() {
    let (mut world, net, nodes) = flat(1, Link::PERFECT, 3);
    world.set_link_between(net, nodes[0], nodes[1], Some(Link::PERFECT.loss(1.0)));
    for (from, to) in [(0, 1), (1, 0), (0, 2)] {
        send(&mut world, nodes[from], nodes[to], "x");
    }
    world.run_for(secs(1));
    assert_eq!([0, 1, 2].map(|n| world.machine(nodes[n]).heard()), [1, 0, 1]);
    world.set_link_between(net, nodes[0], nodes[1], None);
    send(&mut world, nodes[0], nodes[1], "x");
    world.run_for(secs(1));
    assert_eq!(world.machine(nodes[1]).heard(), 1);
}

#[test]
fn a_partition_cuts_what_is_under_way_too_and_heals() {
    let (mut world, net, nodes) = flat(1, Link::PERFECT.delay(ms(10)), 4);
    send(&mut world, nodes[0], nodes[2], "under way");
    world.run_for(ms(5));
    world.partition(net, &[&nodes[..2]]);
    for (from, to) in [(0, 1), (2, 3), (1, 2), (3, 0)] {
        send(&mut world, nodes[from], nodes[to], "x");
    }
    world.run_for(secs(1));
    assert_eq!([0, 1, 2, 3].map(|n| world.machine(nodes[n]).heard()), [0, 1, 0, 1]);
    assert_eq!(world.counters().lost(Lost::Cut), 3);
    world.heal(net);
    send(&mut world, nodes[0], nodes[2], "x");
    world.run_for(secs(1));
    assert_eq!(world.machine(nodes[2]).heard(), 1);
}

#[test]
fn a_pulled_cable_cuts_one_node_off() {
    let (mut world, net, nodes) = flat(1, Link::PERFECT, 3);
    world.set_plugged(nodes[0], net, false);
    for (from, to) in [(0, 1), (1, 0), (1, 2)] {
        send(&mut world, nodes[from], nodes[to], "x");
    }
    world.run_for(secs(1));
    assert_eq!([0, 1, 2].map(|n| world.machine(nodes[n]).heard()), [0, 0, 1]);
    world.set_plugged(nodes[0], net, true);
    send(&mut world, nodes[1], nodes[0], "x");
    world.run_for(secs(1));
    assert_eq!(world.machine(nodes[0]).heard(), 1);
}

#[test]
fn an_address_nobody_has_and_a_datagram_too_large() {
    let (mut world, _, nodes) = flat(1, Link::PERFECT.largest(1400), 2);
    let to = socket(&world, nodes[1]);
    world.with(nodes[0], |_, context| {
        context.send(7, at("198.51.100.9:7"), "x");
        context.send(7, to, vec![0; 1401]);
    });
    world.run_for(secs(1));
    assert_eq!([Lost::NoRoute, Lost::TooLarge].map(|why| world.counters().lost(why)), [1, 1]);
    assert!(world.counters().is_balanced());
}

#[test]
fn multicast_reaches_who_joined_and_broadcast_everybody() {
    let (mut world, net, nodes) = flat(1, Link::LAN, 4);
    let group = ip("224.0.0.251");
    for node in &nodes[..3] {
        world.with(*node, |_, context| context.join(group));
    }
    let to_group = at("224.0.0.251:5353");
    world.with(nodes[0], |_, context| context.send(5353, to_group, "who is there"));
    world.run_for(secs(1));
    assert_eq!([0, 1, 2, 3].map(|n| world.machine(nodes[n]).heard()), [0, 1, 1, 0]);
    world.with(nodes[0], |_, context| context.send(9, at("255.255.255.255:9"), "wake up"));
    world.run_for(secs(1));
    assert_eq!([0, 1, 2, 3].map(|n| world.machine(nodes[n]).heard()), [0, 2, 2, 1]);
    world.set_multicast(net, false);
    world.with(nodes[0], |_, context| context.send(5353, to_group, "blocked"));
    world.run_for(secs(1));
    assert_eq!(world.machine(nodes[1]).heard(), 2);
    assert!(world.counters().is_balanced());
}

#[test]
fn a_node_in_two_networks_takes_the_one_that_leads_there() {
    let (mut world, _, nodes) = flat(1, Link::PERFECT, 2);
    let cable = world.add_net(Link::PERFECT.delay(ms(1)));
    world.attach(nodes[0], cable, ip("10.0.0.1"));
    let other = world.add_node(Host::echo(), cable, ip("10.0.0.2"));
    world.with(nodes[0], |_, context| {
        let addresses: Vec<IpAddr> = context.addresses().collect();
        assert_eq!(addresses, [ip("192.0.2.1"), ip("10.0.0.1")]);
        context.send(7, at("10.0.0.2:7"), "x");
        context.send(7, at("192.0.2.2:7"), "y");
    });
    world.run_for(secs(1));
    assert_eq!(world.machine(other).datagrams()[0].1, at("10.0.0.1:7"));
    assert_eq!(world.machine(nodes[1]).datagrams()[0].1, at("192.0.2.1:7"));
    assert_eq!(world.machine(nodes[0]).datagrams()[0], (ms(2), at("10.0.0.2:7"), &b"x"[..]));
}

#[test]
fn it_works_with_ipv6() {
    let (mut world, net, nodes) = flat(1, Link::PERFECT, 1);
    let six = [1, 2].map(|n| world.add_node(Host::echo(), net, ip(&format!("2001:db8::{n}"))));
    world.with(six[0], |host, context| {
        host.echo = false;
        context.join(ip("ff02::fb"));
        context.send(7, at("[2001:db8::2]:7"), "x");
    });
    world.with(six[1], |_, context| context.send(5353, at("[ff02::fb]:5353"), "m"));
    world.run_for(secs(1));
    assert_eq!(world.machine(six[0]).heard(), 2);
    assert_eq!(world.machine(nodes[0]).heard(), 0);
}

#[test]
#[should_panic(expected = "is taken")]
fn an_address_is_given_out_once() {
    let (mut world, net, _) = flat(1, Link::PERFECT, 1);
    world.add_node(Host::default(), net, ip("192.0.2.1"));
}
