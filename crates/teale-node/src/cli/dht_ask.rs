//! `teale-node dht ask`: one question over the DHT's own sessions, sealed; no relay and no TCP.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use teale_identity::{Identity, KeyFile, NodeId, X25519Public};
use teale_telehash::{Asked, Endpoint, Ipp, v1};
use teale_wire::telehash::{Req, Res};
use tokio::{sync::mpsc, time::timeout};

use super::{dht::Enter, failure::Failure, global::Context, prompt};
use crate::{
    dht::{CONTACT_URI, Places, SIGNAL, SealedPeer, check_contact, end},
    output::plain,
};

/// The pause between two announcements: a telex may be lost.
const PAUSE: Duration = Duration::from_secs(5);
/// Providers that present themselves and wait for their turn.
const WAITING: usize = 16;

/// Ask a model that is found by its name, over sessions of TeleHash v2: also where both sides are behind NATs.
#[derive(Debug, Args)]
pub(super) struct Ask {
    #[command(flatten)]
    enter: Enter,
    /// The model to ask.
    #[arg(long, value_name = "ID")]
    model: String,
    /// At most so many tokens.
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
    /// 0 is greedy.
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Seconds for everything: finding a provider, waiting, answering.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// The prompt; `-` or nothing reads stdin.
    prompt: Option<String>,
}

/// Somebody who says that it serves the model, and how to know it.
struct Provider {
    at: Ipp,
    node: NodeId,
    key: X25519Public,
}

impl Ask {
    pub(super) async fn run(&self, context: &Context) -> Result<(), Failure> {
        let prompt = prompt::read(self.prompt.as_deref())?;
        let limit = Duration::from_secs(self.timeout);
        match timeout(limit, self.ask(context, &prompt)).await {
            Ok(asked) => asked,
            Err(_) => Err(Failure::new(format!("no answer within {} s", self.timeout))
                .hint("is the model served with --dht, in the DHT of this seed?")),
        }
    }

    async fn ask(&self, context: &Context, prompt: &str) -> Result<(), Failure> {
        let me = identity(context)?;
        let (endpoint, own) = self.enter.enter(v1::Level::Full, true).await?;
        let (found, mut providers) = mpsc::channel(WAITING);
        let presenting = serve_record(&endpoint, &me, own, found);
        let announcing = announce(&endpoint, own, &self.model);
        let asking = async {
            loop {
                let Some(provider) = providers.recv().await else { return Err(lost()) };
                match self.ask_one(&endpoint, &me, &provider, prompt).await {
                    Ok(answer) => return Ok((provider.node, answer)),
                    Err(error) => {
                        tracing::warn!(node = %provider.node.short(), %error, "a provider did not answer");
                    }
                }
            }
        };
        let (node, answer) = tokio::select! {
            () = presenting => return Err(lost()),
            () = announcing => return Err(lost()),
            answer = asking => answer?,
        };
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        let outcome =
            json!({ "model": answer["model"], "node": node, "text": text, "usage": answer["usage"] });
        Ok(context.output.document(&outcome, || plain_text(&text))?)
    }

    /// Proves to each other who is there, and asks under the seal.
    async fn ask_one(
        &self,
        endpoint: &Endpoint,
        me: &Identity,
        provider: &Provider,
        prompt: &str,
    ) -> Result<Value, String> {
        let peer = SealedPeer::open(endpoint, me, provider.at, (provider.node, provider.key)).await;
        let peer = peer.map_err(|error| error.to_string())?;
        let mut body = json!({ "model": self.model, "messages": [{ "role": "user", "content": prompt }] });
        if let Some(max) = self.max_tokens {
            body["max_tokens"] = json!(max);
        }
        if let Some(temperature) = self.temperature {
            body["temperature"] = json!(temperature);
        }
        let req = Req::new("POST", format!("http://{}/v1/chat/completions", provider.node));
        let (res, body) =
            peer.ask(&req, body.to_string().as_bytes()).await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&body).map_err(|_| "the answer is no JSON".to_owned())?;
        match res.s {
            200 => Ok(answer),
            status => {
                let message = answer["error"]["message"].as_str().unwrap_or("no reason given");
                Err(format!("status {status}: {}", plain(message)))
            }
        }
    }
}

/// The identity of the data directory, or one for this question alone.
fn identity(context: &Context) -> Result<Arc<Identity>, Failure> {
    let path = context.data_dir().identity();
    let identity = if path.exists() {
        KeyFile::new(&path).load().map_err(|error| Failure::new(error.to_string()))?
    } else {
        Identity::generate().map_err(|error| Failure::new(error.to_string()))?
    };
    Ok(Arc::new(identity))
}

/// Says again and again that somebody looks for the model.
async fn announce(endpoint: &Endpoint, own: Ipp, model: &str) {
    loop {
        let signals = BTreeMap::from([(SIGNAL.to_owned(), own.to_string())]);
        let told = endpoint.announce(end(model), signals).await.unwrap_or_default();
        tracing::debug!(model, switches = told.len(), "looking in the DHT");
        meet(endpoint, &told);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Those who pass the signal on are asked next to open a way to us: they must know us in v2 as well.
fn meet(endpoint: &Endpoint, told: &[Ipp]) {
    endpoint.v2(|switch, now| told.iter().for_each(|ipp| switch.learn(now, *ipp)));
}

/// Takes the records of providers that present themselves, and gives this node's own.
async fn serve_record(endpoint: &Endpoint, me: &Arc<Identity>, own: Ipp, found: mpsc::Sender<Provider>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handler = |asked: Asked| {
        let answer =
            present(me, own, &asked, &found, &mut seen.lock().unwrap_or_else(PoisonError::into_inner));
        std::future::ready(answer)
    };
    endpoint.serve(WAITING, handler).await;
}

fn present(
    me: &Identity,
    own: Ipp,
    asked: &Asked,
    found: &mpsc::Sender<Provider>,
    seen: &mut Vec<NodeId>,
) -> (Res, Bytes) {
    let refuse = |status| (Res::new(status), Bytes::new());
    if asked.req.uri != CONTACT_URI {
        return refuse(404);
    }
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let Ok((record, _)) = check_contact(&asked.body, me.node_id(), unix) else { return refuse(400) };
    let Some(Ok(key)) = record.wg_public_key.as_deref().map(X25519Public::parse_hex) else {
        return refuse(400);
    };
    if !seen.contains(&record.node_id) {
        if found.try_send(Provider { at: asked.peer, node: record.node_id, key }).is_err() {
            return refuse(503);
        }
        seen.push(record.node_id);
    }
    // Nothing listens here: the record says who asks, and where its switch is.
    let places = Places { own: Some(own), ..Places::default() };
    match places.record(me, unix).encode() {
        Ok(record) => (Res::new(200), record.into()),
        Err(_) => refuse(500),
    }
}

/// An answer for a terminal: its lines stay.
fn plain_text(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

fn lost() -> Failure {
    Failure::new("more happened in the DHT than could be followed; try again")
}
