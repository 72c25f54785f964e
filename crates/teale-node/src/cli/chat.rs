//! `teale-node chat`: one question, one answer.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use clap::Args;
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use teale_wire::chat::{ChatChunk, ChatMessage, ChatRequest, StreamOptions, Usage};
use tokio::time::timeout;
use toml::Table;

use super::{
    failure::Failure,
    global::{Context, to_table},
    join::{self, JoinFlags},
    prompt,
    reading::Reading,
    runtime,
};
use crate::{
    Node, NodeError,
    api::{path_name, protection},
    client::{ApiClient, ClientError, Origin},
    known_peers_file,
    output::Output,
};

/// How long a node that joined only to ask gets to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Uses the running node of the data directory (or of --api); without one, joins relays and the local network for one request.
#[derive(Debug, Args, Serialize)]
pub(super) struct Chat {
    #[command(flatten)]
    #[serde(flatten)]
    join: JoinFlags,
    /// The model to ask; may be left out where there is only one.
    #[arg(long, value_name = "ID")]
    #[serde(skip)]
    model: Option<String>,
    /// What the model is told before the prompt.
    #[arg(long, value_name = "TEXT")]
    #[serde(skip)]
    system: Option<String>,
    /// 0 is greedy.
    #[arg(long, value_name = "T")]
    #[serde(skip)]
    temperature: Option<f64>,
    /// Same seed, same answer.
    #[arg(long)]
    #[serde(skip)]
    seed: Option<i64>,
    /// At most so many tokens.
    #[arg(long, value_name = "N")]
    #[serde(skip)]
    max_tokens: Option<u64>,
    /// Print the text as it comes, also when stdout is no terminal.
    #[arg(long)]
    #[serde(skip)]
    stream: bool,
    /// Seconds for everything: joining, waiting, answering.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    #[serde(skip)]
    timeout: u64,
    /// The API to use, instead of the running node of the data directory.
    #[arg(long = "api", value_name = "URL")]
    #[serde(skip)]
    url: Option<String>,
    /// The prompt; `-` or nothing reads stdin.
    #[serde(skip)]
    prompt: Option<String>,
}

/// The one JSON object that `--json` prints.
#[derive(Debug, Serialize, Deserialize)]
struct Outcome {
    model: String,
    node: Option<String>,
    path: Option<String>,
    encrypted: Option<bool>,
    verified: Option<bool>,
    text: String,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    ttft_ms: Option<f64>,
    tokens_per_s: Option<f64>,
}

impl Outcome {
    fn new(reading: Reading, origin: Origin) -> Self {
        Self {
            ttft_ms: reading.first_token_ms(),
            tokens_per_s: reading.tokens_per_second(),
            model: reading.model,
            node: origin.node.map(|node| node.to_string()),
            path: origin.path,
            encrypted: origin.encrypted,
            verified: origin.verified,
            text: reading.text,
            finish_reason: reading.finish_reason,
            usage: reading.usage,
        }
    }
}

impl Chat {
    pub(super) fn table(&self) -> Result<Table, Failure> {
        to_table(self)
    }

    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        context.start_logging("warn");
        let prompt = prompt::read(self.prompt.as_deref())?;
        let runtime = runtime()?;
        let result = runtime.block_on(async {
            let limit = Duration::from_secs(self.timeout);
            let late = |_| {
                Failure::new(format!("no answer within {} s", self.timeout))
                    .hint("give it longer with --timeout")
            };
            timeout(limit, Box::pin(self.ask(context, prompt))).await.map_err(late)?
        });
        runtime.shutdown_background();
        result
    }

    async fn ask(&self, context: &Context, prompt: String) -> Result<(), Failure> {
        if self.url.is_some() || context.running().is_some() {
            let client = context.client(self.url.as_deref())?;
            return self.through_api(context, &client, prompt).await;
        }
        let settings = context.settings();
        if settings.joined_relays().is_empty() && settings.lan_options().is_none() && !settings.dht {
            return Err(Failure::no_node(&context.data_dir())
                .hint("start one with `teale-node serve`, or join for one request with --relay URL"));
        }
        self.by_joining(context, prompt).await
    }

    async fn through_api(
        &self,
        context: &Context,
        client: &ApiClient,
        prompt: String,
    ) -> Result<(), Failure> {
        let model = match &self.model {
            Some(model) => model.clone(),
            None => only_model(api_models(client).await?)?,
        };
        let asked = Instant::now();
        let (origin, chunks) = client.chat(&self.request(model, prompt)).await?;
        self.print(context.output, origin, chunks.map(|chunk| chunk.map_err(Failure::from)), asked).await
    }

    async fn by_joining(&self, context: &Context, prompt: String) -> Result<(), Failure> {
        let node = start(context).await?;
        let result = self.as_node(context, &node, prompt).await;
        node.shutdown(GOODBYE).await;
        result
    }

    async fn as_node(&self, context: &Context, node: &Node, prompt: String) -> Result<(), Failure> {
        let cluster = node.cluster();
        let model = match &self.model {
            Some(model) => model.clone(),
            None => match joined_models(node, self.join_time()).await {
                // Why nobody serves anything is worth more than that nobody does.
                models if models.is_empty() => return Err(nobody(node)),
                models => only_model(models)?,
            },
        };
        let found = match node.dht() {
            Some(dht) => dht.find(&model, self.join_time()).await,
            None => cluster.wait_for_model(&model, self.join_time()).await,
        };
        if !found {
            return Err(unreachable(node, &model));
        }
        let asked = Instant::now();
        let answer = cluster.chat(self.request(model, prompt)).await;
        let answer = answer.map_err(|error| Failure::new(error.to_string()))?;
        let (encrypted, verified) = protection(answer.security.as_ref());
        let origin = Origin {
            node: answer.node.or(Some(node.id())),
            path: Some(path_name(answer.path).to_owned()),
            encrypted: Some(encrypted),
            verified: Some(verified),
        };
        let chunks = answer.map(|chunk| chunk.map_err(|error| Failure::new(error.to_string())));
        self.print(context.output, origin, chunks, asked).await
    }

    /// How long to wait until somebody serves the model: over before the whole verb is, so that it can say why not.
    fn join_time(&self) -> Duration {
        let whole = Duration::from_secs(self.timeout);
        (whole - (whole / 4).min(GOODBYE)).min(JOIN)
    }

    fn request(&self, model: String, prompt: String) -> ChatRequest {
        let system = self.system.as_ref().map(|text| ChatMessage::text("system", text.clone()));
        ChatRequest {
            model,
            messages: system.into_iter().chain([ChatMessage::text("user", prompt)]).collect(),
            temperature: self.temperature,
            seed: self.seed,
            max_tokens: self.max_tokens,
            stream: Some(true),
            stream_options: Some(StreamOptions { include_usage: Some(true), ..StreamOptions::default() }),
            ..ChatRequest::default()
        }
    }

    /// Reads the answer to its end and prints it: piece by piece for people, one object with `--json`.
    async fn print(
        &self,
        output: Output,
        origin: Origin,
        chunks: impl Stream<Item = Result<ChatChunk, Failure>>,
        asked: Instant,
    ) -> Result<(), Failure> {
        let live = !output.is_json() && (self.stream || output.is_terminal());
        let mut reading = Reading::new(asked);
        let mut chunks = pin!(chunks);
        while let Some(chunk) = chunks.next().await {
            let text = reading.take(chunk?);
            if live {
                output.piece(&text)?;
            }
            if reading.text.len() > LONGEST_ANSWER {
                return Err(Failure::new(format!("the answer is longer than {LONGEST_ANSWER} bytes"))
                    .hint("bound it with --max-tokens"));
            }
        }
        let outcome = Outcome::new(reading, origin);
        if live {
            return Ok(output.line("")?);
        }
        Ok(output.document(&outcome, || outcome.text.clone())?)
    }
}

