//! OpenAI's chat completions: request, streamed chunk, whole answer. Unknown fields travel with them.

use serde::{Deserialize, Serialize};

use crate::{Extra, bounded};

/// A `POST /v1/chat/completions` body. Fields we do not know are kept and passed to the backend.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChatRequest {
    /// Which model.
    #[serde(deserialize_with = "bounded::model")]
    pub model: String,
    /// The conversation so far.
    pub messages: Vec<ChatMessage>,
    /// 0 is greedy.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "bounded::opt_finite")]
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "bounded::opt_finite")]
    pub top_p: Option<f64>,
    /// Keep so many candidates (llama.cpp's extension).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<i64>,
    /// Drop candidates below this share of the best (llama.cpp's extension).
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "bounded::opt_finite")]
    pub min_p: Option<f64>,
    /// Same seed, same answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Where to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// At most so many tokens.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded::opt_whole64")]
    pub max_tokens: Option<u64>,
    /// The same under its newer name; wins where both are given.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded::opt_whole64")]
    pub max_completion_tokens: Option<u64>,
    /// −2 … 2.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "bounded::opt_finite")]
    pub presence_penalty: Option<f64>,
    /// −2 … 2.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "bounded::opt_finite")]
    pub frequency_penalty: Option<f64>,
    /// How many answers; only 1 is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// Whether the answer is wanted piece by piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// How to stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ChatRequest {
    /// The token limit under either of its names.
    pub fn token_limit(&self) -> Option<u64> {
        self.max_completion_tokens.or(self.max_tokens)
    }
}

/// One turn of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, `tool`, `developer`.
    pub role: String,
    /// What was said; null or missing in some assistant turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ChatMessage {
    /// A turn of plain text.
    pub fn text(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(Content::Text(content.into())), extra: Extra::new() }
    }
}

/// Text, or a list of parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Parts.
    Parts(Vec<ContentPart>),
}

impl Content {
    /// The text, parts joined; `None` when a part is not text.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Parts(parts) => parts.iter().map(|part| part.text.as_deref()).collect(),
        }
    }
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContentPart {
    /// `text`, `image_url`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of a `text` part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One stop text, or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stop {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Stop {
    /// As a list.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// How to stream.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StreamOptions {
    /// One more chunk with `choices: []` and the usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_usage: Option<bool>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One piece of a streamed answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatChunk {
    /// The same in every chunk of an answer.
    pub id: String,
    /// `chat.completion.chunk`.
    pub object: String,
    /// Unix seconds, the same in every chunk of an answer.
    #[serde(deserialize_with = "bounded::whole64")]
    pub created: u64,
    /// Which model answers.
    #[serde(deserialize_with = "bounded::model")]
    pub model: String,
    /// One choice, or none in the usage chunk.
    pub choices: Vec<ChunkChoice>,
    /// In the last chunk, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A choice of a [`ChatChunk`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkChoice {
    /// Which answer; always 0 here.
    #[serde(deserialize_with = "bounded::whole")]
    pub index: u32,
    /// What is new.
    pub delta: Delta,
    /// `stop`, `length`, … in the last chunk with content, null before it.
    #[serde(default)]
    pub finish_reason: Option<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a chunk adds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Delta {
    /// In the first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// More text; whole UTF-8 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Fields this version does not know (tool calls among them).
    #[serde(flatten)]
    pub extra: Extra,
}

/// What an answer cost, in tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Of the prompt.
    #[serde(default, deserialize_with = "bounded::whole64")]
    pub prompt_tokens: u64,
    /// Of the answer.
    #[serde(default, deserialize_with = "bounded::whole64")]
    pub completion_tokens: u64,
    /// Of both.
    #[serde(default, deserialize_with = "bounded::whole64")]
    pub total_tokens: u64,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A whole answer (`stream: false`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletion {
    /// Names the answer.
    pub id: String,
    /// `chat.completion`.
    pub object: String,
    /// Unix seconds.
    #[serde(deserialize_with = "bounded::whole64")]
    pub created: u64,
    /// Which model answered.
    #[serde(deserialize_with = "bounded::model")]
    pub model: String,
    /// One.
    pub choices: Vec<CompletionChoice>,
    /// Cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A choice of a [`ChatCompletion`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionChoice {
    /// Which answer; always 0 here.
    #[serde(deserialize_with = "bounded::whole")]
    pub index: u32,
    /// The answer.
    pub message: ChatMessage,
    /// `stop`, `length`, …
    pub finish_reason: Option<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}
