//! Numbered answers: acknowledged now and then, kept until they are, and no longer than is fair.
#![allow(clippy::unwrap_used, reason = "tests")]

mod world;

use teale_cluster::{CloseReason, Input, LinkId, bounds};
use teale_wire::NodeId;
use world::{World, ask_text, asked, chunk_text, hello_text, ms, node, request, resume_text, secs};

#[test]
fn an_answer_is_acknowledged_now_and_then_and_at_its_end() {
    let mut world = World::new();
    let me = world.consumer();
    let link = world.stranger(me, node(50));
    world.say(me, link, &hello_text(true));
    let ask = world.ask(me, request("5"));
    let (id, resumable) = asked(&world.take(me, link));
    assert!(resumable);
    for seq in 0..bounds::ACK_EVERY {
        assert!(world.take(me, link).is_empty());
        world.say(me, link, &chunk_text(&id, "a", Some(seq)));
    }
    let ack = |received: u64| format!(r#"{{"inferenceAck":{{"requestID":"{id}","received":{received}}}}}"#);
    assert_eq!(world.take(me, link), [ack(bounds::ACK_EVERY)]);
    world.say(me, link, &chunk_text(&id, "again", Some(3)));
    let end = format!(
        r#"{{"inferenceComplete":{{"requestID":"{id}","tokensOut":32,"seq":{}}}}}"#,
        bounds::ACK_EVERY
    );
    world.say(me, link, &end);
    assert_eq!(world.take(me, link), [ack(bounds::ACK_EVERY + 1)]);
    let answer = world.answer(me, ask);
    assert_eq!((answer.text(), answer.end.clone()), ("a".repeat(32), Some(Ok(()))));
}

#[test]
fn a_gap_ends_the_link_and_not_the_answer() {
    let mut world = World::new();
    let me = world.consumer();
    let link = world.stranger(me, node(50));
    world.say(me, link, &hello_text(true));
    let ask = world.ask(me, request("5"));
    let (id, _) = asked(&world.take(me, link));
    world.say(me, link, &chunk_text(&id, "a", Some(0)));
    world.say(me, link, &chunk_text(&id, "c", Some(2)));
    assert_eq!(world.nodes[me].closed, [(link, CloseReason::Gap)]);
    assert_eq!(world.answer(me, ask).ends, 0);
    let next = world.stranger(me, node(50));
    world.say(me, next, &hello_text(true));
    let said = world.take(me, next);
    let resume = format!(r#"{{"inferenceResume":{{"requestID":"{id}","received":1,"attempt":1}}}}"#);
    assert!(said.contains(&resume), "{said:?}");
    world.say(me, next, &chunk_text(&id, "b", Some(1)));
    world.say(me, next, &format!(r#"{{"inferenceComplete":{{"requestID":"{id}","seq":2}}}}"#));
    assert_eq!(
        (world.answer(me, ask).text(), world.answer(me, ask).end.clone()),
        ("ab".into(), Some(Ok(())))
    );
}

#[test]
fn an_asker_that_acknowledges_nothing_stops_the_backend_at_the_bound() {
    let mut world = World::new();
    let me = world.provider(1);
    let link = world.stranger(me, node(50));
    world.say(me, link, &ask_text("a", "1000"));
    let mut said = Vec::new();
    for _ in 0..2000 {
        world.run_for(ms(20));
        said.extend(world.take(me, link));
    }
    assert_eq!(said.len(), bounds::RESUME_WINDOW);
    assert!(said[255].ends_with(r#","seq":255}}"#), "{}", said[255]);
    world.say(me, link, r#"{"inferenceAck":{"requestID":"a","received":256}}"#);
    for _ in 0..100 {
        world.run_for(ms(20));
        said.extend(world.take(me, link));
    }
    assert!(said.len() > bounds::RESUME_WINDOW + 50);
    world.say(me, link, r#"{"inferenceAck":{"requestID":"a","received":99999}}"#);
    world.run_for(secs(1));
    let last = world.take(me, link);
    assert!(last.last().unwrap().contains("internal_error"), "{last:?}");
    assert_eq!(world.nodes[me].core.status().slots_busy, 0);
}

#[test]
fn an_asker_that_acknowledges_nothing_loses_its_slot_in_time() {
    let mut world = World::new();
    let me = world.provider(1);
    let link = world.stranger(me, node(50));
    world.say(me, link, &ask_text("a", "1000"));
    let mut said = Vec::new();
    while said.len() < bounds::RESUME_WINDOW {
        world.run_for(ms(20));
        said.extend(world.take(me, link));
    }
    world.run_for(bounds::UNACKNOWLEDGED - secs(1));
    assert_eq!(world.nodes[me].core.status().slots_busy, 1);
    world.run_for(secs(2));
    assert_eq!(world.nodes[me].core.status().slots_busy, 0);
    let last = world.take(me, link);
    assert!(last.iter().any(|text| text.contains("inferenceError")), "{last:?}");
}

/// A provider that is asked and not told that its answers arrived.
struct Provider {
    world: World,
    me: usize,
    next: u32,
}

impl Provider {
    fn new(slots: usize) -> Self {
        let mut world = World::new();
        let me = world.add(slots, |_| {});
        world.nodes[me].token_time = ms(1);
        Self { world, me, next: 0 }
    }

    /// So many short answers on one link, to their ends; the ids of the requests.
    fn answer(&mut self, link: LinkId, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            self.next += 1;
            let id = format!("r{}", self.next);
            self.world.say(self.me, link, &ask_text(&id, "1"));
            self.world.run_for(ms(10));
            let said = self.world.take(self.me, link);
            assert!(said.last().unwrap().starts_with(r#"{"inferenceComplete""#), "{said:?}");
            ids.push(id);
        }
        ids
    }

    /// What is said when an asker comes back for an answer, on a new link.
    fn resume(&mut self, asker: NodeId, id: &str) -> Vec<String> {
        let link = self.world.stranger(self.me, asker);
        self.world.say(self.me, link, &resume_text(id, 0, 1));
        let said = self.world.take(self.me, link);
        self.world.input(self.me, Input::LinkDown { link, reason: "cut".into() });
        said
    }
}

fn is_whole(said: &[String]) -> bool {
    said.last().is_some_and(|text| text.starts_with(r#"{"inferenceComplete""#))
}

#[test]
fn what_one_asker_leaves_unacknowledged_costs_no_other_one_his_answer() {
    let mut provider = Provider::new(1);
    let (victim, hoarder) = (node(50), node(51));
    let link = provider.world.stranger(provider.me, victim);
    let wanted = provider.answer(link, 1).remove(0);
    let mut hoard = Vec::new();
    for _ in 0..6 {
        let link = provider.world.stranger(provider.me, hoarder);
        hoard.extend(provider.answer(link, 50));
    }
    let said = provider.resume(victim, &wanted);
    assert!(is_whole(&said), "pushed out: {said:?}");
    assert!(is_whole(&provider.resume(hoarder, &hoard.pop().unwrap())), "the last ones are kept");
    let kept = 1 + hoard.iter().filter(|id| is_whole(&provider.resume(hoarder, id))).count();
    assert!(kept <= bounds::KEPT_ENDS_PER_PEER, "{kept} are kept for one asker");
}

#[test]
fn ends_of_many_askers_are_bounded_and_the_heaviest_gives_way() {
    let mut provider = Provider::new(1);
    let link = provider.world.stranger(provider.me, node(50));
    let wanted = provider.answer(link, 1).remove(0);
    for asker in 100..110 {
        let link = provider.world.stranger(provider.me, node(asker));
        provider.answer(link, 60);
    }
    assert!(is_whole(&provider.resume(node(50), &wanted)), "whoever has one keeps it");
    let ids: Vec<String> = (1..=provider.next).map(|n| format!("r{n}")).collect();
    let kept = (100..110)
        .flat_map(|asker| ids.iter().map(move |id| (asker, id)))
        .filter(|(asker, id)| is_whole(&provider.resume(node(*asker), id)))
        .count();
    assert!((bounds::KEPT_ENDS / 2..=bounds::KEPT_ENDS).contains(&kept), "{kept}");
}
