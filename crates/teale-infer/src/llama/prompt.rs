//! From a conversation to the tokens of its prompt.

use std::sync::Arc;

use llama_cpp_2::{model::LlamaModel, token::LlamaToken, token_type::LlamaTokenAttr, vocab::LlamaVocab};
use teale_cluster::BackendError;

use super::{
    request::Generation,
    template::{ChatTemplate, Piece, RenderError},
};

/// Bytes of text that are tokenised at once to tell whether a long prompt can fit.
const SAMPLE: usize = 8 << 10;
/// Tokens that cutting a text in two may add.
const SEAM: usize = 64;

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
        self.refuse_far_too_long(&vocab, &pieces)?;
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
            return Err(self.too_long(tokens.len()));
        }
        Ok(tokens)
    }

    /// llama.cpp takes time in the square of a prompt's tokens: what cannot fit is refused by samples, before the
    /// whole of it is tokenised.
    ///
    /// # Errors
    /// [`BackendError::ContextLengthExceeded`] with the tokens extrapolated.
    fn refuse_far_too_long(&self, vocab: &LlamaVocab<'_>, pieces: &[Piece]) -> Result<(), BackendError> {
        let text = |piece: &Piece| match piece {
            Piece::Template(text) | Piece::Plain(text) => text.len(),
        };
        let bytes: usize = pieces.iter().map(text).sum();
        if bytes <= SAMPLE {
            return Ok(());
        }
        let (mut seen, mut samples, mut tokens) = (0, 0, 0);
        for piece in pieces {
            let (Piece::Template(text) | Piece::Plain(text)) = piece;
            for sample in samples_of(text) {
                seen += sample.len();
                samples += 1;
                tokens += vocab.tokenize(sample.as_bytes(), false, false).len();
                if tokens > self.context as usize + samples * SEAM {
                    let share = seen as f64 / bytes as f64;
                    return Err(self.too_long((tokens as f64 / share) as usize));
                }
            }
        }
        Ok(())
    }

    fn too_long(&self, tokens: usize) -> BackendError {
        BackendError::ContextLengthExceeded { prompt: tokens as u64, context: self.context.into() }
    }
}

/// A text in parts of at most [`SAMPLE`] bytes, cut between characters.
fn samples_of(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (sample, rest) = text.split_at(text.floor_char_boundary(SAMPLE));
        text = rest;
        (!sample.is_empty()).then_some(sample)
    })
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
