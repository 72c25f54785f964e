//! Telexes: the exchanges captured in 2011's manner, bent ones, sizes, and round trips of anything.

use proptest::prelude::*;
use serde_json::{Value, json};
use teale_wire::{
    Fault, WireError, limits,
    telehash::{End, Ipp, Signals, TapRule, Telex},
};

/// Exchanges between the switches of that time, as their sheet of captures has them (§7), dots filled in.
const CAPTURES: &[&str] = &[
    r#"{"+end":"a9993e364706816aba3e25717850c26c9cd0d89d"}"#,
    r#"{"_to":"127.0.0.1:59537","_br":51,".see":["127.0.0.1:43424"],"_ring":30808}"#,
    r#"{"+end":"a9993e364706816aba3e25717850c26c9cd0d89d","_ring":5240,"_to":"127.0.0.1:43424","_br":151}"#,
    r#"{"_to":"127.0.0.1:59537","_line":161433920,".see":["127.0.0.1:43424"],"_br":200}"#,
    r#"{"+end":"e0a28fe8c2270a3fb2dd015f1f12ee61ad3ff8ea",".see":["127.0.0.1:59537"],"_line":161433920,"_to":"127.0.0.1:43424","_br":231}"#,
    r#"{"_br":330,".see":["127.0.0.1:43424","127.0.0.1:59537"],"_to":"127.0.0.1:59537","_line":161433920}"#,
    r#"{".tap":[{"is":{"+end":"a9993e364706816aba3e25717850c26c9cd0d89d"},"has":["+foo"]}],"_line":161433920,"_to":"127.0.0.1:43424","_br":329}"#,
    r#"{"+end":"a9993e364706816aba3e25717850c26c9cd0d89d","+foo":"bar1","_hop":1,"_to":"127.0.0.1:43424"}"#,
    r#"{"+end":"a9993e364706816aba3e25717850c26c9cd0d89d","_hop":2,"+foo":"bar1","_br":578,"_to":"127.0.0.1:59537","_line":161433920}"#,
    r#"{"+end":"84329c1e132590ac672e3e9b5e2a8a93142dc3f0","+pop":"th:127.0.0.1:42042","_hop":1,"_to":"127.0.0.1:43424"}"#,
    r#"{"_to":"127.0.0.1:42042","_ring":26284,"_br":0}"#,
    r#"{"+end":"c2347b25c082ab7088d99d06076d531352341d79","_line":43188080,"_br":309,"+pop":"th:127.0.0.1:43620","_hop":1,"_to":"127.0.0.1:36900"}"#,
    "{\".see\":[\"127.0.0.1:43700\"],\"_to\":\"127.0.0.1:39728\",\"_line\":160506440,\"_br\":88}\n",
    r#"{"_br":578,"+end":"84329c1e132590ac672e3e9b5e2a8a93142dc3f0",".tap":[{"is":{"+end":"84329c1e132590ac672e3e9b5e2a8a93142dc3f0"},"has":["+pop"]}],"_line":161433920,"_to":"127.0.0.1:59537"}"#,
];

fn parse(text: &str) -> Telex {
    Telex::parse(text.as_bytes()).unwrap()
}

