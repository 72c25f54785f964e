//! Statements 18 to 25: what is answered to a dial; and dials of our own.

use std::time::Duration;

use serde_json::json;
use teale_telehash::{
    End, Ipp, end_of, end_of_switch,
    v1::{Config, Event},
};

use super::support::*;

/// A switch with so many visible peers.
fn crowd(count: u16) -> (Bench, Vec<Peer>) {
    let mut bench = Bench::root();
    let peers = (0..count).map(|n| bench.visible(address(n))).collect();
    bench.sent.clear();
    (bench, peers)
}

#[test]
fn s18_a_dial_gets_exactly_one_see() {
    for hop in [json!(null), json!(0)] {
        let mut bench = Bench::root();
        let mut telex = json!({"+end": ABC, "_hop": hop});
        if hop.is_null() {
            telex.as_object_mut().unwrap().remove("_hop");
        }
        let sent = bench.hear(address(1), telex);
        let [answer] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!((answer.to, answer.get("_to")), (address(1), Some(&json!(address(1)))));
        assert!(answer.see().is_some());
        assert_eq!(bench.switch.counters().dials_answered, 1);
    }
}

#[test]
fn s19_what_was_passed_on_gets_none() {
    let mut bench = Bench::root();
    for hop in 1..6 {
        assert_eq!(bench.hear(address(1), json!({"+end": ABC, "_hop": hop})), []);
    }
}

#[test]
fn s20_see_has_the_five_nearest_sorted() {
    let (mut bench, _peers) = crowd(40);
    let own = bench.own_end();
    for n in 0..60 {
        let end = end_of(format!("{n}"));
        bench.pass(secs(0.01));
        let see = bench.hear(address(100 + n), json!({"+end": end}))[0].see().unwrap();
        // Buckets hold 20 each, so of 40 peers some may not be known any more: only order and rules count here.
        assert!((1..=5).contains(&see.len()));
        let distances: Vec<_> = see.iter().map(|text| end_of_switch(ipp(text)).distance(end)).collect();
        assert!(distances.is_sorted_by(|one, other| one < other), "sorted, without duplicates");
        let kept = bench.switch.lines().filter(|line| line.kept && line.visible).map(|line| line.peer);
        let mut nearest: Vec<Ipp> =
            kept.filter(|ipp| end_of_switch(*ipp).distance(end) < own.distance(end)).collect();
        nearest.sort_by_key(|ipp| end_of_switch(*ipp).distance(end));
        nearest.truncate(5);
        if nearest.is_empty() {
            nearest.push(ipp(OWN));
        }
        assert_eq!(see, nearest.iter().map(Ipp::to_string).collect::<Vec<_>>());
    }
}

#[test]
fn s20_who_does_not_confirm_what_it_gets_is_not_listed() {
    let mut bench = Bench::root();
    let mut peer = bench.visible(address(1));
    let near = end_of_switch(address(1));
    let listed = |bench: &mut Bench, n| bench.hear(address(n), json!({"+end": near}))[0].see().unwrap();
    assert_eq!(listed(&mut bench, 2), [address(1).to_string()]);
    // Its line is open, but its `_br` stands still: dampening.
    let stuck = peer.received;
    for n in 0..200 {
        peer.received = stuck;
        bench.say(&mut peer, json!({"+end": end_of(format!("{n}"))}));
    }
    assert_eq!(listed(&mut bench, 3), [OWN], "as if it were not there");
    peer.received = 1_000_000;
    bench.say(&mut peer, json!({}));
    assert_eq!(listed(&mut bench, 4), [address(1).to_string()]);
}

#[test]
fn s21_nobody_nearer_is_answered_with_ourselves() {
    let (mut bench, _peers) = crowd(30);
    let own = bench.own_end();
    assert_eq!(bench.hear(address(100), json!({"+end": own}))[0].see(), Some(vec![OWN.to_owned()]));
}

#[test]
fn s22_ourselves_only_as_a_hint_once_per_peer() {
    let near = end_of_switch(address(1));
    for hint_self in [false, true] {
        let mut bench = Bench::new(Config { own: Some(ipp(OWN)), hint_self, ..Config::default() });
        bench.visible(address(1));
        let with_own = (0..4).map(|_| bench.hear(address(2), json!({"+end": near}))[0].see().unwrap());
        let with_own: Vec<bool> = with_own.map(|see| see.contains(&OWN.to_owned())).collect();
        assert_eq!(with_own, [hint_self, false, false, false]);
    }
}

