//! What a request asks of the engine, checked.
//!
//! | fields | treatment |
//! |---|---|
//! | `messages` (text, or parts of type `text`), `temperature`, `top_p`, `top_k`, `min_p`, `seed`, `stop`, `max_tokens`, `max_completion_tokens`, `presence_penalty`, `frequency_penalty`, `n` = 1, `chat_template_kwargs` | honoured |
//! | `tools`, `functions` (unless empty or `tool_choice` is `none`), `response_format` other than `text`, `logprobs`, `top_logprobs`, `logit_bias`, `audio`, `modalities` other than `text`, `n` > 1, parts that are not text | refused |
//! | everything else (`user`, `store`, `metadata`, `service_tier`, `parallel_tool_calls`, …) | ignored |
//!
//! Without `temperature`, `top_k`, `top_p` or `min_p` llama.cpp's own defaults hold (0.8, 40, 0.95, 0.05).

use serde_json::Value;
use teale_cluster::BackendError;
use teale_wire::chat::{ChatMessage, ChatRequest};

/// Messages of one request.
const MOST_MESSAGES: usize = 4096;
/// Stop texts of one request; OpenAI's own limit is 4.
const MOST_STOPS: usize = 16;
/// Bytes of one stop text.
const LONGEST_STOP: usize = 1024;
/// Roles a message may have.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// How to choose the next token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sampling {
    /// 0, or next to nothing, is greedy.
    pub(super) temperature: f32,
    /// 0 is off.
    pub(super) top_k: i32,
    /// 1 is off.
    pub(super) top_p: f32,
    /// 0 is off.
    pub(super) min_p: f32,
    /// `None`: a random one.
    pub(super) seed: Option<u32>,
    pub(super) presence: f32,
    pub(super) frequency: f32,
}

/// A request that can be served.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Generation {
    pub(super) messages: Vec<ChatMessage>,
    /// Variables for the chat template.
    pub(super) variables: serde_json::Map<String, Value>,
    pub(super) sampling: Sampling,
    pub(super) stops: Vec<String>,
    /// Tokens of answer.
    pub(super) limit: Option<u64>,
}

impl Generation {
    /// Checks a request.
    ///
    /// # Errors
    /// [`BackendError::InvalidRequest`] naming the first field that cannot be served.
    pub(super) fn new(request: ChatRequest) -> Result<Self, BackendError> {
        refuse(&request)?;
        messages(&request.messages)?;
        let sampling = sampling(&request)?;
        let limit = request.token_limit();
        if limit == Some(0) {
            return Err(invalid("max_tokens", "must be 1 or more"));
        }
        let stops = request.stop.as_ref().map(|stop| stop.as_slice().to_vec()).unwrap_or_default();
        if stops.len() > MOST_STOPS || stops.iter().any(|stop| stop.len() > LONGEST_STOP) {
            return Err(invalid("stop", "at most 16 texts of at most 1024 bytes"));
        }
        let variables = match request.extra.get("chat_template_kwargs") {
            Some(Value::Object(variables)) => variables.clone(),
            None | Some(Value::Null) => serde_json::Map::new(),
            Some(_) => return Err(invalid("chat_template_kwargs", "must be an object")),
        };
        Ok(Self { messages: request.messages, variables, sampling, stops, limit })
    }
}

fn invalid(field: &str, reason: &str) -> BackendError {
    BackendError::InvalidRequest { field: field.to_owned(), reason: reason.to_owned() }
}

fn refuse(request: &ChatRequest) -> Result<(), BackendError> {
    if request.n.is_some_and(|n| n != 1) {
        return Err(invalid("n", "only one answer per request"));
    }
    let field = |name: &str| request.extra.get(name).filter(|value| !value.is_null());
    let asked = |name: &str| match field(name) {
        None | Some(Value::Bool(false)) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(items)) => !items.is_empty(),
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(_) => true,
    };
    for name in ["logprobs", "top_logprobs", "logit_bias", "audio"] {
        if asked(name) {
            return Err(invalid(name, "this engine does not do it"));
        }
    }
    let unused = field("tool_choice").or(field("function_call")).and_then(Value::as_str) == Some("none");
    for name in ["tools", "functions"] {
        if asked(name) && !unused {
            return Err(invalid(name, "this engine calls no tools"));
        }
    }
    let format = field("response_format").and_then(|format| format.get("type")).and_then(Value::as_str);
    if field("response_format").is_some() && format != Some("text") {
        return Err(invalid("response_format", "only text"));
    }
    let text_only = |items: &Vec<Value>| items.iter().all(|item| item.as_str() == Some("text"));
    if field("modalities").is_some_and(|value| !value.as_array().is_some_and(text_only)) {
        return Err(invalid("modalities", "only text"));
    }
    Ok(())
}

