//! Statements 1 to 12: rings and lines.

use std::collections::BTreeSet;

use serde_json::json;
use teale_telehash::end_of;

use super::support::*;

#[test]
fn s01_first_telex_has_to_and_ring() {
    let mut bench = Bench::root();
    let sent = bench.hear(address(1), json!({"+end": ABC}));
    let [answer] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(answer.get("_to"), Some(&json!(address(1))));
    assert!((1..=32768).contains(&answer.get("_ring").unwrap().as_u64().unwrap()));
    assert_eq!(answer.get("_line"), None);

    // The same when we speak first.
    let peer = &mut bench.visible(address(2));
    bench.say(peer, json!({".see": [address(3)]}));
    let dial = bench.sent.iter().find(|sent| sent.to == address(3)).unwrap();
    assert_eq!(dial.get("_to"), Some(&json!(address(3))));
    assert!(dial.get("_ring").is_some() && dial.get("_line").is_none());
}

#[test]
fn s02_rings_are_random_and_last_as_long_as_the_peer_is_known() {
    let ring =
        |bench: &mut Bench, n| bench.hear(address(n), json!({"+end": ABC}))[0].get("_ring").cloned().unwrap();
    let mut bench = Bench::root();
    let rings: BTreeSet<u64> = (0..50).map(|n| ring(&mut bench, n).as_u64().unwrap()).collect();
    assert!(rings.len() > 45, "{rings:?}");
    let first = ring(&mut bench, 1);
    for _ in 0..20 {
        bench.pass(secs(5.0));
        assert_eq!(ring(&mut bench, 1), first, "as long as it is heard");
    }
    bench.pass(secs(1300.0));
    assert_ne!(ring(&mut bench, 1), first, "a new ring, much later");
}

#[test]
fn s03_after_a_ring_every_telex_has_the_line() {
    let mut bench = Bench::root();
    let ring = bench.hear(address(1), json!({"+end": ABC}))[0].get("_ring").unwrap().as_u64().unwrap();
    for n in 0..3 {
        let sent = bench.hear(address(1), json!({"+end": end_of(format!("{n}")), "_ring": 5240}));
        assert_eq!(sent[0].get("_line"), Some(&json!(ring * 5240)));
        assert_eq!(sent[0].get("_ring"), None);
    }
}

/// The exchange of the sheet's §7 in which a ring is answered with the line at once.
#[test]
fn s04_a_line_before_any_ring_opens() {
    let mut bench = Bench::root();
    let ring = bench.hear(address(1), json!({"+end": ABC}))[0].get("_ring").unwrap().as_u64().unwrap();
    for quotient in [1, 321, 32768] {
        let from = address(quotient as u16 % 200 + 2);
        let ring_of = bench.hear(from, json!({"+end": ABC}))[0].get("_ring").unwrap().as_u64().unwrap();
        let sent = bench.hear(from, json!({"+end": ABC, "_line": ring_of * quotient}));
        assert_eq!(
            sent.iter().filter(|sent| sent.get(".see").is_some()).count(),
            2,
            "answer and introduction"
        );
        assert!(sent.iter().all(|sent| sent.get("_line") == Some(&json!(ring_of * quotient))));
    }
    let sent = bench.hear(address(1), json!({"+end": ABC, "_line": ring * 321}));
    assert_eq!(sent[0].get("_line"), Some(&json!(ring * 321)));
}

#[test]
fn s05_a_line_that_is_not_ours_changes_nothing() {
    let mut bench = Bench::root();
    let ring = bench.hear(address(1), json!({"+end": ABC}))[0].get("_ring").unwrap().as_u64().unwrap();
    assert!(ring > 1, "or everything is divisible");
    assert_eq!(bench.hear(address(1), json!({"+end": ABC, "_line": ring * 321 + 1})), []);
    assert_eq!(bench.switch.counters().wrong_lines, 1);
    let sent = bench.hear(address(1), json!({"+end": ABC}));
    assert_eq!(sent[0].get("_ring"), Some(&json!(ring)), "no line was opened");
    assert_eq!(bench.switch.lines().count(), 0);
}

#[test]
fn s06_lines_out_of_range_are_dropped() {
    let mut bench = Bench::root();
    let ring = bench.hear(address(1), json!({"+end": ABC}))[0].get("_ring").unwrap().as_u64().unwrap();
    let lines = [
        json!(0),
        json!(-(ring as i64)),
        json!(ring as f64 + 0.5),
        json!((1u64 << 30) + 1),
        json!(ring * 32_769),
        json!(null),
        json!([ring]),
    ];
    for line in lines {
        assert_eq!(bench.hear(address(1), json!({"+end": ABC, "_line": line})), [], "{line}");
    }
    assert_eq!(bench.switch.lines().count(), 0);
    assert!(
        bench.hear(address(1), json!({"+end": ABC, "_line": ring.to_string()}))[0].get("_line").is_some()
    );
}

