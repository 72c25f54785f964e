//! Brings another server's chunks into the promised shape: one id, the role first, one finish, one usage.

use serde_json::{Value, json};
use teale_cluster::BackendError;
use teale_wire::{
    Extra,
    chat::{ChatChunk, ChatCompletion, Delta, Usage},
};

use super::{failure, wire::ErrorWords};
use crate::chunks::Answer;

/// An answer in the making.
#[derive(Debug)]
pub(super) struct Shape {
    answer: Answer,
    finished: bool,
    usage: Option<Usage>,
    pieces: u64,
}

impl Shape {
    pub(super) fn new(model: &str) -> Self {
        Self { answer: Answer::new(model), finished: false, usage: None, pieces: 0 }
    }

    /// One event's data. `None`: the server says that this was all.
    ///
    /// # Errors
    /// The server's error, or data that is no chunk.
    pub(super) fn event(&mut self, data: &str) -> Result<Option<Vec<ChatChunk>>, BackendError> {
        if data.trim() == "[DONE]" {
            return Ok(None);
        }
        let wrong =
            |_| BackendError::Internal("the upstream server sent something that is no chunk".to_owned());
        let mut value: Value = serde_json::from_str(data).map_err(wrong)?;
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            return Err(failure::of_event(ErrorWords::new(error)));
        }
        complete(&mut value);
        let chunk: ChatChunk = serde_json::from_value(value).map_err(wrong)?;
        Ok(Some(self.chunk(chunk)))
    }

    fn chunk(&mut self, chunk: ChatChunk) -> Vec<ChatChunk> {
        self.usage = chunk.usage.or(self.usage.take());
        let Some(choice) = chunk.choices.into_iter().find(|choice| choice.index == 0) else {
            return Vec::new();
        };
        if self.finished {
            return Vec::new();
        }
        let says = choice.delta.content.as_ref().is_some_and(|text| !text.is_empty())
            || !choice.delta.extra.is_empty();
        if !says && choice.finish_reason.is_none() {
            return Vec::new(); // only a role: it goes with the first piece
        }
        self.pieces += u64::from(says);
        self.finished = choice.finish_reason.is_some();
        let mut shaped = self.answer.delta(choice.delta, choice.finish_reason);
        if let Some(first) = shaped.choices.first_mut() {
            first.extra = choice.extra;
        }
        vec![shaped]
    }

    /// A whole answer, from a server that does not stream.
    pub(super) fn whole(&mut self, completion: ChatCompletion) -> Vec<ChatChunk> {
        self.usage = completion.usage;
        let Some(choice) = completion.choices.into_iter().next() else { return Vec::new() };
        self.finished = true;
        self.pieces += 1;
        let content = choice.message.content.and_then(|content| content.to_text());
        let delta = Delta { content, extra: choice.message.extra, ..Delta::default() };
        vec![self.answer.delta(delta, Some(choice.finish_reason.unwrap_or_else(|| "stop".to_owned())))]
    }

    /// The end: what the server left out is added. `told`: the server itself said that this was all.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] when the answer just broke off.
    pub(super) fn end(mut self, told: bool) -> Result<Vec<ChatChunk>, BackendError> {
        if !self.finished && !told {
            return Err(BackendError::Unavailable("the upstream server broke off".to_owned()));
        }
        let mut chunks = Vec::new();
        if !self.finished {
            chunks.push(self.answer.finish("stop"));
        }
        // Without numbers from the server each piece counts as a token; the usage says so.
        let estimated = || Usage {
            completion_tokens: self.pieces,
            total_tokens: self.pieces,
            extra: Extra::from_iter([("estimated".to_owned(), json!(true))]),
            ..Usage::default()
        };
        chunks.push(self.answer.usage(self.usage.clone().unwrap_or_else(estimated)));
        Ok(chunks)
    }
}

/// Adds what a chunk must have and some servers leave out.
fn complete(value: &mut Value) {
    let Some(chunk) = value.as_object_mut() else { return };
    for (name, default) in
        [("id", json!("")), ("object", json!("")), ("created", json!(0)), ("model", json!(""))]
    {
        let field = chunk.entry(name).or_insert_with(|| default.clone());
        if field.is_null() || field.is_f64() {
            *field = default;
        }
    }
    let choices = chunk.entry("choices").or_insert_with(|| json!([]));
    if choices.is_null() {
        *choices = json!([]);
    }
    for choice in choices.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        choice.entry("index").or_insert_with(|| json!(0));
        let delta = choice.entry("delta").or_insert_with(|| json!({}));
        if delta.is_null() {
            *delta = json!({});
        }
    }
}
