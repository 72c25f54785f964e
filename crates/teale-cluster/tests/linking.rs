//! Links: introductions, passcodes, dialects, one per peer, heartbeats, herds, bounds.

mod world;

use teale_cluster::{AskError, CloseReason, ClusterEvent, Input, LinkId, LinkPath, bounds, passcode_hash};
use world::{MODEL, World, ms, node, record_of, request, secs, whole};

fn wire_kinds(world: &World) -> Vec<(usize, String)> {
    let kind = |text: &str| text.split('"').nth(1).unwrap_or_default().to_owned();
    world.wire.iter().map(|(_, from, _, text)| (*from, kind(text))).collect()
}

#[test]
fn hello_and_heartbeat_carry_every_field_of_the_seed() {
    let mut world = World::new();
    let (asker, _) = (world.consumer(), world.provider(1));
    world.link(asker, 1);
    world.run_for(secs(6));
    let find = |kind: &str| world.wire.iter().find(|(.., text)| text.starts_with(kind)).unwrap().3.clone();
    assert_eq!(
        find("{\"hello\""),
        r#"{"hello":{"deviceInfo":{"id":"device-0","name":"node 0","hardware":{"chipFamily":"intelCPU","chipName":"test","totalRAMGB":16.0,"gpuCoreCount":0,"memoryBandwidthGBs":40.0,"tier":2,"gpuBackend":"cpu","platform":"linux"},"registeredAt":734792800.0,"lastSeenAt":734792800.0,"isCurrentDevice":true,"loadedModels":[]},"protocolVersion":1,"clusterPasscodeHash":null,"loadedModels":[],"ownerUserID":null,"resumable":true}}"#
    );
    let ack: serde_json::Value = serde_json::from_str(&find("{\"helloAck\"")).unwrap();
    assert_eq!(ack["helloAck"]["loadedModels"][0], MODEL);
    assert_eq!(
        find("{\"heartbeat\""),
        r#"{"heartbeat":{"deviceID":"device-0","timestamp":734792800.5,"thermalLevel":"nominal","throttleLevel":100,"loadedModels":[],"isGenerating":false,"queueDepth":0,"organizationID":null,"ownerUserID":null}}"#
    );
}

