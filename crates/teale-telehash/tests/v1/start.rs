//! Statements 44 to 47: starting, levels, and what is no telex.

use serde_json::json;
use teale_telehash::{
    end_of, end_of_switch,
    v1::{Config, Event, Level},
};

use super::support::*;

fn seeded(level: Level) -> (Bench, Peer) {
    let seed = ipp("10.0.9.9:42424");
    let config = Config { level, seeds: vec![seed], ..Config::default() };
    (Bench::new(config), Peer::new(seed))
}

/// The seed answers what it was asked first.
fn answer(bench: &mut Bench, seed: &mut Peer, see: serde_json::Value) -> Vec<Sent> {
    for sent in std::mem::take(&mut bench.sent) {
        if sent.to == seed.ipp {
            seed.take(&sent);
        }
    }
    bench.say(seed, json!({".see": see}))
}

#[test]
fn s44_the_address_comes_from_a_contacted_seed_only() {
    let (mut bench, mut seed) = seeded(Level::Full);
    let [first] = &bench.sent[..] else { panic!("{:?}", bench.sent) };
    assert_eq!((first.to, first.get("_to")), (seed.ipp, Some(&json!(seed.ipp))));
    assert!(first.get("+end").is_some() && first.get("_ring").is_some());
    // Strangers say who we are, with lines even; and somebody speaks in the seed's name without its line.
    bench.hear(address(1), json!({"_to": "10.6.6.6:6", ".see": [address(1)], "_ring": 7}));
    let mut stranger = Peer::new(address(2));
    bench.say(&mut stranger, json!({"+end": ABC, "_to": "10.6.6.6:6"}));
    bench.say(&mut stranger, json!({".see": [address(2)], "_to": "10.6.6.6:6"}));
    bench.hear(seed.ipp, json!({"_to": "10.6.6.6:6", ".see": [seed.ipp]}));
    assert_eq!((bench.switch.own(), bench.events()), (None, vec![]));
    answer(&mut bench, &mut seed, json!(["10.0.9.9:42424"]));
    assert_eq!(bench.switch.own(), Some(ipp(OWN)));
    assert_eq!(bench.events(), [Event::Online { own: ipp(OWN) }]);
}

#[test]
fn s44_later_only_two_who_agree_can_change_it() {
    let (mut bench, mut seed) = seeded(Level::Full);
    answer(&mut bench, &mut seed, json!(["10.0.9.9:42424"]));
    let mut peers: Vec<Peer> = (1..4).map(|n| bench.lined(address(n))).collect();
    bench.events();
    let elsewhere = ipp("10.0.0.1:9");
    let other = ipp("10.0.0.1:10");
    bench.say(&mut peers[0], json!({"_to": elsewhere}));
    bench.say(&mut peers[1], json!({"_to": other}));
    bench.pass(secs(2.0));
    assert_eq!(bench.switch.own(), Some(ipp(OWN)), "one each is not two");
    bench.say(&mut peers[1], json!({"_to": elsewhere}));
    bench.pass(secs(2.0));
    assert_eq!(bench.switch.own(), Some(ipp(OWN)), "as many say otherwise");
    bench.say(&mut peers[2], json!({"_to": elsewhere}));
    bench.pass(secs(2.0));
    assert_eq!(bench.switch.own(), Some(elsewhere));
    assert_eq!(bench.events()[0], Event::Online { own: elsewhere });
}

#[test]
fn s44_one_host_cannot_move_us_whatever_it_pretends() {
    let (mut bench, mut seed) = seeded(Level::Full);
    answer(&mut bench, &mut seed, json!(["10.0.9.9:42424"]));
    for port in 1..50 {
        let mut peer = bench.lined(ipp(&format!("10.0.6.6:{port}")));
        bench.say(&mut peer, json!({"_to": "10.0.0.1:9"}));
    }
    bench.pass(secs(2.0));
    assert_eq!(bench.switch.own(), Some(ipp(OWN)));
}

