//! Packets of TeleHash v2: the sheet's vectors (§4.1), its statements on framing, and what strangers may write.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{json, value::RawValue};
use teale_wire::{
    Fault, WireError, limits,
    telehash::{End, HeaderValue, Ipp, Packet, Receipt, Req, Res, Sid},
};

const ALPHA_BETA: &str = "0c645492c58ad3fe8338329bbd9ad42a0ae78456";

fn framed(json: &str, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(json.len()).unwrap().to_be_bytes();
    [&length, json.as_bytes(), body].concat()
}

fn parse(json: &str) -> Packet {
    Packet::parse(&framed(json, b"")).unwrap()
}

fn field(error: &WireError) -> &str {
    match error {
        WireError::WrongShape { kind: "packet", field, .. } => field,
        other => panic!("another error: {other:?}"),
    }
}

#[test]
fn the_vectors_are_written_as_they_were_seen() {
    let start = Packet { start: Some("abc".into()), ..Packet::default() };
    assert_eq!(hex::encode(start.encode().unwrap()), "000f7b227374617274223a22616263227d");

    let (alice, bob) = (Ipp::parse("127.0.0.1:5000").unwrap(), Ipp::parse("127.0.0.1:5001").unwrap());
    let start = Packet {
        start: Some("alpha".into()),
        to: Some(bob),
        from: Some(alice),
        tid: Some("1".into()),
        ..Packet::default()
    };
    let json = r#"{"start":"alpha","to":"127.0.0.1:5001","from":"127.0.0.1:5000","tid":"1"}"#;
    assert_eq!(start.encode().unwrap(), framed(json, b""));
    assert_eq!(&start.encode().unwrap()[..2], [0, 0x49]);

    let reply = Packet {
        start: Some("beta".into()),
        sid: Sid::parse(ALPHA_BETA),
        seq: Some(0),
        to: Some(alice),
        from: Some(bob),
        tid: Some("1".into()),
        ..Packet::default()
    };
    let json = format!(
        r#"{{"start":"beta","sid":"{ALPHA_BETA}","seq":0,"to":"127.0.0.1:5000","from":"127.0.0.1:5001","tid":"1"}}"#
    );
    let bytes = reply.encode().unwrap();
    assert_eq!(bytes, framed(&json, b""));
    assert_eq!((bytes.len(), &bytes[..2]), (131, &[0, 0x81][..]));
}

