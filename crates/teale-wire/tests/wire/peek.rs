//! `peek` against the full parser, and against a plain serde model of what it promises.

use proptest::prelude::*;
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use teale_wire::{
    Extra, NodeId, Peek, PeekedKind, RelayMessage, SessionId, WireError, limits, peek, peek_text,
};

use crate::{ALICE, BOB, UPPER_UUID, UUID};

type Route = (NodeId, NodeId, SessionId);

/// What `peek` promises to check, in serde's words.
#[derive(Deserialize)]
struct Model {
    #[serde(rename = "fromNodeID")]
    from: NodeId,
    #[serde(rename = "toNodeID")]
    to: NodeId,
    #[serde(rename = "sessionID")]
    session: SessionId,
    #[serde(flatten)]
    _extra: Extra,
}

#[derive(Deserialize)]
struct DataModel {
    #[serde(rename = "fromNodeID")]
    from: NodeId,
    #[serde(rename = "toNodeID")]
    to: NodeId,
    #[serde(rename = "sessionID")]
    session: SessionId,
    #[serde(rename = "data")]
    _data: TextOrBytes,
    #[serde(flatten)]
    _extra: Extra,
}

struct TextOrBytes;

impl<'de> Deserialize<'de> for TextOrBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> de::Visitor<'de> for TextOrBytes {
    type Value = Self;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("text or byte values")
    }
    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<u8>()?.is_some() {}
        Ok(self)
    }
}
/// The one member of an object.
struct Member(String, Box<RawValue>);

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Member;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("one member")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Member, A::Error> {
                let (key, value) = map.next_entry()?.ok_or_else(|| de::Error::custom("none"))?;
                match map.next_key::<String>()? {
                    None => Ok(Member(key, value)),
                    Some(_) => Err(de::Error::custom("two")),
                }
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// The route by the model; `None` if the frame has none, or another type.
fn model(frame: &[u8]) -> Option<Route> {
    let Member(kind, payload) = serde_json::from_slice(frame).ok()?;
    match kind.as_str() {
        "relayData" => {
            let data: DataModel = serde_json::from_str(payload.get()).ok()?;
            Some((data.from, data.to, data.session))
        }
        "offer" | "answer" | "iceCandidate" | "relayOpen" | "relayReady" | "relayClose" => {
            let model: Model = serde_json::from_str(payload.get()).ok()?;
            Some((model.from, model.to, model.session))
        }
        _ => None,
    }
}

/// The route by the full parser.
fn full_route(message: RelayMessage) -> Option<(PeekedKind, Route)> {
    Some(match message {
        RelayMessage::Offer(m) => (PeekedKind::Offer, (m.from, m.to, m.session)),
        RelayMessage::Answer(m) => (PeekedKind::Answer, (m.from, m.to, m.session)),
        RelayMessage::IceCandidate(m) => (PeekedKind::IceCandidate, (m.from, m.to, m.session)),
        RelayMessage::RelayOpen(m) => (PeekedKind::RelayOpen, (m.from, m.to, m.session)),
        RelayMessage::RelayReady(m) => (PeekedKind::RelayReady, (m.from, m.to, m.session)),
        RelayMessage::RelayClose(m) => (PeekedKind::RelayClose, (m.from, m.to, m.session)),
        RelayMessage::RelayData(m) => (PeekedKind::RelayData, (m.from, m.to, m.session)),
        _ => return None,
    })
}

/// Whether an error of the full parser lies in what `peek` does not look at.
fn beyond_peek(error: &WireError) -> bool {
    let WireError::WrongShape { field, reason, .. } = error else { return false };
    let first = field.split(['.', '[']).next().unwrap_or_default();
    ["connectionInfo", "candidate", "signature", "data"].contains(&first)
        || (field == "."
            && ["connectionInfo", "candidate", "signature"].iter().any(|name| reason.contains(name)))
}

/// Checks every promise of `peek` on one frame; true if it was forwarded.
fn agrees(frame: &[u8]) -> bool {
    let full = RelayMessage::parse(frame);
    let peeked = peek(frame);
    if let Ok(text) = std::str::from_utf8(frame) {
        assert_eq!(peek_text(text), peeked);
    }
    match peeked {
        Ok(Peek::Forward { kind, from, to, session }) => {
            let route = (from, to, session);
            assert_eq!(model(frame).as_ref(), Some(&route));
            match full {
                Ok(message) => assert_eq!(full_route(message), Some((kind, route))),
                Err(error) => assert!(beyond_peek(&error), "{error:?}"),
            }
            true
        }
        Ok(Peek::Other) => {
            assert_eq!(full.ok().and_then(full_route), None);
            assert_eq!(model(frame), None);
            false
        }
        Err(error) => {
            assert_eq!(full, Err(error));
            assert_eq!(model(frame), None);
            false
        }
    }
}

fn frame(kind: &str, more: &str) -> String {
    format!(r#"{{"{kind}":{{"fromNodeID":"{ALICE}","toNodeID":"{BOB}","sessionID":"{UPPER_UUID}"{more}}}}}"#)
}

#[test]
fn every_forwarded_type_shows_its_route() {
    for (kind, more) in [
        (
            "offer",
            r#","connectionInfo":{"publicIP":"1.2.3.4","publicPort":5,"natType":"unknown"},"signature":"""#,
        ),
        (
            "answer",
            r#","connectionInfo":{"publicIP":"1.2.3.4","publicPort":5,"natType":"unknown"},"signature":"""#,
        ),
        ("iceCandidate", r#","candidate":{"ip":"::1","port":5,"type":"host","priority":6}"#),
        ("relayOpen", ""),
        ("relayReady", ""),
        ("relayClose", ""),
        ("relayData", r#","data":"AAEC""#),
        ("relayData", r#","data":[0, 1,255]"#),
    ] {
        let frame = frame(kind, more);
        assert!(RelayMessage::parse(frame.as_bytes()).is_ok(), "{frame}");
        assert!(agrees(frame.as_bytes()), "{frame}");
    }
}

#[test]
fn both_spellings_of_a_uuid_are_one_session() {
    let upper = peek(frame("relayOpen", "").as_bytes()).unwrap();
    let lower = peek(frame("relayOpen", "").replace(UPPER_UUID, UUID).as_bytes()).unwrap();
    assert_eq!(upper, lower);
}

#[test]
fn keys_spelled_with_escapes_are_the_same_keys() {
    let spelled = frame("relay\\u0044ata", r#","d\u0061ta":"AA==""#).replace("toNodeID", "\\u0074oNodeID");
    assert!(agrees(spelled.as_bytes()));
    let twice = frame("relayData", r#","data":"","d\u0061ta":"AA==""#);
    assert!(!agrees(twice.as_bytes()));
}

#[test]
fn base64_with_escaped_slashes_passes_as_apple_writes_it() {
    let data = "ab\\/d".repeat(10_000);
    assert!(agrees(frame("relayData", &format!(r#","data":"{data}""#)).as_bytes()));
}

#[test]
fn base64_is_not_looked_at_but_byte_values_are() {
    assert!(agrees(frame("relayData", r#","data":"not base64 at all""#).as_bytes()));
    for data in ["[256]", "[1.0]", "[-0]", "[01]", "[1,]", "[,1]", "[null]", "[1e1]", "[1", "null", "7", "{}"]
    {
        assert!(!agrees(frame("relayData", &format!(r#","data":{data}"#)).as_bytes()), "{data}");
    }
    for data in ["[]", "[ ]", "[0]", "[ 9 , 10,99,100,199,200,249,250,255 ]"] {
        assert!(agrees(frame("relayData", &format!(r#","data":{data}"#)).as_bytes()), "{data}");
    }
}

#[test]
fn unknown_fields_may_hold_any_json_and_nothing_else() {
    for value in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-1.5e-7",
        "1E+5",
        "1e308",
        "1e-999",
        r#""\"\\\/\b\f\n\r\té😀""#,
        r#""\ud83d\ude00""#,
        "[]",
        "{}",
        "[ [ ] , { } ]",
        r#"{"a":{"b":[1,2,{"c":null}]},"a":0}"#,
    ] {
        assert!(agrees(frame("relayOpen", &format!(r#","x": {value} "#)).as_bytes()), "{value}");
    }
    for value in [
        "",
        "nul",
        "nullx",
        "tru",
        "01",
        "1.",
        ".5",
        "-",
        "+1",
        "1e",
        "1e+",
        "1e999",
        "-1e999",
        "NaN",
        "'a'",
        "\"a",
        "\"\t\"",
        r#""\x""#,
        r#""\ud800""#,
        r#""\ud800\u0041""#,
        r#""\udc00""#,
        r#""\u12""#,
        "[",
        "]",
        "[1 2]",
        "[1,]",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "[}",
        "{]",
        "{\"a\":1,}",
        "\u{feff}1",
    ] {
        assert!(!agrees(frame("relayOpen", &format!(r#","x":{value}"#)).as_bytes()), "{value}");
    }
}

#[test]
fn nesting_ends_at_the_limit() {
    // The payload is the first level.
    let nested = |deep: usize| format!(r#","x":{}{}"#, "[".repeat(deep), "]".repeat(deep));
    assert!(agrees(frame("relayOpen", &nested(limits::JSON_DEPTH - 1)).as_bytes()));
    assert!(!agrees(frame("relayOpen", &nested(limits::JSON_DEPTH)).as_bytes()));
    assert!(!agrees(frame("relayOpen", &nested(100_000)).as_bytes()));
    let objects = |deep: usize| format!(r#","x":{}0{}"#, r#"{"a":"#.repeat(deep), "}".repeat(deep));
    assert!(agrees(frame("relayOpen", &objects(limits::JSON_DEPTH - 1)).as_bytes()));
    assert!(!agrees(frame("relayOpen", &objects(limits::JSON_DEPTH)).as_bytes()));
}

#[test]
fn routing_fields_come_once_and_whole() {
    let good = frame("relayOpen", "");
    for bad in [
        frame("relayOpen", &format!(r#","toNodeID":"{BOB}""#)),
        frame("relayOpen", r#","sessionID":"x""#),
        good.replace("toNodeID", "toNode"),
        good.replace(BOB, &BOB.to_uppercase()),
        good.replace(BOB, &BOB[1..]),
        good.replace(UPPER_UUID, ""),
        good.replace(UPPER_UUID, &"x".repeat(limits::TEXT_ID + 1)),
        good.replace(&format!("\"{UPPER_UUID}\""), "7"),
        format!("{good}x"),
        format!("{good}{good}"),
        good[..good.len() - 1].to_owned(),
        good.replace("}}", "},\"b\":1}"),
        good.replace("}}", ",}}"),
        r#"{"relayOpen":{}}"#.into(),
        r#"{"relayOpen":[]}"#.into(),
        r#"{"relayOpen":null}"#.into(),
        "{}".into(),
        "[]".into(),
        "".into(),
    ] {
        assert!(!agrees(bad.as_bytes()), "{bad}");
    }
    for fine in [
        good.replace(UPPER_UUID, "any text"),
        good.replace(UPPER_UUID, &"x".repeat(limits::TEXT_ID)),
        good.replace(',', " ,\r\n\t").replace(':', " : "),
        format!(" {good}\n"),
    ] {
        assert!(agrees(fine.as_bytes()), "{fine}");
    }
}

#[test]
fn frames_that_are_not_utf8_are_refused() {
    let mut bytes = frame("relayData", r#","data":"????""#).into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
    bytes[at] = 0xff;
    assert_eq!(peek(&bytes), Err(WireError::NotJson { line: 0, column: 0 }));
    agrees(&bytes);
}

#[test]
fn other_types_are_left_to_the_parser() {
    assert_eq!(peek(br#"{"register": what follows is not looked at"#), Ok(Peek::Other));
    assert_eq!(peek(br#"{"somethingNew":{}}"#), Ok(Peek::Other));
}

#[test]
fn a_frame_beyond_the_limit_is_refused() {
    let big = frame("relayData", &format!(r#","data":"{}""#, "A".repeat(limits::RELAY_FRAME)));
    assert!(matches!(peek(big.as_bytes()), Err(WireError::TooBig { .. })));
    assert_eq!(peek(big.as_bytes()).err(), RelayMessage::parse(big.as_bytes()).err());
    assert_eq!(peek_text(&big).err(), RelayMessage::parse(big.as_bytes()).err());
}

/// Fragments that build JSON values, good and bad.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        8 => prop::sample::select(vec![
            "null", "true", "false", "0", "-0", "12", "1.5", "2e3", "\"\"", "\"a\"", "\"\\u00e9\"", "\"\\ud83d\\ude00\"",
            "\"AAEC\"", "[1,2,255]", "\"/\\/\"", "\"ż\"",
        ]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![
            "1e999", "01", "tru", "\"\\ud800\"", "\"\\x\"", "\"a", "[256]", "{\"a\"}", "", "\"\u{1}\"", "]",
        ]).prop_map(str::to_owned),
        2 => any::<f64>().prop_map(|number| serde_json::to_string(&number).unwrap()),
        2 => ".{0,80}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::vec(inner, 0..4).prop_map(|items| {
                let members: Vec<_> =
                    items.iter().enumerate().map(|(i, v)| format!("\"k{i}\" :{v}")).collect();
                format!("{{{}}}", members.join(", "))
            }),
        ]
    })
}

fn member() -> impl Strategy<Value = String> {
    let other = prop::sample::select(vec![
        "data",
        "signature",
        "connectionInfo",
        "candidate",
        "x",
        "d\\u0061ta",
        "\\ud800",
    ]);
    prop_oneof![
        6 => (other, value()).prop_map(|(key, value)| format!("\"{key}\":{value}")),
        1 => (prop::sample::select(vec!["fromNodeID", "toNodeID", "sessionID"]), value())
            .prop_map(|(key, value)| format!("\"{key}\":{value}")),
    ]
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop::sample::select(vec![
        "offer",
        "answer",
        "iceCandidate",
        "relayOpen",
        "relayReady",
        "relayData",
        "relayClose",
        "relay\\u0044ata",
        "register",
        "new",
    ]);
    let fixed = prop::sample::subsequence(
        vec![
            format!("\"fromNodeID\":\"{ALICE}\""),
            format!("\"toNodeID\" : \"{BOB}\""),
            format!("\"sessionID\":\"{UPPER_UUID}\""),
            "\"data\":\"AAEC\"".to_owned(),
            "\"signature\":\"00\"".to_owned(),
        ],
        3..=5,
    );
    let members = (fixed, prop::collection::vec(member(), 0..3)).prop_map(|(mut fixed, more)| {
        fixed.extend(more);
        fixed
    });
    let flip = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
    (kind, members.prop_shuffle(), flip).prop_map(|(kind, members, flip)| {
        let mut frame = format!("{{\"{kind}\":{{{}}}}}", members.join(",")).into_bytes();
        if let Some((at, byte)) = flip {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn peek_agrees_with_the_parser(frame in frames()) {
        agrees(&frame);
    }

    #[test]
    fn peek_agrees_with_the_parser_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        agrees(&bytes);
    }
}
