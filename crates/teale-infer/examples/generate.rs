//! Answers one question with a GGUF file, or with another server:
//!
//! ```text
//! cargo run -p teale-infer --example generate -- model.gguf "What is a teal?"
//! cargo run -p teale-infer --example generate -- http://127.0.0.1:8080 "What is a teal?"
//! ```
//!
//! Without arguments it takes the tests' model, whose words are random.
#![allow(clippy::print_stdout, reason = "an example talks")]

use std::{error::Error, io::Write, sync::Arc, time::Duration};

use futures_util::StreamExt;
use teale_cluster::Backend;
use teale_infer::{LlamaBackend, LlamaOptions, UpstreamBackend, UpstreamOptions};
use teale_wire::chat::{ChatMessage, ChatRequest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny.gguf");
    let source = args.next().unwrap_or_else(|| tiny.to_owned());
    let question = args.next().unwrap_or_else(|| "What is a teal?".to_owned());

    let backend: Arc<dyn Backend> = if source.starts_with("http") {
        Arc::new(UpstreamBackend::new(UpstreamOptions::new(source))?)
    } else {
        Arc::new(LlamaBackend::load(LlamaOptions::new(source))?)
    };
    let model = loop {
        match backend.models().into_iter().next() {
            Some(model) => break model,
            None => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };

    let messages = vec![ChatMessage::text("user", question)];
    let request = ChatRequest { model: model.id, messages, max_tokens: Some(256), ..ChatRequest::default() };
    let mut answer = backend.start(request)?;
    while let Some(chunk) = answer.next().await {
        let chunk = chunk?;
        for choice in chunk.choices {
            print!("{}", choice.delta.content.unwrap_or_default());
        }
        std::io::stdout().flush()?;
        if let Some(usage) = chunk.usage {
            println!("\n({} tokens in, {} out)", usage.prompt_tokens, usage.completion_tokens);
        }
    }
    Ok(())
}
