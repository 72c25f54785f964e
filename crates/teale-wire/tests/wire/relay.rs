//! Rules of the relay messages.

use bytes::Bytes;
use serde_json::{Value, json};
use teale_wire::{Extra, NodeId, RelayData, RelayErrorCode, RelayMessage, SessionId, WireError, limits};

use crate::{ALICE, BOB, UPPER_UUID, UUID};

fn parse(value: &Value) -> Result<RelayMessage, WireError> {
    RelayMessage::parse(value.to_string().as_bytes())
}

fn encoded(message: &RelayMessage) -> Value {
    serde_json::from_slice(&message.encode().unwrap()).unwrap()
}

fn capabilities() -> Value {
    json!({
        "hardware": {
            "chipFamily": "m4Pro", "chipName": "Apple M4 Pro", "totalRAMGB": 48.0, "gpuCoreCount": 20,
            "memoryBandwidthGBs": 273.0, "tier": 2, "gpuBackend": "metal", "platform": "macOS"
        },
        "loadedModels": ["Qwen/Qwen3-8B"], "maxModelSizeGB": 44.0, "isAvailable": true, "ptnIDs": [],
        "swappableModels": ["b"], "maxConcurrentRequests": 4, "effectiveContext": 8192, "onACPower": true
    })
}

fn record() -> Value {
    json!({
        "nodeID": ALICE, "publicKey": ALICE, "wgPublicKey": null, "displayName": "Alice", "capabilities": capabilities(),
        "lastSeen": 734792800.0, "natType": "unknown", "endpoints": []
    })
}

/// One message of every type, every optional field in it.
fn every_message() -> Vec<Value> {
    let route = |more: Value| {
        let mut value = json!({"fromNodeID": ALICE, "toNodeID": BOB, "sessionID": UUID});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    };
    let info = json!({
        "publicIP": "203.0.113.5", "publicPort": 51820, "localIP": "192.168.1.2", "localPort": 51820,
        "natType": "fullCone", "wgPublicKey": BOB
    });
    let candidate = json!({"ip": "203.0.113.5", "port": 51820, "type": "serverReflexive", "priority": 100});
    let filter = json!({"modelID": "m", "minRAMGB": 8.0, "minTier": 2, "maxPeers": 5});
    vec![
        json!({"challenge": {"nonce": "00112233445566778899aabbccddeeff"}}),
        json!({"register": {
            "nodeID": ALICE, "publicKey": ALICE, "wgPublicKey": BOB, "displayName": "Alice",
            "capabilities": capabilities(), "signature": "00", "proof": "01"
        }}),
        json!({"registerAck": {"nodeID": ALICE, "registeredAt": 734792800.0, "ttlSeconds": 300}}),
        json!({"discover": {"requestingNodeID": ALICE, "filter": filter}}),
        json!({"discoverResponse": {"peers": [record()]}}),
        json!({"offer": route(json!({"connectionInfo": info, "signature": "00"}))}),
        json!({"answer": route(json!({"connectionInfo": info, "signature": "00"}))}),
        json!({"iceCandidate": route(json!({"candidate": candidate}))}),
        json!({"relayOpen": route(json!({}))}),
        json!({"relayReady": route(json!({}))}),
        json!({"relayData": route(json!({"data": "AAEC/w=="}))}),
        json!({"relayClose": route(json!({}))}),
        json!({"peerJoined": {"nodeID": ALICE, "displayName": "Alice"}}),
        json!({"peerLeft": {"nodeID": ALICE, "displayName": "Alice"}}),
        json!({"error": {"code": "rate_limited", "message": "slow down", "retryAfterSeconds": 9.5}}),
    ]
}

#[test]
fn every_type_is_known_and_round_trips() {
    for value in every_message() {
        let message = parse(&value).unwrap();
        assert!(!matches!(message, RelayMessage::Unknown { .. }), "{value}");
        assert_eq!(encoded(&message), value);
    }
}

