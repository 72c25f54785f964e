//! The published vectors.

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use teale_wire::{AppleDate, LanCodec, model_matches};
use tokio_util::codec::{Decoder, Encoder};

fn section(name: &str) -> Value {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/tealenet.json")).unwrap();
    vectors.get(name).unwrap().clone()
}

#[test]
fn dates_count_from_2001() {
    for vector in section("dates").as_array().unwrap() {
        let (unix, apple) = (vector["unix"].as_f64().unwrap(), vector["apple"].as_f64().unwrap());
        assert_eq!(AppleDate::from_unix_seconds(unix).reference_seconds(), apple);
        assert_eq!(AppleDate::from_reference_seconds(apple).unix_seconds(), unix);
        assert_eq!(
            serde_json::from_value::<AppleDate>(vector["apple"].clone()).unwrap().unix_seconds(),
            unix
        );
    }
}

#[test]
fn a_lan_frame_is_its_length_and_its_bytes() {
    let vector = section("frame");
    let payload = Bytes::from(vector["payload"].as_str().unwrap().to_owned());
    let mut written = BytesMut::new();
    LanCodec::default().encode(payload.clone(), &mut written).unwrap();
    assert_eq!(hex::encode(&written), vector["bytes"].as_str().unwrap());
    assert_eq!(LanCodec::default().decode(&mut written).unwrap(), Some(payload));
    assert!(written.is_empty());
}

#[test]
fn models_match_by_id_or_last_part() {
    for vector in section("routingNames").as_array().unwrap() {
        let (asked, have) = (vector["asked"].as_str().unwrap(), vector["have"].as_str().unwrap());
        assert_eq!(model_matches(asked, have), vector["match"].as_bool().unwrap(), "{asked:?} {have:?}");
    }
}

#[test]
fn models_never_match_by_another_path_or_a_part_of_a_word() {
    assert!(!model_matches("other/qwen3-8b", "Qwen/Qwen3-8B"));
    assert!(!model_matches("qwen3", "Qwen/Qwen3-8B"));
    assert!(!model_matches("Qwen/Qwen3-8B", "qwen3-8b"));
    assert!(!model_matches("a/", "b/"));
}
