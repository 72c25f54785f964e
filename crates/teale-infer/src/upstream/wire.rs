//! What other servers send that OpenAI's types do not cover: their model lists and their errors.

use serde::Deserialize;
use serde_json::Value;

/// Models of one list.
pub(super) const MOST_MODELS: usize = 256;
/// Bytes of a model's id.
const LONGEST_ID: usize = 512;

/// `GET /v1/models`.
#[derive(Debug, Deserialize)]
pub(super) struct ModelList {
    data: Vec<Model>,
}

#[derive(Debug, Deserialize)]
struct Model {
    id: String,
    #[serde(flatten)]
    extra: serde_json::Map<String, Value>,
}

impl ModelList {
    /// Ids and, where the server tells, the context (vLLM: `max_model_len`; llama-server: `meta.n_ctx`).
    pub(super) fn models(self) -> Vec<(String, Option<u32>)> {
        let usable =
            self.data.into_iter().filter(|model| !model.id.is_empty() && model.id.len() <= LONGEST_ID);
        usable
            .take(MOST_MODELS)
            .map(|model| (model.context(), model.id))
            .map(|(context, id)| (id, context))
            .collect()
    }
}

impl Model {
    fn context(&self) -> Option<u32> {
        let meta = self.extra.get("meta").and_then(|meta| meta.get("n_ctx"));
        let named = ["max_model_len", "context_length"].iter().find_map(|name| self.extra.get(*name));
        u32::try_from(named.or(meta)?.as_u64()?).ok()
    }
}

/// `{"error": …}`; the inner part is an object with most servers, a text with some.
#[derive(Debug, Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: Value,
}

/// What an error says, as far as it can be told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ErrorWords {
    pub(super) message: String,
    /// `code` and `type`, joined.
    pub(super) code: String,
    pub(super) param: Option<String>,
    pub(super) prompt: Option<u64>,
    pub(super) context: Option<u64>,
}

impl ErrorWords {
    pub(super) fn new(error: &Value) -> Self {
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        let message = error.as_str().unwrap_or_else(|| text("message"));
        Self {
            message: shown(message),
            code: format!("{} {}", text("code"), text("type")),
            param: Some(text("param")).filter(|param| !param.is_empty()).map(shown),
            prompt: error.get("n_prompt_tokens").and_then(Value::as_u64),
            context: error.get("n_ctx").and_then(Value::as_u64),
        }
    }

    /// The words of a response's body.
    pub(super) fn of_body(body: &[u8]) -> Option<Self> {
        serde_json::from_slice::<ErrorBody>(body).ok().map(|body| Self::new(&body.error))
    }
}

/// A server's words, made fit for a log and a terminal.
fn shown(text: &str) -> String {
    const LONGEST: usize = 300;
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(LONGEST).collect()
}
