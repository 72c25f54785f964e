//! OpenAI's shapes.

use serde_json::{Value, json};
use teale_wire::chat::{ChatChunk, ChatCompletion, ChatRequest, Content, Stop};

fn request(more: Value) -> ChatRequest {
    let mut value = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

#[test]
fn stop_is_a_text_or_a_list() {
    assert_eq!(request(json!({"stop": "a"})).stop.unwrap().as_slice(), ["a"]);
    assert_eq!(request(json!({"stop": ["a", "b"]})).stop, Some(Stop::Many(vec!["a".into(), "b".into()])));
    assert_eq!(request(json!({"stop": null})).stop, None);
}

#[test]
fn content_is_text_or_parts() {
    let value = json!({"model": "m", "messages": [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "assistant", "content": null, "tool_calls": []},
        {"role": "user", "content": "c"},
    ]});
    let request: ChatRequest = serde_json::from_value(value.clone()).unwrap();
    let texts: Vec<_> =
        request.messages.iter().map(|m| m.content.as_ref().and_then(Content::to_text)).collect();
    assert_eq!(texts, [Some("ab".into()), None, None, Some("c".into())]);
    let written = serde_json::to_value(&request).unwrap();
    for turn in [0, 1, 3] {
        assert_eq!(written["messages"][turn], value["messages"][turn]);
    }
}

#[test]
fn max_completion_tokens_is_max_tokens_by_its_newer_name() {
    assert_eq!(request(json!({})).token_limit(), None);
    assert_eq!(request(json!({"max_tokens": 5})).token_limit(), Some(5));
    assert_eq!(request(json!({"max_completion_tokens": 6})).token_limit(), Some(6));
    assert_eq!(request(json!({"max_tokens": 5, "max_completion_tokens": 6})).token_limit(), Some(6));
}

#[test]
fn fields_nobody_here_knows_are_passed_on() {
    let value = json!({
        "model": "m", "messages": [{"role": "user", "content": "hi", "name": "n"}], "logit_bias": {"1": -100},
        "response_format": {"type": "json_object"}, "tools": [{"type": "function"}], "temperature": 0.1,
        "stream_options": {"include_usage": true, "new": 1}
    });
    let request: ChatRequest = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&request).unwrap(), value);
}

#[test]
fn a_chunk_before_the_last_says_finish_reason_null() {
    let value = json!({"id": "i", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]});
    let chunk: ChatChunk = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&chunk).unwrap(), value);
}

#[test]
fn the_usage_chunk_has_no_choices() {
    let value = json!({"id": "i", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": {}}});
    let chunk: ChatChunk = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(chunk.usage.as_ref().unwrap().total_tokens, 3);
    assert_eq!(serde_json::to_value(&chunk).unwrap(), value);
}

#[test]
fn a_whole_answer_round_trips() {
    let value = json!({"id": "i", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "c"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}});
    let answer: ChatCompletion = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&answer).unwrap(), value);
}
