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
    role_sent: bool,
    finished: bool,
    usage: Option<Usage>,
}

impl Shaper {
    pub(super) fn new(include_usage: bool) -> Self {
        Self { include_usage, head: None, role_sent: false, finished: false, usage: None }
    }

    /// The chunk to pass on; `None` when there is nothing in it for the client yet.
    pub(super) fn chunk(&mut self, mut chunk: ChatChunk) -> Option<ChatChunk> {
        if let Some(usage) = chunk.usage.take() {
            self.usage = Some(usage);
        }
        let head = self.head.get_or_insert_with(|| Head::of(&mut chunk));
        // After the finish reason only the usage may follow.
        if chunk.choices.is_empty() || self.finished {
            return None;
        }
        head.id.clone_into(&mut chunk.id);
        head.model.clone_into(&mut chunk.model);
        chunk.created = head.created;
        OBJECT.clone_into(&mut chunk.object);
        // One answer was asked for.
        chunk.choices.truncate(1);
        if let Some(choice) = chunk.choices.first_mut() {
            choice.index = 0;
            choice.delta.role = self.role();
            self.finished |= choice.finish_reason.is_some();
        }
        Some(chunk)
    }

    /// What is missing after the last chunk: a finish reason the provider forgot, the usage if it was asked for.
    pub(super) fn end(&mut self) -> impl Iterator<Item = ChatChunk> + use<> {
        let head = self.head.clone().unwrap_or_else(Head::fresh);
        let finish = (!self.finished).then(|| {
            let delta = Delta { role: self.role(), ..Delta::default() };
            let choice =
                ChunkChoice { index: 0, delta, finish_reason: Some("stop".into()), extra: Extra::new() };
            head.chunk(vec![choice], None)
        });
        self.finished = true;
        let usage =
            self.usage.take().filter(|_| self.include_usage).map(|usage| head.chunk(Vec::new(), Some(usage)));
        finish.into_iter().chain(usage)
    }

