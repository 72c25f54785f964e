//! Strangers who mean harm: the switch stays small, sends little to others, and keeps working.

use serde_json::json;
use teale_telehash::{
    Ipp, end_of, end_of_switch,
    v1::{Config, bounds},
};

use super::support::*;

fn somewhere(n: u32) -> Ipp {
    Ipp::new(([11, (n >> 16) as u8, (n >> 8) as u8, n as u8], 7).into()).unwrap()
}

#[test]
fn a_flood_of_made_up_addresses_breaks_no_handshake_and_no_line() {
    let mut bench = Bench::root();
    let mut friend = bench.visible(address(1));
    let mut late = Peer::new(address(2));
    bench.say(&mut late, json!({"+end": ABC}));
    for n in 0..50_000 {
        bench.hear(somewhere(n), json!({"+end": ABC, "_ring": 5}));
        if n % 1000 == 0 {
            bench.sent.clear();
        }
    }
    // The one that was in the middle of its handshake gets the same ring, so its line is good.
    assert_eq!(bench.say(&mut late, json!({"+end": ABC})).len(), 2, "answer and introduction");
    assert_eq!(bench.say(&mut friend, json!({"+end": ABC})).len(), 1);
    assert_eq!(bench.switch.lines().count(), 2);
}

#[test]
fn one_host_has_not_all_the_lines() {
    let mut bench = Bench::root_with(Config { lines_per_host: 10, ..Config::default() });
    for port in 1..=30 {
        let mut peer = Peer::new(ipp(&format!("10.0.6.6:{port}")));
        bench.say(&mut peer, json!({"+end": ABC}));
        bench.say(&mut peer, json!({}));
    }
    assert_eq!(bench.switch.lines().count(), 10);
    assert_eq!(bench.switch.counters().lines_refused, 20);
    assert!(bench.switch.lines().filter(|line| line.kept).count() <= 10);
    // Whoever is refused a line is answered all the same.
    let mut peer = Peer::new(ipp("10.0.6.6:99"));
    bench.say(&mut peer, json!({"+end": ABC}));
    assert_eq!(bench.say(&mut peer, json!({"+end": ABC})).len(), 1);
    bench.lined(address(1));
    bench.pass(secs(61.5));
    assert_eq!(bench.switch.lines().count(), 0);
    bench.lined(ipp("10.0.6.6:100"));
}

#[test]
fn all_lines_are_bounded_and_newcomers_still_find_room() {
    let mut bench = Bench::root();
    let open = |bench: &mut Bench, n| {
        bench.now += secs(0.002);
        let mut peer = Peer::new(somewhere(n));
        bench.say(&mut peer, json!({"+end": ABC}));
        bench.say(&mut peer, json!({".tap": [{"is": {"+end": ABC}}]}));
        bench.sent.clear();
    };
    (0..bounds::LINES as u32).for_each(|n| open(&mut bench, n));
    let kept: Vec<Ipp> = bench.switch.lines().filter(|line| line.kept).map(|line| line.peer).collect();
    let all = bounds::LINES as u32..bounds::LINES as u32 + 500;
    all.clone().for_each(|n| open(&mut bench, n));
    let lines: Vec<Ipp> = bench.switch.lines().map(|line| line.peer).collect();
    assert_eq!(lines.len(), bounds::LINES);
    let counters = bench.switch.counters();
    assert_eq!((counters.lines_replaced, counters.lines_refused), (500, 0));
    assert!(kept.len() > 100 && kept.iter().all(|peer| lines.contains(peer)), "those in buckets stay");
    assert!(all.clone().all(|n| lines.contains(&somewhere(n))));
}

#[test]
fn guessed_lines_are_stopped() {
    let mut bench = Bench::root();
    // A number has many divisors among the 32768 rings, so a guess in a new name is right now and then.
    for n in 1..=20_000u32 {
        bench.hear(somewhere(n), json!({"+end": ABC, "_line": 720_720}));
    }
    let (lines, wrong) = (bench.switch.lines().count(), bench.switch.counters().wrong_lines);
    assert!(lines <= 4, "{lines} of a hundred that would be right");
    assert!(wrong >= 20_000 - 10, "{wrong}");
    // Whoever shows its ring first is not hindered, nor is a guess that comes when it is quiet again.
    bench.lined(address(1));
    bench.now += secs(1.0);
    let mut peer = Peer::new(address(2));
    peer.take(&bench.hear(address(2), json!({"+end": ABC}))[0]);
    bench.say(&mut peer, json!({}));
    assert!(bench.switch.lines().any(|line| line.peer == address(2)));
}

