//! Requests that go out: routing, retry before the first token, errors after it, time limits, cancel.

mod world;

use teale_cluster::{AskError, CloseReason, Input, LinkId, LinkPath};
use teale_wire::ErrorCode;
use world::{MODEL, World, ms, node, record_of, request, secs, whole};

#[test]
fn a_prompt_crosses_a_link_and_comes_back_as_tokens() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(1));
    world.discover();
    let ask = world.ask(asker, request("5"));
    world.run_for(secs(2));
    let answer = world.answer(asker, ask);
    assert_eq!(answer.text(), whole(5));
    assert_eq!(answer.end, Some(Ok(())));
    assert_eq!(answer.begun.unwrap().0, Some(world.nodes[provider].id));
    let usage = answer.usage().unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (7, 5, 12));
    assert_eq!(answer.chunks[0].choices[0].delta.role.as_deref(), Some("assistant"));
    assert_eq!(world.nodes[provider].core.status().slots_busy, 0);
}

#[test]
fn the_request_follows_hello_without_waiting_for_the_answer() {
    let mut world = World::new();
    let asker = world.consumer();
    world.provider(1);
    world.discover();
    world.ask(asker, request("1"));
    world.run_for(ms(10));
    let kinds: Vec<_> = world.wire.iter().map(|(at, from, _, text)| (*at, *from, &text[..12])).collect();
    assert_eq!(kinds, [(ms(10), 0, "{\"hello\":{\"d"), (ms(10), 0, "{\"inferenceR")]);
}

#[test]
fn nobody_has_the_model() {
    let mut world = World::new();
    let asker = world.consumer();
    world.provider(1);
    world.discover();
    for name in ["odel-1", "model", "", "org/other"] {
        let ask = world.ask(asker, teale_wire::chat::ChatRequest { model: name.into(), ..request("1") });
        assert_eq!(world.answer(asker, ask).end, Some(Err(AskError::ModelNotFound)), "{name}");
    }
}

#[test]
fn a_model_answers_to_its_id_its_last_part_and_its_alias_in_any_case() {
    let mut world = World::new();
    let asker = world.add(0, |config| {
        config.aliases.insert("small".into(), MODEL.into());
    });
    world.provider(1);
    world.discover();
    for name in ["org/model-1", "MODEL-1", "small"] {
        let ask = world.ask(asker, teale_wire::chat::ChatRequest { model: name.into(), ..request("1") });
        world.run_for(secs(1));
        assert_eq!(world.answer(asker, ask).text(), whole(1), "{name}");
    }
}

#[test]
fn the_own_backend_goes_first_while_it_has_a_free_slot() {
    let mut world = World::new();
    let (me, other) = (world.provider(1), world.provider(1));
    world.discover();
    let first = world.ask(me, request("3"));
    let second = world.ask(me, request("3"));
    world.run_for(secs(2));
    assert_eq!(world.answer(me, first).begun.unwrap().0, None);
    assert_eq!(world.answer(me, second).begun.unwrap().0, Some(world.nodes[other].id));
}

#[test]
fn the_own_queue_is_the_last_resort() {
    let mut world = World::new();
    let me = world.provider(1);
    let asks: Vec<_> = (0..3).map(|_| world.ask(me, request("3"))).collect();
    world.run_for(secs(2));
    for ask in asks {
        assert_eq!(world.answer(me, ask).text(), whole(3));
    }
    assert_eq!(world.nodes[me].most_running, 1);
}

#[test]
fn requests_spread_over_the_providers_with_the_fewest_in_flight() {
    let mut world = World::new();
    let asker = world.consumer();
    let providers: Vec<_> = (0..4).map(|_| world.provider(4)).collect();
    world.discover();
    for _ in 0..8 {
        world.ask(asker, request("50"));
    }
    world.run_for(ms(500));
    for provider in providers {
        assert_eq!(world.nodes[provider].started.len(), 2);
    }
}

#[test]
fn a_node_never_asks_itself_over_the_relay() {
    let mut world = World::new();
    let me = world.provider(1);
    let own = world.nodes[me].id;
    world.input(
        me,
        Input::Peers {
            path: LinkPath::Relay,
            records: vec![record_of(own, &[MODEL, "only-in-the-list"], 1)],
        },
    );
    let name = "only-in-the-list".to_owned();
    let ask = world.ask(me, teale_wire::chat::ChatRequest { model: name, ..request("1") });
    assert_eq!(world.answer(me, ask).end, Some(Err(AskError::ModelNotFound)));
    assert!(world.nodes[me].opened.is_empty());
    assert!(world.nodes[me].core.peers().is_empty());
}

