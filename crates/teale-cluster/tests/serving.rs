//! Requests that come in: slots, queue, fairness, streaming, usage, cancel, drain, back-pressure.

mod world;

use teale_cluster::{AskError, Input, LinkId, LoadState, ModelInfo, bounds};
use teale_wire::{
    ErrorCode,
    chat::{ChatRequest, StreamOptions},
};
use world::{MODEL, World, ms, node, ready, request, secs, whole};

fn ask_text(id: &str, script: &str, more: &str) -> String {
    format!(
        r#"{{"inferenceRequest":{{"requestID":"{id}","request":{{"model":"{MODEL}","messages":[{{"role":"user","content":"{script}"}}]}}{more}}}}}"#
    )
}

const STREAM: &str = r#","streaming":true"#;

fn served(slots: usize) -> (World, usize, LinkId) {
    let mut world = World::new();
    let me = world.provider(slots);
    let link = world.stranger(me, node(50));
    (world, me, link)
}

#[test]
fn sixteen_requests_on_four_slots_all_end() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(4));
    world.discover();
    let asks: Vec<_> = (0..16).map(|n| (n, world.ask(asker, request(&(20 + n).to_string())))).collect();
    world.run_for(secs(10));
    for (n, ask) in asks {
        assert_eq!(world.answer(asker, ask).text(), whole(20 + n));
        assert_eq!(world.answer(asker, ask).ends, 1);
    }
    assert_eq!(world.nodes[provider].most_running, 4);
    let waits = |index: usize| {
        let started = world.nodes[index].events.iter().filter_map(|event| match event {
            teale_cluster::ClusterEvent::Started { node, waited } => Some((*node, *waited)),
            _ => None,
        });
        started.collect::<Vec<_>>()
    };
    let (own, sent) = (waits(provider), waits(asker));
    assert_eq!((own.len(), sent.len()), (16, 16));
    assert!(own.iter().all(|(node, _)| node.is_none()));
    assert_eq!(own.iter().filter(|(_, waited)| *waited > secs(0)).count(), 12, "four had a slot at once");
    assert!(sent.iter().all(|(node, _)| *node == Some(world.nodes[provider].id)));
}

