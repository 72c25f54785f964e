//! Requests whose words say what the backend does, and what it makes of them.

use teale_cluster::BackendError;
use teale_wire::{
    Extra,
    chat::{ChatChunk, ChatMessage, ChatRequest, ChunkChoice, Delta, Usage},
};

use super::MODEL;

/// A request at the backend.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) script: Vec<Result<ChatChunk, BackendError>>,
    pub(super) at: usize,
    pub(super) hang: bool,
    pub(super) waiting: bool,
}

/// A request for `tokens` tokens. Other words: `fail` fails at once, `break N` after N tokens, `hang` never speaks.
pub fn request(script: &str) -> ChatRequest {
    ChatRequest {
        model: MODEL.into(),
        messages: vec![ChatMessage::text("user", script)],
        ..ChatRequest::default()
    }
}

pub fn chunk(text: Option<&str>, role: Option<&str>, finish: Option<&str>) -> ChatChunk {
    let delta =
        Delta { role: role.map(str::to_owned), content: text.map(str::to_owned), extra: Extra::new() };
    let finish_reason = finish.map(str::to_owned);
    ChatChunk {
        id: "chatcmpl-1".into(),
        object: "chat.completion.chunk".into(),
        created: 1_713_100_000,
        model: MODEL.into(),
        choices: vec![ChunkChoice { index: 0, delta, finish_reason, extra: Extra::new() }],
        usage: None,
        extra: Extra::new(),
    }
}

pub fn usage_chunk(prompt: u64, completion: u64) -> ChatChunk {
    let usage = Usage {
        prompt_tokens: prompt,
        completion_tokens: completion,
        total_tokens: prompt + completion,
        extra: Extra::new(),
    };
    ChatChunk { choices: Vec::new(), usage: Some(usage), ..chunk(None, None, None) }
}

/// The text a whole answer of `tokens` tokens has.
pub fn whole(tokens: u64) -> String {
    (0..tokens).map(|n| format!("t{n} ")).collect()
}

pub(super) fn scripted(script: &str) -> Job {
    let tokens = |count: u64| {
        let role = std::iter::once(Ok(chunk(None, Some("assistant"), None)));
        role.chain((0..count).map(|n| Ok(chunk(Some(&format!("t{n} ")), None, None)))).collect::<Vec<_>>()
    };
    let words: Vec<&str> = script.split_whitespace().collect();
    let (script, hang) = match words.as_slice() {
        ["hang"] => (Vec::new(), true),
        ["fail"] => (vec![Err(BackendError::Internal("broken".into()))], false),
        ["long"] => (vec![Err(BackendError::ContextLengthExceeded { prompt: 9, context: 8 })], false),
        ["break", count] => {
            let mut script = tokens(count.parse().unwrap());
            script.push(Err(BackendError::Internal("broken".into())));
            (script, false)
        }
        [count, ..] => {
            let count = count.parse().unwrap();
            let mut script = tokens(count);
            script.push(Ok(chunk(None, None, Some("stop"))));
            script.push(Ok(usage_chunk(7, count)));
            (script, false)
        }
        [] => (Vec::new(), false),
    };
    Job { script, at: 0, hang, waiting: false }
}
