//! `teale-node peers`.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{failure::Failure, global::Context, runtime};
use crate::output::{plain, table};

/// Asks the running node.
#[derive(Debug, Args)]
pub(super) struct Peers {
    /// The node's API, instead of the running node of the data directory.
    #[arg(long, value_name = "URL")]
    api: Option<String>,
}

/// What the API answers.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    peers: Vec<Peer>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Peer {
    node: String,
    name: String,
    path: Option<String>,
    encrypted: bool,
    verified: bool,
    handshake: Option<String>,
    models: Vec<String>,
    latency_ms: Option<f64>,
    healthy: bool,
    reason: Option<String>,
    in_flight: usize,
}

impl Peers {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        context.start_logging("warn");
        let client = context.client(self.api.as_deref())?;
        let answer: Answer = runtime()?.block_on(client.get("/teale/v1/peers"))?;
        let text = || match answer.peers.as_slice() {
            [] => "no peers known".into(),
            peers => table(
                &["NODE", "NAME", "PATH", "SEALED", "VERIFIED", "LATENCY", "STATE", "MODELS"],
                &peers.iter().map(Peer::row).collect::<Vec<_>>(),
            ),
        };
        Ok(context.output.document(&answer, text)?)
    }
}

impl Peer {
    fn row(&self) -> Vec<String> {
        let yes = |value: bool| if value { "yes" } else { "no" }.to_owned();
        let linked = self.path.is_some();
        let state = match (&self.reason, self.healthy) {
            (_, true) => "healthy".to_owned(),
            (Some(reason), false) => plain(reason),
            (None, false) => "unhealthy".to_owned(),
        };
        vec![
            plain(&self.node).chars().take(16).collect(),
            plain(&self.name),
            self.path.as_deref().map_or_else(|| "-".into(), plain),
            if linked { yes(self.encrypted) } else { "-".into() },
            if linked { yes(self.verified) } else { "-".into() },
            self.latency_ms.map_or_else(|| "-".into(), |ms| format!("{ms:.1} ms")),
            state,
            plain(&self.models.join(", ")),
        ]
    }
}