#[test]
fn guesses_do_not_keep_out_whom_we_asked() {
    let seed = address(9);
    let mut bench = Bench::new(Config { seeds: vec![seed], ..Config::default() });
    let question = bench.sent.pop().unwrap();
    let ring = question.get("_ring").unwrap().as_u64().unwrap();
    for n in 1..=1000u32 {
        bench.hear(somewhere(n), json!({"_line": 1}));
    }
    assert!(bench.switch.counters().wrong_lines >= 1000 - 8);
    // The seed shows no ring of its own, as the page allows.
    bench.hear(seed, json!({".see": [seed], "_line": ring * 77, "_to": OWN}));
    assert_eq!(bench.switch.own(), Some(ipp(OWN)));
    assert!(bench.switch.lines().any(|line| line.peer == seed));
}

#[test]
fn blind_lines_do_not_move_a_switch() {
    let seed = address(9);
    let mut bench = Bench::new(Config { seeds: vec![seed], ..Config::default() });
    let ring = bench.sent.pop().unwrap().get("_ring").unwrap().as_u64().unwrap();
    bench.hear(seed, json!({".see": [seed], "_line": ring * 77, "_to": OWN}));
    // Peers that came by themselves, however many, say where we are.
    for n in 0..30 {
        let mut peer = bench.lined(somewhere(n));
        bench.say(&mut peer, json!({"_to": "10.66.6.6:6"}));
    }
    bench.pass(secs(5.0));
    assert_eq!(bench.switch.own(), Some(ipp(OWN)));
}

#[test]
fn a_forged_echo_of_a_seed_that_is_gone_changes_nothing() {
    let seed = address(9);
    let mut bench = Bench::new(Config { seeds: vec![seed], ..Config::default() });
    let far = end_of_switch(seed).far();
    for _ in 0..80 {
        bench.pass(secs(1.0));
        bench.hear(seed, json!({"_to": seed, "+end": far}));
    }
    // A flood drives out what is known of the seed, too.
    for n in 0..bounds::STRANGERS as u32 + 10 {
        bench.hear(somewhere(n), json!({"+x": "1"}));
    }
    bench.hear(seed, json!({"_to": seed, "+end": far}));
    assert_eq!(bench.switch.own(), None);
}

#[test]
fn nobody_tries_all_the_lines_of_one_address() {
    let mut bench = Bench::root();
    let victim = address(1);
    let answer = bench.hear(victim, json!({"+end": ABC}));
    let ring = answer[0].get("_ring").unwrap().as_u64().unwrap();
    // The spoofer shows a ring of 2 in the victim's name, and tries what ours may be.
    bench.hear(victim, json!({"+end": ABC, "_ring": 2}));
    for guess in (1..=32_768u64).filter(|guess| *guess != ring).chain([ring]) {
        bench.hear(victim, json!({"_line": 2 * guess}));
    }
    assert_eq!(bench.switch.lines().count(), 0);
    assert_eq!(bench.switch.counters().wrong_lines, 32_768);
    // What it says without a line does not keep it out for longer than it was known.
    for _ in 0..62 {
        bench.pass(secs(1.0));
        bench.hear(victim, json!({"_br": 0}));
    }
    bench.lined(victim);
}

#[test]
fn a_few_wrong_lines_keep_nobody_out_who_showed_its_ring() {
    let mut bench = Bench::root();
    let mut peer = Peer::new(address(1));
    bench.say(&mut peer, json!({"+end": ABC}));
    for n in 0..1000 {
        bench.hear(address(1), json!({"_line": 3 * n}));
        bench.hear(address(1), json!({"_ring": 9}));
    }
    bench.say(&mut peer, json!({}));
    assert_eq!(bench.switch.lines().count(), 1);
}

