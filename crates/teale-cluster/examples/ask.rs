//! A relay, a provider whose engine repeats the question, and a consumer that asks it, in one process.
//!
//! `cargo run -p teale-cluster --example ask`

use std::{error::Error, io::Write as _, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use teale_cluster::{Backend, BackendError, ChunkStream, Cluster, ClusterConfig, LoadState, ModelInfo};
use teale_identity::Identity;
use teale_relay_client::RelayConfig;
use teale_relay_server::{RelayServer, RelayServerConfig};
use teale_wire::{
    Extra, HardwareCapability, NodeCapabilities,
    chat::{ChatChunk, ChatMessage, ChatRequest, ChunkChoice, Delta},
};

/// Says the question again, word by word.
#[derive(Debug)]
struct Echo;

impl Backend for Echo {
    fn models(&self) -> Vec<ModelInfo> {
        vec![ModelInfo { id: "echo".into(), state: LoadState::Ready, context: None, size_bytes: None }]
    }

    fn slots(&self) -> usize {
        4
    }

    fn start(&self, request: ChatRequest) -> Result<ChunkStream, BackendError> {
        let question = request.messages.last().and_then(|message| message.content.as_ref()?.to_text());
        let words: Vec<_> = question.unwrap_or_default().split_inclusive(' ').map(str::to_owned).collect();
        let last = chunk(None, Some("stop"));
        let chunks = words.into_iter().map(|word| chunk(Some(word), None)).chain([last]);
        Ok(Box::pin(stream::iter(chunks.map(Ok).collect::<Vec<_>>())))
    }
}

fn chunk(content: Option<String>, finish_reason: Option<&str>) -> ChatChunk {
    let delta = Delta { role: None, content, extra: Extra::new() };
    let finish_reason = finish_reason.map(str::to_owned);
    ChatChunk {
        id: "chatcmpl-echo".into(),
        object: "chat.completion.chunk".into(),
        created: 0,
        model: "echo".into(),
        choices: vec![ChunkChoice { index: 0, delta, finish_reason, extra: Extra::new() }],
        usage: None,
        extra: Extra::new(),
    }
}

fn node(relay: &str, name: &str, backend: Option<Arc<dyn Backend>>) -> Result<Cluster, Box<dyn Error>> {
    let hardware: HardwareCapability = serde_json::from_str(
        r#"{"chipFamily":"unknown","chipName":"example","totalRAMGB":8,"gpuCoreCount":0,"memoryBandwidthGBs":20,"tier":2}"#,
    )?;
    let capabilities = NodeCapabilities {
        hardware: hardware.clone(),
        loaded_models: Vec::new(),
        max_model_size_gb: 4.0,
        is_available: false,
        ptn_ids: None,
        swappable_models: None,
        max_concurrent_requests: None,
        effective_context: None,
        on_ac_power: None,
        extra: Extra::new(),
    };
    let identity = Arc::new(Identity::generate()?);
    let node = identity.node_id();
    let relay = RelayConfig::new(relay, identity, name, capabilities);
    Ok(Cluster::spawn(
        ClusterConfig::new(node, "00000000-0000-0000-0000-000000000000", name, hardware),
        backend,
        vec![relay],
    ))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = RelayServer::bind(RelayServerConfig::new("127.0.0.1:0".parse()?)).await?;
    let url = format!("ws://{}/ws", server.local_addr());
    tokio::spawn(server.run());

    let provider = node(&url, "provider", Some(Arc::new(Echo)))?;
    while !provider.relays().iter().all(|relay| relay.registered) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let consumer = node(&url, "consumer", None)?;
    if !consumer.wait_for_model("echo", Duration::from_secs(15)).await {
        return Err("nobody has the model".into());
    }
    let messages = vec![ChatMessage::text("user", "tell me what I say")];
    let request = ChatRequest { model: "echo".into(), messages, ..ChatRequest::default() };
    let mut answer = consumer.chat(request).await?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{} answers, {:?}:",
        answer.node.map(|node| node.short()).unwrap_or_default(),
        answer.security
    )?;
    while let Some(chunk) = answer.next().await {
        for choice in chunk?.choices {
            write!(out, "{}", choice.delta.content.unwrap_or_default())?;
        }
    }
    writeln!(out)?;
    consumer.drain(Duration::from_secs(1)).await;
    provider.drain(Duration::from_secs(1)).await;
    Ok(())
}
