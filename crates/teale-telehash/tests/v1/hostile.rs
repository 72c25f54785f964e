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
    let mut bench = Bench::new(Config { own: Some(ipp(OWN)), lines_per_host: 10, ..Config::default() });
    for port in 1..=30 {
        let mut peer = Peer::new(ipp(&format!("10.0.6.6:{port}")));
        bench.say(&mut peer, json!({"+end": ABC}));
        bench.say(&mut peer, json!({}));
    }
    assert_eq!(bench.switch.lines().count(), 10);
    assert_eq!(bench.switch.counters().lines_refused, 20);
    bench.lined(address(1));
    bench.pass(secs(61.5));
    assert_eq!(bench.switch.lines().count(), 0);
    bench.lined(ipp("10.0.6.6:100"));
}

#[test]
fn all_lines_are_bounded() {
    let mut bench = Bench::root();
    for n in 0..bounds::LINES as u32 + 500 {
        let mut peer = Peer::new(somewhere(n));
        bench.say(&mut peer, json!({"+end": ABC}));
        bench.say(&mut peer, json!({}));
        bench.sent.clear();
    }
    assert_eq!(bench.switch.lines().count(), bounds::LINES);
    assert_eq!(bench.switch.counters().lines_refused, 500);
}

#[test]
fn guessed_lines_open_nothing() {
    let mut bench = Bench::root();
    for n in 1..=2000u32 {
        bench.hear(somewhere(n), json!({"+end": ABC, "_line": 720_720 + n}));
    }
    // A number has some divisors among the 32768 rings, so a guess is right now and then; the page has no more to offer.
    assert!(bench.switch.lines().count() <= 5, "{}", bench.switch.lines().count());
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
    // Twenty for a bucket, fifty in a second.
    assert!(bench.sent.len() <= 50, "{}", bench.sent.len());
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
fn a_spoofed_asker_gets_ten_kilobytes_and_no_more() {
    let mut bench = Bench::root();
    let victim = address(77);
    let mut bytes = 0;
    for n in 0..5000 {
        bytes += bench
            .hear(victim, json!({"+end": end_of(format!("{n}"))}))
            .iter()
            .map(|sent| sent.bytes)
            .sum::<usize>();
    }
    assert!(bytes < 10_200, "{bytes}");
}

#[test]
fn taps_that_match_everything_are_bounded() {
    let mut bench = Bench::root();
    let mut tappers = Vec::new();
    let all = bounds::TAPPERS as u32 + 20;
    for n in 0..all {
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
        let mut peer = Peer::new(somewhere(n));
        bench.say(&mut peer, json!({"+end": ABC}));
        bench.say(&mut peer, json!({".tap": [{"is": {"+end": ABC}}]}));
    });
    assert_eq!(bench.switch.counters().taps_refused, u64::from(refused) + 28, "in all");
    let sent = bench.hear(address(1), json!({"+x": "1"}));
    assert_eq!(sent.len(), bounds::TAPPERS_OF_ANY);
    // Each gets what it confirms, and no more.
    let mut bytes = vec![0; tappers.len()];
    for n in 0..200 {
        for sent in bench.hear(address(n), json!({"+x": format!("{n} {}", "y".repeat(900))})) {
            let at = tappers.iter().position(|peer| peer.ipp == sent.to).unwrap();
            bytes[at] += sent.bytes;
        }
    }
    assert!(bytes.iter().all(|bytes| *bytes < 11_000), "{bytes:?}");
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
