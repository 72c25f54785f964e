//! Which of several links to a peer is used.
#![allow(clippy::unwrap_used, reason = "tests")]

mod world;

use teale_cluster::{CloseReason, ClusterEvent, LinkPath};
use teale_relay_client::Security;
use world::{MODEL, World, ms, request, secs, whole};

const UNPROVED: Security = Security::Sealed { verified: false, handshake_hash: [2; 32] };

fn paths(world: &World, index: usize) -> Vec<LinkPath> {
    let mut paths = Vec::new();
    for path in [LinkPath::Lan, LinkPath::Relay] {
        paths.extend(world.links_by(index, path).iter().map(|_| path));
    }
    paths
}

#[test]
fn nodes_on_a_lan_link_at_once_and_keep_one_link() {
    let mut world = World::new();
    let nodes: Vec<_> = (0..5).map(|_| world.provider(1)).collect();
    for a in 0..5 {
        for b in 0..a {
            world.meet(a, b);
        }
    }
    world.run_for(secs(3));
    for index in nodes {
        assert_eq!(world.links(index).len(), 4);
        for peer in world.nodes[index].core.peers() {
            assert_eq!((peer.path, peer.healthy), (Some(LinkPath::Lan), true));
            assert_eq!((peer.paths, peer.models), (vec![LinkPath::Lan], vec![MODEL.to_owned()]));
        }
    }
    world.run_for(secs(1000));
    assert!((0..5).all(|index| world.links(index).len() == 4), "they stay while nobody asks");
}

#[test]
fn a_lan_link_takes_over_from_a_relayed_one() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(1));
    world.discover();
    world.ask(asker, request("1"));
    world.run_for(secs(1));
    assert_eq!(paths(&world, asker), [LinkPath::Relay]);
    world.meet(asker, provider);
    world.run_for(secs(5));
    assert_eq!(paths(&world, asker), [LinkPath::Lan]);
    assert_eq!(world.nodes[asker].closed.last().unwrap().1, CloseReason::Duplicate);
    let peer = &world.nodes[asker].core.peers()[0];
    assert_eq!((peer.path, &*peer.paths), (Some(LinkPath::Lan), &[LinkPath::Lan, LinkPath::Relay][..]));
}

#[test]
fn of_two_lan_links_opened_at_once_the_smaller_node_s_stays() {
    let mut world = World::new();
    let (a, b) = (world.provider(1), world.provider(1));
    let (ours, _) = world.link_by(a, b, LinkPath::Lan);
    world.link_by(b, a, LinkPath::Lan);
    world.run_for(secs(10));
    assert_eq!(world.links(a), [ours]);
    assert_eq!(world.links(b).len(), 1);
}

#[test]
fn of_two_links_on_the_same_way_the_newer_stays_whoever_opened_it() {
    for path in [LinkPath::Lan, LinkPath::Relay] {
        for (first, second) in [([0, 1], [1, 0]), ([1, 0], [0, 1]), ([0, 1], [0, 1])] {
            let mut world = World::new();
            world.provider(1);
            world.provider(1);
            world.link_by(first[0], first[1], path);
            world.run_for(secs(5));
            let (near, far) = world.link_by(second[0], second[1], path);
            world.run_for(secs(10));
            assert_eq!(world.links(second[0]), [near], "{first:?} {second:?}");
            assert_eq!(world.links(second[1]), [far], "{first:?} {second:?}");
        }
    }
}

#[test]
fn a_link_that_only_the_peer_has_lost_is_not_asked_over() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(1));
    let (ours, _) = world.link_by(asker, provider, LinkPath::Lan);
    world.run_for(secs(5));
    world.die(asker, ours, secs(60), ms(0));
    world.run_for(ms(100));
    world.link_by(provider, asker, LinkPath::Lan);
    world.run_for(ms(500));
    let ask = world.ask(asker, request("3"));
    world.run_for(secs(1));
    assert_eq!(world.answer(asker, ask).text(), whole(3));
}

#[test]
fn a_newer_link_that_is_less_protected_retires() {
    for opener in [[0, 1], [1, 0]] {
        let mut world = World::new();
        world.provider(1);
        world.provider(1);
        let (near, far) = world.link_by(0, 1, LinkPath::Lan);
        world.run_for(secs(5));
        world.security = UNPROVED;
        world.link_by(opener[0], opener[1], LinkPath::Lan);
        world.run_for(secs(10));
        assert_eq!((world.links(0), world.links(1)), (vec![near], vec![far]), "{opener:?}");
    }
}

#[test]
fn a_shorter_way_does_not_outweigh_a_proof() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(1));
    world.discover();
    world.ask(asker, request("1"));
    world.run_for(secs(1));
    world.security = UNPROVED;
    world.meet(asker, provider);
    world.run_for(secs(300));
    let peer = world.nodes[asker].core.peers().remove(0);
    assert_eq!((peer.path, peer.verified), (Some(LinkPath::Relay), true));
    let ask = world.ask(asker, request("2"));
    world.run_for(secs(1));
    assert_eq!(world.answer(asker, ask).text(), whole(2));
    let is_lan = |event: &&ClusterEvent| matches!(event, ClusterEvent::LinkUp { path: LinkPath::Lan, .. });
    let tries = world.nodes[asker].events.iter().filter(is_lan).count();
    assert!((1..=20).contains(&tries), "the shorter way was tried {tries} times in five minutes");
}