    /// The role, for the first delta only.
    fn role(&mut self) -> Option<String> {
        (!std::mem::replace(&mut self.role_sent, true)).then(|| ROLE.into())
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

/// Bytes of an answer that is gathered: as much as one cluster message may carry.
const ANSWER_LIMIT: usize = teale_wire::limits::CLUSTER_MESSAGE;

/// The provider does not come to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Gathers shaped chunks into one answer (`stream: false`).
#[derive(Debug, Default)]
pub(super) struct Collector {
    head: Option<Head>,
    text: String,
    has_text: bool,
    extra: Extra,
    finish_reason: Option<String>,
    bytes: usize,
}

impl Collector {
    /// Takes the next chunk.
    ///
    /// # Errors
    /// [`TooLong`], with what was gathered so far of no use.
    pub(super) fn chunk(&mut self, mut chunk: ChatChunk) -> Result<(), TooLong> {
        self.head.get_or_insert_with(|| Head::of(&mut chunk));
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(()) };
        let extra = choice.delta.extra;
        self.bytes += choice.delta.content.as_ref().map_or(0, String::len);
        self.bytes += extra.iter().map(|(key, value)| key.len() + value.to_string().len()).sum::<usize>();
        if self.bytes > ANSWER_LIMIT {
            return Err(TooLong);
        }
        if let Some(content) = choice.delta.content {
            self.has_text = true;
            self.text.push_str(&content);
        }
        for (key, value) in extra {
            merge(&mut self.extra, key, value);
        }
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        Ok(())
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
            let Some(more) = call.pointer("/function/arguments").and_then(|text| text.as_str()) else {
                return;
            };
            let Some(function) = have.get_mut("function").and_then(|function| function.as_object_mut())
            else {
                return;
            };
            match function.get_mut("arguments") {
                Some(serde_json::Value::String(text)) => text.push_str(more),
                _ => {
                    function.insert("arguments".into(), more.into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};
    use serde_json::json;

    use super::*;

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
            json!({"index":1,"id":"c1","type":"function","function":{"name":"g"}}),
            json!({"index":1,"function":{"arguments":"{"}}),
            json!({"index":1,"function":{"arguments":"}"}}),
        ] {
            let taken = collector.chunk(chunk(json!({"id":"a","object":"x","created":1,"model":"m",
                "choices":[{"index":0,"delta":{"tool_calls":[call]},"finish_reason":null}]})));
            assert_eq!(taken, Ok(()));
        }
        let message = &collector.finish(None).choices[0].message;
        assert_eq!(message.extra["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
        assert_eq!(message.extra["tool_calls"][1]["id"], "c1");
        assert_eq!(message.extra["tool_calls"][1]["function"]["arguments"], "{}");
        assert!(message.content.is_none());
    }

    #[test]
    fn an_answer_without_end_is_not_gathered_without_end() {
        for delta in [json!({"content": "x".repeat(1 << 20)}), json!({"reasoning": "x".repeat(1 << 20)})] {
            let endless = chunk(json!({"id":"a","object":"x","created":1,"model":"m",
                "choices":[{"index":0,"delta":delta,"finish_reason":null}]}));
            let mut collector = Collector::default();
            let taken = (0..64).take_while(|_| collector.chunk(endless.clone()).is_ok()).count();
            assert!((1..=ANSWER_LIMIT >> 20).contains(&taken), "{taken}");
        }
    }

    #[test]
    fn only_one_answer_is_passed_on() {
        let two = chunk(json!({"id":"a","object":"x","created":1,"model":"m","choices":[
            {"index":3,"delta":{"content":"x"},"finish_reason":null},
            {"index":0,"delta":{"content":"y"},"finish_reason":"stop"}]}));
        let shaped = Shaper::new(false).chunk(two).unwrap();
        assert_eq!((shaped.choices.len(), shaped.choices[0].index), (1, 0));
    }

    /// What a stranger's chunk may hold.
    fn any_chunk() -> impl Strategy<Value = ChatChunk> {
        let delta = (option::of("[a-zé]{0,3}"), option::of(Just("assistant")));
        let choice = option::weighted(0.9, (delta, option::weighted(0.1, "stop|length")));
        (choice, option::weighted(0.2, 0..9_u64), "[ab]?", 0..3_u64).prop_map(
            |(choice, usage, id, created)| {
                let choices = choice.map(|((content, role), finish_reason)| {
                    let delta = Delta { role: role.map(Into::into), content, extra: Extra::new() };
                    ChunkChoice { index: 0, delta, finish_reason, extra: Extra::new() }
                });
                let usage = usage.map(|tokens| Usage { completion_tokens: tokens, ..Usage::default() });
                let (object, model) = ("x".into(), "m".into());
                ChatChunk {
                    id,
                    object,
                    created,
                    model,
                    choices: choices.into_iter().collect(),
                    usage,
                    extra: Extra::new(),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_comes_in_the_promises_hold(
            chunks in proptest::collection::vec(any_chunk(), 0..12),
            include_usage: bool,
        ) {
            let mut expected = String::new();
            for choice in chunks.iter().filter_map(|chunk| chunk.choices.first()) {
                expected.extend(choice.delta.content.clone());
                if choice.finish_reason.is_some() {
                    break;
                }
            }
            let told = chunks.iter().any(|chunk| chunk.usage.is_some());
            let mut shaper = Shaper::new(include_usage);
            let mut out: Vec<_> = chunks.into_iter().filter_map(|chunk| shaper.chunk(chunk)).collect();
            out.extend(shaper.end());

            let with_usage = out.iter().filter(|chunk| chunk.usage.is_some()).count();
            prop_assert_eq!(with_usage, usize::from(include_usage && told));
            prop_assert!(out.iter().all(|chunk| (&chunk.id, chunk.created) == (&out[0].id, out[0].created)));
            prop_assert!(!out[0].id.is_empty());
            let choices: Vec<_> = out.iter().filter_map(|chunk| chunk.choices.first()).collect();
            prop_assert_eq!(choices[0].delta.role.as_deref(), Some("assistant"));
            let ends: Vec<_> = choices.iter().map(|choice| choice.finish_reason.is_some()).collect();
            prop_assert_eq!(ends.iter().position(|end| *end), Some(ends.len() - 1));
            let text: String = choices.iter().filter_map(|choice| choice.delta.content.as_deref()).collect();
            prop_assert_eq!(text, expected);
        }
    }
}
