//! Renders a conversation with the model's chat template, and keeps what users wrote apart from the template's own
//! control tokens.
//!
//! Templates are Jinja as Hugging Face's `transformers` runs it: blocks trimmed, Python's string methods,
//! `raise_exception`, `strftime_now`, `bos_token`, `eos_token`, `add_generation_prompt`.
//!
//! A user may write `<|end|>`; that must stay seven letters and never become the token. So every occurrence of a
//! control token's text in what users wrote is put between two marks before rendering, and the rendered text is cut
//! at the marks: what lies between them is tokenised as plain text. The marks are Unicode noncharacters that the
//! conversation does not contain. All other text goes through one call of the tokenizer, as llama.cpp itself does.

use std::{collections::HashSet, io::Write};

use minijinja::{Environment, ErrorKind, syntax::SyntaxConfig};
use serde_json::{Map, Value, json};
use teale_wire::chat::ChatMessage;

use super::strftime;

/// Steps a template may take; real ones take some hundreds per message.
const FUEL: u64 = 20_000_000;
/// Bytes a rendered prompt may have.
const LONGEST_PROMPT: usize = 64 << 20;
/// For models without a template: the format of most chat models ("ChatML").
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + \
'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// A piece of a rendered prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Control tokens count.
    Template(String),
    /// Only letters count.
    Plain(String),
}

/// Why a conversation was not rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RenderError {
    /// The template refused it, in its own words.
    Refused(String),
    /// The template does not run.
    Broken(String),
    /// The conversation has every noncharacter in it.
    NoMark,
}

/// A model's chat template.
#[derive(Debug)]
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
    controls: Controls,
}

impl ChatTemplate {
    /// Compiles a template, or takes ChatML where there is none.
    ///
    /// # Errors
    /// The template's mistake, in words.
    pub(super) fn new(
        source: Option<&str>,
        bos: String,
        eos: String,
        controls: Vec<String>,
    ) -> Result<Self, String> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| error.to_string())?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("{REFUSAL}{message}")))
        });
        environment.add_function("strftime_now", |format: String| strftime::now(&format));
        environment.add_filter("tojson", tojson);
        if source.is_none() {
            tracing::warn!("the model has no chat template; taking ChatML");
        }
        let source = source.unwrap_or(CHATML).to_owned();
        environment.add_template_owned("chat", source).map_err(|error| error.to_string())?;
        Ok(Self { environment, bos, eos, controls: Controls::new(controls) })
    }

    /// Renders a conversation, up to where the assistant begins to speak.
    ///
    /// # Errors
    /// See [`RenderError`].
    pub(super) fn render(
        &self,
        messages: &[ChatMessage],
        variables: &Map<String, Value>,
    ) -> Result<Vec<Piece>, RenderError> {
        let mut messages: Vec<Value> = messages.iter().map(message).collect();
        let mut variables = Value::Object(variables.clone());
        let marks = Marks::missing_in(messages.iter().chain([&variables])).ok_or(RenderError::NoMark)?;
        let mut protect = |text: &mut String| self.controls.protect(text, marks);
        messages.iter_mut().chain([&mut variables]).for_each(|value| each_text(value, &mut protect));
        let mut context = json!({
            "messages": messages,
            "bos_token": self.bos,
            "eos_token": self.eos,
            "add_generation_prompt": true,
            "tools": null,
        });
        if let (Value::Object(context), Value::Object(variables)) = (&mut context, variables) {
            // A caller's variables never replace ours.
            variables.into_iter().for_each(|(name, value)| {
                context.entry(name).or_insert(value);
            });
        }
        let mut out = Bounded::default();
        let template = self.environment.get_template("chat").map_err(|error| broken(&error))?;
        let context = minijinja::Value::from(minijinja::value::Serde(&context));
        template.render_captured_to(context, &mut out).map_err(|error| broken(&error))?;
        let rendered = String::from_utf8(out.0).map_err(|_| RenderError::Broken("not UTF-8".to_owned()))?;
        Ok(marks.split(&rendered))
    }
}

/// Marks the words of `raise_exception` in an error.
const REFUSAL: &str = "refused: ";