#[test]
fn a_passcode_travels_as_its_sha256() {
    // Vectors: section `passcode` of tealenet.json, computed with Python's hashlib.
    assert_eq!(
        passcode_hash("my-secret"),
        "186ef76e9d6a723ecb570d4d9c287487d001e5d35f7ed4a313350a407950318e"
    );
    assert_eq!(passcode_hash(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(
        passcode_hash("\u{17c}\u{f3}\u{142}w \u{1f422}"),
        "d1d6adfa5696f8cf22ad56b040d2467d0530708390d76ff8202f23460ad92004"
    );
}

fn with_passcodes(asker: Option<&str>, provider: Option<&str>) -> (World, Option<Result<(), AskError>>) {
    let mut world = World::new();
    let code = |code: Option<&str>| code.map(str::to_owned);
    let asker = world.add(0, |config| config.passcode = code(asker));
    world.add(1, |config| config.passcode = code(provider));
    world.discover();
    let ask = world.ask(asker, request("2"));
    world.run_for(secs(2));
    let end = world.answer(asker, ask).end.clone();
    (world, end)
}

#[test]
fn equal_passcodes_let_requests_through_after_the_answer_to_hello() {
    let (world, end) = with_passcodes(Some("one"), Some("one"));
    assert_eq!(end, Some(Ok(())));
    let kinds = wire_kinds(&world);
    assert_eq!(kinds[..3], [(0, "hello".into()), (1, "helloAck".into()), (0, "inferenceRequest".into())]);
}

#[test]
fn other_passcodes_are_refused_and_nothing_is_served() {
    for (asker, provider) in [(Some("one"), Some("two")), (None, Some("two")), (Some("one"), None)] {
        let (world, end) = with_passcodes(asker, provider);
        assert!(matches!(end, Some(Err(_))), "{end:?}");
        assert!(world.nodes[1].started.is_empty());
        assert_eq!(world.nodes[1].closed[0].1, CloseReason::Passcode);
        assert!(world.nodes[1].core.status().rejected > 0);
        if asker.is_some() {
            assert!(!wire_kinds(&world).iter().any(|(_, kind)| kind == "inferenceRequest"));
        }
    }
}

const GATEWAY_REQUEST: &str = r#"{"inferenceRequest":{"_0":{"requestID":"R1","request":{"model":"model-1","messages":[{"role":"user","content":"1"}],"stream":true},"streaming":true}}}"#;

#[test]
fn with_a_passcode_a_request_without_hello_is_refused() {
    let mut world = World::new();
    let me = world.add(1, |config| config.passcode = Some("one".into()));
    let link = world.stranger(me, node(50));
    world.say(me, link, GATEWAY_REQUEST);
    let said = world.take(me, link);
    assert!(said[0].contains(r#""code":"unavailable""#), "{said:?}");
}

#[test]
fn a_gateway_is_served_without_hello_and_in_its_own_dialect() {
    let mut world = World::new();
    let me = world.provider(1);
    let link = world.stranger(me, node(50));
    world.say(me, link, GATEWAY_REQUEST);
    world.run_for(secs(30));
    let said = world.take(me, link);
    assert_eq!(said.len(), 4, "role, text, finish, complete; no heartbeat: {said:#?}");
    assert!(said[1].starts_with(r#"{"inferenceChunk":{"_0":{"requestID":"R1","chunk":{"#), "{}", said[1]);
    assert_eq!(said[3], r#"{"inferenceComplete":{"_0":{"requestID":"R1","tokensIn":7,"tokensOut":1}}}"#);
    world.input(me, Input::LinkDown { link, reason: "closed".into() });
    assert_eq!(world.nodes[me].core.status().links, 0);
}

#[test]
fn another_version_is_refused() {
    let mut world = World::new();
    let me = world.consumer();
    let link = world.stranger(me, node(50));
    let hello = r#"{"hello":{"deviceInfo":{"id":"x","name":"x","hardware":{"chipFamily":"m1","chipName":"M1","totalRAMGB":8,"gpuCoreCount":8,"memoryBandwidthGBs":68,"tier":2},"registeredAt":1,"lastSeenAt":1,"isCurrentDevice":true,"loadedModels":[]},"protocolVersion":2,"clusterPasscodeHash":null,"loadedModels":[],"ownerUserID":null}}"#;
    world.say(me, link, hello);
    assert_eq!(world.nodes[me].closed, [(link, CloseReason::Version)]);
}

#[test]
fn of_two_links_opened_at_once_the_smaller_node_s_stays() {
    let mut world = World::new();
    let (a, b) = (world.provider(1), world.provider(1));
    world.discover();
    let (ours, _) = world.link(a, b);
    world.link(b, a);
    world.run_for(secs(10));
    assert_eq!(world.links(a), [ours]);
    assert_eq!(world.links(b).len(), 1);
    let ask = world.ask(b, request("1"));
    let second = world.ask(b, request("2"));
    world.run_for(secs(1));
    assert_eq!(world.answer(b, ask).text(), whole(1));
    assert_eq!(world.answer(b, second).text(), whole(2));
    assert_eq!(world.links(b).len(), 1, "a link the peer opened serves for asking too");
}

#[test]
fn the_losing_link_finishes_what_it_has() {
    let mut world = World::new();
    let (provider, asker) = (world.provider(2), world.consumer());
    world.discover();
    let ask = world.ask(asker, request("500"));
    world.run_for(secs(1));
    world.link(provider, asker);
    world.run_for(secs(5));
    assert_eq!(world.links(asker).len(), 2, "the request is still running on the loser");
    world.run_for(secs(10));
    assert_eq!(world.answer(asker, ask).text(), whole(500));
    assert_eq!(world.links(asker).len(), 1);
    assert!(world.nodes[provider].stopped == 0);
}

#[test]
fn a_link_that_goes_quiet_leaves_routing_and_comes_back_by_itself() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(1));
    world.discover();
    world.ask(asker, request("1"));
    world.run_for(secs(120));
    let healthy = |world: &World| world.nodes[asker].core.peers()[0].healthy;
    assert!(healthy(&world));
    assert!(world.nodes[asker].core.peers()[0].latency_ms.is_some_and(|ms| (ms - 20.0).abs() < 1.0));
    world.mute.insert((provider, asker));
    world.run_for(secs(31));
    assert!(healthy(&world), "a few missed heartbeats are no reason on a relay");
    world.run_for(secs(20));
    assert!(!healthy(&world));
    assert_eq!(world.nodes[asker].core.peers()[0].reason.as_deref(), Some("misses heartbeats"));
    let ask = world.ask(asker, request("1"));
    assert!(matches!(world.answer(asker, ask).end, Some(Err(AskError::Unavailable(_)))));
    world.mute.clear();
    world.run_for(secs(6));
    assert!(healthy(&world));
    let ask = world.ask(asker, request("1"));
    world.run_for(secs(1));
    assert_eq!(world.answer(asker, ask).end, Some(Ok(())));
}

#[test]
fn a_request_waiting_on_a_quiet_link_moves_to_another_provider() {
    let mut world = World::new();
    let (asker, first) = (world.consumer(), world.provider(1));
    world.discover();
    let ask = world.ask(asker, request("hang"));
    world.run_for(secs(1));
    let second = world.provider(1);
    world.discover();
    world.mute.insert((first, asker));
    world.run_for(secs(60));
    assert_eq!(world.nodes[second].started, ["hang"]);
    assert_eq!(world.answer(asker, ask).ends, 0);
}

#[test]
fn a_dead_link_is_given_up() {
    let mut world = World::new();
    let (a, b) = (world.provider(1), world.consumer());
    world.link(a, b);
    world.run_for(secs(1));
    world.mute.insert((b, a));
    world.run_for(secs(90));
    assert_eq!(world.nodes[a].closed.last().unwrap().1, CloseReason::Dead);
}

#[test]
fn heartbeats_are_not_late_while_tokens_stream() {
    let mut world = World::new();
    let asker = world.consumer();
    let provider = world.provider(4);
    world.nodes[provider].token_time = ms(1);
    world.discover();
    for _ in 0..16 {
        world.ask(asker, request("5000"));
    }
    world.run_for(secs(40));
    for from in [asker, provider] {
        let beats =
            world.wire.iter().filter(|(_, by, _, text)| *by == from && text.starts_with("{\"heartbeat\""));
        let times: Vec<_> = beats.map(|(at, ..)| *at).collect();
        assert!(times.len() >= 6, "{times:?}");
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= secs(5) + ms(10)), "{times:?}");
    }
}

#[test]
fn fifty_nodes_that_ask_nothing_build_no_links() {
    let mut world = World::new();
    for _ in 0..50 {
        world.provider(1);
    }
    world.discover();
    world.run_for(secs(120));
    assert!(world.nodes.iter().all(|node| node.opened.is_empty()));
}

#[test]
fn after_the_first_request_links_to_some_providers_are_kept() {
    let mut world = World::new();
    let asker = world.consumer();
    for _ in 0..30 {
        world.provider(1);
    }
    world.discover();
    assert!(world.nodes[asker].opened.is_empty());
    world.ask(asker, request("1"));
    world.run_for(secs(20));
    assert_eq!(world.links(asker).len(), bounds::EAGER_LINKS);
    world.run_for(secs(900));
    assert_eq!(world.links(asker).len(), bounds::EAGER_LINKS);
}

#[test]
fn a_provider_that_cannot_be_reached_is_tried_again_with_back_off() {
    let mut world = World::new();
    let asker = world.add(0, |config| config.eager_links = true);
    world.input(
        asker,
        Input::Peers { path: LinkPath::Relay, records: vec![record_of(node(77), &[MODEL], 1)] },
    );
    world.run_for(secs(300));
    let tries = world.nodes[asker].opened.len();
    assert!((5..=14).contains(&tries), "{tries} tries in five minutes");
}

#[test]
fn guests_of_one_peer_and_idle_guests_are_bounded() {
    let mut world = World::new();
    let me = world.provider(1);
    for _ in 0..bounds::GUESTS_PER_PEER + 3 {
        world.stranger(me, node(50));
    }
    assert_eq!(world.nodes[me].core.status().links, bounds::GUESTS_PER_PEER);
    assert_eq!(world.nodes[me].closed.len(), 3);
    for n in 0..bounds::GUESTS {
        world.stranger(me, node(100 + (n % 100) as u8));
    }
    assert_eq!(world.nodes[me].core.status().links, bounds::GUESTS);
    world.run_for(bounds::GUEST_IDLE + secs(31));
    assert_eq!(world.nodes[me].core.status().links, 0);
}

#[test]
fn a_peer_that_does_not_read_is_cut_off() {
    let mut world = World::new();
    let me = world.provider(1);
    let link = world.stranger(me, node(50));
    for n in 0..=bounds::CONTROL_QUEUE {
        let request = format!(
            r#"{{"inferenceRequest":{{"requestID":"{n}","request":{{"model":"no","messages":[]}}}}}}"#
        );
        world.say(me, link, &request);
    }
    assert_eq!(world.nodes[me].closed, [(link, CloseReason::NotReading)]);
}

#[test]
fn malformed_messages_are_counted_and_at_last_too_many() {
    let mut world = World::new();
    let me = world.provider(1);
    let link = world.stranger(me, node(50));
    for _ in 0..bounds::MALFORMED {
        assert!(world.nodes[me].closed.is_empty());
        world.say(me, link, r#"{"inferenceRequest":{"requestID":5}}"#);
    }
    assert_eq!(world.nodes[me].closed, [(link, CloseReason::Malformed)]);
    assert_eq!(world.nodes[me].core.status().rejected, u64::from(bounds::MALFORMED));
}

#[test]
fn unknown_messages_and_answers_nobody_waits_for_change_nothing() {
    let mut world = World::new();
    let me = world.provider(1);
    let link = world.stranger(me, node(50));
    for text in [
        r#"{"agentMessage":{"x":[1,{"y":null}]}}"#,
        r#"{"inferenceComplete":{"requestID":"a"}}"#,
        r#"{"inferenceError":{"requestID":"a","errorMessage":"b"}}"#,
        r#"{"inferenceCancel":{"requestID":"a"}}"#,
        r#"{"modelQuery":{"modelID":"m"}}"#,
    ] {
        world.say(me, link, text);
    }
    assert!(world.take(me, link).is_empty());
    assert!(world.nodes[me].closed.is_empty());
}

#[test]
fn a_link_to_oneself_is_closed() {
    let mut world = World::new();
    let me = world.provider(1);
    let own = world.nodes[me].id;
    let link = world.stranger(me, own);
    assert_eq!(world.nodes[me].closed, [(link, CloseReason::Own)]);
}

#[test]
fn the_views_show_peers_models_and_numbers() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(2));
    world.discover();
    world.ask(asker, request("hang"));
    world.run_for(secs(1));
    let core = &mut world.nodes[asker].core;
    let peers = core.peers();
    let peer = &peers[0];
    assert_eq!(
        (peer.name.as_str(), peer.encrypted, peer.verified, peer.in_flight),
        ("node 1", true, true, 1)
    );
    let models = core.models();
    assert_eq!((models[0].id.as_str(), models[0].local, models[0].nodes.len()), (MODEL, false, 1));
    assert!(core.can_answer("model-1") && !core.can_answer("model"));
    let status = world.nodes[provider].core.status();
    assert_eq!((status.slots, status.slots_busy, status.links, status.plaintext_links), (2, 1, 1, 0));
}

#[test]
fn a_gateway_that_never_closes_its_sessions_is_served_on() {
    let mut world = World::new();
    let me = world.provider(1);
    let links: Vec<_> = (0..bounds::GUESTS_PER_PEER + 3).map(|_| world.stranger(me, node(50))).collect();
    let closed: Vec<_> = world.nodes[me].closed.iter().map(|(link, _)| *link).collect();
    assert_eq!(closed, links[..3], "the ones idle for longest make room");
    let last = *links.last().unwrap();
    let ask = r#"{"inferenceRequest":{"_0":{"requestID":"a","request":{"model":"Model-1","messages":[{"role":"user","content":"1"}]},"streaming":true}}}"#;
    world.say(me, last, ask);
    assert_eq!(world.nodes[me].started, ["1"]);
}

#[test]
fn a_provider_that_refuses_our_hello_is_tried_again_with_back_off() {
    let mut world = World::new();
    let asker = world.add(0, |config| config.eager_links = true);
    world.add(1, |config| config.passcode = Some("theirs".into()));
    world.discover();
    world.run_for(secs(300));
    let tries = world.nodes[asker].opened.len();
    assert!((5..=14).contains(&tries), "{tries} tries in five minutes");
}

#[test]
fn a_link_that_arrives_after_the_end_is_closed() {
    let mut world = World::new();
    let me = world.provider(1);
    world.input(me, Input::Shutdown);
    let link = world.stranger(me, node(50));
    assert_eq!(world.nodes[me].closed, [(link, CloseReason::Shutdown)]);
    assert_eq!(world.nodes[me].core.status().links, 0);
}

#[test]
fn a_plaintext_link_ends_when_its_peer_turns_out_to_have_a_key() {
    let mut world = World::new();
    let me = world.consumer();
    let link = world.stranger(me, node(50));
    let mut record = record_of(node(50), &[MODEL], 1);
    world.input(me, Input::Peers { path: LinkPath::Relay, records: vec![record.clone()] });
    assert!(world.nodes[me].closed.is_empty(), "a peer without a key is spoken to in plaintext");
    record.wg_public_key = Some("03".repeat(32));
    world.input(me, Input::Peers { path: LinkPath::Relay, records: vec![record] });
    let later = world.stranger(me, node(50));
    let closed = [link, later].map(|link| (link, CloseReason::Plaintext));
    assert_eq!(world.nodes[me].closed, closed);
}

#[test]
fn whoever_waited_for_a_link_that_died_takes_the_one_that_had_retired() {
    let mut world = World::new();
    let code = |config: &mut teale_cluster::CoreConfig| config.passcode = Some("one".into());
    let (asker, provider) = (world.add(0, code), world.add(1, code));
    world.discover();
    let up = |link, initiator| Input::LinkUp {
        link,
        peer: node(2),
        path: LinkPath::Relay,
        security: world::SEALED,
        initiator,
    };
    // Ours is not answered yet when theirs introduces itself and retires: our id is the smaller one.
    let (ours, theirs) = (LinkId(1001), LinkId(1002));
    world.input(asker, up(ours, true));
    world.input(asker, up(theirs, false));
    let hash = passcode_hash("one");
    world.link(provider, asker);
    world.run_for(secs(1));
    let hello = world.wire.iter().find(|(.., text)| text.starts_with("{\"hello\"")).unwrap().3.clone();
    assert!(hello.contains(&hash));
    let ask = world.ask(asker, request("2"));
    assert_eq!(world.answer(asker, ask).ends, 0);
    world.run_for(ms(100));
    assert!(world.nodes[provider].started.is_empty(), "it waits for the answer to hello");
    world.input(asker, Input::LinkDown { link: ours, reason: "cut".into() });
    world.run_for(secs(1));
    assert_eq!(world.answer(asker, ask).end, Some(Ok(())));
}

#[test]
fn what_relays_say_of_peers_is_fit_for_a_terminal() {
    let mut world = World::new();
    let me = world.consumer();
    let mut record = record_of(node(50), &[MODEL, "\u{1b}[2Jgone"], 1);
    record.display_name = "\u{1b}]0;own\u{7}ed".into();
    world.input(me, Input::Peers { path: LinkPath::Relay, records: vec![record] });
    let Some(ClusterEvent::Discovered { name, models, .. }) = world.nodes[me].events.last() else {
        panic!("nobody discovered");
    };
    assert_eq!((name.as_str(), models.as_slice()), ("]0;owned", &[MODEL.to_owned()][..]));
    assert_eq!(world.nodes[me].core.models().len(), 1);
}
