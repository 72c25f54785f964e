//! What holds whatever comes.

use proptest::prelude::*;
use serde_json::{Value, json};
use teale_telehash::{Ipp, end_of_switch};

use super::support::*;

#[derive(Debug, Clone)]
enum Step {
    Hear(u16, Value),
    Say(u16, Value),
    Pass(u64),
    Dial(u8),
    Tap(u8),
    Announce(u8),
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(|n| json!(n)),
        (0u64..40_000).prop_map(|n| json!(n)),
        any::<bool>().prop_map(|b| json!(b)),
        "\\PC{0,8}".prop_map(|text| json!(text)),
        Just(Value::Null),
        (0u16..30).prop_map(|n| json!([address(n), OWN, "nonsense"])),
        Just(json!([{"has": ["+x"]}, {"is": {"+end": ABC}}, {}])),
        Just(json!(ABC)),
        (0u16..30).prop_map(|n| json!(format!("th:{}", address(n)))),
    ]
}

fn any_body() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "_to", "_br", "_ring", "_line", "_hop", ".see", ".tap", "+end", "+pop", "+x", "_y", ".z", "data",
    ]);
    prop::collection::btree_map(key, any_value(), 0..5).prop_map(|map| {
        map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u16..30, any_body()).prop_map(|(n, body)| Step::Hear(n, body)),
        6 => (0u16..30, any_body()).prop_map(|(n, body)| Step::Say(n, body)),
        2 => (0u64..30_000).prop_map(Step::Pass),
        1 => any::<u8>().prop_map(Step::Dial),
        1 => any::<u8>().prop_map(Step::Tap),
        1 => any::<u8>().prop_map(Step::Announce),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Every telex sent has the headers it must have; one peer has one ring or line; nobody visible is unhealthy; no
    /// switch is sent to that could be harmed.
    #[test]
    fn whatever_comes_the_rules_hold(steps in prop::collection::vec(any_step(), 0..80)) {
        let mut bench = Bench::root();
        let mut peers: Vec<Peer> = (0..30).map(|n| Peer::new(address(n))).collect();
        for step in steps {
            match step {
                Step::Hear(n, body) => {
                    let sent = bench.hear(address(n), body);
                    bench.sent.extend(sent);
                }
                Step::Say(n, body) => {
                    let telex = peers[usize::from(n)].telex(body);
                    let sent = bench.raw(address(n), telex.as_bytes());
                    bench.sent.extend(sent);
                }
                Step::Pass(ms) => {
                    let sent = bench.pass(std::time::Duration::from_millis(ms));
                    bench.sent.extend(sent.into_iter().map(|(_, sent)| sent));
                }
                Step::Dial(n) => { bench.switch.dial(bench.now, end_of_switch(address(n.into()))); bench.drain(); }
                Step::Tap(n) => { bench.switch.tap(bench.now, end_of_switch(address(n.into())), vec![]); bench.drain(); }
                Step::Announce(n) => {
                    bench.switch.announce(bench.now, end_of_switch(address(n.into())), [("+x".into(), "y".into())].into());
                    bench.drain();
                }
            }
            for sent in std::mem::take(&mut bench.sent) {
                check(&sent, &mut peers)?;
            }
        }
        prop_assert_eq!(bench.switch.own(), Some(ipp(OWN)));
    }
}

fn check(sent: &Sent, peers: &mut [Peer]) -> Result<(), TestCaseError> {
    prop_assert_ne!(sent.to, ipp(OWN));
    prop_assert_eq!(sent.get("_to"), Some(&json!(sent.to)));
    prop_assert!(sent.get("_br").is_some());
    prop_assert!(sent.get("_ring").is_some() != sent.get("_line").is_some(), "one of the two");
    if let Some(see) = sent.see() {
        prop_assert!((1..=5).contains(&see.len()));
    }
    if let Some(peer) = peers.iter_mut().find(|peer: &&mut Peer| peer.ipp == sent.to) {
        peer.received += sent.bytes as u64;
        if let Some(ring) = sent.get("_ring").and_then(Value::as_u64) {
            peer.line = Some(ring * peer.ring);
        }
        if let Some(line) = sent.get("_line").and_then(Value::as_u64) {
            peer.line = Some(line);
        }
    }
    Ok::<(), TestCaseError>(())
}

proptest! {
    /// The line is the product, whoever speaks first and whatever the rings.
    #[test]
    fn handshakes_agree(ring in 1u64..=32_768, first in any::<bool>(), port in 1u16..) {
        let mut bench = Bench::root();
        let mut peer = Peer { ring, ..Peer::new(Ipp::new(([10, 0, 5, 5], port).into()).unwrap()) };
        let ours = if first {
            None
        } else {
            let answer = bench.hear(peer.ipp, json!({"+end": ABC}));
            answer[0].get("_ring").and_then(Value::as_u64)
        };
        let answer = bench.say(&mut peer, json!({"+end": ABC}));
        let line = answer[0].get("_line").and_then(Value::as_u64).unwrap();
        prop_assert_eq!(line % ring, 0);
        prop_assert!(ours.is_none_or(|ours| ours * ring == line));
        prop_assert!((1..=32_768).contains(&(line / ring)));
        bench.say(&mut peer, json!({}));
        prop_assert_eq!(bench.switch.lines().count(), 1);
    }
}