fn messages(messages: &[ChatMessage]) -> Result<(), BackendError> {
    if messages.is_empty() || messages.len() > MOST_MESSAGES {
        return Err(invalid("messages", "between 1 and 4096 messages"));
    }
    for message in messages {
        if !ROLES.contains(&message.role.as_str()) {
            return Err(invalid("messages.role", "not a known role"));
        }
        if message.content.as_ref().is_some_and(|content| content.to_text().is_none()) {
            return Err(invalid("messages.content", "only parts of type text"));
        }
    }
    Ok(())
}

fn sampling(request: &ChatRequest) -> Result<Sampling, BackendError> {
    let number = |name: &str, value: Option<f64>, low: f64, high: f64, default: f32| match value {
        None => Ok(default),
        Some(value) if (low..=high).contains(&value) => Ok(value as f32),
        Some(_) => Err(invalid(name, &format!("must be between {low} and {high}"))),
    };
    let top_k = match request.top_k {
        None => 40,
        Some(-1) => 0,
        Some(top_k) => i32::try_from(top_k)
            .ok()
            .filter(|top_k| *top_k >= 0)
            .ok_or_else(|| invalid("top_k", "must be 0 (off) or more"))?,
    };
    Ok(Sampling {
        temperature: number("temperature", request.temperature, 0.0, 2.0, 0.8)?,
        top_k,
        top_p: number("top_p", request.top_p, 0.0, 1.0, 0.95)?,
        min_p: number("min_p", request.min_p, 0.0, 1.0, 0.05)?,
        seed: request.seed.map(fold_seed),
        presence: number("presence_penalty", request.presence_penalty, -2.0, 2.0, 0.0)?,
        frequency: number("frequency_penalty", request.frequency_penalty, -2.0, 2.0, 0.0)?,
    })
}

/// llama.cpp's seeds have 32 bits, and all ones means "random".
fn fold_seed(seed: i64) -> u32 {
    let folded = (seed as u64 ^ (seed as u64 >> 32)) as u32;
    if folded == u32::MAX { 0 } else { folded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &str) -> Result<Generation, BackendError> {
        let text = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{fields}}}"#);
        Generation::new(serde_json::from_str(&text).unwrap())
    }

    fn refused(fields: &str) -> String {
        match parse(fields) {
            Err(BackendError::InvalidRequest { field, .. }) => field,
            other => panic!("{fields}: {other:?}"),
        }
    }

    #[test]
    fn fields_that_cannot_be_served_are_named() {
        for (fields, name) in [
            (r#","n":2"#, "n"),
            (r#","temperature":2.1"#, "temperature"),
            (r#","top_p":-0.1"#, "top_p"),
            (r#","top_k":-2"#, "top_k"),
            (r#","min_p":1.5"#, "min_p"),
            (r#","presence_penalty":3"#, "presence_penalty"),
            (r#","frequency_penalty":-3"#, "frequency_penalty"),
            (r#","max_tokens":0"#, "max_tokens"),
            (r#","logprobs":true"#, "logprobs"),
            (r#","tools":[{"type":"function"}]"#, "tools"),
            (r#","response_format":{"type":"json_object"}"#, "response_format"),
            (r#","modalities":["text","audio"]"#, "modalities"),
            (r#","logit_bias":{"5":1}"#, "logit_bias"),
        ] {
            assert_eq!(refused(fields), name);
        }
        let stops: Vec<String> = (0..17).map(|number| format!("\"{number}\"")).collect();
        assert_eq!(refused(&format!(r#","stop":[{}]"#, stops.join(","))), "stop");
    }

    #[test]
    fn harmless_fields_are_accepted() {
        let fields = r#","n":1,"user":"u","tools":[],"logprobs":false,"response_format":{"type":"text"},
            "tool_choice":"none","logit_bias":{},"seed":-1,"top_k":-1,"stop":null,"frobnicate":[1]"#;
        let generation = parse(fields).unwrap();
        assert_eq!((generation.sampling.top_k, generation.sampling.seed), (0, Some(0)));
    }

    #[test]
    fn the_newer_name_of_the_token_limit_wins() {
        assert_eq!(parse(r#","max_tokens":5,"max_completion_tokens":7"#).unwrap().limit, Some(7));
    }

    #[test]
    fn images_and_unknown_roles_are_refused() {
        for (message, field) in [
            (r#"{"role":"user","content":[{"type":"image_url","image_url":{}}]}"#, "messages.content"),
            (r#"{"role":"<|system|>","content":"x"}"#, "messages.role"),
        ] {
            let request =
                serde_json::from_str(&format!(r#"{{"model":"m","messages":[{message}]}}"#)).unwrap();
            let Err(BackendError::InvalidRequest { field: named, .. }) = Generation::new(request) else {
                panic!("served")
            };
            assert_eq!(named, field);
        }
    }
}
