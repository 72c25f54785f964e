//! Statements 41 to 43: `+pop`.

use serde_json::json;
use teale_telehash::end_of;

use super::support::*;

fn asking(bench: &Bench, target: &str) -> serde_json::Value {
    json!({"+end": bench.own_end(), "+pop": target, "_hop": 1})
}

/// The exchange of the sheet's §7: the target gets one small telex.
#[test]
fn s41_a_pop_at_our_end_is_answered_with_one_small_telex() {
    let mut bench = Bench::root();
    let telex = asking(&bench, "th:10.0.7.7:42042");
    let sent = bench.hear(address(1), telex);
    let [small] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(small.to, ipp("10.0.7.7:42042"));
    let keys: Vec<&str> = small.telex.keys().map(String::as_str).collect();
    assert_eq!(keys, ["_to", "_br", "_ring"]);
    assert_eq!(small.get("_br"), Some(&json!(0)));
    assert!(small.bytes < 60);
}

#[test]
fn s41_pops_are_rare() {
    let mut bench = Bench::root();
    let mut sent = 0;
    for n in 0..9 {
        bench.pass(secs(1.0));
        let telex =
            json!({"+end": bench.own_end(), "+pop": "th:10.0.7.7:42042", "_hop": 1, "+n": n.to_string()});
        sent += bench.hear(address(n), telex).len();
    }
    assert_eq!(sent, 1, "one per target");
    let mut bench = Bench::root();
    let mut peer = bench.lined(address(2000));
    let target = |n: u16| format!("th:10.1.{}.{}:7", n / 250, n % 250 + 1);
    let sent: usize = (0..1000)
        .map(|n| {
            let telex = asking(&bench, &target(n));
            bench.hear(address(n), telex).len()
        })
        .sum();
    assert_eq!(sent, 20, "and not many within a second");
    assert_eq!(bench.switch.counters().pops_refused, 980);
    // Who has a line is not kept out by those who have none.
    let telex = asking(&bench, &target(1000));
    bench.say(&mut peer, telex);
    assert_eq!(bench.sent.pop().unwrap().to, ipp(&target(1000)[3..]));
    assert_eq!(bench.switch.counters().pops_answered, 21);
}

#[test]
fn s42_a_pop_at_another_end_is_only_tapped() {
    let mut bench = Bench::root();
    let mut tapper = bench.lined(address(1));
    let end = end_of("tapper");
    bench.say(&mut tapper, json!({".tap": [{"is": {"+end": end}, "has": ["+pop"]}]}));
    let sent = bench.hear(address(2), json!({"+end": end, "+pop": "th:10.0.7.7:42042", "_hop": 1}));
    assert_eq!(sent.iter().map(|sent| sent.to).collect::<Vec<_>>(), [tapper.ipp]);
}

#[test]
fn s43_what_is_no_pop_is_ignored() {
    let mut bench = Bench::root();
    let bad = [
        "",
        "th:",
        "10.0.7.7:42042",
        "http://10.0.7.7:42042",
        "TH:10.0.7.7:42042",
        "th:10.0.7.7",
        "th:10.0.7.7:0",
        "th:10.0.7.7:70000",
        "th:telehash.org:42424",
        "th://10.0.7.7:42042",
        "th:224.0.0.1:7",
        "th:255.255.255.255:7",
        "th:0.0.0.0:7",
        "th:127.0.0.1:7",
        "th:[2001:db8::1]:7",
        "th:10.0.0.1:42424",
    ];
    for target in bad {
        let telex = asking(&bench, target);
        assert_eq!(bench.hear(address(1), telex), [], "{target}");
    }
    let telex = json!({"+end": bench.own_end(), "+pop": ["th:10.0.7.7:7"], "_hop": 1});
    assert_eq!(bench.hear(address(1), telex), []);
}
