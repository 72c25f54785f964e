//! `teale-node models list|pull|rm`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::json;
use teale_wire::NodeId;
use toml::Table;

use super::{
    failure::Failure,
    global::{Context, to_table},
    join::{self, JoinFlags},
    progress::Bar,
    runtime,
    signals::Signals,
};
use crate::{
    api::PullRequest,
    client::ClientError,
    output::{bytes, plain, table},
    pulling::{self, PullLine},
};

/// See the subcommands.
#[derive(Debug, Args)]
pub(super) struct Models {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The models the running node serves, has on disk, or can reach.
    List {
        /// The node's API, instead of the running node of the data directory.
        #[arg(long, value_name = "URL")]
        api: Option<String>,
    },
    /// Fetch a model's files from the nodes that offer them, through the running node or by joining for this one pull.
    Pull(Box<Pull>),
    /// Remove a model's files from this node's folder.
    Rm {
        /// The model.
        model: String,
        /// The node's API, instead of the running node of the data directory.
        #[arg(long, value_name = "URL")]
        api: Option<String>,
    },
}

#[derive(Debug, Args, Serialize)]
struct Pull {
    /// The model, as `models list` names it.
    #[serde(skip)]
    model: String,
    /// Only from this node.
    #[arg(long, value_name = "NODE")]
    #[serde(skip)]
    from: Option<NodeId>,
    /// Also over relays, whose operators pay for the traffic; without it only over direct and local links.
    #[arg(long)]
    #[serde(skip)]
    over_relay: bool,
    /// The node's API, instead of the running node of the data directory.
    #[arg(long, value_name = "URL")]
    #[serde(skip)]
    api: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    join: JoinFlags,
}

/// What the API answers.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    models: Vec<Model>,
    #[serde(default)]
    local: Vec<LocalFiles>,
    #[serde(default)]
    remote: Vec<RemoteFiles>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Model {
    id: String,
    local: bool,
    state: String,
    context: Option<u32>,
    size_bytes: Option<u64>,
    nodes: Vec<String>,
}

/// Files on this machine.
#[derive(Debug, Default, Serialize, Deserialize)]
struct LocalFiles {
    id: String,
    size_bytes: u64,
    own: bool,
    files: Vec<String>,
}

/// Files that peers offer.
#[derive(Debug, Default, Serialize, Deserialize)]
struct RemoteFiles {
    id: String,
    size_bytes: u64,
    nodes: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Files {
    local: Vec<LocalFiles>,
    remote: Vec<RemoteFiles>,
}

impl Models {
    /// The flags that are settings.
    pub(super) fn table(&self) -> Result<Table, Failure> {
        match &self.what {
            What::Pull(pull) => to_table(pull),
            What::List { .. } | What::Rm { .. } => Ok(Table::new()),
        }
    }

    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        context.start_logging("warn");
        match &self.what {
            What::List { api } => list(context, api.as_deref()),
            What::Pull(pull) => pull.run(context),
            What::Rm { model, api } => remove(context, model, api.as_deref()),
        }
    }
}

fn list(context: &Context, api: Option<&str>) -> Result<(), Failure> {
    let client = context.client(api)?;
    let answer = runtime()?.block_on(async {
        let mut answer: Answer = client.get("/teale/v1/models").await?;
        // A node without a folder, or of an older version, has no files to tell of.
        let files: Files = client.get("/teale/v1/files").await.unwrap_or_default();
        (answer.local, answer.remote) = (files.local, files.remote);
        Ok::<_, ClientError>(answer)
    })?;
    let text = || match rows(&answer) {
        rows if rows.is_empty() => "no models known".into(),
        rows => table(&["MODEL", "STATE", "CONTEXT", "SIZE", "SERVED BY", "ON DISK", "OFFERED BY"], &rows),
    };
    Ok(context.output.document(&answer, text)?)
}

/// A model as it is served, as it lies here, as peers offer it.
type Row<'a> = (Option<&'a Model>, Option<&'a LocalFiles>, Option<&'a RemoteFiles>);

