//! `teale-node demo`: relay, provider and consumer in one process, over real sockets, sealed, with a real engine.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use clap::Args;
use futures_util::StreamExt;
use serde_json::{Value, json};
use teale_relay_server::{RelayHandle, RelayServer, RelayServerConfig, RelayServerError};
use teale_wire::{
    NodeId,
    chat::{ChatMessage, ChatRequest},
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::{failure::Failure, global::Context, reading::Reading, runtime, signals::Signals};
use crate::{ApiOptions, EngineOptions, ModelSpec, Node, demo_model, output::Output};

/// What is served where the demo model was left out: a real GGUF file with random weights, made by
/// `cargo xtask tiny-model`.
const TINY: &[u8] = include_bytes!("../../assets/tiny.gguf");
/// How long each step may take.
const STEP: Duration = Duration::from_secs(30);
/// How often a step is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How long the nodes get to close.
const GOODBYE: Duration = Duration::from_secs(3);
/// Tokens of an answer.
const TOKENS: u64 = 128;
/// What the demo model is asked, one after the other, in one conversation.
const CONVERSATION: [&str; 3] = ["What is a relay?", "Can it read my messages?", "And how do I start one?"];
/// What another model is asked.
const GREETING: &str = "Hello, network!";

/// Everything runs on loopback, in temporary directories, and is gone afterwards.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Serve this model instead of the built-in one.
    #[arg(long, value_name = "FILE")]
    model: Option<String>,
    /// What to ask [default: three questions about Teale, or a greeting if the model is not the built-in one].
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Leave everything running, with the consumer's API up, until a signal comes.
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        context.start_logging("warn");
        let runtime = runtime()?;
        let result = runtime.block_on(self.play(Steps { output: context.output, started: Instant::now() }));
        runtime.shutdown_timeout(GOODBYE);
        result
    }

    async fn play(&self, steps: Steps) -> Result<(), Failure> {
        let mut signals = Signals::install()
            .map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))?;
        let stage = tokio::select! {
            stage = self.show(&steps) => stage?,
            () = signals.next() => return Err(Failure::new("interrupted")),
        };
        if self.keep {
            steps.keep(&stage.consumer, &stage.model)?;
            signals.next().await;
        }
        stage.close().await;
        steps.say("done", json!({}), || "everything worked".into())
    }

    async fn show(&self, steps: &Steps) -> Result<Stage, Failure> {
        let folder =
            tempfile::tempdir().map_err(|error| Failure::new(format!("no temporary directory: {error}")))?;
        let spec = self.model(&folder.path().join("tiny.gguf"))?;
        let model = ModelSpec::parse(&spec)?.id;

        let server = RelayServer::bind(RelayServerConfig::new(loopback())).await;
        let server = server.map_err(|error| Failure::new(error.to_string()))?;
        let url = format!("ws://{}/ws", server.local_addr());
        let relay = server.handle();
        let running = tokio::spawn(server.run());
        steps.say("relay", json!({ "url": url }), || format!("a relay listens at {url}"))?;

        // More threads only get in each other's way with a model this small.
        let threads = self.model.is_none().then_some(1);
        let engine = EngineOptions { slots: 2, threads, ..EngineOptions::default() };
        let provider =
            Node::builder().data_dir(folder.path().join("provider")).name("demo provider").relay(&url);
        let provider = provider.engine(engine).model(spec).start().await?;
        steps.joined("provider", &provider).await?;

        let consumer =
            Node::builder().data_dir(folder.path().join("consumer")).name("demo consumer").relay(&url);
        let consumer = consumer.api(ApiOptions::new(loopback())).start().await?;
        steps.joined("consumer", &consumer).await?;

        self.ask(steps, &provider, &consumer, &model).await?;
        Ok(Stage { consumer, provider, relay, running, model, _folder: folder })
    }

    /// The model to serve, `NAME=FILE`. Without one of the user's, the built-in one.
    fn model(&self, tiny: &Path) -> Result<String, Failure> {
        if let Some(model) = &self.model {
            return Ok(model.clone());
        }
        if demo_model::IS_HERE {
            return Ok(demo_model::ID.to_owned());
        }
        std::fs::write(tiny, TINY).map_err(|error| Failure::new(format!("{}: {error}", tiny.display())))?;
        Ok(format!("tiny={}", tiny.display()))
    }

    async fn ask(&self, steps: &Steps, provider: &Node, consumer: &Node, model: &str) -> Result<(), Failure> {
        if !consumer.cluster().wait_for_model(model, STEP).await {
            return Err(Failure::new(format!("the consumer did not discover the provider of `{model}`")));
        }
        steps.say("discovered", json!({ "node": provider.id(), "models": [model] }), || {
            format!("the consumer asked the relay who is there: {} serves `{model}`", provider.id().short())
        })?;
        self.note(steps, model)?;
        // A node with an API links with providers as soon as it knows them.
        let asking = handshake(consumer, provider.id()).await?;
        let serving = handshake(provider, consumer.id()).await?;
        steps.handshake(&asking, &serving)?;
        let mut messages = Vec::new();
        for prompt in self.prompts() {
            messages.push(ChatMessage::text("user", prompt));
            steps.say("prompt", json!({ "text": prompt }), || format!("prompt: {prompt}"))?;
            let answer = answer(steps, consumer, model, &messages).await?;
            messages.push(ChatMessage::text("assistant", answer));
        }
        Ok(())
    }

    /// Says what the built-in model is.
    fn note(&self, steps: &Steps, model: &str) -> Result<(), Failure> {
        if self.model.is_some() {
            return Ok(());
        }
        let (random, text) = if demo_model::IS_HERE {
            (false, demo_model::NOTICE)
        } else {
            (true, "the built-in model has random weights: real computation, but its text is noise")
        };
        let value = json!({ "model": model, "random_weights": random, "text": text });
        steps.say("note", value, || text.to_owned())
    }

    fn prompts(&self) -> Vec<&str> {
        match &self.prompt {
            Some(prompt) => vec![prompt],
            None if self.model.is_none() && demo_model::IS_HERE => CONVERSATION.to_vec(),
            None => vec![GREETING],
        }
    }
}

