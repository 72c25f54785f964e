//! Model files that are broken, in every way we could think of: a typed error, never a crash.
#![cfg(feature = "llama")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use teale_infer::{
    LlamaBackend, LlamaOptions, LoadError,
    gguf::{GgufError, Header},
};
use xtask::gguf::{File, Value};

fn load(bytes: &[u8]) -> Result<LlamaBackend, LoadError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let mut options = LlamaOptions::new(file.path());
    options.threads = Some(1);
    LlamaBackend::load(options)
}

fn gguf_error(bytes: &[u8]) -> GgufError {
    match load(bytes).unwrap_err() {
        LoadError::Gguf { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

fn tiny() -> Vec<u8> {
    std::fs::read(common::tiny()).unwrap()
}

/// The tiny model with one key changed.
fn with(key: &str, value: Option<Value>) -> Vec<u8> {
    let mut file = xtask::tiny_model::file(&xtask::tiny_model::Options::tiny());
    change(&mut file, key, value);
    file.to_bytes()
}

fn change(file: &mut File, key: &str, value: Option<Value>) {
    file.metadata.retain(|(name, _)| name != key);
    file.metadata.extend(value.map(|value| (key.to_owned(), value)));
}

#[test]
fn missing_files_and_folders_are_named() {
    let missing = LlamaBackend::load(LlamaOptions::new("/nowhere/model.gguf")).unwrap_err();
    assert_eq!(missing, LoadError::NotFound("/nowhere/model.gguf".into()));
    assert!(matches!(
        LlamaBackend::load(LlamaOptions::new(Path::new("/tmp"))),
        Err(LoadError::Unreadable { .. })
    ));
}

#[test]
fn files_cut_anywhere_are_truncated() {
    let whole = tiny();
    let data =
        whole.len() - Header::read(whole.as_slice(), whole.len() as u64).unwrap().tensor_bytes() as usize;
    let cuts = (0..data).step_by(1024).chain([1, 3, 4, 8, 23, data - 1, data + 1, whole.len() - 4096]);
    for cut in cuts {
        let error = gguf_error(&whole[..cut]);
        assert!(matches!(error, GgufError::Truncated { .. }), "cut at {cut}: {error:?}");
    }
}

#[test]
fn other_files_are_not_gguf() {
    assert_eq!(gguf_error(b"<!DOCTYPE html><html>"), GgufError::NotGguf);
    let mut old = tiny();
    old[4] = 1;
    assert_eq!(gguf_error(&old), GgufError::Version(1));
    old[4..8].copy_from_slice(&3_u32.to_be_bytes());
    assert_eq!(gguf_error(&old), GgufError::ByteOrder);
}

#[test]
fn huge_counts_cost_nothing() {
    for at in [8, 16] {
        let mut bytes = tiny();
        bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(gguf_error(&bytes), GgufError::TooMany { .. }));
        bytes[at..at + 8].copy_from_slice(&60_000_u64.to_le_bytes());
        gguf_error(&bytes);
    }
}

#[test]
fn metadata_that_llama_cpp_would_die_of_is_refused() {
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    let number = |number| Some(Value::U32(number));
    let cases = [
        ("general.architecture", None),
        ("tokenizer.ggml.model", None),
        ("tokenizer.ggml.model", text("none")),
        ("tokenizer.ggml.model", text("bert")),
        ("tokenizer.ggml.tokens", None),
        ("tokenizer.ggml.tokens", Some(Value::Texts(vec!["a".to_owned(), "a".to_owned()]))),
        ("tokenizer.ggml.tokens", Some(Value::Texts(vec!["a".to_owned()]))),
        ("tokenizer.ggml.scores", Some(Value::F32s(vec![0.0; 3]))),
        ("tokenizer.ggml.token_type", Some(Value::I32s(vec![1; 3]))),
        ("tokenizer.ggml.token_type", Some(Value::I32s(vec![6; 264]))),
        ("llama.block_count", number(0)),
        ("llama.block_count", number(100_000)),
        ("llama.block_count", None),
        ("llama.context_length", number(0)),
        ("llama.embedding_length", number(0)),
        ("llama.attention.head_count", number(0)),
        ("llama.attention.head_count_kv", number(0)),
        ("llama.attention.head_count_kv", number(3)),
        ("llama.rope.dimension_count", number(15)),
        ("llama.rope.scaling.type", text("sideways")),
        ("llama.expert_count", number(4096)),
        ("llama.expert_used_count", number(2)),
        ("llama.attention.layer_norm_rms_epsilon", Some(Value::F32(-1.0))),
        ("llama.attention.layer_norm_rms_epsilon", Some(Value::F32(f32::NAN))),
        ("general.architecture", text("nomic-bert")),
        ("general.alignment", number(12)),
    ];
    for (key, value) in cases {
        let error = gguf_error(&with(key, value.clone()));
        assert!(error.to_string().contains(key.rsplit('.').next().unwrap()), "{key} = {value:?}: {error}");
    }
}

#[test]
fn what_only_llama_cpp_can_judge_is_told_in_its_words() {
    let error = load(&with("general.architecture", Some(Value::Text("nonsense".to_owned())))).unwrap_err();
    assert!(matches!(error, LoadError::Gguf { .. } | LoadError::Architecture(_)), "{error:?}");
    let mut file = xtask::tiny_model::file(&xtask::tiny_model::Options::tiny());
    for (key, value) in file.metadata.clone() {
        if let Some(rest) = key.strip_prefix("llama.") {
            change(&mut file, &format!("nonsense.{rest}"), Some(value));
        }
    }
    change(&mut file, "general.architecture", Some(Value::Text("nonsense".to_owned())));
    assert_eq!(load(&file.to_bytes()).unwrap_err(), LoadError::Architecture("nonsense".to_owned()));
    for (key, value) in [("llama.feed_forward_length", 64), ("llama.attention.head_count", 2)] {
        let result = load(&with(key, Some(Value::U32(value))));
        assert!(matches!(result, Err(LoadError::Engine(_) | LoadError::Gguf { .. })), "{key}: {result:?}");
    }
    let mut file = xtask::tiny_model::file(&xtask::tiny_model::Options::tiny());
    file.tensors.retain(|tensor| tensor.name != "blk.1.ffn_up.weight");
    let error = load(&file.to_bytes()).unwrap_err();
    assert!(
        matches!(&error, LoadError::Engine(reason) if reason.contains("blk.1.ffn_up.weight")),
        "{error:?}"
    );
}

#[test]
fn tensors_with_bad_shapes_are_refused() {
    let file = xtask::tiny_model::file(&xtask::tiny_model::Options::tiny());
    let reshape = |shape: Vec<u64>| {
        let mut file = file.clone();
        file.tensors[3].shape = shape;
        gguf_error(&file.to_bytes())
    };
    for shape in [vec![0], vec![1 << 40, 1 << 40], vec![u64::MAX], vec![1; 5], vec![65]] {
        let error = reshape(shape.clone());
        let named = matches!(error, GgufError::Tensor { .. } | GgufError::Truncated { .. });
        assert!(named, "{shape:?}: {error:?}");
    }
    let mut twice = file.clone();
    twice.tensors[4].name = twice.tensors[3].name.clone();
    assert!(matches!(gguf_error(&twice.to_bytes()), GgufError::Duplicate(_)));
}

#[test]
fn a_broken_chat_template_is_told() {
    let error =
        load(&with("tokenizer.chat_template", Some(Value::Text("{% for %}".to_owned())))).unwrap_err();
    assert!(matches!(error, LoadError::Template(_)), "{error:?}");
}

#[test]
fn a_model_without_a_template_speaks_chatml() {
    load(&with("tokenizer.chat_template", None)).unwrap();
}
