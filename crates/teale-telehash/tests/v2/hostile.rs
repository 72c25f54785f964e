//! Strangers who mean harm. Whatever they do is bounded.

use serde_json::json;
use teale_telehash::v2::{CloseReason, Event, Req, Res, RespondError, bounds};

use crate::support::*;

#[test]
fn a_peer_that_never_acknowledges_gets_a_window_and_no_more() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    let session = node.session(BOB);
    for _ in 0..bounds::THREADS {
        let body = vec![0; 100_000].into();
        node.act(|switch, now| switch.request(now, session, Req::new("PUT", "x:"), body));
    }
    assert_eq!(bob.take(&mut node).len(), bounds::WINDOW);
    for _ in 0..10 {
        node.pass(secs(20.0));
        bob.say(&mut node, json!({"tid": "I hear nothing"}));
    }
    assert!(node.switch.sessions().all(|session| session.unconfirmed <= bounds::WINDOW + 1));
    assert!(node.sent.len() < 60, "{}", node.sent.len());
}

#[test]
fn a_flood_of_starts_is_answered_within_bounds() {
    let mut node = Node::new();
    let mut answers = 0;
    for n in 0..20_000_u32 {
        let [a, b, c, d] = (n | 0x0b00_0000).to_be_bytes();
        node.hear(&format!("{a}.{b}.{c}.{d}:7"), &json!({"start": format!("{n}"), "tid": "x"}), b"");
        answers += node.take().len();
        if n % 1000 == 0 {
            node.pass(secs(1.0));
        }
    }
    let most = bounds::START_ANSWERS_PER_SECOND as usize * 22;
    assert!((most / 2..=most).contains(&answers), "{answers}");
    assert!(node.sessions() <= bounds::HALF_OPEN, "{}", node.sessions());
    assert!(node.take_events().is_empty(), "nothing of it reaches the program");
    // Who is in earnest still gets in, a moment later.
    node.pass(secs(1.0));
    Friend::open(&mut node, BOB);
    node.pass(secs(60.0));
    assert!(node.sessions() <= 1);
}

#[test]
fn one_address_gets_few_answers_and_few_sessions() {
    let mut node = Node::new();
    for n in 0..1000 {
        node.hear(BOB, &json!({"start": format!("{n}")}), b"");
    }
    assert_eq!(node.take().len(), bounds::START_ANSWERS as usize);
    for n in 0..100 {
        node.pass(secs(2.0));
        node.hear(BOB, &json!({"start": format!("later {n}")}), b"");
    }
    assert!(node.sessions() <= bounds::HALF_OPEN_PER_HOST);
    // Whose name it is, it opens its sessions all the same, but not without end.
    for n in 0..20 {
        node.pass(secs(1.0));
        let start = format!("in earnest {n}");
        node.hear(BOB, &json!({"start": start}), b"");
        let sent = node.take_to(BOB);
        let Some(answer) = sent.iter().find(|sent| sent.has("start")) else { break };
        let sid = sid(&start, answer.keys["start"].as_str().unwrap());
        Friend { ipp: BOB.into(), sid, next: 0 }.say(&mut node, json!({"range": [0, 0]}));
    }
    let open = node.switch.sessions().filter(|session| session.open).count();
    assert_eq!(open, bounds::SESSIONS_PER_PEER);
}

#[test]
fn spoofed_sids_change_nothing() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"recv": ABC}));
    node.pass(secs(1.0));
    node.take();
    let before: Vec<_> = node.switch.sessions().collect();
    for n in 0..1000_u32 {
        let guess = teale_telehash::end_of(n.to_be_bytes()).to_string();
        node.hear(BOB, &json!({"sid": guess, "seq": n, "stop": ABC, "range": [0, 0], "miss": [0]}), b"");
        node.hear(CAROL, &json!({"sid": bob.sid, "seq": n, "stop": ABC, "range": [0, 0]}), b"");
    }
    assert_eq!(node.switch.sessions().collect::<Vec<_>>(), before);
    assert_eq!((node.take(), node.switch.counters().strays), (vec![], 2000));
}

