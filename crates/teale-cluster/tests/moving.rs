//! Links on the LAN and on relays: which one is used, and how running answers move between them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod world;

use teale_cluster::{AskError, AskId, CloseReason, ClusterEvent, Input, LinkPath, bounds};
use teale_relay_client::Security;
use teale_wire::ErrorCode;
use world::{
    MODEL, World, ask_text, asked, chunk_text, hello_text, ms, node, request, resume_text, secs, whole,
};

/// Two nodes that share a LAN and a relay: the asker, the provider.
fn pair(slots: usize) -> (World, usize, usize) {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(slots));
    world.discover();
    world.meet(asker, provider);
    world.run_for(secs(1));
    (world, asker, provider)
}

fn paths(world: &World, index: usize) -> Vec<LinkPath> {
    let mut paths = Vec::new();
    for path in [LinkPath::Lan, LinkPath::Relay] {
        paths.extend(world.links_by(index, path).iter().map(|_| path));
    }
    paths
}

fn moves(world: &World, index: usize) -> Vec<LinkPath> {
    let events = world.nodes[index].events.iter().filter_map(|event| match event {
        ClusterEvent::Moved { path, .. } => Some(*path),
        _ => None,
    });
    events.collect()
}

/// Ended well, with every word, once.
fn is_whole(world: &World, index: usize, ask: AskId, tokens: u64) {
    let answer = world.answer(index, ask);
    assert_eq!(answer.end, Some(Ok(())), "{:?}", answer.end);
    assert_eq!(answer.text(), whole(tokens));
    assert_eq!(answer.ends, 1);
    assert_eq!(answer.chunks.iter().filter(|chunk| chunk.usage.is_some()).count(), 1);
}

fn nothing_is_left(world: &World) {
    for node in &world.nodes {
        let status = node.core.status();
        assert_eq!((status.slots_busy, status.queued, status.detached), (0, 0, 0));
        assert!(node.core.is_idle() && node.core.peers().iter().all(|peer| peer.in_flight == 0));
    }
}

#[test]
fn a_pulled_cable_moves_the_answer_to_the_relay_and_back_later() {
    let (mut world, asker, provider) = pair(1);
    let ask = world.ask(asker, request("2000"));
    world.run_for(secs(5));
    world.pull(asker, provider);
    world.run_for(secs(5));
    assert_eq!(paths(&world, asker), [LinkPath::Relay]);
    assert_eq!(moves(&world, asker), [LinkPath::Relay]);
    world.meet(asker, provider);
    world.run_for(secs(15));
    assert_eq!(paths(&world, asker), [LinkPath::Lan], "the relayed link has retired");
    assert_eq!(moves(&world, asker), [LinkPath::Relay, LinkPath::Lan]);
    world.run_for(secs(30));
    is_whole(&world, asker, ask, 2000);
    assert_eq!(world.nodes[provider].started.len(), 1, "it was made once");
    nothing_is_left(&world);
}

#[test]
fn whoever_notices_first_the_answer_is_whole() {
    for (mine, theirs) in [(0, 6000), (6000, 0), (5000, 5000), (3000, 6000)] {
        let (mut world, asker, provider) = pair(1);
        let ask = world.ask(asker, request("600"));
        world.run_for(secs(3));
        world.pull_silently(asker, provider, ms(mine), ms(theirs));
        world.run_for(secs(40));
        is_whole(&world, asker, ask, 600);
        assert!(world.answer(asker, ask).ended_at < secs(27), "{:?}", world.answer(asker, ask).ended_at);
        nothing_is_left(&world);
    }
}

#[test]
fn an_end_that_was_lost_with_its_link_comes_over_the_next_one() {
    let (mut world, asker, provider) = pair(1);
    let ask = world.ask(asker, request("20"));
    world.run_for(ms(200));
    world.pull_silently(asker, provider, secs(6), secs(6));
    world.run_for(secs(5));
    assert_eq!(world.nodes[provider].core.status().slots_busy, 0, "made to the end");
    assert_eq!(world.answer(asker, ask).ends, 0);
    world.run_for(secs(5));
    is_whole(&world, asker, ask, 20);
    nothing_is_left(&world);
}

