//! What is too big, too deep or too much, and what an error tells of it.

use serde_json::{Value, json};
use teale_wire::{
    AppleDate, ClusterMessage, Dialect, Extra, Fault, Health, RelayMessage, ThermalLevel, WireError, limits,
    peek,
};

use crate::{ALICE, UUID};

fn hello() -> Value {
    let line = include_str!("../vectors/cluster_examples.jsonl").lines().next().unwrap();
    serde_json::from_str(line).unwrap()
}

fn refused_at(value: &Value) -> String {
    match ClusterMessage::parse(value.to_string().as_bytes()) {
        Err(WireError::WrongShape { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_beyond_their_size_are_refused_before_they_are_read() {
    let big = vec![b' '; limits::CLUSTER_MESSAGE + 1];
    assert!(matches!(ClusterMessage::parse(&big), Err(WireError::TooBig { fault: Fault::Peer, .. })));
    let big = vec![b' '; limits::RELAY_FRAME + 1];
    assert!(matches!(RelayMessage::parse(&big), Err(WireError::TooBig { fault: Fault::Peer, .. })));
}

#[test]
fn writing_beyond_the_size_is_the_callers_fault() {
    let message = RelayMessage::Unknown { kind: "x".into(), payload: json!("x".repeat(limits::RELAY_FRAME)) };
    assert_eq!(message.encode().unwrap_err().fault(), Fault::Caller);
}

#[test]
fn the_largest_relay_payload_fits_a_frame_and_no_more() {
    let data = |length: usize| {
        RelayMessage::RelayData(teale_wire::RelayData {
            from: ALICE.parse().unwrap(),
            to: ALICE.parse().unwrap(),
            session: teale_wire::SessionId::parse(&"\u{1}".repeat(limits::TEXT_ID)).unwrap(),
            data: vec![0; length].into(),
            extra: Extra::new(),
        })
    };
    let frame = data(limits::RELAY_PAYLOAD).encode().unwrap();
    assert!(RelayMessage::parse(&frame).is_ok());
    assert_eq!(data(limits::RELAY_PAYLOAD + 1024).encode().unwrap_err().fault(), Fault::Caller);
}

#[test]
fn names_ids_and_lists_are_bounded() {
    let mut value = hello();
    value["hello"]["deviceInfo"]["name"] = json!("x".repeat(limits::DISPLAY_NAME));
    value["hello"]["loadedModels"] = json!(vec!["m".repeat(limits::MODEL_ID); limits::LOADED_MODELS]);
    assert!(ClusterMessage::parse(value.to_string().as_bytes()).is_ok());

    let mut long = value.clone();
    long["hello"]["deviceInfo"]["name"] = json!("x".repeat(limits::DISPLAY_NAME + 1));
    assert_eq!(refused_at(&long), "deviceInfo.name");
    let mut long = value.clone();
    long["hello"]["loadedModels"] = json!(["m".repeat(limits::MODEL_ID + 1)]);
    assert_eq!(refused_at(&long), "loadedModels[0]");
    let mut long = value.clone();
    long["hello"]["loadedModels"] = json!(vec!["m"; limits::LOADED_MODELS + 1]);
    assert_eq!(refused_at(&long), "loadedModels");
    let mut long = value;
    long["hello"]["deviceInfo"]["id"] = json!("x".repeat(limits::WORD + 1));
    assert_eq!(refused_at(&long), "deviceInfo.id");

    let cancel = |id: &str| json!({"inferenceCancel": {"requestID": id}});
    assert_eq!(refused_at(&cancel(&"x".repeat(limits::TEXT_ID + 1))), "requestID");
    assert_eq!(refused_at(&cancel("")), "requestID");
}

#[test]
fn a_payload_nests_to_the_limit_and_no_deeper() {
    let nested = |deep: usize| format!(r#"{{"new":{}1{}}}"#, "[".repeat(deep), "]".repeat(deep));
    assert!(ClusterMessage::parse(nested(limits::JSON_DEPTH).as_bytes()).is_ok());
    for deep in [limits::JSON_DEPTH + 1, 100_000] {
        assert!(matches!(ClusterMessage::parse(nested(deep).as_bytes()), Err(WireError::NotJson { .. })));
    }
    let wrapped = |deep: usize| format!(r#"{{"new":{{"_0":{}1{}}}}}"#, "[".repeat(deep), "]".repeat(deep));
    assert!(ClusterMessage::parse(wrapped(limits::JSON_DEPTH).as_bytes()).is_ok());
    assert!(ClusterMessage::parse(wrapped(limits::JSON_DEPTH + 1).as_bytes()).is_err());
}

#[test]
fn a_small_text_cannot_become_a_large_tree() {
    let values = |count: usize| format!(r#"{{"new":[{}]}}"#, vec!["0"; count].join(","));
    // The list is a value too.
    assert!(ClusterMessage::parse(values(limits::JSON_VALUES - 1).as_bytes()).is_ok());
    for text in [
        values(limits::JSON_VALUES),
        format!(r#"{{"relayData":{{"x":[{}]}}}}"#, vec!["[]"; 300_000].join(",")),
    ] {
        for error in [
            ClusterMessage::parse(text.as_bytes()).map(|_| ()),
            RelayMessage::parse(text.as_bytes()).map(|_| ()),
        ] {
            assert!(matches!(error, Err(WireError::TooBig { limit: limits::JSON_VALUES, .. })), "{error:?}");
        }
    }
}

#[test]
fn values_are_counted_behind_what_the_parser_skips() {
    // Records that cannot be read are left out of a list of peers; what follows them counts all the same.
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for first in [deep.as_str(), r#"{"a":"\ud800"}"#, r#""\\""#, "null"] {
        let many = vec!["[]"; limits::JSON_VALUES].join(",");
        let text = format!(r#"{{"discoverResponse":{{"peers":[{first}],"x":[{many}]}}}}"#);
        let error = RelayMessage::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, WireError::TooBig { limit: limits::JSON_VALUES, .. }), "{error:?}");
        let few = text.replace(&many, "1");
        assert!(RelayMessage::parse(few.as_bytes()).is_ok(), "{few}");
    }
}

#[test]
fn the_count_of_values_is_the_same_for_peek() {
    let frame = |count: usize| {
        let list = vec!["1"; count].join(" , ");
        format!(
            r#"{{"relayOpen":{{"fromNodeID":"{ALICE}","toNodeID":"{ALICE}","sessionID":"s","e":[],"f":{{ }},"x":[{list}]}}}}"#
        )
    };
    // The payload, three fields of the route, two empty values and the list are values too.
    let most = limits::JSON_VALUES - 7;
    assert!(peek(frame(most).as_bytes()).is_ok());
    assert!(RelayMessage::parse(frame(most).as_bytes()).is_ok());
    let error = peek(frame(most + 1).as_bytes()).unwrap_err();
    assert!(matches!(error, WireError::TooBig { limit: limits::JSON_VALUES, .. }));
    assert_eq!(RelayMessage::parse(frame(most + 1).as_bytes()), Err(error));
}

#[test]
fn commas_within_text_are_not_values() {
    let text = ",[{".repeat(limits::JSON_VALUES);
    let value = json!({"new": text});
    assert!(ClusterMessage::parse(value.to_string().as_bytes()).is_ok());
}

#[test]
fn errors_name_the_field_and_never_repeat_the_message() {
    const SECRET: &str = r#"tell" at line 7 `nobody"#;
    let chunk = |id: Value, created: Value| {
        json!({"inferenceChunk": {"requestID": id, "chunk": {
            "id": "", "object": "", "created": created, "model": "", "choices": []}}})
    };
    let mut wrong_hello = hello();
    wrong_hello["hello"]["deviceInfo"]["hardware"] = json!(SECRET);
    let mut wrong_list = hello();
    wrong_list["hello"]["loadedModels"] = json!(["a", {SECRET: SECRET}]);
    for (value, field) in [
        (chunk(json!(UUID), json!(SECRET)), "chunk.created"),
        (chunk(json!([SECRET]), json!(0)), "requestID"),
        (chunk(json!(UUID), json!(-424242)), "chunk.created"),
        (chunk(json!(UUID), json!(4242.42)), "chunk.created"),
        (chunk(json!(UUID), json!(true)), "chunk.created"),
        (wrong_hello, "deviceInfo.hardware"),
        (wrong_list, "loadedModels[1]"),
        (json!({"hello": SECRET}), "."),
        (json!({"hello": {}}), "."),
    ] {
        let error = ClusterMessage::parse(value.to_string().as_bytes()).unwrap_err();
        assert!(matches!(&error, WireError::WrongShape { field: at, .. } if at == field), "{error:?}");
        assert_eq!(error.fault(), Fault::Peer);
        let text = format!("{error} {error:?}");
        for secret in ["tell", "nobody", "4242", "true"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.len() < 1000);
    }
    let error = ClusterMessage::parse(format!(r#"{{"{SECRET}":{{}}}}"#).as_bytes()).unwrap_err();
    assert!(!error.to_string().contains("tell"));
}

#[test]
fn numbers_that_json_lacks_are_never_written() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let message = ClusterMessage::Heartbeat(Health {
            device_id: UUID.into(),
            timestamp: AppleDate::from_reference_seconds(bad),
            thermal_level: ThermalLevel::Nominal,
            throttle_level: 100,
            loaded_models: Vec::new(),
            is_generating: false,
            queue_depth: 0,
            organization_id: None,
            owner_user_id: None,
            ewma_tokens_per_second: None,
            extra: Extra::new(),
        });
        let error = message.encode(Dialect::Flat).unwrap_err();
        assert!(matches!(error, WireError::NotWritable { kind: "heartbeat", .. }));
        assert_eq!(error.fault(), Fault::Caller);
    }
}