#[test]
fn a_see_cannot_make_it_ask_without_end() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    node.act(|switch, now| switch.seek(now, ABC.parse().unwrap(), None, "".into()));
    let tid = bob.take(&mut node)[0].keys["tid"].clone();
    let mut asked = std::collections::BTreeSet::new();
    for n in 0..200_u32 {
        let see: Vec<String> = (0..60).map(|k| format!("10.7.{n}.{k}:7")).collect();
        bob.say(&mut node, json!({"see": see, "tid": tid}));
        for sent in node.take() {
            if sent.has("send") {
                asked.insert(sent.to.clone());
                node.hear(&sent.to, &json!({"see": see, "tid": tid}), b"");
            }
        }
    }
    assert!(asked.len() <= bounds::WALK_ASKS, "{}", asked.len());
}

#[test]
fn one_host_has_not_all_the_sessions_whatever_its_ports() {
    let mut node = Node::new();
    for port in 1..=200 {
        node.now += secs(0.6);
        let from = format!("10.6.6.6:{port}");
        node.hear(&from, &json!({"start": from}), b"");
        if let Some(answer) = node.take_to(&from).into_iter().find(|sent| sent.has("start")) {
            let sid = sid(&from, answer.keys["start"].as_str().unwrap());
            Friend { ipp: from, sid, next: 0 }.say(&mut node, json!({"range": [0, 0], "recv": ABC}));
        }
    }
    assert_eq!(node.sessions(), bounds::SESSIONS_PER_HOST);
    assert!(node.switch.counters().refused_starts > 100);
}

#[test]
fn a_few_hosts_that_take_all_the_sessions_make_room_for_others() {
    let mut node = Node::new();
    let all = bounds::SESSIONS - bounds::SESSIONS_OURS;
    for n in 0..all {
        // So that each host stays below its rate, and no session becomes idle.
        node.now += secs(0.1);
        let from = format!("10.6.0.{}:{}", n % 16 + 1, n + 1);
        node.hear(&from, &json!({"start": from}), b"");
        let answer = node.take_to(&from).into_iter().find(|sent| sent.has("start")).unwrap();
        let sid = sid(&from, answer.keys["start"].as_str().unwrap());
        // They listen to something, so nobody thinks they are not needed.
        Friend { ipp: from, sid, next: 0 }.say(&mut node, json!({"range": [0, 0], "recv": ABC}));
    }
    assert_eq!(node.sessions(), all);
    for n in 0..100 {
        node.now += secs(0.1);
        let from = format!("10.7.0.{}:7", n + 1);
        Friend::open(&mut node, &from).say(&mut node, json!({"recv": ABC}));
        assert!(node.switch.sessions().any(|session| session.peer == ipp(&from) && session.open), "{n}");
    }
    assert_eq!(node.sessions(), all);
    for n in 0..100 {
        let from = ipp(&format!("10.7.0.{}:7", n + 1));
        assert!(node.switch.sessions().any(|session| session.peer == from), "each kept its own");
    }
}

#[test]
fn made_up_addresses_do_not_crowd_out_whom_a_pop_is_for() {
    let mut node = Node::new();
    Friend::open(&mut node, CAROL);
    for n in 0..10_000_u32 {
        let [a, b, c, d] = (n | 0x0b00_0000).to_be_bytes();
        node.raw(&format!("{a}.{b}.{c}.{d}:7"), b"\0\x02{}");
    }
    node.hear(BOB, &json!({"pop": CAROL}), b"");
    assert_eq!(node.take_to(CAROL).iter().filter(|sent| sent.has("pop")).count(), 1);
}