#[test]
fn s07_another_ring_is_dropped_and_the_same_one_accepted() {
    let mut bench = Bench::root();
    let first = bench.hear(address(1), json!({"+end": ABC, "_ring": 5240}));
    assert_eq!(bench.hear(address(1), json!({"+end": ABC, "_ring": 5241})), []);
    assert_eq!(bench.switch.counters().wrong_rings, 1);
    bench.pass(secs(9.0));
    let again = bench.hear(address(1), json!({"+end": ABC, "_ring": 5240}));
    assert_eq!(again[0].get("_line"), first[0].get("_line"));
}

#[test]
fn s08_rings_out_of_range_are_dropped() {
    let mut bench = Bench::root();
    for (n, ring) in [json!(0), json!(32769), json!(-1), json!(1.5)].into_iter().enumerate() {
        assert_eq!(bench.hear(address(n as u16), json!({"+end": ABC, "_ring": ring})), [], "{ring}");
    }
    assert_eq!(bench.switch.counters().bad_headers, 4);
    for (n, ring) in [(10, 1), (11, 32768)] {
        assert!(bench.hear(address(n), json!({"+end": ABC, "_ring": ring}))[0].get("_line").is_some());
    }
}

#[test]
fn s09_after_ten_seconds_only_the_exact_line_is_accepted() {
    let mut bench = Bench::root();
    let peer = &mut bench.lined(address(1));
    bench.pass(secs(11.8));
    for wrong in [json!({"_line": null}), json!({"_line": null, "_ring": peer.ring}), json!({"_line": 7})] {
        let mut body = wrong;
        body["+end"] = json!(ABC);
        assert_eq!(bench.say(&mut peer.clone(), body), []);
    }
    assert_eq!(bench.switch.counters().wrong_lines, 3);
    assert_eq!(bench.say(peer, json!({"+end": ABC})).len(), 1);
}

#[test]
fn s10_until_then_signals_are_taken_without_a_line() {
    let mut bench = Bench::root();
    let peer = &mut bench.lined(address(1));
    bench.pass(secs(8.0));
    let sent = bench.say(
        peer,
        json!({"_line": null, "+end": ABC, ".see": [peer.ipp, "10.9.9.9:9"], ".tap": [{"has": ["+end"]}]}),
    );
    assert_eq!(sent.len(), 1, "the dial is answered, and nothing else");
    assert!(!bench.switch.lines().any(|line| line.visible));
    let counters = bench.switch.counters();
    assert_eq!((counters.see_refused, counters.taps_refused), (1, 1));
}

#[test]
fn s11_after_a_minute_of_silence_all_is_gone() {
    let mut bench = Bench::root();
    let tapper = &mut bench.visible(address(1));
    bench.say(tapper, json!({".tap": [{"has": ["+foo"]}]}));
    assert_eq!(bench.hear(address(9), json!({"+foo": "1"})).len(), 1);
    bench.pass(secs(61.5));
    assert_eq!(bench.switch.lines().count(), 0);
    assert_eq!(bench.hear(address(9), json!({"+foo": "2"})), [], "the tap");
    let near = json!({"+end": teale_telehash::end_of_switch(address(1))});
    assert_eq!(bench.hear(address(9), near)[0].see(), Some(vec![OWN.to_owned()]), "the visibility");
    let mut again = bench.lined(address(1));
    assert_eq!(bench.say(&mut again, json!({"+end": ABC})).len(), 1, "a new handshake");
}

#[test]
fn s12_what_is_refused_neither_counts_nor_refreshes() {
    let mut bench = Bench::root();
    let peer = &mut bench.lined(address(1));
    bench.say(peer, json!({"+end": ABC}));
    bench.pass(secs(30.0));
    let before = bench.switch.lines().next().unwrap().heard;
    for _ in 0..5 {
        bench.say(&mut peer.clone(), json!({"_line": 7, "+end": ABC}));
        bench.say(&mut peer.clone(), json!({"_hop": -1, "+end": ABC}));
    }
    assert_eq!(bench.switch.lines().next().unwrap().heard, before);
    let sent = peer.sent + peer.telex(json!({"+end": ABC})).len() as u64;
    assert_eq!(bench.say(peer, json!({"+end": ABC}))[0].get("_br"), Some(&json!(sent)));
}