#[test]
fn a_provider_that_cannot_be_reached_costs_a_retry() {
    let mut world = World::new();
    let asker = world.consumer();
    let (dead, alive) = (world.provider(9), world.provider(1));
    world.discover();
    world.nodes[dead].up = false;
    for _ in 0..4 {
        let ask = world.ask(asker, request("2"));
        world.run_for(secs(1));
        assert_eq!(world.answer(asker, ask).begun.unwrap().0, Some(world.nodes[alive].id));
    }
}

#[test]
fn a_full_provider_sends_the_request_elsewhere() {
    let mut world = World::new();
    let asker = world.consumer();
    let full = world.add(1, |config| config.queue_limit = 0);
    world.ask(full, request("hang"));
    world.discover();
    let ask = world.ask(asker, request("2"));
    let second = world.provider(1);
    world.discover();
    world.run_for(secs(1));
    assert_eq!(world.answer(asker, ask).begun.unwrap().0, Some(world.nodes[second].id));
}

#[test]
fn when_all_are_full_the_last_reason_is_told() {
    let mut world = World::new();
    let asker = world.consumer();
    let full = world.add(1, |config| config.queue_limit = 0);
    world.ask(full, request("hang"));
    world.discover();
    let ask = world.ask(asker, request("2"));
    world.run_for(secs(1));
    let Some(Err(AskError::Provider { node, code: ErrorCode::QueueFull, .. })) =
        &world.answer(asker, ask).end
    else {
        panic!("{:?}", world.answer(asker, ask).end)
    };
    assert_eq!(*node, Some(world.nodes[full].id));
}

#[test]
fn a_failure_before_the_first_token_goes_to_another_provider_once() {
    let mut world = World::new();
    let asker = world.consumer();
    let providers = [world.provider(1), world.provider(1)];
    world.discover();
    let ask = world.ask(asker, request("fail"));
    world.run_for(secs(1));
    for provider in providers {
        assert_eq!(world.nodes[provider].started, ["fail"]);
    }
    let end = &world.answer(asker, ask).end;
    assert!(matches!(end, Some(Err(AskError::Provider { code: ErrorCode::InternalError, .. }))), "{end:?}");
}

#[test]
fn a_failure_after_the_first_token_is_told_and_not_retried() {
    let mut world = World::new();
    let asker = world.consumer();
    let providers = [world.provider(1), world.provider(1)];
    world.discover();
    let ask = world.ask(asker, request("break 2"));
    world.run_for(secs(1));
    assert_eq!(providers.iter().map(|p| world.nodes[*p].started.len()).sum::<usize>(), 1);
    assert_eq!(world.answer(asker, ask).text(), whole(2));
    assert!(matches!(world.answer(asker, ask).end, Some(Err(AskError::Provider { .. }))));
}

#[test]
fn that_a_prompt_is_too_long_outlives_later_reasons() {
    let mut world = World::new();
    let asker = world.consumer();
    let providers = [world.provider(1), world.provider(1)];
    world.discover();
    let ask = world.ask(asker, request("long"));
    world.run_for(ms(25));
    let second = providers.into_iter().find(|p| world.nodes[*p].started.is_empty()).unwrap();
    world.kill(second);
    world.run_for(secs(1));
    let end = &world.answer(asker, ask).end;
    assert!(
        matches!(end, Some(Err(AskError::Provider { code: ErrorCode::ContextLengthExceeded, .. }))),
        "{end:?}"
    );
}

#[test]
fn a_provider_that_dies_before_the_first_token_is_replaced() {
    let mut world = World::new();
    let asker = world.consumer();
    let providers = [world.provider(1), world.provider(1)];
    world.discover();
    let ask = world.ask(asker, request("hang"));
    world.run_for(ms(100));
    let first = providers.into_iter().find(|p| !world.nodes[*p].started.is_empty()).unwrap();
    let second = providers.into_iter().find(|p| *p != first).unwrap();
    world.kill(first);
    world.run_for(ms(100));
    assert_eq!(world.nodes[second].started, ["hang"]);
    assert_eq!(world.answer(asker, ask).ends, 0);
}

