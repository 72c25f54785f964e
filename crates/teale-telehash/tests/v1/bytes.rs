//! Statements 13 to 17: `_br`, its windows, and the size of a telex.

use serde_json::json;
use teale_telehash::end_of;

use super::support::*;

#[test]
fn s13_br_is_the_sum_of_what_was_accepted() {
    let mut bench = Bench::root();
    let first = br#"{"+end":"a9993e364706816aba3e25717850c26c9cd0d89d"}"#;
    assert_eq!(bench.raw(address(1), first)[0].get("_br"), Some(&json!(51)), "as captured");
    let second = b"{\"+end\":\"a9993e364706816aba3e25717850c26c9cd0d89d\",\"_ring\":5240,\"_br\":151} \n";
    let sum = 51 + second.len();
    assert_eq!(bench.raw(address(1), second)[0].get("_br"), Some(&json!(sum)), "trailing newline and all");
}

#[test]
fn s14_beyond_10000_unconfirmed_bytes_nothing_is_sent() {
    let mut bench = Bench::root();
    let peer = bench.lined(address(1));
    let before = peer.received;
    let mut received = before;
    let mut answers = 0;
    loop {
        let sent = bench.say_with_br(&peer, before, end_of(format!("{answers}")));
        let Some(answer) = sent.first() else { break };
        assert!(received - before <= 10_000);
        received += answer.bytes as u64;
        answers += 1;
    }
    assert!(received - before > 10_000, "{received}");
    assert_eq!(bench.switch.counters().muted, 1);
    assert_eq!(bench.say_with_br(&peer, received - 10_001, end_of("x")), []);
    assert_eq!(bench.say_with_br(&peer, received, end_of("x")).len(), 1, "it resumes at once");
    let silent = peer.telex(json!({"+end": ABC, "_br": null}));
    assert_eq!(bench.raw(peer.ipp, silent.as_bytes()).len(), 1, "what was said before still holds");
}

#[test]
fn s15_beyond_12000_untold_bytes_telexes_are_dropped_until_we_send() {
    let mut bench = Bench::root();
    let telex = json!({"+x": "y".repeat(988)}).to_string();
    assert_eq!(telex.len(), 997);
    for n in 0..12 {
        assert_eq!(bench.raw(address(1), telex.as_bytes()), []);
        assert_eq!(bench.switch.counters().received, n + 1);
    }
    // 11964 bytes so far; 77 more are too many, and are counted all the same.
    let small = json!({"+x": "y".repeat(68)}).to_string();
    assert_eq!(small.len(), 77);
    bench.raw(address(1), small.as_bytes());
    assert_eq!(bench.switch.counters().flooded, 1);
    assert_eq!(bench.hear(address(1), json!({"+end": ABC})), [], "dropped is dropped");

    // Somebody's `+pop` makes us send to it, and it may speak again.
    let pop = json!({"+end": bench.own_end(), "+pop": format!("th:{}", address(1)), "_hop": 1});
    let sent = bench.hear(address(2), pop);
    assert_eq!((sent[0].to, sent[0].get("_br").unwrap().as_u64() > Some(12_000)), (address(1), true));
    assert_eq!(bench.hear(address(1), json!({"+end": ABC})).len(), 1);
}

#[test]
fn s16_a_larger_br_widens_the_window() {
    let mut bench = Bench::root();
    let peer = bench.lined(address(1));
    let mut sent = 0;
    for n in 0..400 {
        sent += bench.say_with_br(&peer, 1_000_000_000, end_of(format!("{n}")))[0].bytes;
    }
    assert!(sent > 20_000);
}

#[test]
fn s17_nothing_longer_than_a_telex_is_sent() {
    let mut bench = Bench::root();
    let tapper = &mut bench.lined(address(1));
    bench.say(tapper, json!({".tap": [{"has": ["+foo"]}]}));
    // The longest signals that fit a telex, without any of our headers, and longer ones.
    for len in 1200..1480 {
        bench.pass(secs(0.1));
        bench.say(tapper, json!({}));
        let sent = bench.hear(address(2 + len % 100), json!({"+foo": "x".repeat(len.into())}));
        for sent in sent {
            assert!(sent.bytes < 1400, "{}", sent.bytes);
            tapper.take(&sent);
        }
    }
    assert!(bench.switch.counters().relayed > 0 && bench.switch.counters().unwritable > 0);
}
