//! A provider's chunks as OpenAI's clients expect them, whoever the provider is.
//!
//! Peers are strangers and upstream servers differ: here the promises of the API are kept in one place. The first
//! delta carries the role, id and date stay the same, the last content chunk has a finish reason, and the usage
//! comes last, alone, and only if asked for.

use teale_wire::{
    Extra,
    chat::{ChatChunk, ChatCompletion, ChatMessage, ChunkChoice, CompletionChoice, Content, Delta, Usage},
};

/// What stays the same in all chunks of an answer.
#[derive(Debug, Clone, PartialEq)]
struct Head {
    id: String,
    created: u64,
    model: String,
}

/// Puts the chunks of one answer into shape.
#[derive(Debug)]
pub(super) struct Shaper {
    include_usage: bool,
    head: Option<Head>,
    finished: bool,
    usage: Option<Usage>,
}

impl Shaper {
    pub(super) fn new(include_usage: bool) -> Self {
        Self { include_usage, head: None, finished: false, usage: None }
    }

    /// The chunk to pass on; `None` when there is nothing in it for the client yet.
    pub(super) fn chunk(&mut self, mut chunk: ChatChunk) -> Option<ChatChunk> {
        if let Some(usage) = chunk.usage.take() {
            self.usage = Some(usage);
        }
        let first = self.head.is_none();
        let head = self.head.get_or_insert_with(|| Head::of(&mut chunk));
        // After the finish reason only the usage may follow.
        if chunk.choices.is_empty() || self.finished {
            return None;
        }
        head.id.clone_into(&mut chunk.id);
        head.model.clone_into(&mut chunk.model);
        chunk.created = head.created;
        OBJECT.clone_into(&mut chunk.object);
        if let Some(choice) = chunk.choices.first_mut() {
            if first && choice.delta.role.is_none() {
                choice.delta.role = Some(ROLE.into());
            }
            self.finished |= choice.finish_reason.is_some();
        }
        Some(chunk)
    }

    /// What is missing after the last chunk: a finish reason the provider forgot, the usage if it was asked for.
    pub(super) fn end(&mut self) -> impl Iterator<Item = ChatChunk> + use<> {
        let head = self.head.clone().unwrap_or_else(Head::fresh);
        let finish = (!self.finished).then(|| {
            let delta = Delta { role: self.head.is_none().then(|| ROLE.into()), ..Delta::default() };
            let choice =
                ChunkChoice { index: 0, delta, finish_reason: Some("stop".into()), extra: Extra::new() };
            head.chunk(vec![choice], None)
        });
        self.finished = true;
        let usage =
            self.usage.take().filter(|_| self.include_usage).map(|usage| head.chunk(Vec::new(), Some(usage)));
        finish.into_iter().chain(usage)
    }

    /// The usage the provider told so far.
    pub(super) fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }
}

const OBJECT: &str = "chat.completion.chunk";
const ROLE: &str = "assistant";

impl Head {
    fn of(chunk: &mut ChatChunk) -> Self {
        let id = std::mem::take(&mut chunk.id);
        Self {
            id: if id.is_empty() { fresh_id() } else { id },
            created: chunk.created,
            model: std::mem::take(&mut chunk.model),
        }
    }

    fn fresh() -> Self {
        Self { id: fresh_id(), created: unix_now(), model: String::new() }
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<Usage>) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: OBJECT.into(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage,
            extra: Extra::new(),
        }
    }
}

fn fresh_id() -> String {
    format!("chatcmpl-{}", uuid::Uuid::new_v4().simple())
}

pub(super) fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Gathers shaped chunks into one answer (`stream: false`).
#[derive(Debug, Default)]
pub(super) struct Collector {
    head: Option<Head>,
    text: String,
    has_text: bool,
    extra: Extra,
    finish_reason: Option<String>,
}

impl Collector {
    pub(super) fn chunk(&mut self, mut chunk: ChatChunk) {
        self.head.get_or_insert_with(|| Head::of(&mut chunk));
        let Some(choice) = chunk.choices.into_iter().next() else { return };
        if let Some(content) = choice.delta.content {
            self.has_text = true;
            self.text.push_str(&content);
        }
        for (key, value) in choice.delta.extra {
            merge(&mut self.extra, key, value);
        }
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
    }

