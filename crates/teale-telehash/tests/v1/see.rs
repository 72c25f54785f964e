//! Statements 26 to 30: what is done with a `.see`.

use serde_json::json;
use teale_telehash::{
    end_of_switch,
    v1::{Config, Level},
};

use super::support::*;

#[test]
fn s26_an_unknown_switch_is_dialed_and_popped_once() {
    let mut bench = Bench::root();
    let mut peer = bench.visible(address(1));
    bench.sent.clear();
    let to_peer = bench.say(&mut peer, json!({".see": [address(2)]}));
    let [pop] = &to_peer[..] else { panic!("{to_peer:?}") };
    assert_eq!(pop.get("+end"), Some(&json!(end_of_switch(address(2)))));
    assert_eq!(pop.get("+pop"), Some(&json!(format!("th:{OWN}"))));
    assert_eq!((pop.get("_hop"), pop.get("_line")), (Some(&json!(1)), Some(&json!(peer.line))));
    let [dial] = &bench.sent[..] else { panic!("{:?}", bench.sent) };
    assert_eq!((dial.to, dial.get("+end")), (address(2), Some(&json!(bench.own_end()))));
    assert!(dial.get("_ring").is_some() && dial.get("+pop").is_none() && dial.get("_hop").is_none());
}

#[test]
fn s27_the_same_one_again_is_neither() {
    let mut bench = Bench::root();
    let mut peer = bench.visible(address(1));
    bench.say(&mut peer, json!({".see": [address(2), address(2)]}));
    assert_eq!(bench.sent.split_off(0).iter().filter(|sent| sent.to == address(2)).count(), 1);
    assert_eq!(bench.say(&mut peer, json!({".see": [address(2)]})), []);
    let mut other = bench.visible(address(3));
    bench.sent.clear();
    assert_eq!(bench.say(&mut other, json!({".see": [address(2), address(1)]})), []);
    assert!(bench.sent.is_empty());
}

#[test]
fn s28_without_a_line_it_is_ignored() {
    let mut bench = Bench::root();
    for telex in [json!({".see": [address(2)]}), json!({".see": [address(2)], "_ring": 77})] {
        assert_eq!(bench.hear(address(1), telex), []);
    }
    assert_eq!(bench.switch.counters().see_refused, 2);
}

#[test]
fn s29_what_is_no_address_is_skipped() {
    let mut bench = Bench::root();
    let mut peer = bench.visible(address(1));
    bench.sent.clear();
    let see = json!([
        "nonsense", "a.example:80", 7, null, {"a": 1}, ["10.0.0.7:7"], "10.0.0.7", "10.0.0.7:0", "10.0.0.7:70000",
        "010.0.0.7:7", "10.0.0.7:7x", "", "0.0.0.0:7", "224.0.0.1:7", "255.255.255.255:7", "127.0.0.1:7", "[::1]:7",
        "[2001:db8::1]:7", address(2),
    ]);
    bench.say(&mut peer, json!({".see": see}));
    let dialed: Vec<_> = bench.sent.iter().map(|sent| sent.to).collect();
    assert_eq!(dialed, [address(2)]);
    assert_eq!(bench.switch.counters().see_skipped, 6, "multicast, broadcast, loopback, the other family …");
    for see in [json!(7), json!("10.0.0.7:7"), json!({"a": "10.0.0.7:7"}), json!(null)] {
        assert_eq!(bench.say(&mut peer, json!({".see": see})), []);
    }
}

#[test]
fn s30_ourselves_in_it_cause_nothing() {
    let mut bench = Bench::root();
    let mut peer = bench.visible(address(1));
    bench.sent.clear();
    assert_eq!(bench.say(&mut peer, json!({".see": [OWN]})), []);
    assert!(bench.sent.is_empty());
}

#[test]
fn a_small_telex_from_a_switch_that_was_dialed_makes_us_dial_again_once() {
    let mut bench = Bench::root();
    let mut peer = bench.visible(address(1));
    bench.say(&mut peer, json!({".see": [address(2), address(3)]}));
    bench.pass(secs(0.5));
    // As the switches of that time do: the one small and with headers, the other one empty.
    let mut target = Peer::new(address(2));
    let again = bench.say(&mut target, json!({}));
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].get("+end"), Some(&json!(bench.own_end())));
    assert!(again[0].get("_line").is_some(), "its ring came with it");
    assert_eq!(bench.say(&mut target, json!({})).iter().filter(|sent| sent.get("+end").is_some()).count(), 0);
    assert_eq!(bench.raw(address(3), b"{}\n").len(), 1);
    assert_eq!(bench.raw(address(3), b"{}\n").len(), 0);
    assert_eq!(bench.raw(address(4), b"{}\n").len(), 0, "nobody was dialed there");
}

#[test]
fn a_listener_looks_for_others_and_is_not_looked_for() {
    let config = Config { level: Level::Listener, own: Some(ipp(OWN)), ..Config::default() };
    let mut bench = Bench::new(config);
    let mut peer = Peer::new(address(1));
    bench.say(&mut peer, json!({"+end": ABC}));
    assert_eq!(peer.line, None, "no answer to a dial");
    // Whoever speaks first, here through a tap of ours, the line opens.
    bench.switch.tap(bench.now, bench.own_end(), vec![]);
    bench.drain();
    assert!(bench.sent.iter().all(|sent| sent.get(".see").is_none()));
}