fn bad_header(text: &str) -> String {
    match Telex::parse(text.as_bytes()) {
        Err(WireError::WrongShape { kind: "telex", field, .. }) => field,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn captures_say_the_same_after_a_round_trip() {
    for capture in CAPTURES {
        let again = parse(capture).encode().unwrap();
        let [before, after]: [Value; 2] =
            [capture.as_bytes(), &again].map(|bytes| serde_json::from_slice(bytes).unwrap());
        assert_eq!(before, after);
        assert_eq!(again.len(), capture.trim_end().len(), "as short as it came");
    }
}

#[test]
fn a_capture_in_parts() {
    let telex = parse(CAPTURES[6]);
    assert_eq!(telex.to, Some(Ipp::parse("127.0.0.1:43424").unwrap()));
    assert_eq!((telex.received, telex.line, telex.ring, telex.hop), (Some(329), Some(161_433_920), None, 0));
    let rule = TapRule::new([("+end", "a9993e364706816aba3e25717850c26c9cd0d89d")], ["+foo"]).unwrap();
    assert_eq!(telex.tap, Some(vec![rule]));
    assert!(telex.signals.is_empty() && !telex.is_dial());

    let telex = parse(CAPTURES[9]);
    assert_eq!(telex.pop(), Some(Ipp::parse("127.0.0.1:42042").unwrap()));
    assert_eq!(telex.end(), Some(End::parse("84329c1e132590ac672e3e9b5e2a8a93142dc3f0").unwrap()));
    assert!(telex.hop == 1 && !telex.is_dial());
    assert!(parse(CAPTURES[0]).is_dial());
}

#[test]
fn what_is_not_known_is_kept_by_its_first_character() {
    let text = r#"{"_x":[1],".y":{"z":null},"+s":"t","plain":1.5,"":[true],"metadata":{"a":[{}]}}"#;
    let telex = parse(text);
    assert_eq!(telex.headers.get("_x"), Some(&json!([1])));
    assert_eq!(telex.commands.get(".y"), Some(&json!({"z": null})));
    assert_eq!(telex.signals.get("+s").map(String::as_str), Some("t"));
    assert_eq!(telex.data.len(), 3);
    assert_eq!(parse(std::str::from_utf8(&telex.encode().unwrap()).unwrap()), telex);
}

#[test]
fn rings_lines_and_hops_are_numbers_in_range() {
    assert_eq!(parse(r#"{"_ring":1}"#).ring, Some(1));
    assert_eq!(parse(r#"{"_ring":32768}"#).ring, Some(32_768));
    assert_eq!(parse(r#"{"_ring":"5240"}"#).ring, Some(5240), "deployed switches take digits as text");
    assert_eq!(parse(r#"{"_line":1073741824}"#).line, Some(1 << 30));
    assert_eq!(parse(r#"{"_line":"161433920"}"#).line, Some(161_433_920));
    assert_eq!(parse(r#"{"_hop":"3"}"#).hop, 3);
    assert_eq!(parse(r#"{"_hop":1000000}"#).hop, 255);
    for bad in
        ["0", "32769", "-1", "1.5", "null", "true", "[]", "{}", r#""""#, r#""+5""#, r#""5 ""#, r#""0x5""#]
    {
        assert_eq!(bad_header(&format!(r#"{{"_ring":{bad}}}"#)), "_ring", "{bad}");
    }
    for bad in ["0", "-7", "1073741825", "7.25", "1e30", r#""0""#] {
        assert_eq!(bad_header(&format!(r#"{{"+a":"b","_line":{bad}}}"#)), "_line", "{bad}");
    }
    for bad in ["-1", "0.5", "[1]", r#""one""#, "null"] {
        assert_eq!(bad_header(&format!(r#"{{"_hop":{bad}}}"#)), "_hop", "{bad}");
    }
}

#[test]
fn courtesies_that_are_none_are_as_if_absent() {
    for bad in [r#""nonsense""#, r#""telehash.org:42424""#, "5", "null", "[]", "{}", "true", r#""1.2.3.4:0""#]
    {
        assert_eq!(parse(&format!(r#"{{"_to":{bad}}}"#)).to, None, "{bad}");
    }
    for bad in ["-10000", "1.5", "null", "[]", r#""5""#, "1e300"] {
        assert_eq!(parse(&format!(r#"{{"_br":{bad}}}"#)).received, None, "{bad}");
    }
    assert_eq!(parse(r#"{"_br":1e9}"#).received, Some(1_000_000_000));
}

#[test]
fn bad_elements_of_see_are_skipped() {
    let text = r#"{".see":["nonsense",5,null,["1.2.3.4:5"],{"a":1},"1.2.3.4:5","1.2.3.4:70000","01.2.3.4:5","a.example:7","5.6.7.8:9"]}"#;
    let good = ["1.2.3.4:5", "5.6.7.8:9"].map(|text| Ipp::parse(text).unwrap());
    assert_eq!(parse(text).see, Some(good.to_vec()));
    for none in ["5", "null", r#""1.2.3.4:5""#, r#"{"a":"1.2.3.4:5"}"#] {
        assert_eq!(parse(&format!(r#"{{".see":{none}}}"#)).see, None, "{none}");
    }
}

#[test]
fn rules_that_never_match_are_left_out() {
    let never = [
        "{}",
        "5",
        "null",
        "[]",
        r#"{"is":{},"has":[]}"#,
        r#"{"is":5}"#,
        r#"{"is":{"+a":5}}"#,
        r#"{"is":{"+a":"b","plain":"c"}}"#,
        r#"{"has":"+a"}"#,
        r#"{"has":["+a",7]}"#,
        r#"{"has":["_hop"]}"#,
        r#"{"is":{"+a":"b"},"has":{"+c":1}}"#,
    ];
    let text = format!(r#"{{".tap":[{},{{"has":["+a"],"note":1}}]}}"#, never.join(","));
    let none: [(&str, &str); 0] = [];
    assert_eq!(parse(&text).tap, Some(vec![TapRule::new(none, ["+a"]).unwrap()]));
    assert_eq!(parse(r#"{".tap":[]}"#).tap, Some(Vec::new()), "an empty one ends the tap");
    for none in ["5", "null", r#""x""#, r#"{"has":["+a"]}"#] {
        assert_eq!(parse(&format!(r#"{{".tap":{none}}}"#)).tap, None, "{none}");
    }
    let many = vec![r#"{"has":["+a"]}"#; limits::TAP_RULES + 5].join(",");
    assert_eq!(parse(&format!(r#"{{".tap":[{many}]}}"#)).tap.map(|tap| tap.len()), Some(limits::TAP_RULES));
}

#[test]
fn signals_are_text() {
    let telex = parse(r#"{"+a":5,"+b":null,"+c":["x"],"+d":"d","+end":7,"+e":"x","+e":1}"#);
    assert_eq!(telex.signals.into_iter().collect::<Vec<_>>(), [("+d".to_owned(), "d".to_owned())]);
}

#[test]
fn what_is_no_object_is_an_error() {
    for text in ["[]", "[{}]", "5", "\"x\"", "null", "true"] {
        assert_eq!(bad_header(text), ".", "{text}");
    }
    for bytes in
        [&b""[..], b"{", b"nonsense", b"{}{}", b"{} x", b"{\"a\":\"\xff\"}", b"\x00\x02{}", b"{\"a\":1e999}"]
    {
        assert!(matches!(Telex::parse(bytes), Err(WireError::NotJson { .. })), "{bytes:?}");
    }
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(700), "]".repeat(700));
    assert!(matches!(Telex::parse(deep.as_bytes()), Err(WireError::NotJson { .. })));
    assert!(parse(" {} \r\n").is_empty());
}

#[test]
fn sizes_are_checked_first() {
    let text = |len: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(len - 8));
    assert!(Telex::parse(text(limits::TELEX).as_bytes()).is_ok());
    for len in [limits::TELEX + 1, 65_507] {
        let Err(WireError::TooBig { fault: Fault::Peer, .. }) = Telex::parse(text(len).as_bytes()) else {
            panic!("{len} bytes were read");
        };
    }
    assert_eq!(parse(&text(limits::TELEX_SENT)).encode().unwrap().len(), limits::TELEX_SENT);
    let error = parse(&text(limits::TELEX_SENT + 1)).encode().unwrap_err();
    assert_eq!(error.fault(), Fault::Caller);
}

#[test]
fn see_is_cut_to_fit() {
    let see: Vec<Ipp> =
        (0..200u8).map(|n| Ipp::new(([10, 0, 0, n], 40_000 + u16::from(n)).into()).unwrap()).collect();
    for len in 0..limits::TELEX_SENT {
        let data = [("a".to_owned(), json!("x".repeat(len)))].into_iter().collect();
        let telex = Telex { see: Some(see.clone()), data, ..Telex::default() };
        let Ok(bytes) = telex.encode() else {
            assert!(len > limits::TELEX_SENT - 9, "{len}");
            continue;
        };
        assert!(bytes.len() <= limits::TELEX_SENT);
        let kept = Telex::parse(&bytes).unwrap().see.unwrap_or_default();
        assert_eq!(kept, see[..kept.len()], "the first ones");
        assert!(kept.len() == see.len() || bytes.len() > limits::TELEX_SENT - 40, "no more than needed");
    }
}

#[test]
fn what_would_be_read_otherwise_is_not_written() {
    let mut telex = Telex { ring: Some(0), ..Telex::default() };
    assert!(matches!(telex.encode(), Err(WireError::NotWritable { .. })));
    telex = Telex { line: Some(0), ..Telex::default() };
    assert!(telex.encode().is_err());
    for key in ["+a", "_a", ".a"] {
        telex = Telex::default();
        telex.data.insert(key.into(), json!("x"));
        assert_eq!(telex.encode().unwrap_err().fault(), Fault::Caller, "{key}");
    }
    telex = Telex::default();
    telex.headers.insert("_to".into(), json!("x"));
    assert!(telex.encode().is_err());
    telex = Telex { signals: Signals::from([("end".into(), "x".into())]), ..Telex::default() };
    assert!(telex.encode().is_err());
}

fn any_ipp() -> impl Strategy<Value = Ipp> {
    prop_oneof![
        (any::<[u8; 4]>(), 1u16..).prop_map(|(ip, port)| Ipp::new((ip, port).into()).unwrap()),
        (any::<[u16; 8]>(), 1u16..).prop_map(|(ip, port)| Ipp::new((ip, port).into()).unwrap()),
    ]
}

fn any_rule() -> impl Strategy<Value = TapRule> {
    let key = "\\+[a-z]{0,5}";
    (prop::collection::btree_map(key, ".{0,8}", 0..4), prop::collection::btree_set(key, 0..4))
        .prop_filter_map("no condition", |(is, has)| TapRule::new(is, has).ok())
}

prop_compose! {
    fn any_telex()(
        to in prop::option::of(any_ipp()),
        received in prop::option::of(any::<u64>()),
        ring in prop::option::of(1u16..=32_768),
        line in prop::option::of(1u32..=1 << 30),
        hop in any::<u8>(),
        see in prop::option::of(prop::collection::vec(any_ipp(), 0..6)),
        tap in prop::option::of(prop::collection::vec(any_rule(), 0..3)),
        signals in prop::collection::btree_map("\\+\\PC{0,5}", ".{0,12}", 0..5),
        header in prop::option::of("_[x-z\"\\\\]{1,3}"),
        command in prop::option::of("\\.[x-z]{1,3}"),
        data in prop::collection::vec(("[^+._]\\PC{0,4}", any::<i32>()), 0..3),
    ) -> Telex {
        let extra = |key: Option<String>| key.into_iter().map(|key| (key, json!({"a": [1, null]}))).collect();
        let data = data.into_iter().map(|(key, value)| (key, json!(value))).collect();
        let (headers, commands) = (extra(header), extra(command));
        Telex { to, received, ring, line, hop, see, tap, signals, headers, commands, data }
    }
}

proptest! {
    #[test]
    fn written_and_read_it_is_the_same(telex in any_telex()) {
        if let Ok(bytes) = telex.encode() {
            prop_assert!(bytes.len() <= limits::TELEX_SENT);
            prop_assert_eq!(Telex::parse(&bytes).unwrap(), telex);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = Telex::parse(&bytes);
    }

    #[test]
    fn bent_captures_are_read_or_refused(n in 0..CAPTURES.len(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = CAPTURES[n].as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(telex) = Telex::parse(&bytes) {
            let again = telex.encode().unwrap();
            prop_assert_eq!(Telex::parse(&again).unwrap(), telex);
        }
    }
}