#[test]
fn a_failure_of_the_backend_crosses_a_move_too() {
    let (mut world, asker, provider) = pair(1);
    let ask = world.ask(asker, request("break 100"));
    world.run_for(secs(1));
    world.pull_silently(asker, provider, secs(5), secs(5));
    world.run_for(secs(20));
    let answer = world.answer(asker, ask);
    assert!(matches!(answer.end, Some(Err(AskError::Provider { code: ErrorCode::InternalError, .. }))));
    assert_eq!(answer.text(), whole(100));
    nothing_is_left(&world);
}

#[test]
fn sixteen_answers_move_together() {
    let (mut world, asker, provider) = pair(4);
    let asks: Vec<_> = (0..16).map(|_| world.ask(asker, request("200"))).collect();
    world.run_for(secs(2));
    world.pull(asker, provider);
    world.run_for(secs(2));
    world.meet(asker, provider);
    world.run_for(secs(60));
    for ask in asks {
        is_whole(&world, asker, ask, 200);
    }
    assert_eq!(world.nodes[provider].started.len(), 16);
    nothing_is_left(&world);
}

#[test]
fn a_provider_that_cannot_be_reached_any_more_is_an_error_at_once() {
    let (mut world, asker, provider) = pair(1);
    let ask = world.ask(asker, request("600"));
    world.run_for(secs(3));
    let at = world.now;
    world.kill(provider);
    world.run_for(secs(5));
    let answer = world.answer(asker, ask);
    assert!(matches!(answer.end, Some(Err(AskError::LinkLost(_)))), "{:?}", answer.end);
    assert!(answer.ended_at - at < ms(500));
}

#[test]
fn an_asker_that_does_not_come_back_loses_its_slot_in_time() {
    for (path, patience) in [(LinkPath::Lan, bounds::DETACHED), (LinkPath::Relay, bounds::DETACHED_ALONE)] {
        let mut world = World::new();
        let (asker, provider) = (world.consumer(), world.provider(1));
        if path == LinkPath::Relay {
            world.discover()
        } else {
            world.meet(asker, provider)
        }
        world.run_for(secs(1));
        world.ask(asker, request("100000"));
        world.run_for(secs(3));
        world.lan.clear();
        world.kill(asker);
        world.run_for(patience - ms(500));
        let status = world.nodes[provider].core.status();
        assert_eq!((status.slots_busy, status.detached), (1, 1), "{path:?}");
        assert!(world.nodes[provider].core.status().slots_busy == 1);
        world.run_for(secs(1));
        let status = world.nodes[provider].core.status();
        assert_eq!((status.slots_busy, status.detached), (0, 0), "{path:?}");
    }
}

#[test]
fn a_cancel_without_a_link_is_told_when_there_is_one() {
    let (mut world, asker, provider) = pair(1);
    let ask = world.ask(asker, request("100000"));
    world.run_for(secs(1));
    world.lag = secs(1);
    world.pull(asker, provider);
    world.run_for(ms(5));
    world.cancel(asker, ask);
    world.run_for(secs(3));
    assert_eq!(world.nodes[provider].core.status().slots_busy, 0);
    assert_eq!(world.nodes[provider].stopped, 1);
    nothing_is_left(&world);
}

#[test]
fn work_moves_from_a_link_that_is_silent_to_one_that_speaks() {
    let (mut world, asker, _) = pair(1);
    let ask = world.ask(asker, request("4000"));
    world.run_for(secs(2));
    let link = world.links_by(asker, LinkPath::Lan)[0];
    world.die(asker, link, secs(600), secs(600));
    world.lan.clear();
    world.run_for(secs(100));
    is_whole(&world, asker, ask, 4000);
    assert_eq!(moves(&world, asker), [LinkPath::Relay]);
}