/// One row per model: who serves it, where its files are.
fn rows(answer: &Answer) -> Vec<Vec<String>> {
    let mut rows: BTreeMap<&str, Row<'_>> = BTreeMap::new();
    answer.models.iter().for_each(|model| rows.entry(&model.id).or_default().0 = Some(model));
    answer.local.iter().for_each(|files| rows.entry(&files.id).or_default().1 = Some(files));
    answer.remote.iter().for_each(|files| rows.entry(&files.id).or_default().2 = Some(files));
    let none = || "-".to_owned();
    let nodes = |nodes: &[String], here: bool| {
        let short = nodes.iter().map(|node| plain(node).chars().take(8).collect());
        let all: Vec<String> = here.then(|| "here".to_owned()).into_iter().chain(short).collect();
        if all.is_empty() { "-".into() } else { all.join(" ") }
    };
    let row = |(id, (model, local, remote)): (&&str, &Row<'_>)| {
        let size = local.map(|files| files.size_bytes).or(remote.map(|files| files.size_bytes));
        let size = size.or(model.and_then(|model| model.size_bytes));
        vec![
            plain(id),
            model.map_or_else(none, |model| plain(&model.state)),
            model.and_then(|model| model.context).map_or_else(none, |tokens| tokens.to_string()),
            size.map_or_else(none, bytes),
            model.map_or_else(none, |model| nodes(&model.nodes, model.local)),
            local.map_or_else(none, |files| if files.own { "yes" } else { "other program's" }.into()),
            remote.map_or_else(none, |files| nodes(&files.nodes, false)),
        ]
    };
    rows.iter().map(row).collect()
}

fn remove(context: &Context, model: &str, api: Option<&str>) -> Result<(), Failure> {
    if api.is_some() || context.running().is_some() {
        runtime()?.block_on(context.client(api)?.delete(&format!("/teale/v1/files/{model}")))?;
    } else {
        let dir = context.settings().models_dir.clone().unwrap_or_else(|| context.data_dir().models());
        let removed = teale_cluster::remove_model(&dir, model);
        match removed {
            Ok(true) => {}
            Ok(false) => {
                return Err(Failure::new(format!("there is no model `{model}` in {}", dir.display())));
            }
            Err(error) => return Err(Failure::new(format!("`{model}` cannot be removed: {error}"))),
        }
    }
    Ok(context.output.document(&json!({ "removed": model }), || format!("removed {}", plain(model)))?)
}

impl Pull {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let runtime = runtime()?;
        let result = runtime.block_on(async {
            let mut signals = Signals::install()
                .map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))?;
            tokio::select! {
                result = self.pull(context) => result,
                () = signals.next() => Err(Failure::new("stopped").hint("what came is kept; the same command goes on from there")),
            }
        });
        runtime.shutdown_background();
        result
    }

    async fn pull(&self, context: &Context) -> Result<(), Failure> {
        let request = PullRequest { model: self.model.clone(), from: self.from, over_relay: self.over_relay };
        if self.api.is_some() || context.running().is_some() {
            let lines = context.client(self.api.as_deref())?.pull(&request).await?;
            return show(context, lines.map(|line| line.map_err(Failure::from))).await;
        }
        let settings = context.settings();
        let builder = join::builder(settings)?.data_dir(context.data_dir().path());
        let node = builder.sharing(settings.share_options()).start().await?;
        let Some(sharing) = node.sharing() else { return Err(Failure::new("there is no folder for models")) };
        let pull = sharing.pull(&self.model, request.options());
        let pull = pull.map_err(|error| Failure::new(format!("`{}`: {error}", self.model)))?;
        let lines = Box::pin(pulling::lines(self.model.clone(), pull));
        show(context, lines.map(Ok)).await
    }
}

/// Prints lines as they come: a bar on a terminal, JSON with `--json`, else only the end.
async fn show(
    context: &Context,
    lines: impl Stream<Item = Result<PullLine, Failure>>,
) -> Result<(), Failure> {
    let mut lines = std::pin::pin!(lines);
    let mut bar = Bar::new(context.output.is_json());
    while let Some(line) = lines.next().await {
        let line = line?;
        if context.output.is_json() {
            context.output.line(&serde_json::to_string(&line).unwrap_or_default())?;
        }
        bar.show(&line);
        match line {
            PullLine::Progress { .. } => {}
            PullLine::Done { path, total, fetched, .. } => {
                bar.clear();
                if !context.output.is_json() {
                    let text = format!("{} ({}, {} fetched)", plain(&path), bytes(total), bytes(fetched));
                    context.output.line(&text)?;
                }
                return Ok(());
            }
            PullLine::Error { message, code, .. } => {
                bar.clear();
                return Err(advice(Failure::new(message), &code));
            }
        }
    }
    Err(Failure::new("the pull ended without a word"))
}

fn advice(failure: Failure, code: &str) -> Failure {
    match code {
        "model_not_found" => failure.hint(
            "`teale-node models list` shows what peers offer; they share with `serve --share`, and relayed peers only with --over-relay on both sides",
        ),
        "no_source" => failure.hint("run it again when its sources are back"),
        _ => failure,
    }
}