#[test]
fn a_poisoned_see_makes_few_packets() {
    let mut bench = Bench::root();
    let mut peer = bench.visible(address(1));
    bench.sent.clear();
    let mut n = 0;
    for _ in 0..100 {
        let see: Vec<Ipp> = (0..60)
            .map(|_| {
                n += 1;
                somewhere(n)
            })
            .collect();
        peer.received = 1 << 40;
        let mine = bench.say(&mut peer, json!({".see": see}));
        drop(mine);
    }
    // Each contact is one dial, and one request to the peer to open a way; the peer's share is sixteen at once.
    let dials = bench.sent.iter().filter(|sent| sent.get("+pop").is_none()).count();
    assert_eq!(dials, 16);
    // The same victim by many friends: once.
    let mut bench = Bench::root();
    let victim = address(200);
    let mut got = 0;
    for n in 0..30 {
        let mut peer = bench.visible(address(n));
        bench.say(&mut peer, json!({".see": [victim]}));
        got += bench.sent.split_off(0).iter().filter(|sent| sent.to == victim).count();
    }
    assert_eq!(got, 1);
}

#[test]
fn spoofed_askers_get_little_whatever_they_confirm() {
    let mut bench = Bench::root();
    for n in 0..50 {
        bench.visible(address(n));
    }
    bench.sent.clear();
    // All ports of one victim, with a `_br` that opens every window.
    let (mut asked, mut answered) = (0, 0);
    let before = bench.switch.counters().dials_answered;
    for n in 0..20_000_u32 {
        let victim = Ipp::new(([11, 9, 9, 9], 1 + (n % 60_000) as u16).into()).unwrap();
        let dial = json!({"+end": end_of(format!("{n}")), "_br": 1e9 as u64});
        asked += dial.to_string().len();
        answered += bench.hear(victim, dial).iter().map(|sent| sent.bytes).sum::<usize>();
        bench.now += secs(0.0005);
    }
    // What is as short as a dial can be gets no answer at all beyond that …
    assert!(answered * 3 < asked, "{answered} bytes for {asked}");
    let dials = bench.switch.counters().dials_answered - before;
    assert!((64 + 8 * 9..=64 + 8 * 10).contains(&dials), "{dials} in ten seconds");
    // … and a longer one our ring at most, with which a line can be opened.
    let victim = Ipp::new(([11, 9, 9, 9], 7).into()).unwrap();
    let dial = json!({"+end": ABC, "_to": OWN, "_br": 1e9 as u64, "_ring": 77});
    let sent = bench.hear(victim, dial.clone());
    assert!(sent.len() == 1 && sent[0].see().is_none() && sent[0].get("_line").is_some(), "{sent:?}");
    assert!(sent[0].bytes < dial.to_string().len());
    // At a rate at which all are answered, no more than so much comes back.
    let before = bench.switch.counters().dials_answered;
    bench.now += secs(1.0);
    for n in 0..60_u32 {
        let victim = Ipp::new(([11, 9, 9, 9], 1 + n as u16).into()).unwrap();
        bench.hear(victim, json!({"+end": end_of(format!("{n}")), "_br": 1_000_000_000_000_u64}));
        bench.now += secs(1.0);
    }
    assert_eq!(bench.switch.counters().dials_answered - before, 60);
    // Many victims: some for all together.
    let dials = bench.switch.counters().dials_answered;
    for n in 0..5000 {
        bench.hear(somewhere(n), json!({"+end": ABC}));
    }
    let dials = bench.switch.counters().dials_answered - dials;
    assert!(dials <= u64::from(bounds::SEE_ANSWERS_PER_SECOND), "{dials}");
    // Who has a line is answered meanwhile.
    bench.now += secs(0.1);
    let mut friend = Peer::new(address(500));
    bench.say(&mut friend, json!({"+end": ABC}));
    for n in 0..100 {
        let sent = bench.say(&mut friend, json!({"+end": end_of(format!("{n}"))}));
        let answers = sent.iter().filter(|sent| sent.get(".tap").is_none()).count();
        assert_eq!(answers, 1, "besides an introduction");
    }
}