#[test]
fn beyond_the_queue_s_limit_the_answer_is_queue_full() {
    let mut world = World::new();
    let me = world.add(1, |config| config.queue_limit = 2);
    let link = world.stranger(me, node(50));
    for id in ["a", "b", "c", "d"] {
        world.say(me, link, &ask_text(id, "hang", STREAM));
    }
    let said = world.take(me, link);
    assert_eq!(said.len(), 1);
    assert!(said[0].contains(r#""requestID":"d""#) && said[0].contains(r#""code":"queue_full""#), "{said:?}");
    let status = world.nodes[me].core.status();
    assert_eq!((status.slots_busy, status.queued), (1, 2));
}

#[test]
fn one_peer_s_flood_does_not_keep_another_waiting() {
    let mut world = World::new();
    let me = world.add(1, |config| config.queue_limit = 10);
    let (flood, other) = (world.stranger(me, node(50)), world.stranger(me, node(51)));
    for n in 0..11 {
        world.say(me, flood, &ask_text(&format!("f{n}"), "3 flood", STREAM));
    }
    world.say(me, other, &ask_text("o", "3 other", STREAM));
    let evicted = world.take(me, flood);
    assert!(evicted[0].contains(r#""requestID":"f10""#) && evicted[0].contains("queue_full"), "{evicted:?}");
    world.run_for(secs(1));
    let order = &world.nodes[me].started;
    assert!(order[..3].contains(&"3 other".to_owned()), "{order:?}");
}

#[test]
fn a_guest_gets_the_own_models_in_its_turn_and_nobody_elses() {
    let mut world = World::new();
    let (relay_only, me) = (world.consumer(), world.add(1, |config| config.queue_limit = 4));
    world.provider(4);
    world.discover();
    // The peers have the model, and this node has none.
    let nothing = world.serve(relay_only, node(50), request("3"));
    assert_eq!(world.answer(relay_only, nothing).end, Some(Err(AskError::ModelNotFound)));
    // One guest asks for much; all of it waits here, and another one's request does not wait for all of that.
    let many: Vec<_> = (0..5).map(|_| world.serve(me, node(50), request("3 many"))).collect();
    let other = world.serve(me, node(51), request("3 other"));
    assert!(matches!(
        world.answer(me, many[4]).end,
        Some(Err(AskError::Provider { code: ErrorCode::QueueFull, .. }))
    ));
    world.run_for(secs(5));
    assert_eq!(world.answer(me, other).text(), whole(3));
    assert!(many[..4].iter().all(|ask| world.answer(me, *ask).text() == whole(3)));
    let order: Vec<&str> = world.nodes[me].started.iter().map(String::as_str).collect();
    assert_eq!(order, ["3 many", "3 many", "3 other", "3 many", "3 many"]);
    let served = world.nodes[me].events.iter().filter_map(|event| match event {
        teale_cluster::ClusterEvent::Served { node, error: None, .. } => Some(*node),
        _ => None,
    });
    assert_eq!(served.filter(|guest| *guest == node(50)).count(), 4);
    assert_eq!(world.nodes[me].core.status().served, 5);
}

#[test]
fn a_guest_that_leaves_frees_its_slot_and_drain_sends_those_away_that_wait() {
    let mut world = World::new();
    let me = world.add(1, |config| config.queue_limit = 4);
    let (hangs, waits) =
        (world.serve(me, node(50), request("hang")), world.serve(me, node(51), request("2")));
    assert_eq!((world.nodes[me].core.status().slots_busy, world.nodes[me].core.status().queued), (1, 1));
    world.cancel(me, hangs);
    world.run_for(secs(1));
    assert_eq!(world.answer(me, waits).text(), whole(2));
    let (hangs, waits) =
        (world.serve(me, node(50), request("hang")), world.serve(me, node(51), request("2")));
    world.cancel(me, waits);
    assert_eq!(world.nodes[me].core.status().queued, 0);
    let waits = world.serve(me, node(51), request("2"));
    world.input(me, Input::Drain);
    assert!(matches!(
        world.answer(me, waits).end,
        Some(Err(AskError::Provider { code: ErrorCode::Unavailable, .. }))
    ));
    assert!(world.answer(me, hangs).end.is_none(), "what runs may end");
    let late = world.serve(me, node(52), request("2"));
    assert_eq!(world.answer(me, late).end, Some(Err(AskError::ShuttingDown)));
}

#[test]
fn without_streaming_the_text_comes_in_one_chunk() {
    let (mut world, me, link) = served(1);
    world.say(me, link, &ask_text("r", "40", ""));
    world.run_for(secs(2));
    let said = world.take(me, link);
    assert_eq!(said.len(), 2, "{said:#?}");
    let json: serde_json::Value = serde_json::from_str(&said[0]).unwrap();
    let choice = &json["inferenceChunk"]["chunk"]["choices"][0];
    assert_eq!(choice["delta"]["content"], whole(40));
    assert_eq!(choice["delta"]["role"], "assistant");
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(said[1], r#"{"inferenceComplete":{"requestID":"r","tokensIn":7,"tokensOut":40}}"#);
}

#[test]
fn the_usage_chunk_is_forwarded_only_when_asked_for() {
    let mut world = World::new();
    let (asker, _) = (world.consumer(), world.provider(1));
    world.discover();
    let usage = |world: &World| world.wire.iter().filter(|(.., text)| text.contains(r#""usage""#)).count();
    let plain = world.ask(asker, request("3"));
    world.run_for(secs(1));
    assert_eq!(usage(&world), 0);
    assert_eq!(world.answer(asker, plain).usage().unwrap().completion_tokens, 3);
    let stream_options = Some(StreamOptions { include_usage: Some(true), ..StreamOptions::default() });
    let asked = world.ask(asker, ChatRequest { stream_options, ..request("3") });
    world.run_for(secs(1));
    assert_eq!(usage(&world), 1);
    let chunks = &world.answer(asker, asked).chunks;
    assert_eq!(chunks.iter().filter(|chunk| chunk.usage.is_some()).count(), 1);
}

#[test]
fn a_request_id_in_use_is_refused_and_the_first_one_goes_on() {
    let (mut world, me, link) = served(2);
    world.say(me, link, &ask_text("r", "2", STREAM));
    world.say(me, link, &ask_text("r", "2", STREAM));
    world.run_for(secs(1));
    let said = world.take(me, link);
    assert!(said[0].contains(r#""code":"invalid_request""#), "{said:?}");
    assert!(said.last().unwrap().starts_with(r#"{"inferenceComplete""#));
    assert_eq!(world.nodes[me].started.len(), 1);
}

#[test]
fn a_model_that_is_not_ready_or_not_there_is_not_loaded() {
    let (mut world, me, link) = served(1);
    let loading = ModelInfo { state: LoadState::Loading, ..ready("slow") };
    world.input(me, Input::Backend { models: vec![loading], slots: 1 });
    world.say(me, link, &ask_text("a", "1", STREAM).replace(MODEL, "slow"));
    world.say(me, link, &ask_text("b", "1", STREAM));
    for said in world.take(me, link) {
        assert!(said.contains(r#""code":"model_not_loaded""#), "{said}");
    }
}

#[test]
fn errors_of_the_engine_carry_a_code_and_nothing_of_the_machine() {
    let (mut world, me, link) = served(1);
    world.say(me, link, &ask_text("a", "fail", STREAM));
    world.say(me, link, &ask_text("b", "long", STREAM));
    world.run_for(secs(1));
    let said = world.take(me, link);
    assert_eq!(
        said[0],
        r#"{"inferenceError":{"requestID":"a","errorMessage":"the engine failed","code":"internal_error"}}"#
    );
    assert!(said[1].contains(r#""code":"context_length_exceeded""#), "{}", said[1]);
}

#[test]
fn cancel_frees_the_slot_for_the_next_and_drops_what_was_still_to_say() {
    let (mut world, me, link) = served(1);
    world.say(me, link, &ask_text("a", "100", STREAM));
    world.say(me, link, &ask_text("b", "2", STREAM));
    world.run_for(ms(200));
    world.say(me, link, r#"{"inferenceCancel":{"requestID":"a"}}"#);
    assert_eq!(world.nodes[me].core.status().slots_busy, 1, "until the stream is gone");
    world.run_for(secs(1));
    let said = world.take(me, link);
    assert!(said.iter().all(|text| text.contains(r#""requestID":"b""#)), "{said:?}");
    assert_eq!(world.nodes[me].started.len(), 2);
    assert_eq!(world.nodes[me].core.status().slots_busy, 0);
}

#[test]
fn a_queued_request_can_be_cancelled() {
    let (mut world, me, link) = served(1);
    world.say(me, link, &ask_text("a", "5", STREAM));
    world.say(me, link, &ask_text("b", "5", STREAM));
    world.say(me, link, r#"{"inferenceCancel":{"requestID":"b"}}"#);
    world.run_for(secs(2));
    assert_eq!(world.nodes[me].started, ["5"]);
    assert!(world.nodes[me].core.is_idle());
}

#[test]
fn loss_of_the_link_stops_its_requests_running_and_waiting() {
    let (mut world, me, link) = served(1);
    world.say(me, link, &ask_text("a", "hang", STREAM));
    world.say(me, link, &ask_text("b", "hang", STREAM));
    world.run_for(ms(100));
    world.input(me, Input::LinkDown { link, reason: "lost".into() });
    world.run_for(ms(100));
    assert!(world.nodes[me].core.is_idle());
    assert_eq!((world.nodes[me].started.len(), world.nodes[me].stopped), (1, 1));
}

#[test]
fn a_link_that_takes_nothing_stops_the_stream_and_loses_no_text() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(2));
    world.discover();
    let slow = world.ask(asker, request("500"));
    world.run_for(ms(200));
    let link = world.links(provider)[0];
    world.nodes[provider].stuck.insert(link);
    world.run_for(secs(60));
    let waiting: Vec<_> = std::iter::from_fn(|| world.nodes[provider].core.transmit(link)).collect();
    assert!(waiting.len() < bounds::STREAM_WINDOW + 20, "{} messages wait", waiting.len());
    let _ = slow;
}

#[test]
fn a_stalled_link_goes_on_where_it_stopped() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(2));
    world.discover();
    let ask = world.ask(asker, request("3000"));
    world.run_for(ms(200));
    let link = world.links(provider)[0];
    world.nodes[provider].stuck.insert(link);
    world.run_for(secs(20));
    world.unstick(provider, link);
    world.run_for(secs(100));
    let answer = world.answer(asker, ask);
    assert_eq!(answer.end, Some(Ok(())));
    assert_eq!(answer.text(), whole(3000));
}

#[test]
fn a_node_is_drained_when_its_links_took_the_answers() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(1));
    world.discover();
    let ask = world.ask(asker, request("100"));
    world.run_for(ms(200));
    let link = world.links(provider)[0];
    world.nodes[provider].stuck.insert(link);
    world.run_for(secs(20));
    let core = &world.nodes[provider].core;
    assert!(core.is_idle() && !core.is_drained(), "the request ended, its answer waits");
    world.unstick(provider, link);
    assert!(world.nodes[provider].core.is_drained());
    world.run_for(secs(1));
    assert_eq!(world.answer(asker, ask).text(), whole(100));
}

#[test]
fn control_messages_overtake_chunks_and_requests_take_turns() {
    let (mut world, me, link) = served(2);
    world.say(me, link, &ask_text("a", "5", STREAM));
    world.say(me, link, &ask_text("b", "5", STREAM));
    world.run_for(secs(1));
    world.say(me, link, &ask_text("c", "1", STREAM).replace(MODEL, "none"));
    let said = world.take(me, link);
    assert!(said[0].contains(r#""requestID":"c""#), "the error first: {}", said[0]);
    let turns: Vec<_> = said[1..5].iter().map(|text| text.contains(r#""requestID":"a""#)).collect();
    assert!(turns == [true, false, true, false] || turns == [false, true, false, true], "{turns:?}");
}

#[test]
fn too_many_requests_on_one_link_are_refused() {
    let mut world = World::new();
    let me = world.add(1, |config| config.queue_limit = 1000);
    let link = world.stranger(me, node(50));
    for n in 0..bounds::REQUESTS_PER_LINK + 1 {
        world.say(me, link, &ask_text(&n.to_string(), "hang", STREAM));
    }
    assert_eq!(world.take(me, link).len(), 1);
}

#[test]
fn draining_sends_the_waiting_elsewhere_and_says_so_in_heartbeats() {
    let (mut world, me, link) = served(1);
    world.say(me, link, &ask_text("a", "10", STREAM));
    world.say(me, link, &ask_text("b", "10", STREAM));
    world.input(me, Input::Drain);
    assert!(world.take(me, link)[0].contains(r#""code":"unavailable""#));
    world.run_for(secs(1));
    assert!(world.take(me, link).last().unwrap().starts_with(r#"{"inferenceComplete""#));
    world.say(me, link, r#"{"heartbeat":{"deviceID":"d","timestamp":1,"thermalLevel":"nominal","throttleLevel":100,"loadedModels":[],"isGenerating":false,"queueDepth":0}}"#);
    assert!(world.take(me, link)[0].contains(r#""throttleLevel":0"#));
}

#[test]
fn peers_that_pause_or_overheat_are_left_out() {
    let mut world = World::new();
    let asker = world.consumer();
    let link = world.stranger(asker, node(50));
    let hello = format!(
        r#"{{"hello":{{"deviceInfo":{{"id":"x","name":"x","hardware":{},"registeredAt":1,"lastSeenAt":1,"isCurrentDevice":true,"loadedModels":[]}},"protocolVersion":1,"clusterPasscodeHash":null,"loadedModels":["{MODEL}"],"ownerUserID":null}}}}"#,
        serde_json::to_string(&world::hardware()).unwrap()
    );
    world.say(asker, link, &hello);
    let beat = |thermal: &str, throttle: u32| {
        format!(
            r#"{{"heartbeat":{{"deviceID":"d","timestamp":1,"thermalLevel":"{thermal}","throttleLevel":{throttle},"loadedModels":["{MODEL}"],"isGenerating":false,"queueDepth":0,"ewmaTokensPerSecond":55.5}}}}"#
        )
    };
    for (thermal, throttle, able) in
        [("nominal", 100, true), ("nominal", 0, false), ("critical", 100, false), ("serious", 30, true)]
    {
        world.say(asker, link, &beat(thermal, throttle));
        assert_eq!(world.nodes[asker].core.can_answer(MODEL), able, "{thermal} {throttle}");
    }
}

#[test]
fn a_request_withdrawn_from_the_queue_is_told_with_its_model() {
    let mut world = World::new();
    let me = world.provider(1);
    let link = world.stranger(me, node(50));
    for id in ["a", "b"] {
        let ask = format!(
            r#"{{"inferenceRequest":{{"requestID":"{id}","request":{{"model":"{MODEL}","messages":[{{"role":"user","content":"hang"}}]}},"streaming":true}}}}"#
        );
        world.say(me, link, &ask);
    }
    assert_eq!(world.nodes[me].core.status().queued, 1);
    world.say(me, link, r#"{"inferenceCancel":{"requestID":"b"}}"#);
    let told = world.nodes[me].events.iter().filter_map(|event| match event {
        teale_cluster::ClusterEvent::Served { model, error, .. } => Some((model.as_str(), error.is_some())),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [(MODEL, true)]);
    assert_eq!(world.nodes[me].core.status().queued, 0);
}