    pub(super) fn finish(self, usage: Option<Usage>) -> ChatCompletion {
        let head = self.head.unwrap_or_else(Head::fresh);
        let content = (self.has_text || self.extra.is_empty()).then_some(Content::Text(self.text));
        let message = ChatMessage { role: ROLE.into(), content, extra: self.extra };
        ChatCompletion {
            id: head.id,
            object: "chat.completion".into(),
            created: head.created,
            model: head.model,
            choices: vec![CompletionChoice {
                index: 0,
                message,
                finish_reason: self.finish_reason.or_else(|| Some("stop".into())),
                extra: Extra::new(),
            }],
            usage,
            extra: Extra::new(),
        }
    }
}

/// Adds a delta's field to the message's: texts grow, tool calls are joined by their index, the rest is replaced.
fn merge(into: &mut Extra, key: String, value: serde_json::Value) {
    use serde_json::Value;
    match (into.get_mut(&key), value) {
        (_, Value::Null) => {}
        (Some(Value::String(have)), Value::String(more)) => have.push_str(&more),
        (Some(Value::Array(have)), Value::Array(more)) if key == "tool_calls" => {
            more.into_iter().for_each(|call| merge_call(have, call));
        }
        (None, Value::Array(more)) if key == "tool_calls" => {
            let mut calls = Vec::new();
            more.into_iter().for_each(|call| merge_call(&mut calls, call));
            into.insert(key, Value::Array(calls));
        }
        (_, value) => {
            into.insert(key, value);
        }
    }
}

/// Tool calls one answer may hold; more are dropped.
const MAX_TOOL_CALLS: usize = 128;

fn merge_call(calls: &mut Vec<serde_json::Value>, call: serde_json::Value) {
    let index = call.get("index").cloned();
    let room = calls.len() < MAX_TOOL_CALLS;
    match calls.iter_mut().find(|have| index.is_some() && have.get("index") == index.as_ref()) {
        None if room => calls.push(call),
        None => {}
        Some(have) => {
            if let Some(more) = call.pointer("/function/arguments").and_then(|text| text.as_str())
                && let Some(serde_json::Value::String(text)) = have.pointer_mut("/function/arguments")
            {
                text.push_str(more);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chunk(value: serde_json::Value) -> ChatChunk {
        serde_json::from_value(value).unwrap()
    }

    fn text(content: &str, finish: Option<&str>) -> ChatChunk {
        chunk(json!({"id":"a","object":"x","created":1,"model":"m",
            "choices":[{"index":0,"delta":{"content":content},"finish_reason":finish}]}))
    }

    fn usage() -> ChatChunk {
        chunk(json!({"id":"z","object":"x","created":9,"model":"n","choices":[],
            "usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}))
    }

    #[test]
    fn a_careless_provider_is_put_right() {
        let mut shaper = Shaper::new(true);
        let first = shaper.chunk(text("hi", None)).unwrap();
        assert_eq!(first.choices[0].delta.role.as_deref(), Some("assistant"));
        assert_eq!(first.object, "chat.completion.chunk");
        let mut second = text(" you", None);
        second.id = "b".into();
        second.created = 5;
        let second = shaper.chunk(second).unwrap();
        assert_eq!((second.id.as_str(), second.created), ("a", 1));
        assert!(second.choices[0].delta.role.is_none());
        assert!(shaper.chunk(usage()).is_none());
        let rest: Vec<_> = shaper.end().collect();
        assert_eq!(rest[0].choices[0].finish_reason.as_deref(), Some("stop"));
        assert!(rest[1].choices.is_empty() && rest[1].usage.is_some() && rest[1].id == "a");
        assert_eq!(rest.len(), 2);
    }

    #[test]
    fn usage_is_not_sent_unasked_and_nothing_follows_the_finish() {
        let mut shaper = Shaper::new(false);
        let mut last = text("x", Some("length"));
        last.usage = usage().usage;
        assert!(shaper.chunk(last).unwrap().usage.is_none());
        assert!(shaper.chunk(text("late", None)).is_none());
        assert_eq!(shaper.end().count(), 0);
    }

    #[test]
    fn tool_calls_are_joined_by_index() {
        let mut collector = Collector::default();
        for call in [
            json!({"index":0,"id":"c0","type":"function","function":{"name":"f","arguments":"{\"a\""}}),
            json!({"index":0,"function":{"arguments":":1}"}}),
            json!({"index":1,"id":"c1","type":"function","function":{"name":"g","arguments":"{}"}}),
        ] {
            collector.chunk(chunk(json!({"id":"a","object":"x","created":1,"model":"m",
                "choices":[{"index":0,"delta":{"tool_calls":[call]},"finish_reason":null}]})));
        }
        let message = &collector.finish(None).choices[0].message;
        assert_eq!(message.extra["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
        assert_eq!(message.extra["tool_calls"][1]["id"], "c1");
        assert!(message.content.is_none());
    }
}