#[test]
fn taps_that_match_everything_are_bounded() {
    let mut bench = Bench::root();
    let mut tappers = Vec::new();
    let all = bounds::TAPPERS as u32 + 20;
    for n in 0..all {
        bench.now += secs(0.005);
        let mut peer = Peer::new(somewhere(n));
        bench.say(&mut peer, json!({"+end": ABC}));
        let rule = if n < 150 { json!({"has": ["+x"]}) } else { json!({"is": {"+end": ABC}}) };
        bench.say(&mut peer, json!({".tap": vec![rule; 20]}));
        bench.sent.clear();
        tappers.push(peer);
    }
    let refused = 150 - bounds::TAPPERS_OF_ANY as u32;
    assert_eq!(bench.switch.counters().taps_refused, u64::from(refused), "of any");
    let more = all..all + 30;
    more.for_each(|n| {
        bench.now += secs(0.005);
        let mut peer = Peer::new(somewhere(n));
        bench.say(&mut peer, json!({"+end": ABC}));
        bench.say(&mut peer, json!({".tap": [{"is": {"+end": ABC}}]}));
    });
    assert_eq!(bench.switch.counters().taps_refused, u64::from(refused) + 28, "in all");
    let sent = bench.hear(address(1), json!({"+x": "1"}));
    assert_eq!(sent.len(), bounds::COPIES, "one telex does not become a hundred");
    let dropped = bench.switch.counters().relays_dropped;
    assert_eq!(dropped as usize, bounds::TAPPERS_OF_ANY - bounds::COPIES);
    // Each gets what it confirms, and no more.
    let mut bytes = vec![0; tappers.len()];
    for n in 0..200 {
        bench.now += secs(0.05);
        for sent in bench.hear(address(n), json!({"+x": format!("{n} {}", "y".repeat(900))})) {
            let at = tappers.iter().position(|peer| peer.ipp == sent.to).unwrap();
            bytes[at] += sent.bytes;
        }
    }
    assert!(bytes.iter().all(|bytes| *bytes < 11_000), "{bytes:?}");
    assert!(bytes.iter().filter(|bytes| **bytes > 5_000).count() > 100, "chance is fair: {bytes:?}");
}

#[test]
fn copies_are_shared_out_among_those_who_ask_for_them() {
    let mut bench = Bench::root();
    for n in 0..bounds::COPIES as u32 {
        let mut peer = bench.lined(somewhere(n));
        bench.say(&mut peer, json!({".tap": [{"is": {"+end": ABC}}], "_br": 1_000_000_000}));
    }
    bench.sent.clear();
    let mut copies = 0;
    for n in 0..1000_u16 {
        let from = Ipp::new(([11, 9, 9, 9], 1 + n).into()).unwrap();
        copies += bench.hear(from, json!({"+end": ABC, "_hop": 1, "+n": n.to_string()})).len();
    }
    assert_eq!(copies as u32, bounds::COPIES_BURST);
    let others = bench.hear(address(1), json!({"+end": ABC, "_hop": 1, "+n": "other"})).len();
    assert_eq!(others, bounds::COPIES);
}

#[test]
fn tappers_that_confirm_nothing_use_up_nothing() {
    let mut bench = Bench::root();
    let tap = json!({".tap": [{"is": {"+end": ABC}}]});
    for n in 0..bounds::LINES_PER_HOST as u16 {
        let mut peer = Peer::new(Ipp::new(([11, 6, 6, 6], n + 1).into()).unwrap());
        bench.say(&mut peer, json!({"+end": ABC}));
        bench.say(&mut peer, tap.clone());
    }
    let mut honest = bench.lined(address(1));
    bench.say(&mut honest, tap);
    bench.sent.clear();
    let big = "y".repeat(1000);
    for n in 0..2000_u32 {
        bench.now += secs(0.01);
        bench.hear(somewhere(n), json!({"+end": ABC, "_hop": 1, "+n": n.to_string(), "+x": big}));
        honest.received = 1 << 40;
        bench.say(&mut honest, json!({}));
    }
    // By now all the others are behind in what they confirm.
    bench.sent.clear();
    let mut reached = 0;
    for n in 0..100 {
        bench.now += secs(0.01);
        let sent = bench.hear(address(2), json!({"+end": ABC, "_hop": 1, "+m": n.to_string()}));
        reached += sent.iter().filter(|sent| sent.to == honest.ipp).count();
    }
    assert_eq!(reached, 100);
}

#[test]
fn a_refused_pop_may_be_said_again_by_somebody_else() {
    let mut bench = Bench::root();
    let mut peer = bench.lined(address(1));
    let target = |n: u16| json!({"+end": bench.own_end(), "+pop": format!("th:10.1.1.1:{n}"), "_hop": 1});
    let (used, wanted): (Vec<_>, _) = ((1..60).map(target).collect(), target(9999));
    used.into_iter().for_each(|telex| _ = bench.hear(address(2), telex));
    assert_eq!(bench.hear(address(2), wanted.clone()), []);
    bench.say(&mut peer, wanted);
    assert_eq!(bench.sent.pop().map(|sent| sent.to), Some(ipp("10.1.1.1:9999")));
}

