//! Rules of the cluster messages: envelope, dialects, what is optional, what is kept.

use serde_json::{Value, json};
use teale_wire::{ClusterMessage, Dialect, ErrorCode, RequestId, ThermalLevel, WireError};

use crate::{UPPER_UUID, UUID};

const EXAMPLES: &str = include_str!("../vectors/cluster_examples.jsonl");

fn parse(value: &Value) -> Result<(ClusterMessage, Dialect), WireError> {
    ClusterMessage::parse(value.to_string().as_bytes())
}

fn encoded(message: &ClusterMessage, dialect: Dialect) -> Value {
    serde_json::from_slice(&message.encode(dialect).unwrap()).unwrap()
}

fn example(kind: &str) -> Value {
    EXAMPLES
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(|value: &Value| value.get(kind).is_some())
        .unwrap()
}

#[test]
fn the_pages_examples_round_trip_in_both_dialects() {
    assert_eq!(EXAMPLES.lines().count(), 11);
    for line in EXAMPLES.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let (message, dialect) = ClusterMessage::parse(line.as_bytes()).unwrap();
        assert_eq!(dialect, Dialect::Flat);
        assert_eq!(encoded(&message, Dialect::Flat), value);

        let (kind, payload) = value.as_object().unwrap().iter().next().unwrap();
        let wrapped = json!({ kind: { "_0": payload } });
        assert_eq!(encoded(&message, Dialect::Wrapped), wrapped);
        assert_eq!(parse(&wrapped).unwrap(), (message, Dialect::Wrapped));
    }
}