#[test]
fn a_provider_that_dies_after_the_first_token_is_an_error_at_once() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(1));
    world.provider(1);
    world.discover();
    world.ask(asker, request("100"));
    let ask = world.ask(asker, request("100"));
    world.run_for(ms(200));
    let dead = world.answer(asker, ask).begun.unwrap().0.unwrap();
    let index = world.nodes.iter().position(|node| node.id == dead).unwrap();
    let at = world.now;
    world.kill(index);
    world.run_for(ms(100));
    let answer = world.answer(asker, ask);
    assert!(matches!(answer.end, Some(Err(AskError::LinkLost(_)))), "{:?}", answer.end);
    assert!(answer.ended_at - at < ms(100));
    assert!(whole(100).starts_with(&answer.text()));
    world.run_for(teale_cluster::bounds::DETACHED_ALONE);
    assert_eq!(world.nodes[index].core.status().slots_busy, 0);
    let _ = provider;
}

#[test]
fn a_stale_link_to_the_only_provider_is_replaced_by_a_new_one() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(1));
    world.discover();
    world.ask(asker, request("1"));
    world.run_for(secs(1));
    let ask = world.ask(asker, request("30"));
    let link = world.links(asker)[0];
    world.cut(asker, link);
    world.run_for(secs(2));
    assert_eq!(world.answer(asker, ask).text(), whole(30));
    assert_eq!(world.nodes[provider].core.status().slots_busy, 0);
}

#[test]
fn a_silent_provider_costs_the_first_token_timeout() {
    let mut world = World::new();
    let asker = world.add(0, |config| config.first_token_timeout = secs(20));
    let provider = world.provider(1);
    world.discover();
    let ask = world.ask(asker, request("hang"));
    world.run_for(secs(19));
    assert_eq!(world.answer(asker, ask).ends, 0);
    world.run_for(secs(2));
    assert_eq!(world.answer(asker, ask).end, Some(Err(AskError::Timeout)));
    assert_eq!(world.nodes[provider].core.status().slots_busy, 0, "the provider was told to stop");
}

#[test]
fn a_stalled_answer_costs_the_next_token_timeout() {
    let mut world = World::new();
    let asker = world.add(0, |config| config.next_token_timeout = secs(5));
    let provider = world.provider(1);
    world.discover();
    world.nodes[provider].token_time = ms(100);
    let ask = world.ask(asker, request("10"));
    world.run_for(ms(500));
    world.nodes[provider].token_time = secs(60);
    world.run_for(secs(6));
    assert_eq!(world.answer(asker, ask).end, Some(Err(AskError::Timeout)));
    assert!(!world.answer(asker, ask).text().is_empty());
}

#[test]
fn cancel_frees_the_provider_s_slot_and_says_no_more() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(1));
    world.discover();
    let ask = world.ask(asker, request("1000"));
    world.run_for(ms(200));
    assert_eq!(world.nodes[provider].core.status().slots_busy, 1);
    world.cancel(asker, ask);
    world.run_for(ms(50));
    assert_eq!(world.nodes[provider].core.status().slots_busy, 0);
    assert_eq!(world.nodes[provider].stopped, 1);
    world.run_for(secs(1));
    let peers = world.nodes[asker].core.peers();
    assert!(peers.iter().all(|peer| peer.in_flight == 0));
}