#[test]
fn three_missed_heartbeats_take_a_lan_peer_out_of_routing_until_it_is_back() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(1));
    world.meet(asker, provider);
    world.run_for(secs(120));
    let healthy = |world: &World| world.nodes[asker].core.peers()[0].healthy;
    assert!(healthy(&world));
    world.mute.insert((provider, asker));
    // A heartbeat every 15 s, every 5 s after the first miss.
    world.run_for(secs(20));
    assert!(healthy(&world), "one or two missed");
    world.run_for(secs(21));
    assert!(!healthy(&world));
    let ask = world.ask(asker, request("1"));
    assert!(matches!(world.answer(asker, ask).end, Some(Err(AskError::Unavailable(_)))));
    world.mute.clear();
    world.run_for(secs(6));
    assert!(healthy(&world));
    let ask = world.ask(asker, request("1"));
    world.run_for(secs(1));
    is_whole(&world, asker, ask, 1);
    assert_eq!(paths(&world, asker), [LinkPath::Lan]);
}

#[test]
fn a_peer_frozen_for_longer_than_its_link_lives_returns_by_itself() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(1));
    world.meet(asker, provider);
    world.run_for(secs(10));
    world.mute.extend([(provider, asker), (asker, provider)]);
    world.run_for(secs(200));
    assert!(!world.nodes[asker].core.can_answer(MODEL) || !world.nodes[asker].core.peers()[0].healthy);
    world.mute.clear();
    world.run_for(secs(40));
    assert!(world.nodes[asker].core.peers()[0].healthy);
    let ask = world.ask(asker, request("1"));
    world.run_for(secs(1));
    is_whole(&world, asker, ask, 1);
}

#[test]
fn a_refused_peer_costs_the_other_links_nothing() {
    let mut world = World::new();
    let code = |config: &mut teale_cluster::CoreConfig| config.passcode = Some("one".into());
    let (asker, provider) = (world.add(0, code), world.add(1, code));
    let other = world.add(1, |config| config.passcode = Some("two".into()));
    let none = world.provider(1);
    for index in [provider, other, none] {
        world.meet(asker, index);
    }
    world.run_for(secs(1));
    let ask = world.ask(asker, request("500"));
    world.run_for(secs(1));
    assert_eq!(world.answer(asker, ask).ends, 0);
    let hello = world.wire.iter().find(|(.., text)| text.starts_with("{\"hello\"")).unwrap().3.clone();
    let stranger = world.stranger(asker, node(50));
    world.say(asker, stranger, &hello.replace("\"protocolVersion\":1", "\"protocolVersion\":2"));
    assert_eq!(world.nodes[asker].closed.last(), Some(&(stranger, CloseReason::Version)));
    world.run_for(secs(30));
    is_whole(&world, asker, ask, 500);
    assert_eq!(world.nodes[asker].started.len() + world.nodes[other].started.len(), 0);
    let refused = |index: usize| {
        let events = world.nodes[index].events.iter().filter_map(|event| match event {
            ClusterEvent::Refused { node, reason } => Some((*node, reason.clone())),
            _ => None,
        });
        events.collect::<Vec<_>>()
    };
    let (passcode, version) = (CloseReason::Passcode.to_string(), CloseReason::Version.to_string());
    assert!(refused(asker).contains(&(node(50), version)));
    for index in [other, none] {
        let (peer, me) = (world.nodes[index].id, world.nodes[asker].id);
        let told = refused(asker).contains(&(peer, passcode.clone()));
        assert!(told || refused(index).contains(&(me, passcode.clone())), "one side says why");
        assert!(world.nodes[asker].core.peers().iter().any(|view| view.node == peer && view.path.is_none()));
    }
    assert_eq!(paths(&world, provider), [LinkPath::Lan]);
}