#[test]
fn sends_in_many_names_do_not_use_up_the_sessions() {
    let mut node = Node::new();
    node.act(|switch, now| switch.recv(now, ABC.parse().unwrap()));
    let mut started = std::collections::BTreeSet::new();
    for n in 0..5000_u32 {
        node.now += secs(0.002);
        let from = format!("11.0.{}.{}:7", n / 250, n % 250 + 1);
        node.hear(&from, &json!({"send": ABC, "tid": format!("{n}")}), b"");
        for event in node.take_events() {
            if let Event::Heard { source, via, tid, .. } = event {
                node.act(|switch, now| switch.accept(now, source, via, tid, None));
            }
        }
        started.extend(node.take().into_iter().filter(|sent| sent.has("start")).map(|sent| sent.to));
    }
    assert!((150..=220).contains(&started.len()), "{} in ten seconds", started.len());
    assert!(node.sessions() <= 220, "{}", node.sessions());
    // Whom a peer tells of is met all the same.
    let mut bob = Friend::open(&mut node, BOB);
    let via = node.session(BOB);
    let id = node.act(|switch, now| switch.accept(now, ipp(CAROL), Some(via), Some("t".into()), None));
    assert!(node.switch.sessions().any(|session| session.id == id));
    bob.say(&mut node, json!({}));
    let before = node.take_to(CAROL).len();
    let again = node.act(|switch, now| switch.accept(now, ipp(CAROL), Some(via), Some("u".into()), None));
    assert_eq!((before, node.take_to(CAROL).len()), (1, 0), "one session for both");
    assert_eq!(id, again);
    // One that is closed is not opened anew at once.
    node.act(|switch, now| switch.close(now, id));
    let again = node.act(|switch, now| switch.accept(now, ipp(CAROL), Some(via), Some("u".into()), None));
    let full =
        |event: &Event| matches!(event, Event::Closed { id, reason: CloseReason::Full, .. } if *id == again);
    assert!(node.take_events().iter().any(full));
    assert_eq!(node.take_to(CAROL), []);
}

#[test]
fn made_up_starts_end_nobodys_session() {
    let mut node = Node::new();
    let all = bounds::SESSIONS - bounds::SESSIONS_OURS;
    for n in 0..all {
        node.now += secs(0.1);
        Friend::open(&mut node, &format!("10.{}.{}.1:7", 20 + n / 200, n % 200));
    }
    let open = |node: &Node| -> Vec<_> {
        node.switch.sessions().filter(|session| session.open).map(|session| session.id).collect()
    };
    let before = open(&node);
    assert_eq!(before.len(), all);
    for n in 0..2000_u32 {
        node.now += secs(0.005);
        let from = format!("11.0.{}.{}:7", n / 250, n % 250 + 1);
        node.hear(&from, &json!({"start": from}), b"");
    }
    assert_eq!(open(&node), before);
    assert!(node.sessions() <= all + bounds::HALF_OPEN);
}

#[test]
fn relays_are_shared_out_among_senders() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"recv": ABC}));
    let mut relayed = 0;
    for n in 0..2000 {
        node.hear(&format!("11.9.9.9:{}", n + 1), &json!({"send": ABC, "tid": format!("{n}")}), b"");
        let sent = bob.take(&mut node);
        relayed += sent.iter().filter(|sent| sent.has("send")).count();
        if let Some(last) = sent.iter().filter_map(|sent| sent.keys["seq"].as_u64()).max() {
            bob.say(&mut node, json!({"range": [0, last]}));
        }
    }
    assert_eq!(relayed, bounds::RELAYS_BURST as usize);
    node.hear(CAROL, &json!({"send": ABC, "tid": "c"}), b"");
    assert!(bob.take(&mut node).iter().any(|sent| sent.keys["tid"] == "c"));
}

#[test]
fn a_flood_of_sends_reaches_the_program_within_bounds() {
    let mut node = Node::new();
    node.act(|switch, now| switch.recv(now, ABC.parse().unwrap()));
    for n in 0..5000 {
        node.hear(CAROL, &json!({"send": ABC, "tid": format!("{n}")}), b"");
    }
    assert_eq!(node.take_events().len(), bounds::HEARD_PER_SECOND as usize);
    assert_eq!(node.switch.counters().unheard, 5000 - u64::from(bounds::HEARD_PER_SECOND));
    assert_eq!(node.take(), []);
}