#[test]
fn loops_of_signals_die_out() {
    // Two switches that tap each other for the same signal: it goes round until its hops are used up.
    let (mut one, mut two) =
        (Bench::root(), Bench::new(Config { own: Some(ipp("10.0.0.2:42424")), ..Config::default() }));
    let (at_one, at_two) = (ipp(OWN), ipp("10.0.0.2:42424"));
    let mut as_one = Peer::new(at_one);
    let mut as_two = Peer::new(at_two);
    one.say(&mut as_two, json!({"+end": ABC}));
    one.say(&mut as_two, json!({".tap": [{"has": ["+x"]}]}));
    two.say(&mut as_one, json!({"+end": ABC}));
    two.say(&mut as_one, json!({".tap": [{"has": ["+x"]}]}));
    let mut copies = 0;
    let mut sent = one.hear(address(9), json!({"+x": "1"}));
    while let Some(copy) = sent.pop() {
        if copy.get("+x").is_none() {
            continue;
        }
        copies += 1;
        assert!(copies < 10);
        let body = json!({"+x": "1", "_hop": copy.get("_hop")});
        sent.extend(if copy.to == at_two {
            two.say(&mut as_one.clone(), body)
        } else {
            one.say(&mut as_two.clone(), body)
        });
    }
    assert_eq!(copies, 2, "once there, once back");
}

#[test]
fn a_spoofed_ring_locks_a_pair_for_no_longer_than_a_line_lasts() {
    let mut bench = Bench::root();
    bench.hear(address(1), json!({"+end": ABC, "_ring": 666}));
    let mut peer = Peer::new(address(1));
    assert_eq!(bench.say(&mut peer, json!({"+end": ABC})), [], "the page's handshake cannot tell them apart");
    bench.pass(secs(61.5));
    assert_eq!(bench.say(&mut peer, json!({"+end": ABC})).len(), 1);
}

#[test]
fn a_made_up_line_does_not_unseat_a_real_one() {
    let mut bench = Bench::root();
    let mut peer = bench.visible(address(1));
    bench.pass(secs(12.0));
    for n in 0..1000 {
        bench.hear(address(1), json!({"_line": 7 * n, "+end": ABC}));
        bench.hear(address(1), json!({"_ring": n % 32768 + 1, ".tap": [], ".see": []}));
    }
    assert_eq!(
        bench.say(&mut peer, json!({"+end": end_of_switch(address(1))}))[0].see(),
        Some(vec![address(1).to_string()])
    );
}

#[test]
fn a_full_bucket_prefers_those_that_may_be_told_of() {
    let mut bench = Bench::root();
    let own = bench.own_end();
    let far: Vec<Ipp> =
        (0..200).map(address).filter(|ipp| own.bucket(end_of_switch(*ipp)) == Some(159)).collect();
    for ipp in &far[..25] {
        bench.lined(*ipp);
    }
    let kept =
        |bench: &Bench| bench.switch.lines().filter(|line| line.kept && line.bucket == Some(159)).count();
    assert_eq!(kept(&bench), 20);
    let newcomer = far[30];
    bench.visible(newcomer);
    assert!(bench.switch.lines().any(|line| line.peer == newcomer && line.kept));
    assert_eq!(kept(&bench), 20);
}

#[test]
fn a_line_that_comes_with_a_flood_opens_once_that_is_over() {
    let mut bench = Bench::root();
    let mut peer = Peer::new(address(1));
    bench.say(&mut peer, json!({"+end": ABC}));
    for n in 0..13 {
        bench.hear(address(1), json!({"+x": format!("{n}{}", "y".repeat(950))}));
    }
    bench.say(&mut peer, json!({"+end": ABC}));
    assert_eq!((bench.switch.counters().flooded, bench.switch.lines().count()), (2, 0));
    let pop = json!({"+end": bench.own_end(), "+pop": format!("th:{}", address(1)), "_hop": 1});
    bench.hear(address(2), pop);
    bench.say(&mut peer, json!({}));
    assert!(bench.switch.lines().all(|line| line.peer == address(1) && line.kept));
    assert_eq!(bench.switch.lines().count(), 1);
}