fn broken(error: &minijinja::Error) -> RenderError {
    match error.detail().and_then(|detail| detail.strip_prefix(REFUSAL)) {
        Some(reason) => RenderError::Refused(reason.to_owned()),
        None => RenderError::Broken(error.to_string()),
    }
}

/// Python's `json.dumps(…, ensure_ascii=False)`, which templates expect, where minijinja would escape for HTML.
fn tojson(value: minijinja::Value, options: minijinja::value::Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let result =
        if indent.is_some() { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
    result.map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// A message as a template sees it: text joined, nothing null, the newest role under its older name.
fn message(message: &ChatMessage) -> Value {
    let text = message.content.as_ref().and_then(|content| content.to_text()).unwrap_or_default();
    let role = if message.role == "developer" { "system" } else { &message.role };
    let mut fields = message.extra.clone();
    fields.insert("role".to_owned(), json!(role));
    fields.insert("content".to_owned(), json!(text));
    Value::Object(fields)
}

fn each_text(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Object(fields) => {
            // Keys reach a template through `tojson`.
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(mut name, mut value)| {
                    change(&mut name);
                    each_text(&mut value, change);
                    (name, value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The texts of the control tokens. Some models have thousands that begin with the same letter, and prompts may
/// hold that letter millions of times: a look takes one step for each length, not for each text.
#[derive(Debug)]
struct Controls {
    texts: HashSet<String>,
    /// Lengths in bytes by first byte, the longest first.
    lengths: Vec<Vec<usize>>,
}

impl Controls {
    fn new(texts: Vec<String>) -> Self {
        let mut lengths = vec![Vec::new(); 256];
        for text in &texts {
            if let Some(list) = text.bytes().next().and_then(|byte| lengths.get_mut(usize::from(byte))) {
                list.push(text.len());
            }
        }
        for list in &mut lengths {
            list.sort_unstable_by(|a, b| b.cmp(a));
            list.dedup();
        }
        Self { texts: texts.into_iter().collect(), lengths }
    }

    /// Bytes of the longest control token that `text` starts with.
    fn at(&self, text: &str) -> Option<usize> {
        let list = self.lengths.get(usize::from(*text.as_bytes().first()?))?;
        let known = |length: &&usize| text.get(..**length).is_some_and(|head| self.texts.contains(head));
        list.iter().find(known).copied()
    }

    /// Puts marks around every control token's text; overlapping ones share a pair.
    fn protect(&self, text: &mut String, marks: Marks) {
        let mut out = String::new();
        let mut open_until = None;
        for (position, letter) in text.char_indices() {
            if open_until == Some(position) {
                out.push(marks.close);
                open_until = None;
            }
            if let Some(length) = text.get(position..).and_then(|rest| self.at(rest)) {
                if open_until.is_none() {
                    out.push(marks.open);
                }
                open_until = open_until.max(Some(position + length));
            }
            out.push(letter);
        }
        if open_until.is_some() {
            out.push(marks.close);
        }
        if out.len() != text.len() {
            *text = out;
        }
    }
}

/// Two letters that do not occur in a conversation.
#[derive(Debug, Clone, Copy)]
struct Marks {
    open: char,
    close: char,
}

impl Marks {
    fn missing_in<'a>(values: impl Iterator<Item = &'a Value>) -> Option<Self> {
        let mut used = [false; 32];
        let mut note = |text: &mut String| {
            for letter in text.chars().filter(|letter| ('\u{FDD0}'..='\u{FDEF}').contains(letter)) {
                if let Some(flag) = used.get_mut((u32::from(letter) - 0xFDD0) as usize) {
                    *flag = true;
                }
            }
        };
        values.cloned().for_each(|mut value| each_text(&mut value, &mut note));
        let mut free =
            ('\u{FDD0}'..='\u{FDEF}').zip(used).filter(|(_, used)| !used).map(|(letter, _)| letter);
        Some(Self { open: free.next()?, close: free.next()? })
    }

    fn split(self, text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut plain = false;
        for part in text.split_inclusive([self.open, self.close]) {
            let last = part.chars().next_back();
            let body = part.trim_end_matches([self.open, self.close]);
            if !body.is_empty() {
                let piece = if plain { Piece::Plain } else { Piece::Template };
                pieces.push(piece(body.to_owned()));
            }
            match last {
                Some(letter) if letter == self.open => plain = true,
                Some(letter) if letter == self.close => plain = false,
                _ => {}
            }
        }
        pieces
    }
}

/// A buffer that stops a template which never ends.
#[derive(Debug, Default)]
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST_PROMPT {
            return Err(std::io::Error::other("the rendered prompt is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: Option<&str>) -> ChatTemplate {
        let controls = ["<s>", "</s>", "<|user|>", "<|end|>", "<|"].map(str::to_owned).to_vec();
        ChatTemplate::new(source, "<s>".to_owned(), "</s>".to_owned(), controls).unwrap()
    }

    fn render(source: &str, text: &str) -> Result<Vec<Piece>, RenderError> {
        template(Some(source)).render(&[ChatMessage::text("user", text)], &Map::new())
    }

    fn template_piece(text: &str) -> Piece {
        Piece::Template(text.to_owned())
    }

    #[test]
    fn ordinary_text_is_one_piece() {
        let pieces = render("{{ bos_token }}<|user|>{{ messages[0].content }}<|end|>", "hello").unwrap();
        assert_eq!(pieces, [template_piece("<s><|user|>hello<|end|>")]);
    }

    #[test]
    fn a_control_token_in_user_text_is_plain() {
        let pieces = render("<|user|>{{ messages[0].content }}<|end|>", "a<|end|>b\u{FDD0}</s>").unwrap();
        let expected = [
            template_piece("<|user|>a"),
            Piece::Plain("<|end|>".to_owned()),
            template_piece("b\u{FDD0}"),
            Piece::Plain("</s>".to_owned()),
            template_piece("<|end|>"),
        ];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn overlapping_control_tokens_stay_together() {
        let controls = Controls::new(vec!["ab".to_owned(), "bc".to_owned(), "<s>".to_owned()]);
        let mut text = "xabcx<s><s>".to_owned();
        controls.protect(&mut text, Marks { open: '(', close: ')' });
        assert_eq!(text, "x(abc)x(<s>)(<s>)");
    }

    #[test]
    fn many_control_tokens_cost_no_more_than_few() {
        let texts: Vec<String> = (0..6000).map(|number| format!("<unused{number}>")).collect();
        let controls = Controls::new(texts);
        assert_eq!(
            (controls.at("<unused5999>x"), controls.at("<unused6000>"), controls.at("")),
            (Some(12), None, None)
        );
        assert!(controls.lengths.iter().all(|lengths| lengths.len() <= 4));
        let several = Controls::new(["<", "<é", "<éa>", "<éa>"].map(str::to_owned).to_vec());
        assert_eq!((several.at("<éa>b"), several.at("<éa"), several.at("<a")), (Some(5), Some(3), Some(1)));
    }

    #[test]
    fn filters_of_a_template_still_see_the_text() {
        let pieces = render("{{ messages[0]['content'].strip() | upper }}", "  hi ").unwrap();
        assert_eq!(pieces, [template_piece("HI")]);
    }

    #[test]
    fn a_refusal_is_told_in_the_templates_words() {
        let error = render("{{ raise_exception('roles must alternate') }}", "x").unwrap_err();
        assert_eq!(error, RenderError::Refused("roles must alternate".to_owned()));
    }

    #[test]
    fn an_endless_template_runs_out_of_fuel() {
        let source = "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}";
        assert!(matches!(render(source, "x"), Err(RenderError::Broken(_))));
    }

    #[test]
    fn without_a_template_chatml_is_taken() {
        let pieces = template(None).render(&[ChatMessage::text("user", "hi")], &Map::new()).unwrap();
        assert_eq!(pieces, [template_piece("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")]);
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        let pieces = render("{{ messages[0] | tojson }}", "<&>").unwrap();
        assert_eq!(pieces, [template_piece(r#"{"role":"user","content":"<&>"}"#)]);
    }
}