#[test]
fn the_world_cannot_point_it_at_its_own_network() {
    let mut config = quiet();
    config.own = Some(ipp("9.9.9.9:1"));
    let mut node = Node::with(config);
    let mut bob = Friend::open(&mut node, "8.8.8.8:1");
    node.act(|switch, now| switch.seek(now, ABC.parse().unwrap(), None, "".into()));
    node.act(|switch, now| switch.recv(now, ABC.parse().unwrap()));
    let tid = bob.take(&mut node)[0].keys["tid"].clone();
    let inside = ["127.0.0.1:1", "10.1.2.3:1", "192.168.1.1:1", "169.254.1.1:1", "[::1]:1", "224.0.0.1:1"];
    bob.say(&mut node, json!({"see": inside, "tid": tid}));
    for inside in inside {
        bob.say(&mut node, json!({"pop": "9.9.9.9:1", "source": inside}));
        bob.say(&mut node, json!({"send": ABC, "source": inside, "tid": inside}));
    }
    node.pass(secs(9.0));
    assert!(node.take().iter().all(|sent| sent.to == "8.8.8.8:1"));
    let heard = node.take_events().into_iter().filter_map(|event| match event {
        Event::Heard { source, .. } => Some(source),
        _ => None,
    });
    assert!(heard.into_iter().all(|source| source == ipp("8.8.8.8:1")));
}

#[test]
fn bodies_that_never_end_are_dropped_and_their_memory_is_bounded() {
    let mut node = Node::new();
    let body = vec![0; 1200];
    for peer in 1..=40 {
        let mut friend = Friend::open(&mut node, &format!("10.8.0.{peer}:7"));
        for thread in 0..70 {
            for _ in 0..40 {
                friend.say_with(&mut node, json!({"tid": format!("{thread}")}), &body);
            }
        }
        node.take();
        assert!(node.switch.buffered() <= bounds::BODIES);
    }
    // 40 x 64 threads x 40 packets of 1.2 kB and their cost are twice what all may take.
    assert!(node.switch.buffered() > bounds::BODIES / 2);
    assert!(node.switch.counters().threads_dropped > 40 * 6 * 40);
    node.pass(secs(60.0));
    assert_eq!((node.sessions(), node.switch.buffered()), (0, 0));
}

#[test]
fn one_host_has_not_all_the_room_for_bodies() {
    let mut node = Node::new();
    let body = vec![0; 1200];
    let fill = |node: &mut Node, host: &str, ports: std::ops::RangeInclusive<u16>| {
        for port in ports {
            let mut friend = Friend::open(node, &format!("{host}:{port}"));
            for thread in 0..60 {
                for _ in 0..60 {
                    friend.say_with(node, json!({"tid": format!("{thread}")}), &body);
                }
            }
            node.take();
        }
    };
    fill(&mut node, "10.8.0.1", 1..=6);
    assert!(node.switch.buffered() <= bounds::BODIES_PER_HOST);
    // A thread that finds no room is given up with all it had.
    assert!(node.switch.buffered() > bounds::BODIES_PER_HOST - 100_000);
    fill(&mut node, "10.8.0.2", 1..=2);
    assert!(node.switch.buffered() > bounds::BODIES_PER_HOST + 2 * 60 * 60 * 1200);
}

#[test]
fn answers_that_nobody_takes_are_bounded() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    let session = node.session(BOB);
    let (mut taken, mut full) = (0, 0);
    for n in 0..30 {
        let tid = format!("{n}");
        bob.say(&mut node, json!({"tid": tid, "req": {"uri": "x:", "m": "GET"}, "done": true}));
        let body = vec![0; 1 << 20];
        match node.act(|switch, now| switch.respond(now, session, &tid, Res::new(200), body.into())) {
            Ok(()) => taken += 1,
            Err(RespondError::Full) => {
                full += 1;
                let empty =
                    node.act(|switch, now| switch.respond(now, session, &tid, Res::new(503), "".into()));
                assert_eq!(empty, Ok(()), "that it is too much can still be said");
            }
            Err(other) => panic!("{other}"),
        }
    }
    // What is under way in the window does not count.
    assert_eq!((taken, full), (bounds::ANSWERS_PER_HOST >> 20, 30 - (bounds::ANSWERS_PER_HOST >> 20)));
}