/// Asks with the conversation so far, and prints the tokens as they come.
async fn answer(
    steps: &Steps,
    consumer: &Node,
    model: &str,
    messages: &[ChatMessage],
) -> Result<String, Failure> {
    let request = ChatRequest {
        model: model.to_owned(),
        messages: messages.to_vec(),
        temperature: Some(0.0),
        max_tokens: Some(TOKENS),
        stream: Some(true),
        ..ChatRequest::default()
    };
    let started = Instant::now();
    let answer = consumer.cluster().chat(request).await;
    let mut answer = answer.map_err(|error| Failure::new(format!("the request failed: {error}")))?;
    let mut reading = Reading::new(started);
    while let Some(chunk) = answer.next().await {
        let chunk = chunk.map_err(|error| Failure::new(format!("the answer broke off: {error}")))?;
        steps.token(&reading.take(chunk))?;
    }
    steps.usage(&reading)?;
    Ok(reading.text)
}

/// Everything that was started.
struct Stage {
    consumer: Node,
    provider: Node,
    relay: RelayHandle,
    running: JoinHandle<Result<(), RelayServerError>>,
    model: String,
    _folder: TempDir,
}

impl Stage {
    async fn close(self) {
        self.consumer.shutdown(GOODBYE).await;
        self.provider.shutdown(GOODBYE).await;
        self.relay.shutdown();
        let _ = tokio::time::timeout(GOODBYE, self.running).await;
    }
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// How one side sees the link to the other.
struct Handshake {
    hash: String,
    verified: bool,
}

/// Waits until one node has a sealed link with the other.
async fn handshake(node: &Node, peer: NodeId) -> Result<Handshake, Failure> {
    let sealed = || {
        let peer = node.cluster().peers().into_iter().find(|view| view.node == peer)?;
        Some(Handshake { hash: peer.handshake?, verified: peer.verified })
    };
    let search = async {
        loop {
            if let Some(found) = sealed() {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let late = |_| Failure::new("no sealed link came up between consumer and provider");
    tokio::time::timeout(STEP, search).await.map_err(late)
}

/// Prints each step as it happens: a line of text, or of JSON.
struct Steps {
    output: Output,
    started: Instant,
}

impl Steps {
    fn say(&self, step: &str, facts: Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let mut value = json!({ "step": step });
        if let (Value::Object(value), Value::Object(facts)) = (&mut value, facts) {
            value.extend(facts);
        }
        Ok(self
            .output
            .document(&value, || format!("[{:6.3} s] {}", self.started.elapsed().as_secs_f64(), text()))?)
    }

    /// The node's identity, then its registration.
    async fn joined(&self, role: &str, node: &Node) -> Result<(), Failure> {
        let id = node.id();
        self.say("identity", json!({ "role": role, "node": id }), || format!("the {role} is node {id}"))?;
        let registered = async {
            while !node.cluster().relays().iter().any(|relay| relay.registered) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let late = |_| Failure::new(format!("the {role} could not register with the relay"));
        tokio::time::timeout(STEP, registered).await.map_err(late)?;
        self.say("registered", json!({ "role": role, "node": id }), || {
            format!("the {role} is registered with the relay")
        })
    }

    fn handshake(&self, consumer: &Handshake, provider: &Handshake) -> Result<(), Failure> {
        let (a, b) = (&consumer.hash, &provider.hash);
        let equal = a == b;
        let value = json!({ "consumer": a, "provider": b, "equal": equal, "verified": consumer.verified && provider.verified });
        self.say("handshake", value, || {
            format!("Noise handshake done, both identities proved; its hash on both sides:\n             consumer {a}\n             provider {b}")
        })?;
        if equal {
            Ok(())
        } else {
            Err(Failure::new("the handshake hashes differ: somebody sits in between"))
        }
    }

    fn token(&self, text: &str) -> Result<(), Failure> {
        match (self.output.is_json(), text) {
            (_, "") => Ok(()),
            (true, text) => self.say("token", json!({ "text": text }), String::new),
            (false, text) => Ok(self.output.piece(text)?),
        }
    }

    fn usage(&self, reading: &Reading) -> Result<(), Failure> {
        if !self.output.is_json() {
            self.output.line("")?;
        }
        let Some(usage) = &reading.usage else { return Err(Failure::new("the answer came without usage")) };
        let (first, rate) = (reading.first_token_ms(), reading.tokens_per_second());
        let value = json!({ "usage": usage, "ttft_ms": first, "tokens_per_s": rate });
        self.say("usage", value, || {
            format!(
                "{} prompt tokens, {} answer tokens, first after {:.1} ms, {:.0} tokens/s in all",
                usage.prompt_tokens,
                usage.completion_tokens,
                first.unwrap_or_default(),
                rate.unwrap_or_default()
            )
        })
    }

    fn keep(&self, consumer: &Node, model: &str) -> Result<(), Failure> {
        let api = consumer.api_url().unwrap_or_default();
        self.say("api", json!({ "api": api, "model": model }), || {
            format!(
                "the consumer's API stays up at {api}/v1 until Ctrl-C; try\n  curl {api}/v1/chat/completions -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}'"
            )
        })
    }
}
