//! Statements 31 to 40: taps of others; and taps of our own.

use serde_json::json;
use teale_telehash::{
    end_of, end_of_switch,
    v1::{Config, Event},
};
use teale_wire::telehash::TapRule;

use super::support::*;

/// A switch with a tapper that has these rules.
fn tapped(rules: serde_json::Value) -> (Bench, Peer) {
    let mut bench = Bench::root();
    let mut tapper = bench.lined(address(1));
    assert_eq!(bench.say(&mut tapper, json!({".tap": rules})), []);
    bench.sent.clear();
    (bench, tapper)
}

#[test]
fn s31_a_tap_without_a_line_forwards_nothing() {
    let mut bench = Bench::root();
    bench.hear(address(1), json!({".tap": [{"has": ["+foo"]}]}));
    bench.hear(address(1), json!({".tap": [{"has": ["+foo"]}], "_ring": 77}));
    assert_eq!(bench.hear(address(2), json!({"+foo": "bar"})), []);
    assert_eq!(bench.switch.counters().taps_refused, 2);
}

#[test]
fn s32_all_conditions_of_any_rule() {
    let (mut bench, tapper) =
        tapped(json!([{"is": {"+end": ABC}, "has": ["+foo"]}, {"is": {"+x": "1"}}, {"has": ["+foo", "+x"]}]));
    let mut copies = |signals| {
        let sent = bench.hear(address(2), signals);
        assert!(sent.iter().all(|sent| sent.to == tapper.ipp));
        sent.len()
    };
    assert_eq!(copies(json!({"+end": ABC, "+foo": "bar", "_hop": 1})), 1);
    assert_eq!(copies(json!({"+end": ABC, "+bar": "foo", "_hop": 1})), 0);
    assert_eq!(copies(json!({"+end": end_of("x"), "+foo": "bar", "_hop": 1})), 0);
    assert_eq!(copies(json!({"+x": "1"})), 1);
    assert_eq!(copies(json!({"+x": "2"})), 0);
    assert_eq!(
        copies(json!({"+end": ABC, "+foo": "", "+x": "1", "_hop": 1})),
        1,
        "one copy, whatever matches"
    );
}

#[test]
fn s33_a_new_tap_replaces_and_an_empty_one_clears() {
    let (mut bench, mut tapper) = tapped(json!([{"has": ["+a"]}]));
    let mut n = 0;
    let mut copies = |bench: &mut Bench, key: &str| {
        n += 1;
        bench.hear(address(2), json!({key: n.to_string()})).len()
    };
    for none in [json!(7), json!({"has": ["+b"]}), json!("+b"), json!(true)] {
        bench.say(&mut tapper, json!({".tap": none}));
        assert_eq!((copies(&mut bench, "+a"), copies(&mut bench, "+b")), (1, 0), "{none} leaves the old one");
    }
    bench.say(&mut tapper, json!({".tap": [{"has": ["+b"]}]}));
    assert_eq!((copies(&mut bench, "+a"), copies(&mut bench, "+b")), (0, 1));
    bench.say(&mut tapper, json!({".tap": []}));
    assert_eq!((copies(&mut bench, "+a"), copies(&mut bench, "+b")), (0, 0));
}

/// The exchange of the sheet's §7.
#[test]
fn s34_all_signals_are_forwarded_and_nothing_else() {
    let (mut bench, tapper) = tapped(json!([{"is": {"+end": ABC}, "has": ["+foo"]}]));
    let sent = bench.hear(
        address(2),
        json!({"+end": ABC, "+foo": "bar1", "+n": 5, "_hop": 1, "_to": OWN, "_x": 1, ".y": 2, "z": 3, ".see": []}),
    );
    let [copy] = &sent[..] else { panic!("{sent:?}") };
    let keys: Vec<&str> = copy.telex.keys().map(String::as_str).collect();
    assert_eq!(keys, ["_to", "_br", "_line", "_hop", "+end", "+foo"]);
    assert_eq!((copy.get("+end"), copy.get("+foo")), (Some(&json!(ABC)), Some(&json!("bar1"))));
    assert_eq!((copy.get("_hop"), copy.get("_line")), (Some(&json!(2)), Some(&json!(tapper.line))));
}