#[test]
fn one_body_is_bounded_too() {
    let mut config = quiet();
    config.body_limit = 100_000;
    let mut node = Node::with(config);
    let mut bob = Friend::open(&mut node, BOB);
    for _ in 0..100 {
        bob.say_with(&mut node, json!({"tid": "1", "req": {"uri": "x:"}}), &[0; 1200]);
    }
    bob.say(&mut node, json!({"tid": "1", "done": true}));
    assert!(node.take_events().is_empty());
    assert!(node.switch.counters().threads_dropped > 0);
}

#[test]
fn a_listener_that_never_acknowledges_costs_a_bounded_queue() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    bob.say(&mut node, json!({"recv": ABC}));
    for n in 0..1000 {
        node.hear(CAROL, &json!({"send": ABC, "tid": format!("{n}")}), &[0; 1000]);
    }
    let counters = node.switch.counters();
    let held = counters.relayed as usize;
    assert!(held <= bounds::WINDOW + bounds::WAITING_RELAYED, "{held}");
    assert_eq!(counters.relays_dropped as usize, 1000 - held);
}

#[test]
fn recvs_are_bounded() {
    let mut node = Node::new();
    let mut bob = Friend::open(&mut node, BOB);
    for n in 0..1100_u32 {
        bob.say(&mut node, json!({"recv": teale_telehash::end_of(n.to_be_bytes()).to_string()}));
    }
    assert_eq!(node.switch.sessions().next().unwrap().recvs, bounds::RECVS_PER_SESSION);
    assert_eq!(node.switch.counters().recvs_refused, 100);
}

#[test]
fn answers_outside_sessions_are_no_amplifier() {
    let mut node = Node::new();
    Friend::open(&mut node, BOB);
    let near = teale_telehash::end_of_switch(ipp(BOB)).to_string();
    for _ in 0..1000 {
        node.hear(CAROL, &json!({"send": near}), b"");
    }
    assert_eq!(node.take_to(CAROL).len(), bounds::SEE_ANSWERS as usize);
    assert_eq!(node.switch.counters().sees_withheld, 1000 - u64::from(bounds::SEE_ANSWERS));
}

#[test]
fn sessions_never_exceed_their_bound() {
    let mut node = Node::new();
    for n in 0..600_u32 {
        node.now += secs(0.1);
        let peer = format!("10.9.{}.{}:7", n / 250, n % 250);
        node.hear(&peer, &json!({"start": peer}), b"");
        if let Some(answer) = node.take_to(&peer).into_iter().find(|sent| sent.has("start")) {
            let sid = sid(&peer, answer.keys["start"].as_str().unwrap());
            Friend { ipp: peer, sid, next: 0 }.say(&mut node, json!({"range": [0, 0]}));
        }
    }
    assert_eq!(node.sessions(), bounds::SESSIONS - bounds::SESSIONS_OURS, "it is full, and no more");
    let id = node.act(|switch, now| switch.open(now, ipp("10.10.0.1:7"), None));
    assert!(node.switch.sessions().any(|session| session.id == id), "ours still find room");
    let events = node.take_events();
    assert!(!events.iter().any(|event| matches!(event, Event::Closed { id: closed, .. } if *closed == id)));
    // Later ones took the place of those that nobody needs: a seed has one with everybody who joins.
    assert!(events.iter().any(|event| matches!(event, Event::Closed { reason: CloseReason::Full, .. })));
    assert!(node.switch.sessions().any(|session| session.peer == ipp("10.9.2.99:7")), "the last one is in");
}