#[test]
fn a_lan_peer_with_another_passcode_is_tried_less_and_less_often() {
    let mut world = World::new();
    let (a, b) = (world.provider(1), world.add(1, |config| config.passcode = Some("two".into())));
    world.meet(a, b);
    world.run_for(secs(600));
    let tries = [a, b].map(|index| world.nodes[index].opened.len());
    assert!(tries.iter().sum::<usize>() > 8 && tries.iter().all(|tries| *tries < 25), "{tries:?}");
    assert!(world.links(a).is_empty());
}

#[test]
fn a_deployed_provider_is_asked_and_lost_as_ever() {
    let mut world = World::new();
    let me = world.consumer();
    let link = world.stranger(me, node(50));
    world.say(me, link, &hello_text(false));
    let ask = world.ask(me, request("5"));
    let (id, resumable) = asked(&world.take(me, link));
    assert!(!resumable);
    world.say(me, link, &chunk_text(&id, "a", None));
    world.say(me, link, &chunk_text(&id, "b", None));
    assert!(!world.take(me, link).iter().any(|text| text.contains("inferenceAck")));
    assert_eq!(world.answer(me, ask).text(), "ab");
    world.input(me, Input::LinkDown { link, reason: "cut".into() });
    assert!(matches!(world.answer(me, ask).end, Some(Err(AskError::LinkLost(_)))));
}

#[test]
fn a_provider_that_never_gets_further_is_given_up() {
    let mut world = World::new();
    let me = world.consumer();
    let mut link = world.stranger(me, node(50));
    world.say(me, link, &hello_text(true));
    let ask = world.ask(me, request("5"));
    let (id, _) = asked(&world.take(me, link));
    world.say(me, link, &chunk_text(&id, "a", Some(0)));
    for _ in 0..bounds::MOVES {
        world.input(me, Input::LinkDown { link, reason: "cut".into() });
        link = world.stranger(me, node(50));
        world.say(me, link, &hello_text(true));
        assert_eq!(world.answer(me, ask).ends, 0);
    }
    world.input(me, Input::LinkDown { link, reason: "cut".into() });
    assert!(matches!(world.answer(me, ask).end, Some(Err(AskError::LinkLost(_)))));
}