#[test]
fn a_chunk_nobody_asked_for_is_cancelled_once() {
    let mut world = World::new();
    let me = world.consumer();
    let link = world.stranger(me, node(99));
    let stray = |id: &str| {
        format!(
            r#"{{"inferenceChunk":{{"requestID":"{id}","chunk":{{"id":"c","object":"o","created":1,"model":"m","choices":[]}}}}}}"#
        )
    };
    for _ in 0..5 {
        world.say(me, link, &stray("one"));
    }
    assert_eq!(world.take(me, link), [r#"{"inferenceCancel":{"requestID":"one"}}"#]);
    assert_eq!(world.nodes[me].core.strays(), 5);
}

#[test]
fn a_request_too_big_for_the_carrier_is_the_caller_s_fault() {
    let mut world = World::new();
    let asker = world.consumer();
    world.provider(1);
    world.discover();
    let ask = world.ask(asker, request("hang"));
    world.run_for(ms(100));
    let text = world.wire.iter().find(|(.., text)| text.contains("inferenceRequest")).unwrap().3.clone();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let id = json["inferenceRequest"]["requestID"].as_str().unwrap();
    let link = world.links(asker)[0];
    let request = teale_wire::RequestId::parse(id).unwrap();
    world.input(asker, Input::Unsendable { link, request, got: 5, limit: 4 });
    assert_eq!(world.answer(asker, ask).end, Some(Err(AskError::TooBig { got: 5, limit: 4 })));
}

#[test]
fn shutting_down_refuses_new_requests_and_lets_running_ones_end() {
    let mut world = World::new();
    let (asker, provider) = (world.consumer(), world.provider(1));
    world.discover();
    let running = world.ask(asker, request("20"));
    world.run_for(ms(100));
    world.input(provider, Input::Drain);
    let late = world.ask(asker, request("1"));
    world.run_for(secs(2));
    assert_eq!(world.answer(asker, running).text(), whole(20));
    let end = &world.answer(asker, late).end;
    assert!(matches!(end, Some(Err(AskError::Provider { code: ErrorCode::Unavailable, .. }))), "{end:?}");
    assert!(world.nodes[provider].core.is_idle());
    let own = world.ask(provider, request("1"));
    assert_eq!(world.answer(provider, own).end, Some(Err(AskError::ShuttingDown)));
    world.input(provider, Input::Shutdown);
    world.run_for(secs(1));
    assert!(world.links(asker).is_empty());
}

#[test]
fn a_link_that_takes_nothing_is_given_up_and_its_requests_move_on() {
    let mut world = World::new();
    let (asker, first) = (world.consumer(), world.provider(1));
    world.discover();
    world.ask(asker, request("1"));
    world.run_for(secs(1));
    let link = world.links(asker)[0];
    world.nodes[asker].stuck.insert(link);
    let waiting = world.ask(asker, request("2"));
    while world.links(asker).contains(&link) {
        let ask = world.ask(asker, request("3"));
        world.cancel(asker, ask);
    }
    assert_eq!(world.nodes[asker].closed, [(link, CloseReason::NotReading)]);
    world.run_for(secs(2));
    assert_eq!(world.answer(asker, waiting).text(), whole(2), "over a new link");
    assert!(world.nodes[asker].core.peers().iter().all(|peer| peer.in_flight == 0));
    assert_eq!(world.nodes[first].core.status().slots_busy, 0);
}

#[test]
fn an_empty_answer_says_who_gave_it() {
    let mut world = World::new();
    let asker = world.consumer();
    let link = LinkId(1001);
    let (peer, path, security) = (node(77), LinkPath::Relay, world::SEALED);
    world.input(asker, Input::Peers { path: LinkPath::Relay, records: vec![record_of(peer, &[MODEL], 1)] });
    world.input(asker, Input::LinkUp { link, peer, path, security, initiator: true });
    let ask = world.ask(asker, request("0"));
    let sent = world.take(asker, link);
    let sent: serde_json::Value = serde_json::from_str(sent.last().unwrap()).unwrap();
    let id = sent["inferenceRequest"]["requestID"].as_str().unwrap().to_owned();
    let chunk = serde_json::to_string(&world::chunk(None, Some("assistant"), None)).unwrap();
    world.say(asker, link, &format!(r#"{{"inferenceChunk":{{"requestID":"{id}","chunk":{chunk}}}}}"#));
    world.say(asker, link, &format!(r#"{{"inferenceComplete":{{"requestID":"{id}"}}}}"#));
    let answer = world.answer(asker, ask);
    assert_eq!((answer.end.clone(), answer.begun.unwrap().0), (Some(Ok(())), Some(peer)));
}

#[test]
fn time_limits_without_end_are_limits() {
    let mut world = World::new();
    let me = world.add(1, |config| {
        config.first_token_timeout = std::time::Duration::MAX;
        config.next_token_timeout = std::time::Duration::MAX;
    });
    let asker = world.add(0, |config| {
        config.first_token_timeout = std::time::Duration::MAX;
        config.next_token_timeout = std::time::Duration::MAX;
    });
    world.discover();
    for node in [me, asker] {
        let ask = world.ask(node, request("3"));
        world.run_for(secs(2));
        assert_eq!(world.answer(node, ask).end, Some(Ok(())));
    }
}