#[test]
fn s45_then_it_dials_its_own_end() {
    let (mut bench, mut seed) = seeded(Level::Full);
    let sent = answer(&mut bench, &mut seed, json!([address(1), "10.0.9.9:42424"]));
    let own = json!(end_of_switch(ipp(OWN)));
    assert!(sent.iter().any(|sent| sent.get("+end") == Some(&own)), "the seed: {sent:?}");
    assert!(bench.sent.iter().any(|sent| sent.to == address(1) && sent.get("+end") == Some(&own)));
    // And it wants to be found.
    assert!(sent.iter().any(|sent| sent.see() == Some(vec![OWN.to_owned()])));
}

#[test]
fn s45_offline_once_nobody_is_left_and_then_it_seeds_anew() {
    let (mut bench, mut seed) = seeded(Level::Full);
    answer(&mut bench, &mut seed, json!(["10.0.9.9:42424"]));
    bench.events();
    let start = bench.now;
    let sent = bench.pass(secs(120.0));
    assert_eq!(bench.events(), [Event::Offline]);
    assert_eq!(bench.switch.own(), None);
    let far = json!(end_of_switch(seed.ipp).far());
    let seeding: Vec<_> = sent.iter().filter(|(_, sent)| sent.get("+end") == Some(&far)).collect();
    assert!(seeding[0].0 - start >= secs(60.0) && seeding[0].0 - start < secs(63.0));
    assert!(seeding.len() >= 5, "again and again: {}", seeding.len());
    seed = Peer::new(seed.ipp);
    bench.sent = vec![seeding.last().unwrap().1.clone()];
    answer(&mut bench, &mut seed, json!(["10.0.9.9:42424"]));
    assert_eq!(bench.events(), [Event::Online { own: ipp(OWN) }]);
}

#[test]
fn s45_seeds_are_asked_in_turn_and_less_and_less_often() {
    let seeds: Vec<_> = (1..=5).map(address).collect();
    let mut bench = Bench::new(Config { seeds: seeds.clone(), ..Config::default() });
    let first: Vec<_> = bench.sent.iter().map(|sent| sent.to).collect();
    assert_eq!(first, seeds[..3]);
    let later = bench.pass(secs(60.0));
    assert!(later.iter().any(|(_, sent)| sent.to == seeds[4]));
    assert!((15..40).contains(&later.len()), "{}", later.len());
}

#[test]
fn s45_a_seed_of_its_own_is_online_alone() {
    let mut bench = Bench::root();
    bench.pass(secs(200.0));
    assert_eq!((bench.switch.own(), bench.events()), (Some(ipp(OWN)), vec![]));

    // Or it finds out when it hears itself.
    let own = ipp(OWN);
    let mut bench = Bench::new(Config { seeds: vec![own], ..Config::default() });
    let sent = bench.sent.pop().unwrap();
    assert_eq!(sent.to, own);
    assert_eq!(bench.hear(own, sent.telex.into()), []);
    assert_eq!(bench.events(), [Event::Online { own }]);
    bench.pass(secs(200.0));
    assert_eq!(bench.switch.own(), Some(own));
    assert_eq!(bench.hear(address(1), json!({"+end": ABC}))[0].see(), Some(vec![OWN.to_owned()]));
    assert_eq!(bench.hear(own, json!({"+end": ABC})), [], "no more talking to itself");
}