#[test]
fn messages_look_like_this_on_the_wire() {
    let mut text = String::new();
    for line in EXAMPLES.lines() {
        let (message, _) = ClusterMessage::parse(line.as_bytes()).unwrap();
        for dialect in [Dialect::Flat, Dialect::Wrapped] {
            text.push_str(&String::from_utf8(message.encode(dialect).unwrap()).unwrap());
            text.push('\n');
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn nulls_that_apple_nodes_need_are_written() {
    for (kind, fields) in
        [("hello", ["clusterPasscodeHash", "ownerUserID"]), ("heartbeat", ["organizationID", "ownerUserID"])]
    {
        let mut value = example(kind);
        for field in fields {
            value[kind].as_object_mut().unwrap().remove(field);
        }
        let (message, _) = parse(&value).unwrap();
        let written = encoded(&message, Dialect::Flat);
        for field in fields {
            assert_eq!(written[kind].get(field), Some(&Value::Null), "{field}");
        }
    }
}

#[test]
fn a_hello_ack_and_a_heartbeat_ack_have_the_shape_of_what_they_answer() {
    for (ask, answer) in [("hello", "helloAck"), ("heartbeat", "heartbeatAck")] {
        let value = json!({ answer: example(ask)[ask] });
        let (message, _) = parse(&value).unwrap();
        assert_eq!(message.kind(), answer);
        assert_eq!(encoded(&message, Dialect::Flat), value);
    }
}

#[test]
fn unknown_types_are_kept_in_both_dialects() {
    for payload in
        [json!({"a": [1, 2.5, null]}), json!("text"), json!(null), json!({"_0": 1, "_1": 2}), json!({})]
    {
        let value = json!({"agentMessage": payload});
        let (message, dialect) = parse(&value).unwrap();
        assert_eq!((message.kind(), dialect), ("agentMessage", Dialect::Flat));
        assert_eq!(encoded(&message, dialect), value);

        let wrapped = json!({"agentMessage": {"_0": payload}});
        let (message, dialect) = parse(&wrapped).unwrap();
        assert_eq!(dialect, Dialect::Wrapped);
        assert_eq!(encoded(&message, Dialect::Wrapped), wrapped);
        assert_eq!(encoded(&message, Dialect::Flat), value);
    }
}

#[test]
fn unknown_fields_are_kept_at_every_level() {
    let mut value = example("hello");
    value["hello"]["new"] = json!({"deep": [1, {"x": null}]});
    value["hello"]["deviceInfo"]["new"] = json!(1);
    value["hello"]["deviceInfo"]["hardware"]["new"] = json!("x");
    let (message, _) = parse(&value).unwrap();
    assert_eq!(encoded(&message, Dialect::Flat), value);

    let mut value = example("inferenceChunk");
    value["inferenceChunk"]["new"] = json!(0.1);
    value["inferenceChunk"]["chunk"]["system_fingerprint"] = json!("fp");
    value["inferenceChunk"]["chunk"]["choices"][0]["logprobs"] = json!(null);
    value["inferenceChunk"]["chunk"]["choices"][0]["delta"]["tool_calls"] = json!([{"index": 0}]);
    let (message, _) = parse(&value).unwrap();
    assert_eq!(encoded(&message, Dialect::Flat), value);
}

#[test]
fn space_around_the_wrapper_does_not_matter() {
    let text = format!("{{\n\"inferenceCancel\" : {{ \t\"_0\"\r\n: {{\"requestID\":\"{UPPER_UUID}\"}} }} }}");
    let (message, dialect) = ClusterMessage::parse(text.as_bytes()).unwrap();
    assert_eq!(dialect, Dialect::Wrapped);
    let ClusterMessage::InferenceCancel(cancel) = message else { panic!("another type") };
    assert_eq!(cancel.request_id.as_str(), UUID);
}

#[test]
fn ids_are_read_in_either_case_and_written_in_lower_case() {
    assert_eq!(RequestId::parse(UPPER_UUID), RequestId::parse(UUID));
    assert_eq!(RequestId::parse(UPPER_UUID).unwrap().to_string(), UUID);
    assert_eq!(RequestId::parse("Not-A-UUID").unwrap().as_str(), "Not-A-UUID");
    assert_eq!(RequestId::parse(""), None);
    assert_eq!(RequestId::from_random([0xff; 16]).as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    // The right length, dashes elsewhere: text, not a UUID.
    let odd = "550E8400E-29B-41D4-A716-446655440000";
    assert_eq!(RequestId::parse(odd).unwrap().as_str(), odd);
}

#[test]
fn deployed_optional_fields_are_read() {
    let mut value = example("heartbeat");
    value["heartbeat"]["ewmaTokensPerSecond"] = json!(31);
    let (ClusterMessage::Heartbeat(health), _) = parse(&value).unwrap() else { panic!("another type") };
    assert_eq!(health.ewma_tokens_per_second, Some(31.0));

    let done = json!({"inferenceComplete": {"requestID": UUID, "tokensIn": 3, "tokensOut": 4.0}});
    let (ClusterMessage::InferenceComplete(done), _) = parse(&done).unwrap() else { panic!("another type") };
    assert_eq!((done.tokens_in, done.tokens_out), (Some(3), Some(4)));
    assert!(done.extra.is_empty());

    for (code, meant) in [
        ("model_not_loaded", ErrorCode::ModelNotLoaded),
        ("queue_full", ErrorCode::QueueFull),
        ("unavailable", ErrorCode::Unavailable),
        ("internal_error", ErrorCode::InternalError),
        ("timeout", ErrorCode::Timeout),
        ("cancelled", ErrorCode::Cancelled),
        ("out_of_coffee", ErrorCode::Other("out_of_coffee".into())),
    ] {
        let value = json!({"inferenceError": {"requestID": UUID, "errorMessage": "no", "code": code}});
        let (message, _) = parse(&value).unwrap();
        assert_eq!(encoded(&message, Dialect::Flat), value);
        let ClusterMessage::InferenceError(error) = message else { panic!("another type") };
        assert_eq!(error.code, Some(meant));
    }
}

#[test]
fn loading_a_model_is_asked_and_answered() {
    for value in [
        json!({"loadModel": {"requestID": UUID, "modelID": "a/b"}}),
        json!({"modelLoaded": {"requestID": UUID, "modelID": "a/b", "loadTimeMs": 12.5}}),
        json!({"modelLoadError": {"requestID": UUID, "modelID": "a/b", "reason": "no memory"}}),
        json!({"inferenceCancel": {"requestID": UUID}}),
    ] {
        let (message, _) = parse(&value).unwrap();
        assert!(!matches!(message, ClusterMessage::Unknown { .. }));
        assert_eq!(encoded(&message, Dialect::Flat), value);
    }
}

#[test]
fn answers_are_numbered_acknowledged_and_resumed() {
    let mut hello = example("hello");
    hello["hello"]["resumable"] = json!(true);
    let mut request = example("inferenceRequest");
    request["inferenceRequest"]["resumable"] = json!(true);
    let mut chunk = example("inferenceChunk");
    chunk["inferenceChunk"]["seq"] = json!(7);
    for value in [
        hello,
        request,
        chunk,
        json!({"inferenceComplete": {"requestID": UUID, "tokensOut": 4, "seq": 8}}),
        json!({"inferenceError": {"requestID": UUID, "errorMessage": "no", "seq": 0}}),
        json!({"inferenceAck": {"requestID": UUID, "received": 32}}),
        json!({"inferenceResume": {"requestID": UUID, "received": 32, "attempt": 1, "later": [1]}}),
    ] {
        let (message, _) = parse(&value).unwrap();
        assert!(!matches!(message, ClusterMessage::Unknown { .. }));
        for dialect in [Dialect::Flat, Dialect::Wrapped] {
            let text = message.encode(dialect).unwrap();
            assert_eq!(ClusterMessage::parse(&text).unwrap(), (message.clone(), dialect));
        }
        assert_eq!(encoded(&message, Dialect::Flat), value);
    }
    for wrong in [
        json!({"inferenceAck": {"requestID": UUID}}),
        json!({"inferenceAck": {"requestID": UUID, "received": -1}}),
        json!({"inferenceResume": {"requestID": UUID, "received": 1.5, "attempt": 1}}),
        json!({"inferenceResume": {"requestID": UUID, "received": 1}}),
    ] {
        assert!(matches!(parse(&wrong), Err(WireError::WrongShape { .. })), "{wrong}");
    }
}

#[test]
fn what_is_not_resumable_says_nothing_of_it() {
    for kind in ["hello", "inferenceRequest", "inferenceChunk", "inferenceComplete", "inferenceError"] {
        let (message, _) = parse(&example(kind)).unwrap();
        let written = message.encode(Dialect::Flat).unwrap();
        let written = String::from_utf8(written).unwrap();
        assert!(!written.contains("resumable") && !written.contains("seq"), "{written}");
    }
}

#[test]
fn a_node_is_asked_who_it_is() {
    let node = "0".repeat(64);
    for value in [
        json!({"nodeQuery": {"nodeID": node, "wg": "ab", "later": 1}}),
        json!({"nodeQueryResponse": {"nodeID": node}}),
    ] {
        let (message, _) = parse(&value).unwrap();
        assert!(!matches!(message, ClusterMessage::Unknown { .. }));
        assert_eq!(encoded(&message, Dialect::Flat), value);
    }
    assert!(matches!(
        parse(&json!({"nodeQuery": {"nodeID": "me"}})),
        Err(WireError::WrongShape { kind: "nodeQuery", .. })
    ));
}

#[test]
fn a_thermal_level_nobody_knows_is_kept() {
    let mut value = example("heartbeat");
    value["heartbeat"]["thermalLevel"] = json!("molten");
    let (message, _) = parse(&value).unwrap();
    assert_eq!(encoded(&message, Dialect::Flat), value);
    let ClusterMessage::Heartbeat(health) = message else { panic!("another type") };
    assert_eq!(health.thermal_level, ThermalLevel::Other("molten".into()));
}

#[test]
fn whole_numbers_may_carry_a_point_and_others_not_a_fraction() {
    let mut value = example("hello");
    value["hello"]["deviceInfo"]["hardware"]["totalRAMGB"] = json!(64);
    value["hello"]["deviceInfo"]["hardware"]["gpuCoreCount"] = json!(10.0);
    let (ClusterMessage::Hello(hello), _) = parse(&value).unwrap() else { panic!("another type") };
    assert_eq!(
        (hello.device_info.hardware.total_ram_gb, hello.device_info.hardware.gpu_core_count),
        (64.0, 10)
    );
    for wrong in [json!(10.5), json!(-1), json!(-1.0), json!(4294967296_u64), json!(1e300), json!("10")] {
        value["hello"]["deviceInfo"]["hardware"]["gpuCoreCount"] = wrong;
        let error = parse(&value).unwrap_err();
        assert!(
            matches!(&error, WireError::WrongShape { kind: "hello", field, .. } if field == "deviceInfo.hardware.gpuCoreCount"),
            "{error:?}"
        );
    }
}

#[test]
fn a_message_is_an_object_with_one_key() {
    for text in ["{}", "[]", "null", "1", "\"hello\"", r#"{"a":1,"b":2}"#, r#"{"a":1,"a":2}"#] {
        assert_eq!(ClusterMessage::parse(text.as_bytes()), Err(WireError::NotAnEnvelope), "{text}");
    }
    for text in ["", "{", "hello", r#"{"a":}"#, r#"{"a":1}x"#, r#"{"a":1,}"#, "{a:1}"] {
        assert!(matches!(ClusterMessage::parse(text.as_bytes()), Err(WireError::NotJson { .. })), "{text}");
    }
    assert_eq!(ClusterMessage::parse(b"{\"a\":\"\xff\"}"), Err(WireError::NotJson { line: 0, column: 0 }));
}
