//! Model sharing: chunks read without a copy, fields with bounds, two judges of base64.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use teale_wire::{
    CancelReason, ChunkData, ClusterMessage, Dialect, Extra, FileRange, ModelFile, ModelQueryResponse,
    ModelTransferCancel, ModelTransferChunk, ModelTransferRequest, TransferId, WireError, limits,
};

use crate::UUID;

fn chunk(data: &[u8]) -> ModelTransferChunk {
    ModelTransferChunk {
        transfer_id: TransferId::parse(UUID).unwrap(),
        file_name: "model.gguf".into(),
        offset: 1 << 40,
        data: ChunkData::new(data.to_vec()),
        is_last_chunk: true,
        extra: Extra::new(),
    }
}

fn message(chunk: ModelTransferChunk) -> ClusterMessage {
    ClusterMessage::ModelTransferChunk(Box::new(chunk))
}

fn shared(text: &[u8]) -> Result<(ClusterMessage, Dialect), WireError> {
    ClusterMessage::parse_shared(&Bytes::copy_from_slice(text))
}

/// The data that a message's text carries, decoded.
fn data_of(parsed: ClusterMessage) -> Vec<u8> {
    let ClusterMessage::ModelTransferChunk(chunk) = parsed else { panic!("another type") };
    let mut out = vec![7; 3];
    chunk.data.decode(&mut out).unwrap();
    assert_eq!(chunk.data.decoded_len(), Ok(out.len()));
    out
}

#[test]
fn a_chunk_looks_like_this_on_the_wire() {
    let text = message(chunk(b"teale")).encode(Dialect::Flat).unwrap();
    let expected = concat!(
        r#"{"modelTransferChunk":{"transferID":"550e8400-e29b-41d4-a716-446655440000","fileName":"model.gguf","#,
        r#""offset":1099511627776,"data":"dGVhbGU=","isLastChunk":true}}"#
    );
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

#[test]
fn a_chunks_data_is_not_copied() {
    let text = Bytes::from(message(chunk(&[9; 30_000])).encode(Dialect::Flat).unwrap());
    let (ClusterMessage::ModelTransferChunk(parsed), _) = ClusterMessage::parse_shared(&text).unwrap() else {
        panic!("another type")
    };
    // A message whose data is a part of it is still in use, so nobody gets it back for himself.
    let Err(_) = text.try_into_mut() else { panic!("the data was copied") };
    drop(parsed);
}

#[test]
fn slashes_that_apple_nodes_escape_are_read() {
    let text = r#"{"modelTransferChunk":{"transferID":"x","fileName":"f","offset":0,"data":"\/\/\/\/","isLastChunk":false}}"#;
    assert_eq!(data_of(shared(text.as_bytes()).unwrap().0), [0xff; 3]);
    let wrapped = r#"{"modelTransferChunk":{"_0":{"data":"AAAA","isLastChunk":false,"transferID":"x","fileName":"f","offset":0}}}"#;
    let (parsed, dialect) = shared(wrapped.as_bytes()).unwrap();
    assert_eq!((data_of(parsed), dialect), (vec![0; 3], Dialect::Wrapped));
}

#[test]
fn what_is_no_base64_is_found_when_it_is_decoded() {
    for text in ["A", "AAA", "A===", "AA=A", "AAA\u{e9}", "AB==", "AAB=", "A A=", "AAAA====", "====", "AA__"]
    {
        let value = json!({ "modelTransferChunk": { "transferID": "x", "fileName": "f", "offset": 0, "data": text,
            "isLastChunk": false } });
        let (ClusterMessage::ModelTransferChunk(parsed), _) = shared(value.to_string().as_bytes()).unwrap()
        else {
            panic!("another type")
        };
        assert!(parsed.data.decode(&mut Vec::new()).is_err(), "{text:?}");
        assert!(STANDARD.decode(text).is_err(), "{text:?} is one, says the other judge");
    }
}

#[test]
fn fields_have_bounds() {
    let file = json!({ "fileName": "f", "sizeBytes": 1, "sha256": "00" });
    let response =
        |files: Value| json!({ "modelQueryResponse": { "modelID": "m", "available": true, "files": files } });
    let parse = |value: Value| shared(value.to_string().as_bytes());
    assert!(parse(response(json!(vec![file.clone(); limits::MODEL_FILES]))).is_ok());
    assert!(parse(response(json!(vec![file.clone(); limits::MODEL_FILES + 1]))).is_err());
    for (field, bad) in [
        ("fileName", json!("x".repeat(limits::WORD + 1))),
        ("sizeBytes", json!(-1)),
        ("sizeBytes", json!(1.5)),
        ("sha256", json!("0".repeat(limits::WORD + 1))),
        ("blockStates", json!("A".repeat(limits::BLOCK_STATES.div_ceil(3) * 4 + 4))),
        ("blockStates", json!("not base64")),
    ] {
        let mut file = file.clone();
        file[field] = bad;
        assert!(parse(response(json!([file]))).is_err(), "{field}");
    }
    let long = json!({ "modelTransferChunk": { "transferID": "x", "fileName": "f", "offset": 0,
        "data": "A".repeat(limits::CHUNK_TEXT + 4), "isLastChunk": false } });
    assert!(parse(long).is_err());
}

#[test]
fn our_fields_are_left_out_where_there_is_nothing_to_say() {
    let request = ModelTransferRequest {
        transfer_id: TransferId::parse(UUID).unwrap(),
        model_id: "m".into(),
        resume: Vec::new(),
        range: None,
        extra: Extra::new(),
    };
    let written =
        ClusterMessage::ModelTransferRequest(Box::new(request.clone())).encode(Dialect::Flat).unwrap();
    let expected = json!({ "modelTransferRequest": { "transferID": UUID, "modelID": "m" } });
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), expected);
    let range = FileRange { file_name: "f".into(), offset: 5, length: 6 };
    let request = ModelTransferRequest { range: Some(range), ..request };
    let whole = ClusterMessage::ModelTransferRequest(Box::new(request));
    let written = whole.encode(Dialect::Flat).unwrap();
    assert_eq!(shared(&written).unwrap().0, whole);
}