#[test]
fn s46_an_announcer_sends_no_ring_and_takes_only_see() {
    let (mut bench, seed) = seeded(Level::Announcer);
    assert!(bench.sent.iter().all(|sent| sent.get("_ring").is_none() && sent.get("_to").is_some()));
    let answer = json!({"_to": OWN, "_br": 98, ".see": [seed.ipp, address(1)], "_ring": 77});
    assert_eq!(bench.hear(seed.ipp, answer), [], "nobody is contacted on the word of another");
    assert_eq!(bench.events(), [Event::Online { own: ipp(OWN) }]);
    bench.sent.clear();
    for telex in [
        json!({"+end": ABC}),
        json!({"+end": ABC, "_ring": 7}),
        json!({".tap": [{"has": ["+foo"]}], "+foo": "bar"}),
        json!({".see": [address(3)]}),
        json!({"+end": bench.own_end(), "+pop": "th:10.0.7.7:7", "_hop": 1}),
    ] {
        assert_eq!(bench.hear(address(2), telex), []);
    }
    // It dials and announces.
    let end = end_of("here");
    let id = bench.switch.announce(bench.now, end, [("+foo".to_owned(), "bar".to_owned())].into());
    let asked = bench.sent_now();
    assert_eq!((asked.len(), asked[0].to), (1, seed.ipp));
    let next = bench.hear(seed.ipp, json!({"_to": OWN, ".see": [address(1)], "_line": 77}));
    assert_eq!((next.len(), next[0].to), (1, address(1)));
    let told = bench.hear(address(1), json!({"_to": OWN, ".see": [address(1)]}));
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|sent| sent.get("_hop") == Some(&json!(1)) && sent.get("+foo").is_some()));
    assert!(told.iter().all(|sent| sent.get("_ring").is_none() && sent.get("_line").is_none()));
    let events = bench.events();
    assert!(
        matches!(&events[..], [Event::Announced { id: announced, told }] if *announced == id && told.len() == 2)
    );
}

#[test]
fn s46_a_listener_answers_no_dial_and_keeps_no_tap() {
    let (mut bench, mut seed) = seeded(Level::Listener);
    assert!(bench.sent[0].get("_ring").is_some(), "but it opens lines");
    let sent = answer(&mut bench, &mut seed, json!(["10.0.9.9:42424"]));
    assert_eq!(bench.events(), [Event::Online { own: ipp(OWN) }]);
    assert!(sent.iter().any(|sent| sent.get(".tap").is_some()), "and taps");
    assert!(sent.iter().all(|sent| sent.get(".see").is_none()), "without wanting to be told of");
    let sent = bench.say(&mut seed, json!({"+end": ABC, ".tap": [{"has": ["+foo"]}], "+foo": "bar"}));
    assert_eq!(sent, []);
    assert_eq!(bench.switch.counters().taps_refused, 1);
}

#[test]
fn s47_what_is_no_telex_is_ignored() {
    let mut bench = Bench::root();
    let big = json!({"+end": ABC, "x": "y".repeat(65_000)}).to_string();
    let nothing: [&[u8]; 14] = [
        b"",
        b" ",
        b"{",
        b"nonsense",
        b"[]",
        br#"[{"+end":"a9993e364706816aba3e25717850c26c9cd0d89d"}]"#,
        b"7",
        b"null",
        b"\"x\"",
        b"{}",
        b"{}\n",
        b"{\"+end\":\"\xff\"}",
        b"\x00\x02{}",
        big.as_bytes(),
    ];
    for bytes in nothing {
        assert_eq!(bench.raw(address(1), bytes), []);
    }
    assert_eq!(bench.switch.counters().not_telexes, nothing.len() as u64);
    assert_eq!(bench.switch.lines().count(), 0);
}

#[test]
fn lines_are_kept_with_a_ping_each_25_seconds() {
    let mut bench = Bench::root();
    let mut peer = bench.visible(address(1));
    let mut last = bench.now;
    for round in 0..6 {
        let pings = bench.pass_until_sent(secs(29.0));
        let [ping] = &pings[..] else { panic!("{pings:?}") };
        assert!(bench.now - last >= secs(22.0));
        last = bench.now;
        assert_eq!(ping.get("+end"), Some(&json!(bench.own_end())));
        assert!(ping.get(".tap").is_some());
        // Told of ourselves with the introduction and this ping; its answer shows that it knows.
        assert_eq!(ping.see().is_some(), round == 0, "{round}");
        peer.take(ping);
        bench.say(&mut peer, json!({".see": [address(1)]}));
    }
}