#[test]
fn s23_who_never_told_of_itself_is_not_listed() {
    let mut bench = Bench::root();
    let mut peer = bench.lined(address(1));
    let near = json!({"+end": end_of_switch(address(1))});
    assert_eq!(bench.hear(address(2), near.clone())[0].see(), Some(vec![OWN.to_owned()]));
    bench.say(&mut peer, json!({".see": [address(1)]}));
    assert_eq!(bench.hear(address(2), near)[0].see(), Some(vec![address(1).to_string()]));
}

#[test]
fn s24_ends_are_hex_of_either_case_and_nothing_else() {
    let mut bench = Bench::root();
    bench.visible(address(1));
    let near = end_of_switch(address(1)).to_string();
    let upper = bench.hear(address(2), json!({"+end": near.to_uppercase()}));
    assert_eq!(upper[0].see(), Some(vec![address(1).to_string()]));
    let bad = [
        json!("xyz"),
        json!(&near[1..]),
        json!(near.replace(['0', '1', '2'], "g")),
        json!(7),
        json!(null),
        json!([near]),
    ];
    for bad in bad {
        assert_eq!(bench.hear(address(2), json!({"+end": bad})), [], "{bad}");
    }
}

#[test]
fn s25_the_asker_may_be_in_the_answer() {
    let mut bench = Bench::root();
    let mut peer = bench.visible(address(1));
    let see = bench.say(&mut peer, json!({"+end": end_of_switch(address(1))}))[0].see();
    assert_eq!(see, Some(vec![address(1).to_string()]));
}

#[test]
fn the_most_popular_end_is_dampened_if_wanted() {
    for dampen_popular in [false, true] {
        let mut bench = Bench::new(Config { own: Some(ipp(OWN)), dampen_popular, ..Config::default() });
        bench.visible(address(1));
        let near = json!({"+end": end_of_switch(address(1))});
        for n in 0..100 {
            bench.hear(address(100 + n), near.clone());
        }
        let see = bench.hear(address(250), near)[0].see().unwrap();
        assert_eq!(see == [OWN], dampen_popular);
    }
}

/// Answers every question of the switch as a network of so many would, for a while.
fn network(bench: &mut Bench, all: &[Ipp], peers: &mut [Peer], time: Duration) {
    let until = bench.now + time;
    loop {
        for sent in std::mem::take(&mut bench.sent) {
            let Some(at) = all.iter().position(|ipp| *ipp == sent.to) else { continue };
            peers[at].take(&sent);
            let Some(end) = sent.get("+end").and_then(|end| end.as_str()?.parse::<End>().ok()) else {
                continue;
            };
            if sent.get("_hop").is_some() {
                continue;
            }
            let mut nearest = all.to_vec();
            nearest.sort_by_key(|ipp| end_of_switch(*ipp).distance(end));
            nearest.truncate(5);
            let sent = bench.say(&mut peers[at], json!({".see": nearest}));
            bench.sent.extend(sent);
        }
        if bench.sent.is_empty() {
            let Some(next) = bench.deadline.filter(|next| *next <= until) else { break };
            let sent = bench.pass(next - bench.now);
            bench.sent.extend(sent.into_iter().map(|(_, sent)| sent));
        }
    }
}