#[test]
fn messages_look_like_this_on_the_wire() {
    let lines: Vec<_> = every_message()
        .iter()
        .map(|value| String::from_utf8(parse(value).unwrap().encode().unwrap()).unwrap())
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn unknown_fields_and_types_are_kept() {
    for mut value in every_message() {
        let kind = value.as_object().unwrap().keys().next().unwrap().clone();
        value[&kind]["somethingNew"] = json!({"a": [1, "\u{1f422}", 0.1]});
        assert_eq!(encoded(&parse(&value).unwrap()), value);
    }
    let value = json!({"somethingNew": [1, null]});
    assert_eq!(encoded(&parse(&value).unwrap()), value);
}

#[test]
fn relay_messages_are_always_flat() {
    let value = json!({"relayOpen": {"_0": {"fromNodeID": ALICE, "toNodeID": BOB, "sessionID": UUID}}});
    assert!(matches!(parse(&value), Err(WireError::WrongShape { kind: "relayOpen", .. })));
}

#[test]
fn data_is_base64_or_an_array_of_byte_values() {
    let frame = |data: Value| {
        parse(
            &json!({"relayData": {"fromNodeID": ALICE, "toNodeID": BOB, "sessionID": UPPER_UUID, "data": data}}),
        )
    };
    let expected = RelayMessage::RelayData(RelayData {
        from: ALICE.parse().unwrap(),
        to: BOB.parse().unwrap(),
        session: SessionId::parse(UUID).unwrap(),
        data: Bytes::from_static(&[0, 1, 2, 255]),
        extra: Extra::new(),
    });
    assert_eq!(frame(json!("AAEC/w==")), Ok(expected.clone()));
    assert_eq!(frame(json!([0, 1, 2, 255])), Ok(expected.clone()));
    let text = String::from_utf8(expected.encode().unwrap()).unwrap();
    assert!(text.contains(r#""data":"AAEC/w==""#), "{text}");
    // As Foundation escapes it.
    assert_eq!(RelayMessage::parse(text.replace('/', "\\/").as_bytes()), Ok(expected));

    for data in [
        json!("AAEC/w"),
        json!("AAEC_w=="),
        json!("AA EC"),
        json!([256]),
        json!([-1]),
        json!([1.5]),
        json!(null),
    ] {
        assert!(
            matches!(frame(data.clone()), Err(WireError::WrongShape { kind: "relayData", field, .. }) if field.starts_with("data")),
            "{data}"
        );
    }
}

#[test]
fn data_arrays_may_be_as_long_as_a_frame() {
    let bytes = vec![7; (limits::RELAY_FRAME - 1024) / 2];
    let value =
        json!({"relayData": {"fromNodeID": ALICE, "toNodeID": BOB, "sessionID": UUID, "data": bytes}});
    assert!(value.to_string().len() <= limits::RELAY_FRAME);
    let Ok(RelayMessage::RelayData(data)) = parse(&value) else { panic!("refused") };
    assert_eq!(data.data, bytes);
}

#[test]
fn a_node_id_has_one_spelling() {
    assert_eq!(ALICE.parse::<NodeId>().unwrap().to_string(), ALICE);
    assert_eq!(ALICE.parse::<NodeId>().unwrap().short(), "03a107bff3ce10be...");
    for wrong in [
        ALICE.to_uppercase(),
        ALICE[1..].into(),
        format!("{ALICE}0"),
        ALICE.replace('0', "g"),
        ALICE.replace('3', "/"),
        ALICE.replace('3', ":"),
        ALICE.replace('3', "`"),
        String::new(),
    ] {
        assert_eq!(wrong.parse::<NodeId>(), Err(WireError::NodeId), "{wrong}");
    }
}

#[test]
fn a_gateway_may_leave_ptn_ids_out_and_say_tier_0() {
    let mut value = every_message()[1].clone();
    let capabilities = value["register"]["capabilities"].as_object_mut().unwrap();
    for extra in ["ptnIDs", "swappableModels", "maxConcurrentRequests", "effectiveContext", "onACPower"] {
        capabilities.remove(extra);
    }
    capabilities["hardware"]["chipFamily"] = json!("gatewayVirtual");
    capabilities["hardware"]["tier"] = json!(0);
    let RelayMessage::Register(register) = parse(&value).unwrap() else { panic!("another type") };
    assert_eq!(register.capabilities.ptn_ids, None);
    assert_eq!(encoded(&RelayMessage::Register(register)), value);
}

#[test]
fn one_broken_record_does_not_hide_the_other_peers() {
    let mut long = record();
    long["displayName"] = json!("x".repeat(limits::DISPLAY_NAME + 1));
    let value = json!({"discoverResponse": {"peers": [1, {}, record(), null, long, record()]}});
    let RelayMessage::DiscoverResponse(response) = parse(&value).unwrap() else { panic!("another type") };
    assert_eq!(response.peers.len(), 2);
}

#[test]
fn more_peers_than_the_limit_are_left_out() {
    let peers = vec![record(); limits::DISCOVER_PEERS + 3];
    let RelayMessage::DiscoverResponse(response) =
        parse(&json!({"discoverResponse": {"peers": peers}})).unwrap()
    else {
        panic!("another type")
    };
    assert_eq!(response.peers.len(), limits::DISCOVER_PEERS);
}

#[test]
fn error_codes_are_the_pages_and_others_are_kept() {
    for (code, meant) in [
        ("peer_not_found", RelayErrorCode::PeerNotFound),
        ("invalid_json", RelayErrorCode::InvalidJson),
        ("invalid_message", RelayErrorCode::InvalidMessage),
        ("invalid_register", RelayErrorCode::InvalidRegister),
        ("rate_limited", RelayErrorCode::RateLimited),
        ("unsupported_message", RelayErrorCode::UnsupportedMessage),
        ("something_else", RelayErrorCode::Other("something_else".into())),
    ] {
        let value = json!({"error": {"code": code, "message": "m"}});
        let message = parse(&value).unwrap();
        assert_eq!(encoded(&message), value);
        let RelayMessage::Error(error) = message else { panic!("another type") };
        assert_eq!(error.code, meant);
    }
}

#[test]
fn the_fast_writer_of_relay_data_writes_what_serde_writes() {
    for session in [UUID.to_owned(), "a\"b\\c\n".to_owned(), "żółw".to_owned()] {
        for length in [0, 1, 2, 3, 1000] {
            let message = RelayMessage::RelayData(RelayData {
                from: ALICE.parse().unwrap(),
                to: BOB.parse().unwrap(),
                session: SessionId::parse(&session).unwrap(),
                data: vec![0xfb; length].into(),
                extra: Extra::new(),
            });
            let RelayMessage::RelayData(data) = &message else { unreachable!() };
            assert_eq!(encoded(&message), json!({ "relayData": data }));
            assert_eq!(RelayMessage::parse(&message.encode().unwrap()).unwrap(), message);
        }
    }
}