#[test]
fn a_request_that_its_own_move_overtook_is_cancelled_when_it_shows() {
    let mut world = World::new();
    let (me, peer) = (world.consumer(), node(50));
    let old = world.stranger(me, peer);
    world.say(me, old, &hello_text(true));
    let ask = world.ask(me, request("5"));
    let (first, _) = asked(&world.take(me, old));
    let new = teale_cluster::LinkId(world.number());
    let security = world::SEALED;
    let up = Input::LinkUp { link: new, peer, path: LinkPath::Lan, security, initiator: false };
    world.input(me, up);
    world.say(me, new, &hello_text(true));
    let said = world.take(me, new);
    assert!(said.iter().any(|text| text.starts_with(r#"{"inferenceResume""#)), "{said:?}");
    let unknown = format!(
        r#"{{"inferenceError":{{"requestID":"{first}","errorMessage":"no such request","code":"unavailable"}}}}"#
    );
    world.say(me, new, &unknown);
    let (second, _) = asked(&world.take(me, new));
    assert_ne!(first, second);
    world.say(me, old, &chunk_text(&first, "a", Some(0)));
    let said = world.take(me, old);
    let cancel = format!(r#"{{"inferenceCancel":{{"requestID":"{first}"}}}}"#);
    assert!(said.contains(&cancel), "{said:?}");
    assert_eq!(world.answer(me, ask).ends, 0, "the second try goes on");
}

#[test]
fn only_the_asker_resumes_and_only_on_a_link_as_well_protected() {
    let mut world = World::new();
    let (me, asker) = (world.provider(1), node(50));
    let sealed = |world: &mut World, security: Security| {
        let link = teale_cluster::LinkId(world.number());
        world.input(me, Input::LinkUp { link, peer: asker, path: LinkPath::Lan, security, initiator: false });
        link
    };
    let first = sealed(&mut world, world::SEALED);
    world.say(me, first, &ask_text("a", "200"));
    world.run_for(secs(1));
    let before = world.take(me, first).len() as u64;
    world.input(me, Input::LinkDown { link: first, reason: "cut".into() });
    let refused = |world: &mut World, link| {
        world.say(me, link, &resume_text("a", 0, 1));
        let said = world.take(me, link);
        assert!(said.len() == 1 && said[0].contains(r#""code":"unavailable""#), "{said:?}");
        assert!(!said[0].contains("seq"));
    };
    let thief = world.stranger(me, node(51));
    refused(&mut world, thief);
    let plain = world.stranger(me, asker);
    refused(&mut world, plain);
    let unproved = sealed(&mut world, Security::Sealed { verified: false, handshake_hash: [2; 32] });
    refused(&mut world, unproved);
    assert_eq!(world.nodes[me].core.status().detached, 1, "it waits on");
    let second = sealed(&mut world, world::SEALED);
    world.say(me, second, &resume_text("a", before, 1));
    world.run_for(secs(1));
    let said = world.take(me, second);
    assert!(said[0].contains(&format!(r#""seq":{before}"#)), "{}", said[0]);
    world.say(me, unproved, &resume_text("a", before, 2));
    world.run_for(secs(1));
    assert!(!world.take(me, second).is_empty(), "it stays where it is");
}

#[test]
fn a_move_that_a_later_one_overtook_is_void() {
    let mut world = World::new();
    let (me, asker) = (world.provider(1), node(50));
    let links: Vec<_> = (0..3).map(|_| world.stranger(me, asker)).collect();
    world.say(me, links[0], &ask_text("a", "200"));
    world.run_for(ms(100));
    world.take(me, links[0]);
    world.say(me, links[2], &resume_text("a", 0, 2));
    world.say(me, links[1], &resume_text("a", 0, 1));
    world.run_for(ms(100));
    assert!(world.take(me, links[1]).is_empty());
    assert!(!world.take(me, links[2]).is_empty());
    world.say(me, links[1], r#"{"inferenceCancel":{"requestID":"a"}}"#);
    world.run_for(ms(100));
    assert_eq!(world.nodes[me].core.status().slots_busy, 0, "its asker may stop it from any link");
}

#[test]
fn bulk_waits_for_everything_else_and_for_room() {
    let mut world = World::new();
    let me = world.provider(1);
    let link = world.stranger(me, node(50));
    let bulk = |n: u32| {
        let text = format!(r#"{{"modelTransferComplete":{{"transferID":"{n}","modelID":"m"}}}}"#);
        teale_wire::ClusterMessage::parse(text.as_bytes()).unwrap().0
    };
    for n in 0..bounds::BULK_QUEUE as u32 {
        assert_eq!(world.nodes[me].core.bulk_has_room(link), Some(true));
        world.input(me, Input::Bulk { link, message: bulk(n) });
    }
    assert_eq!(world.nodes[me].core.bulk_has_room(link), Some(false));
    world.say(me, link, &ask_text("a", "3"));
    world.run_for(secs(1));
    world.input(me, Input::ShareSend { peer: node(99), message: bulk(9) });
    let said = world.take(me, link);
    let kinds: Vec<&str> = said.iter().map(|text| &text[2..16]).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["modelTransferC", "modelTransferC"], "{kinds:?}");
    assert!(kinds[..kinds.len() - 2].iter().all(|kind| kind.starts_with("inference")), "{kinds:?}");
    assert_eq!(world.nodes[me].core.bulk_has_room(link), Some(true));
    world.input(me, Input::LinkDown { link, reason: "cut".into() });
    assert_eq!(world.nodes[me].core.bulk_has_room(link), None);
}