#[test]
fn a_manifest_and_a_refusal_survive() {
    let file = ModelFile {
        file_name: "f".into(),
        size_bytes: 9,
        sha256: "ab".into(),
        block_size_bytes: Some(64),
        block_states: Some(Bytes::from_static(&[1; 32])),
        extra: Extra::new(),
    };
    let response = ModelQueryResponse {
        model_id: "m".into(),
        available: true,
        total_size_bytes: Some(9),
        files: vec![file],
        models: Vec::new(),
        extra: Extra::new(),
    };
    let response = ClusterMessage::ModelQueryResponse(Box::new(response));
    for (reason, word) in [(CancelReason::Busy, "busy"), (CancelReason::Other("tired".into()), "tired")] {
        let cancel = ModelTransferCancel {
            transfer_id: TransferId::parse("t").unwrap(),
            reason: Some(reason),
            extra: Extra::new(),
        };
        let cancel = ClusterMessage::ModelTransferCancel(cancel);
        let written = cancel.encode(Dialect::Flat).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap()["modelTransferCancel"]["reason"], word);
        assert_eq!(shared(&written).unwrap().0, cancel);
    }
    for dialect in [Dialect::Flat, Dialect::Wrapped] {
        assert_eq!(shared(&response.encode(dialect).unwrap()).unwrap(), (response.clone(), dialect));
    }
}

proptest! {
    #[test]
    fn both_ways_to_read_a_chunk_agree(
        id in ".{1,20}", name in ".{0,20}", offset in 0u64..1 << 53, last: bool, data: Vec<u8>, flat: bool,
    ) {
        let dialect = if flat { Dialect::Flat } else { Dialect::Wrapped };
        let made = ModelTransferChunk {
            transfer_id: TransferId::parse(&id).unwrap(),
            file_name: name,
            offset,
            is_last_chunk: last,
            ..chunk(&data)
        };
        let text = message(made.clone()).encode(dialect).unwrap();
        let read = shared(&text).unwrap();
        prop_assert_eq!(&read, &ClusterMessage::parse(&text).unwrap());
        prop_assert_eq!(&read, &(message(made), dialect));
        prop_assert_eq!(data_of(read.0), data);
    }

    /// Whatever is cut off or changed: if the slow reader refuses it, so does the fast one, unless the place is in the data.
    #[test]
    fn bent_chunks_are_read_alike(at in 0usize..200, byte: u8, cut: bool) {
        let mut text = message(chunk(b"teale")).encode(Dialect::Flat).unwrap();
        let at = at % text.len();
        let data = text.windows(8).position(|eight| eight == b"dGVhbGU=").unwrap();
        prop_assume!(!(data..data + 8).contains(&at));
        if cut { text.remove(at); } else { text[at] = byte; }
        let (fast, slow) = (shared(&text), ClusterMessage::parse(&text));
        prop_assert_eq!(fast.ok(), slow.ok());
    }

    #[test]
    fn two_judges_decode_alike(text in "[A-Za-z0-9+/]{0,40}={0,3}", data: Vec<u8>) {
        let read = |text: &str| {
            let json = json!({ "modelTransferChunk": { "transferID": "x", "fileName": "f", "offset": 0, "data": text,
                "isLastChunk": false } });
            let (ClusterMessage::ModelTransferChunk(chunk), _) = shared(json.to_string().as_bytes()).unwrap() else {
                panic!("another type")
            };
            let mut out = Vec::new();
            chunk.data.decode(&mut out).ok().map(|()| out)
        };
        prop_assert_eq!(read(&text), STANDARD.decode(&text).ok());
        prop_assert_eq!(read(&STANDARD.encode(&data)), Some(data));
    }
}