#[test]
fn s01_the_length_is_big_endian_and_counts_the_json_only() {
    let packet = Packet::parse(&framed(r#"{"start":"abc"}"#, b"body")).unwrap();
    assert_eq!(packet.start.as_deref(), Some("abc"));
    assert_eq!(packet.body, "body");
    let mut little_endian = framed(r#"{"start":"abc"}"#, b"");
    little_endian.swap(0, 1);
    assert_eq!(field(&Packet::parse(&little_endian).unwrap_err()), "length");
}

#[test]
fn s02_a_length_beyond_the_datagram_is_refused() {
    let mut bytes = framed("{}", b"");
    bytes[1] = 3;
    let error = Packet::parse(&bytes).unwrap_err();
    assert_eq!((field(&error), error.fault()), ("length", Fault::Peer));
}

#[test]
fn s03_a_length_of_zero_or_one_is_refused() {
    for length in [0, 1] {
        let error = Packet::parse(&[0, length, b'{', b'}']).unwrap_err();
        assert!(matches!(error, WireError::NotJson { .. }), "{error:?}");
    }
}

#[test]
fn s04_an_empty_object_is_a_packet_with_and_without_body() {
    let packet = Packet::parse(&[0x00, 0x02, 0x7b, 0x7d, 0x00, 0xff]).unwrap();
    assert_eq!(&packet.body[..], [0x00, 0xff]);
    assert!(!packet.is_bookkeeping());
    let packet = Packet::parse(&[0x00, 0x02, 0x7b, 0x7d]).unwrap();
    assert!(packet.body.is_empty() && packet.is_bookkeeping());
    assert_eq!(packet.encode().unwrap(), [0x00, 0x02, 0x7b, 0x7d].as_slice());
}

#[test]
fn s05_datagrams_of_up_to_two_bytes_are_refused() {
    for bytes in [&[][..], &[0], &[0, 0], &[0, 2]] {
        assert!(Packet::parse(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn s06_what_is_not_one_json_object_is_refused() {
    for json in ["[]", "1", "null", "\"x\"", "[{}]"] {
        assert_eq!(field(&Packet::parse(&framed(json, b"")).unwrap_err()), ".", "{json}");
    }
    for json in ["{} {}", "{}x", "{", "{\"a\":}", "\u{feff}{}", "{\"a\":1,}", "{\"a\":\"\u{0}\"}"] {
        let error = Packet::parse(&framed(json, b"")).unwrap_err();
        assert!(matches!(error, WireError::NotJson { .. }), "{json}: {error:?}");
    }
    let bad_utf8 = [&[0, 9][..], b"{\"a\":\"", &[0xff], b"\"}"].concat();
    assert_eq!(Packet::parse(&bad_utf8).unwrap_err(), WireError::NotJson { line: 0, column: 0 });
}

#[test]
fn s07_body_bytes_are_not_changed() {
    let body: Bytes = (0..=255).collect();
    let packet = Packet { body: body.clone(), ..Packet::default() };
    assert_eq!(Packet::parse(&packet.encode().unwrap()).unwrap().body, body);
}

#[test]
fn s08_no_packet_reaches_1400_bytes_either_way() {
    let mut packet = Packet { body: vec![7; 1395].into(), ..Packet::default() };
    assert_eq!(packet.encode().unwrap().len(), 1399);
    assert_eq!(packet.room(), Ok(0));
    packet.body = vec![7; 1396].into();
    assert_eq!(packet.encode().unwrap_err().fault(), Fault::Caller);
    let error = Packet::parse(&framed("{}", &[7; 1396])).unwrap_err();
    assert!(matches!(error, WireError::TooBig { limit: limits::PACKET, got: Some(1400), .. }), "{error:?}");
}

#[test]
fn s09_unknown_keys_are_ignored() {
    let packet = parse(r#"{"x":{"y":[[[]]]},"seq":4,"":null,"SEQ":5,"_to":"1.2.3.4:5"}"#);
    assert_eq!(packet.encode().unwrap(), framed(r#"{"seq":4}"#, b""));
}

#[test]
fn a_known_key_of_the_wrong_kind_is_absent() {
    let long = "x".repeat(limits::PACKET_TID + 1);
    let wrong = [
        json!({"tid": 5}),
        json!({"tid": long}),
        json!({"start": ""}),
        json!({"start": &long[..limits::PACKET_START + 1]}),
        json!({"start": ["a"]}),
        json!({"to": "1.2.3.4"}),
        json!({"from": 5, "source": {}, "pop": "th:1.2.3.4:5"}),
        json!({"seq": -1}),
        json!({"seq": 1.5}),
        json!({"seq": "1"}),
        json!({"seq": 1_u64 << 32}),
        json!({"range": [1]}),
        json!({"range": [2, 1]}),
        json!({"range": [-1, 1]}),
        json!({"range": [0, 1.5]}),
        json!({"range": [0, 1, 2]}),
        json!({"range": [0, "1"]}),
        json!({"range": {"0": 1}}),
        json!({"range": [0, 3], "miss": 2}),
        json!({"range": [0, 3], "miss": [1, "2"]}),
        json!({"range": [0, 3], "miss": null}),
        json!({"miss": [1]}),
        json!({"popped": 1, "done": "true"}),
        json!({"popped": false, "done": null}),
        json!({"send": "abc", "recv": [], "stop": true}),
        json!({"see": "1.2.3.4:5"}),
        json!({"bind": "x"}),
        json!({"bind": [{}]}),
        json!({"req": "GET"}),
        json!({"req": {"m": "GET"}}),
        json!({"req": ["http://x/", "GET", {}]}),
        json!({"req": {"uri": "x", "h": {"a": null}}}),
        json!({"res": {"s": "200"}}),
        json!({"res": {"s": 70_000}}),
        json!({"res": [200, {}]}),
    ];
    for json in wrong {
        assert_eq!(parse(&json.to_string()).encode().unwrap(), framed("{}", b""), "{json}");
    }
}

#[test]
fn a_sid_that_is_none_makes_the_packet_bad() {
    for sid in [json!("abc"), json!(5), json!(null), json!(format!("{ALPHA_BETA}0"))] {
        let error = Packet::parse(&framed(&json!({"sid": sid, "seq": 0}).to_string(), b"")).unwrap_err();
        assert_eq!(field(&error), "sid", "{sid}");
    }
}

#[test]
fn s13_an_upper_case_sid_is_read_and_written_in_lower_case() {
    let packet = parse(&json!({"sid": ALPHA_BETA.to_uppercase()}).to_string());
    assert_eq!(packet.sid, Sid::parse(ALPHA_BETA));
    assert_eq!(packet.encode().unwrap(), framed(&json!({"sid": ALPHA_BETA}).to_string(), b""));
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    assert_eq!(parse(r#"{"seq":1,"seq":2}"#).seq, Some(2));
    assert_eq!(parse(r#"{"seq":1,"seq":-2}"#).seq, None);
}

#[test]
fn see_keeps_what_it_can_read() {
    let packet =
        parse(r#"{"see":["nonsense","1.2.3.4:5",7,null,"1.2.3.4:0","telehash.org:42424","[::1]:6"]}"#);
    let see: Vec<String> = packet.see.unwrap().iter().map(Ipp::to_string).collect();
    assert_eq!(see, ["1.2.3.4:5", "[::1]:6"]);
}

#[test]
fn s51_header_values_are_text_or_numbers() {
    let json = r#"{"req":{"uri":"http://telehash.org/","m":"GET","h":{"Content-Length":100,"User-Agent":"testing"}}}"#;
    let req = parse(json).req.unwrap();
    assert_eq!(req.h["User-Agent"], HeaderValue::from("testing"));
    assert_eq!(req.h["Content-Length"], HeaderValue::from(100));
    assert_eq!(Packet { req: Some(req), ..Packet::default() }.encode().unwrap(), framed(json, b""));
}

#[test]
fn s53_a_bind_is_copied_verbatim() {
    let bind = r#"{"b" : 1e2, "a":[ "\u00e9" , 1.0],"a":2}"#;
    let packet = parse(&format!(r#"{{"bind": {bind} }}"#));
    assert_eq!(packet.bind.as_deref().unwrap().get(), bind);
    assert_eq!(packet.encode().unwrap(), framed(&format!(r#"{{"bind":{bind}}}"#), b""));
}

#[test]
fn what_would_be_read_as_absent_is_not_written() {
    let long = "x".repeat(limits::PACKET_TID + 1);
    let bind = RawValue::from_string("[]".into()).unwrap();
    for packet in [
        Packet { start: Some(String::new()), ..Packet::default() },
        Packet { tid: Some(long), ..Packet::default() },
        Packet { bind: Some(bind), ..Packet::default() },
    ] {
        let error = packet.encode().unwrap_err();
        assert!(matches!(error, WireError::NotWritable { kind: "packet", .. }), "{error:?}");
    }
}

fn ipp() -> impl Strategy<Value = Ipp> {
    (any::<[u8; 4]>(), 1..=u16::MAX).prop_map(|(ip, port)| Ipp::new((ip, port).into()).unwrap())
}

fn end() -> impl Strategy<Value = End> {
    any::<[u8; 20]>().prop_map(End::from_bytes)
}

fn packet() -> impl Strategy<Value = Packet> {
    use prop::{collection::vec, option::of};
    let receipt = (0..200_u32, 0..200_u32, vec(0..400_u32, 0..20))
        .prop_map(|(first, more, miss)| Receipt::new(first, first + more, miss).unwrap());
    let session =
        (of(".{1,20}"), of(any::<[u8; 20]>().prop_map(Sid::from_bytes)), of(any::<u32>()), of(receipt));
    let switches = (of(ipp()), of(ipp()), of(ipp()), of(ipp()), of(vec(ipp(), 0..5)), any::<bool>());
    let hashes = (of(end()), of(end()), of(end()), of(".{0,40}"));
    let content = (any::<bool>(), of((".{0,30}", any::<bool>())), of(any::<u16>()), vec(any::<u8>(), 0..100));
    (session, switches, hashes, content).prop_map(|(session, switches, hashes, content)| Packet {
        start: session.0,
        sid: session.1,
        seq: session.2,
        receipt: session.3,
        to: switches.0,
        from: switches.1,
        pop: switches.2,
        source: switches.3,
        see: switches.4,
        popped: switches.5,
        send: hashes.0,
        recv: hashes.1,
        stop: hashes.2,
        tid: hashes.3,
        done: content.0,
        req: content.1.map(|(uri, m)| Req {
            uri,
            m: m.then(|| "PUT".into()),
            h: [("n".into(), 7.into())].into(),
        }),
        res: content.2.map(Res::new),
        bind: content.0.then(|| RawValue::from_string(r#"{"x": [1]}"#.into()).unwrap()),
        body: content.3.into(),
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(packet in packet()) {
        let bytes = packet.encode().unwrap();
        prop_assert!(bytes.len() < 1400);
        let read = Packet::parse(&bytes).unwrap();
        prop_assert_eq!(read.encode().unwrap(), bytes);
        prop_assert_eq!(&read.body, &packet.body);
        prop_assert_eq!(read.receipt, packet.receipt);
        prop_assert_eq!(read.req, packet.req);
        prop_assert_eq!(read.see, packet.see);
    }

    #[test]
    fn nothing_a_stranger_sends_is_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
        _ = Packet::parse(&bytes);
    }

    #[test]
    fn a_spoilt_packet_is_read_or_refused(packet in packet(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = packet.encode().unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = Packet::parse(&bytes) {
            prop_assert!(read.encode().is_ok());
        }
    }
}