#[test]
fn our_dials_find_the_nearest() {
    let all: Vec<Ipp> = (0..200).map(address).collect();
    let mut peers: Vec<Peer> = all.iter().map(|ipp| Peer::new(*ipp)).collect();
    let mut bench = Bench::new(Config { own: Some(ipp(OWN)), seeds: vec![all[0]], ..Config::default() });
    network(&mut bench, &all, &mut peers, secs(5.0));
    assert_eq!(bench.events()[0], Event::Online { own: ipp(OWN) });
    for n in 0..20 {
        let end = end_of(format!("target {n}"));
        let id = bench.switch.dial(bench.now, end);
        bench.drain();
        network(&mut bench, &all, &mut peers, secs(10.0));
        let events = bench.events();
        let [Event::Dialed { id: dialed, closest, asked }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((*dialed, &closest[..3]), (id, &by_distance(end, 200)[..3]));
        assert!((3..30).contains(asked), "{asked}");
    }
}

#[test]
fn a_dial_of_nobody_ends() {
    let mut bench = Bench::root();
    let id = bench.switch.dial(bench.now, end_of("x"));
    bench.drain();
    assert_eq!(bench.events(), [Event::Dialed { id, closest: vec![], asked: 0 }]);
    // The silent are given up.
    let peer = bench.visible(address(1));
    let id = bench.switch.dial(bench.now, end_of("x"));
    assert_eq!(bench.sent_now().iter().filter(|sent| sent.to == peer.ipp).count(), 1);
    let asked = bench.pass(secs(3.0)).into_iter().filter(|(_, sent)| sent.to == peer.ipp);
    assert_eq!(asked.count(), 2, "twice more");
    assert_eq!(bench.events(), [Event::Dialed { id, closest: vec![], asked: 1 }]);
}

#[test]
fn announcements_go_to_the_three_nearest_with_one_hop() {
    let all: Vec<Ipp> = (0..60).map(address).collect();
    let mut peers: Vec<Peer> = all.iter().map(|ipp| Peer::new(*ipp)).collect();
    let mut bench = Bench::new(Config { own: Some(ipp(OWN)), seeds: vec![all[0]], ..Config::default() });
    network(&mut bench, &all, &mut peers, secs(5.0));
    bench.events();
    let end = end_of("here");
    let id = bench.switch.announce(bench.now, end, [("+foo".to_owned(), "bar".to_owned())].into());
    bench.drain();
    network(&mut bench, &all, &mut peers, secs(5.0));
    assert_eq!(bench.events(), [Event::Announced { id, told: by_distance(end, 60)[..3].to_vec() }]);

    // What fits no telex goes to nobody.
    let id = bench.switch.announce(bench.now, end, [("+foo".to_owned(), "x".repeat(1400))].into());
    bench.drain();
    network(&mut bench, &all, &mut peers, secs(5.0));
    assert_eq!(bench.events(), [Event::Announced { id, told: vec![] }]);
}

/// `get-telehash` tells of itself only in answers to dials, and only where it knows nobody nearer.
#[test]
fn who_never_told_of_itself_is_asked_where_it_is_the_nearest_and_listed_then() {
    let (mut bench, _peers) = crowd(10);
    let mut silent = bench.lined(address(50));
    let target = end_of_switch(address(50));
    bench.sent.clear();
    let dial = bench.switch.dial(bench.now, target);
    let asked = bench.sent_now();
    let is_asked = |sent: &&Sent| sent.to == address(50) && sent.get("+end") == Some(&json!(target));
    silent.take(asked.iter().find(is_asked).expect("the nearest is asked"));
    assert!(asked.len() > 1, "and the listed ones too");
    bench.say(&mut silent, json!({".see": [address(50)]}));
    bench.pass(secs(11.0));
    let events = bench.events();
    let found = |event: &Event| match event {
        Event::Dialed { id, closest, .. } => *id == dial && closest.as_slice() == [address(50)],
        _ => false,
    };
    assert!(events.iter().any(found), "{events:?}");
    assert!(bench.switch.lines().any(|line| line.peer == address(50) && line.visible));
}

#[test]
fn of_those_who_are_not_listed_only_the_nearest_is_asked() {
    let (mut bench, _peers) = crowd(10);
    for n in 50..60 {
        bench.lined(address(n));
    }
    let listed: Vec<Ipp> = bench.switch.lines().filter(|line| line.visible).map(|line| line.peer).collect();
    bench.sent.clear();
    let target = end_of_switch(address(50));
    bench.switch.dial(bench.now, target);
    let first = bench.sent_now();
    // Nobody answers, so all who are known to the dial are asked in the end.
    let later = bench.pass(secs(11.0)).into_iter().map(|(_, sent)| sent);
    let questions = first.into_iter().chain(later).filter(|sent| sent.get("+end") == Some(&json!(target)));
    let mut unlisted: Vec<Ipp> = questions.map(|sent| sent.to).filter(|ipp| !listed.contains(ipp)).collect();
    unlisted.dedup();
    assert_eq!(unlisted, [address(50)]);
}
