//! IPv6 is a DHT of its own.

use serde_json::json;
use teale_telehash::{end_of_switch, v1::Config};

use super::support::*;

fn v6(n: u16) -> teale_telehash::Ipp {
    ipp(&format!("[2001:db8::{n:x}]:42424"))
}

#[test]
fn a_switch_of_ipv6_speaks_with_its_own_kind_only() {
    let mut bench = Bench::new(Config { own: Some(v6(1)), ..Config::default() });
    assert_eq!(bench.hear(address(1), json!({"+end": ABC})), []);
    assert_eq!(bench.switch.counters().bad_sources, 1);
    let mut peer = bench.visible(v6(2));
    bench.sent.clear();
    bench.say(
        &mut peer,
        json!({".see": ["10.0.0.7:7", "[::ffff:10.0.0.7]:7", "[fe80::1]:7", "[ff02::1]:7", v6(3)]}),
    );
    let dialed: Vec<_> = bench.sent.iter().map(|sent| sent.to).collect();
    assert_eq!(dialed, [v6(3)]);
    assert_eq!(bench.switch.counters().see_skipped, 4);
    let see = bench.hear(v6(9), json!({"+end": end_of_switch(v6(2))}))[0].see();
    assert_eq!(see, Some(vec!["[2001:db8::2]:42424".to_owned()]));
    let pop = json!({"+end": bench.own_end(), "+pop": "th:[2001:db8::77]:7", "_hop": 1});
    assert_eq!(bench.hear(v6(9), pop)[0].to, ipp("[2001:db8::77]:7"));
}
