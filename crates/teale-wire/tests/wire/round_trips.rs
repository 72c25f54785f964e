//! What is read, written and read again is the same.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use teale_wire::{
    ClusterMessage, Dialect, Extra, NodeId, RelayData, RelayMessage, RequestId, SessionId, chat::ChatRequest,
};

use crate::{ALICE, UUID};

/// Any JSON value of moderate size.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,8}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Fields with names that no type here uses.
fn extra() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec(("x[a-z]{0,5}", value()), 0..3).prop_map(|members| members.into_iter().collect())
}

/// An example's payload with more in it, by a path of object keys.
fn enriched(kind: &str, path: &'static [&'static str], extra: Map<String, Value>) -> Value {
    let mut value: Value = include_str!("../vectors/cluster_examples.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|value| value.get(kind).is_some())
        .unwrap();
    let mut place = &mut value[kind];
    for key in path {
        place = &mut place[*key];
    }
    place.as_object_mut().unwrap().extend(extra);
    value
}

proptest! {
    #[test]
    fn relay_data_carries_any_bytes(from: [u8; 32], to: [u8; 32], session in ".{1,30}", data: Vec<u8>, extra in extra()) {
        let message = RelayMessage::RelayData(RelayData {
            from: NodeId::from_bytes(from),
            to: NodeId::from_bytes(to),
            session: SessionId::parse(&session).unwrap(),
            data: Bytes::from(data),
            extra,
        });
        let frame = message.encode().unwrap();
        prop_assert_eq!(RelayMessage::parse(&frame).unwrap(), message);
    }

    #[test]
    fn relay_messages_keep_what_they_do_not_know(payload in value(), extra in extra()) {
        let unknown = RelayMessage::Unknown { kind: "new".into(), payload };
        prop_assert_eq!(&RelayMessage::parse(&unknown.encode().unwrap()).unwrap(), &unknown);

        let mut ack = json!({"registerAck": {"nodeID": ALICE, "registeredAt": 1.5, "ttlSeconds": 300}});
        ack["registerAck"].as_object_mut().unwrap().extend(extra);
        let message = RelayMessage::parse(ack.to_string().as_bytes()).unwrap();
        let again = RelayMessage::parse(&message.encode().unwrap()).unwrap();
        prop_assert_eq!(again, message);
    }

    #[test]
    fn cluster_messages_survive_both_dialects(
        extra in extra(),
        place in prop::sample::select(vec![
            ("hello", &[][..]),
            ("hello", &["deviceInfo"][..]),
            ("hello", &["deviceInfo", "hardware"][..]),
            ("heartbeat", &[][..]),
            ("inferenceRequest", &["request"][..]),
            ("inferenceChunk", &["chunk"][..]),
            ("inferenceComplete", &[][..]),
            ("inferenceError", &[][..]),
        ]),
    ) {
        let value = enriched(place.0, place.1, extra);
        let (message, _) = ClusterMessage::parse(value.to_string().as_bytes()).unwrap();
        for dialect in [Dialect::Flat, Dialect::Wrapped] {
            let text = message.encode(dialect).unwrap();
            prop_assert_eq!(ClusterMessage::parse(&text).unwrap(), (message.clone(), dialect));
        }
        let written: Value = serde_json::from_slice(&message.encode(Dialect::Flat).unwrap()).unwrap();
        prop_assert_eq!(written, value);
    }

    #[test]
    fn chat_requests_survive(model in ".{0,20}", texts in prop::collection::vec(".{0,40}", 0..4), temperature: f64, extra in extra()) {
        prop_assume!(temperature.is_finite());
        let messages: Vec<_> = texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
        let mut value = json!({"model": model, "messages": messages, "temperature": temperature});
        value.as_object_mut().unwrap().extend(extra);
        let request: ChatRequest = serde_json::from_str(&value.to_string()).unwrap();
        let written = serde_json::to_string(&request).unwrap();
        prop_assert_eq!(&serde_json::from_str::<ChatRequest>(&written).unwrap(), &request);
        prop_assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), value);
    }

    #[test]
    fn parsers_take_any_bytes_without_panic(bytes: Vec<u8>) {
        let _ = RelayMessage::parse(&bytes);
        let _ = ClusterMessage::parse(&bytes);
    }

    #[test]
    fn ids_are_read_as_they_are_written(random: [u8; 16], text in ".{0,140}") {
        let id = RequestId::from_random(random);
        prop_assert_eq!(RequestId::parse(&id.as_str().to_uppercase()), Some(id));
        if let Some(id) = SessionId::parse(&text) {
            prop_assert_eq!(SessionId::parse(id.as_str()), Some(id));
        }
    }
}

#[test]
fn an_id_serialises_as_its_text() {
    assert_eq!(serde_json::to_value(RequestId::parse(UUID).unwrap()).unwrap(), json!(UUID));
    let _: Extra = Extra::new();
}
