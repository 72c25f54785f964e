//! A relay, a provider and a consumer in one program. Run with a model file:
//! `cargo run -p teale-node --example ten_lines -- MODEL.gguf`; without one, the tiny test model is served.
#![allow(clippy::print_stdout, reason = "an example")]

use std::time::Duration;

use futures_util::StreamExt;
use teale_node::{
    Node,
    chat::{ChatMessage, ChatRequest},
    relay_server::{RelayServer, RelayServerConfig},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file =
        std::env::args().nth(1).unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/tiny.gguf").into());
    let relay = RelayServer::bind(RelayServerConfig::new(([127, 0, 0, 1], 0).into())).await?;
    let url = format!("ws://{}/ws", relay.local_addr());
    tokio::spawn(relay.run());

    let provider = Node::builder().relay(&url).model(format!("m={file}")).start().await?;
    let consumer = Node::builder().relay(&url).start().await?;
    consumer.cluster().wait_for_model("m", Duration::from_secs(10)).await;
    let messages = vec![ChatMessage::text("user", "hello")];
    let request = ChatRequest { model: "m".into(), messages, max_tokens: Some(32), ..ChatRequest::default() };
    let mut answer = consumer.cluster().chat(request).await?;
    println!("{:?} answers over {:?}:", answer.node, answer.path);
    while let Some(chunk) = answer.next().await {
        print!(
            "{}",
            chunk?.choices.into_iter().filter_map(|choice| choice.delta.content).collect::<String>()
        );
    }
    println!();
    consumer.shutdown(Duration::from_secs(1)).await;
    provider.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
