//! From a conversation to the tokens of its prompt.

use std::sync::Arc;

use llama_cpp_2::{model::LlamaModel, token::LlamaToken, token_type::LlamaTokenAttr, vocab::LlamaVocab};
use teale_cluster::BackendError;

use super::{
    request::Generation,
    template::{ChatTemplate, Piece, RenderError},
};

/// Renders and tokenises; one thread does it for all requests, beside the engine.
#[derive(Debug)]
pub(super) struct Prompter {
    model: Arc<LlamaModel>,
    template: ChatTemplate,
    context: u32,
}

impl Prompter {
    /// # Errors
    /// The chat template's mistake, in words.
    pub(super) fn new(model: Arc<LlamaModel>, template: Option<&str>, context: u32) -> Result<Self, String> {
        let vocab = model.vocab();
        let controls = vocab.tokens().filter(|token| is_control(&vocab, *token));
        let controls = controls.map(|token| text(&vocab, token)).filter(|text| !text.is_empty()).collect();
        let template =
            ChatTemplate::new(template, text(&vocab, vocab.bos()), text(&vocab, vocab.eos()), controls)?;
        Ok(Self { model, template, context })
    }

    /// The tokens of a prompt that leaves room for at least one token of answer.
    ///
    /// # Errors
    /// [`BackendError::InvalidRequest`] when the template refuses, [`BackendError::ContextLengthExceeded`].
    pub(super) fn tokens(&self, generation: &Generation) -> Result<Vec<LlamaToken>, BackendError> {
        let pieces = self.template.render(&generation.messages, &generation.variables).map_err(refusal)?;
        let vocab = self.model.vocab();
        let mut tokens = Vec::new();
        for piece in &pieces {
            match piece {
                Piece::Template(text) => tokens.append(&mut vocab.tokenize(text.as_bytes(), false, true)),
                Piece::Plain(text) => tokens.append(&mut plain(&vocab, text)),
            }
        }
        if vocab.should_add_bos() && tokens.first() != Some(&vocab.bos()) && vocab.bos().0 >= 0 {
            tokens.insert(0, vocab.bos());
        }
        if tokens.is_empty() {
            return Err(BackendError::InvalidRequest {
                field: "messages".to_owned(),
                reason: "the prompt is empty".to_owned(),
            });
        }
        if tokens.len() >= self.context as usize {
            let (prompt, context) = (tokens.len() as u64, self.context.into());
            return Err(BackendError::ContextLengthExceeded { prompt, context });
        }
        Ok(tokens)
    }
}

fn refusal(error: RenderError) -> BackendError {
    let (field, reason) = match error {
        RenderError::Refused(reason) => ("messages", reason),
        RenderError::NoMark => ("messages", "too many Unicode noncharacters".to_owned()),
        RenderError::Broken(reason) => {
            tracing::warn!(%reason, "the model's chat template failed");
            ("messages", "the model's chat template cannot render them".to_owned())
        }
    };
    BackendError::InvalidRequest { field: field.to_owned(), reason }
}

/// Tokens of letters only. A merging tokenizer could still put a control token together from its letters.
fn plain(vocab: &LlamaVocab<'_>, text: &str) -> Vec<LlamaToken> {
    let tokens = vocab.tokenize(text.as_bytes(), false, false);
    if !tokens.iter().any(|token| is_control(vocab, *token)) {
        return tokens;
    }
    let mut letter = [0; 4];
    let letters =
        text.chars().flat_map(|char| vocab.tokenize(char.encode_utf8(&mut letter).as_bytes(), false, false));
    letters.filter(|token| !is_control(vocab, *token)).collect()
}

fn is_control(vocab: &LlamaVocab<'_>, token: LlamaToken) -> bool {
    let attributes = vocab.attr(token);
    attributes.contains(LlamaTokenAttr::Control) || attributes.contains(LlamaTokenAttr::Unknown)
}

fn text(vocab: &LlamaVocab<'_>, token: LlamaToken) -> String {
    if token.0 < 0 {
        return String::new();
    }
    vocab.text(token).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}