/// Bytes of an answer, which is held whole until it is printed.
const LONGEST_ANSWER: usize = teale_wire::limits::CLUSTER_MESSAGE;
/// How long a joining node waits until somebody serves the model.
const JOIN: Duration = Duration::from_secs(30);

/// Starts a node that only asks: as the data directory's identity, or, while another process has that, as a
/// stranger with the same memory of peers' keys.
async fn start(context: &Context) -> Result<Node, Failure> {
    let dir = context.data_dir();
    let settings = context.settings();
    match join::builder(settings)?.data_dir(dir.path()).start().await {
        Err(NodeError::DataDirBusy { .. }) => {
            tracing::info!("the data directory is in use: asking under a passing identity");
            let known = known_peers_file::load(&dir)?;
            Ok(join::builder(settings)?.known_peers(known).start().await?)
        }
        node => Ok(node?),
    }
}

/// Why nobody answers for a model, as far as this node knows.
fn unreachable(node: &Node, model: &str) -> Failure {
    if let Some(failure) = unregistered(node) {
        return failure;
    }
    let models: Vec<_> = node.cluster().models().into_iter().map(|model| model.id).collect();
    let failure = Failure::new(format!("nobody serves the model `{model}`"));
    match models.as_slice() {
        [] => failure.hint(lonely(node)),
        models => failure.hint(format!("served are: {}", crate::output::plain(&models.join(", ")))),
    }
}

/// Why there is no model at all.
fn nobody(node: &Node) -> Failure {
    unregistered(node).unwrap_or_else(|| no_model().hint(lonely(node)))
}

/// Why this node knows nobody.
fn lonely(node: &Node) -> String {
    let diagnosis = node.lan().and_then(|lan| lan.status().diagnosis);
    diagnosis.map_or_else(
        || "nobody that can be reached serves any model".to_owned(),
        |diagnosis| format!("on the local network: {diagnosis}"),
    )
}

/// The relay that would not have this node.
fn unregistered(node: &Node) -> Option<Failure> {
    let relay = node.cluster().relays().into_iter().find(|relay| !relay.registered)?;
    let why = relay.last_error.unwrap_or_else(|| "no answer yet".into());
    let failure = Failure::new(format!("not registered with {}: {why}", relay.url));
    Some(failure.hint("is the relay running, and the URL right?"))
}

async fn api_models(client: &ApiClient) -> Result<Vec<String>, ClientError> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        id: String,
    }
    let list: List = client.get("/v1/models").await?;
    Ok(list.data.into_iter().map(|entry| entry.id).collect())
}

async fn joined_models(node: &Node, limit: Duration) -> Vec<String> {
    let deadline = Instant::now() + limit;
    loop {
        let models: Vec<_> = node.cluster().models().into_iter().map(|model| model.id).collect();
        if !models.is_empty() || Instant::now() > deadline {
            return models;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn no_model() -> Failure {
    Failure::new("no model is served by anybody this node knows")
}

fn only_model(mut models: Vec<String>) -> Result<String, Failure> {
    match models.len() {
        1 => Ok(models.remove(0)),
        0 => Err(no_model()),
        _ => {
            let list = crate::output::plain(&models.join(", "));
            Err(Failure::usage("several models are served").hint(format!("choose one with --model: {list}")))
        }
    }
}