#[test]
fn s35_hops_are_counted_up_to_four() {
    let (mut bench, _tapper) = tapped(json!([{"has": ["+foo"]}]));
    let mut hop_of = |hop: u64| {
        let sent = bench.hear(address(2), json!({"+foo": hop.to_string(), "_hop": hop}));
        sent.first().map(|sent| sent.get("_hop").unwrap().as_u64().unwrap())
    };
    assert_eq!([0, 1, 2, 3].map(&mut hop_of), [Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!([4, 5, 255, 1 << 40].map(&mut hop_of), [None; 4]);
    assert_eq!(bench.hear(address(2), json!({"+foo": "x"}))[0].get("_hop"), Some(&json!(1)));
}

#[test]
fn s36_a_rule_without_conditions_never_matches() {
    let (mut bench, _tapper) =
        tapped(json!([{}, {"is": {}, "has": []}, {"other": 1}, {"is": {"plain": "x"}}]));
    assert_eq!(bench.hear(address(2), json!({"+foo": "bar", "plain": "x"})), []);
}

#[test]
fn s37_a_tap_with_its_test_in_one_telex_is_confirmed() {
    let mut bench = Bench::root();
    let mut tapper = bench.lined(address(1));
    let sent = bench.say(&mut tapper, json!({".tap": [{"has": ["+test"]}], "+test": "1"}));
    let [copy] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((copy.get("+test"), copy.get("_hop")), (Some(&json!("1")), Some(&json!(1))));
}

#[test]
fn s38_the_same_signals_are_forwarded_once_in_ten_seconds() {
    let (mut bench, mut tapper) = tapped(json!([{"has": ["+foo"]}]));
    let signals = json!({"+foo": "bar", "+end": ABC, "_hop": 1});
    assert_eq!(bench.hear(address(2), signals.clone()).len(), 1);
    bench.pass(secs(1.5));
    assert_eq!(bench.hear(address(3), signals.clone()).len(), 0, "another sender");
    bench.pass(secs(7.5));
    assert_eq!(bench.hear(address(2), signals.clone()).len(), 0, "9 s");
    assert_eq!(bench.switch.counters().duplicates, 2);
    assert_eq!(
        bench.hear(address(2), json!({"+foo": "bar2", "+end": ABC, "_hop": 1})).len(),
        1,
        "others are others"
    );
    bench.say(&mut tapper, json!({}));
    bench.pass(secs(1.0));
    assert_eq!(bench.hear(address(2), signals).len(), 1, "counted from the first time");
}

#[test]
fn s39_a_repeated_dial_is_answered_each_time() {
    let (mut bench, tapper) = tapped(json!([{"has": ["+end"]}]));
    for n in 0..5 {
        let sent = bench.hear(address(2), json!({"+end": ABC}));
        assert_eq!(sent.iter().filter(|sent| sent.to == address(2) && sent.see().is_some()).count(), 1);
        assert_eq!(sent.iter().filter(|sent| sent.to == tapper.ipp).count(), usize::from(n == 0));
    }
}

#[test]
fn s40_a_tap_ends_with_its_line() {
    let (mut bench, mut tapper) = tapped(json!([{"has": ["+foo"]}]));
    bench.pass(secs(55.0));
    bench.say(&mut tapper, json!({}));
    bench.pass(secs(55.0));
    assert_eq!(bench.hear(address(2), json!({"+foo": "1"})).len(), 1, "refreshed");
    bench.pass(secs(6.0));
    assert_eq!(bench.hear(address(2), json!({"+foo": "2"})).len(), 0);
}

#[test]
fn our_taps_are_one_array_per_peer_with_the_pop_rule() {
    let mut bench = Bench::root();
    let mut peer = bench.visible(address(1));
    let (one, other) = (end_of("one"), end_of("other"));
    let id = bench.switch.tap(bench.now, one, vec![]);
    let asked = bench.sent_now();
    assert_eq!(asked.len(), 1, "the end is dialed first: {asked:?}");
    peer.take(&asked[0]);
    let sent = bench.say(&mut peer, json!({".see": [address(1)]}));
    let pop = json!({"is": {"+end": bench.own_end()}, "has": ["+pop"]});
    assert_eq!(sent[0].get(".tap"), Some(&json!([pop, {"is": {"+end": one}}])));
    assert_eq!(bench.events(), [Event::Tapped { id, at: vec![peer.ipp] }]);

    let rule = TapRule::new([("+end", other.to_string())], ["+foo"]).unwrap();
    let second = bench.switch.tap(bench.now, other, vec![rule]);
    for sent in bench.sent_now() {
        peer.take(&sent);
    }
    let sent = bench.say(&mut peer, json!({".see": [address(1)]}));
    let both = json!([pop, {"is": {"+end": one}}, {"is": {"+end": other}, "has": ["+foo"]}]);
    assert_eq!(sent[0].get(".tap"), Some(&both));

    // Each ping has all of it, or it would wipe the taps.
    let pings = bench.pass(secs(30.0));
    let ping = pings.iter().find(|(_, sent)| sent.to == peer.ipp).unwrap();
    assert_eq!(ping.1.get(".tap"), Some(&both));
    bench.say(&mut peer, json!({}));
    bench.switch.untap(bench.now, id);
    let sent = bench.sent_now();
    assert_eq!(sent[0].get(".tap"), Some(&json!([pop, both[2]])));

    bench.events();
    bench.pass(secs(61.0));
    assert!(bench.events().contains(&Event::Tapped { id: second, at: vec![] }), "the peer is gone");
}

#[test]
fn signals_that_our_taps_match_are_told_once() {
    let mut bench = Bench::root();
    bench.visible(address(1));
    bench.switch.tap(bench.now, end_of("here"), vec![]);
    bench.drain();
    bench.events();
    let signals = json!({"+end": end_of("here"), "+foo": "bar", "_hop": 2});
    bench.hear(address(2), signals.clone());
    bench.hear(address(3), signals);
    bench.hear(address(2), json!({"+end": end_of("there"), "+foo": "bar", "_hop": 2}));
    // A dial alone is no news.
    bench.hear(address(4), json!({"+end": end_of("here")}));
    let events = bench.events();
    let [Event::Signal { from, end, signals, hop }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((*from, *end, *hop), (address(2), Some(end_of("here")), 2));
    assert_eq!(signals["+foo"], "bar");
}

#[test]
fn what_we_announce_reaches_those_who_tap_us() {
    let (mut bench, tapper) = tapped(json!([{"has": ["+foo"]}]));
    bench.pass(secs(12.0));
    bench.switch.announce(bench.now, end_of_switch(ipp(OWN)), [("+foo".to_owned(), "1".to_owned())].into());
    let mut sent = bench.sent_now();
    sent.extend(bench.pass(secs(4.0)).into_iter().map(|(_, sent)| sent));
    let copies = sent.iter().filter(|sent| sent.to == tapper.ipp && sent.get("+foo").is_some());
    assert_eq!(copies.map(|sent| sent.get("_hop").unwrap().clone()).collect::<Vec<_>>(), [json!(1)]);
}

#[test]
fn data_comes_on_a_line_only() {
    let mut bench = Bench::new(Config { own: Some(ipp(OWN)), ..Config::default() });
    bench.events();
    let mut peer = bench.lined(address(1));
    bench.hear(address(2), json!({"text": "made up"}));
    bench.say(&mut peer, json!({"_line": null, "text": "no line"}));
    assert_eq!(bench.events(), []);
    bench.say(&mut peer, json!({"text": "hello", "n": {"a": [1]}, ".cmd": 1}));
    let data = json!({"text": "hello", "n": {"a": [1]}}).as_object().unwrap().clone();
    assert_eq!(bench.events(), [Event::Data { from: address(1), data: data.clone() }]);
    assert!(bench.switch.send_data(bench.now, address(2), data.clone()).is_err(), "no line");
    bench.switch.send_data(bench.now, address(1), data).unwrap();
    assert_eq!(bench.sent_now()[0].get("text"), Some(&json!("hello")));
}
