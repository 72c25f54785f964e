//! `teale-node models list`.

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::{failure::Failure, global::Context, runtime};
use crate::output::{plain, table};

/// See the subcommands.
#[derive(Debug, Args)]
pub(super) struct Models {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The models the running node serves or can reach.
    List {
        /// The node's API, instead of the running node of the data directory.
        #[arg(long, value_name = "URL")]
        api: Option<String>,
    },
}

/// What the API answers.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    models: Vec<Model>,
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

impl Models {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let What::List { api } = &self.what;
        context.start_logging("warn");
        let client = context.client(api.as_deref())?;
        let answer: Answer = runtime()?.block_on(client.get("/teale/v1/models"))?;
        let text = || match answer.models.as_slice() {
            [] => "no models known".into(),
            models => table(
                &["MODEL", "HERE", "STATE", "CONTEXT", "PEERS"],
                &models.iter().map(Model::row).collect::<Vec<_>>(),
            ),
        };
        Ok(context.output.document(&answer, text)?)
    }
}

impl Model {
    fn row(&self) -> Vec<String> {
        vec![
            plain(&self.id),
            if self.local { "yes" } else { "no" }.into(),
            plain(&self.state),
            self.context.map_or_else(|| "-".into(), |tokens| tokens.to_string()),
            self.nodes.len().to_string(),
        ]
    }
}
