//! `teale-node dht ask`: one question over the DHT's own sessions, sealed; no relay and no TCP.

use std::{
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use teale_identity::{Identity, NodeId, X25519Public};
use teale_telehash::{Asked, Endpoint, Ipp, v1};
use teale_wire::telehash::{Req, Res};
use tokio::{sync::mpsc, time::timeout};

use super::{dht::Enter, failure::Failure, global::Context, prompt};
use crate::{
    dht::{CONTACT_URI, PAUSE, Places, QUESTION, SealedPeer, announce_once, check_contact, unix},
    output::plain,
};

/// Providers that present themselves and wait for their turn.
const WAITING: usize = 16;
/// Of these, so many prove at a time who they are …
const PROVING: usize = 4;
/// … each within this time.
const PROOF: Duration = Duration::from_secs(10);

/// Ask a model that is found by its name, over sessions of TeleHash v2: also where both sides are behind NATs. Under an
/// identity of the moment: the node that answers learns nothing of this machine but its address.
#[derive(Debug, Args)]
pub(super) struct Ask {
    #[command(flatten)]
    enter: Enter,
    /// The model to ask.
    #[arg(long, value_name = "ID")]
    model: String,
    /// Ask this node and no other one: the prompt goes to whoever serves the model otherwise.
    #[arg(long, value_name = "NODEID")]
    node: Option<NodeId>,
    /// At most so many tokens.
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
    /// 0 is greedy.
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Seconds for everything: finding a provider, waiting, answering.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// The prompt; `-` or nothing reads stdin.
    prompt: Option<String>,
}

/// Somebody who says that it serves the model, and how to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Provider {
    at: Ipp,
    node: NodeId,
    key: X25519Public,
}

/// Why a provider gave no answer.
enum Trouble {
    /// The question is at fault: nobody will answer it.
    Question(String),
    /// Another one may.
    Provider(String),
}

impl Ask {
    pub(super) async fn run(&self, context: &Context) -> Result<(), Failure> {
        let body = self.body(&prompt::read(self.prompt.as_deref())?)?;
        let last = Mutex::new(None);
        let limit = Duration::from_secs(self.timeout);
        match timeout(limit, self.ask(context, &body, &last)).await {
            Ok(asked) => asked,
            Err(_) => {
                let trouble = last.into_inner().unwrap_or_else(PoisonError::into_inner);
                let failure = Failure::new(format!("no answer within {} s", self.timeout));
                Err(match trouble {
                    Some(trouble) => failure.hint(format!("the last provider that was tried: {trouble}")),
                    None => failure.hint(
                        "nobody presented itself: is the model served with --dht, in the DHT of this seed?",
                    ),
                })
            }
        }
    }

    fn body(&self, prompt: &str) -> Result<String, Failure> {
        let mut body = json!({ "model": self.model, "messages": [{ "role": "user", "content": prompt }] });
        if let Some(max) = self.max_tokens {
            body["max_tokens"] = json!(max);
        }
        if let Some(temperature) = self.temperature {
            body["temperature"] = json!(temperature);
        }
        let body = body.to_string();
        if body.len() > QUESTION {
            return Err(Failure::usage(format!(
                "the question has {} bytes, of at most {QUESTION}",
                body.len()
            )));
        }
        Ok(body)
    }

    async fn ask(&self, context: &Context, body: &str, last: &Mutex<Option<String>>) -> Result<(), Failure> {
        let me = Identity::generate().map_err(|error| Failure::new(error.to_string()))?;
        let (endpoint, own) = self.enter.enter(v1::Level::Full, true).await?;
        let (found, providers) = mpsc::channel(WAITING);
        let waiting = Waiting { me: &me, node: self.node, found, known: Mutex::default() };
        let presenting = waiting.present(&endpoint);
        let announcing = announce(&endpoint, own, &self.model);
        let answer = tokio::select! {
            () = presenting => return Err(lost()),
            () = announcing => return Err(lost()),
            answer = self.ask_until_answered(&endpoint, &waiting, providers, body, last) => answer?,
        };
        let text = plain_text(answer["text"].as_str().unwrap_or_default());
        Ok(context.output.document(&answer, || text)?)
    }

    /// Lets some providers prove at a time who they are; the first that does is asked, then the next.
    async fn ask_until_answered(
        &self,
        endpoint: &Endpoint,
        waiting: &Waiting<'_>,
        providers: mpsc::Receiver<Provider>,
        body: &str,
        last: &Mutex<Option<String>>,
    ) -> Result<Value, Failure> {
        let providers =
            stream::unfold(providers, |mut providers| async { Some((providers.recv().await?, providers)) });
        let proving =
            providers.map(|provider| async move { (provider, prove(endpoint, waiting.me, provider).await) });
        let mut proved = pin!(proving.buffer_unordered(PROVING));
        while let Some((provider, peer)) = proved.next().await {
            let answered = match peer {
                Ok(peer) => question(&peer, provider.node, body).await,
                Err(trouble) => Err(Trouble::Provider(trouble)),
            };
            match answered {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Question(trouble)) => return Err(Failure::new(trouble)),
                Err(Trouble::Provider(trouble)) => {
                    tracing::warn!(node = %provider.node.short(), trouble, "a provider did not answer");
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
                    waiting.forget(provider);
                }
            }
        }
        Err(lost())
    }
}

/// Opens a session, and proves to each other who is there.
async fn prove(endpoint: &Endpoint, me: &Identity, provider: Provider) -> Result<SealedPeer, String> {
    let opening = SealedPeer::open(endpoint, me, provider.at, (provider.node, provider.key));
    match timeout(PROOF, opening).await {
        Ok(peer) => peer.map_err(|error| error.to_string()),
        Err(_) => Err("it did not prove in time who it is".to_owned()),
    }
}

/// Asks; what `--json` prints.
async fn question(peer: &SealedPeer, node: NodeId, body: &str) -> Result<Value, Trouble> {
    let req = Req::new("POST", format!("http://{node}/v1/chat/completions"));
    let answer = peer.ask(req, body.as_bytes()).await;
    let (res, body) = answer.map_err(|error| Trouble::Provider(error.to_string()))?;
    let nonsense = || Trouble::Provider("its answer is none".to_owned());
    let answer: Value = serde_json::from_slice(&body).map_err(|_| nonsense())?;
    if res.s != 200 {
        let message = answer["error"]["message"].as_str().unwrap_or("no reason given");
        let message = format!("status {}: {}", res.s, plain(message));
        return Err(if matches!(res.s, 400 | 413) {
            Trouble::Question(message)
        } else {
            Trouble::Provider(message)
        });
    }
    let choice = &answer["choices"][0];
    let text = choice["message"]["content"].as_str().ok_or_else(nonsense)?;
    Ok(json!({
        "model": answer["model"], "node": node, "path": "dht", "encrypted": true, "verified": true,
        "text": text, "finish_reason": choice["finish_reason"], "usage": answer["usage"],
    }))
}

/// Says again and again that somebody looks for the model.
async fn announce(endpoint: &Endpoint, own: Ipp, model: &str) {
    loop {
        announce_once(endpoint, own, model).await;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits for providers that present themselves.
struct Waiting<'a> {
    me: &'a Identity,
    /// Nobody else is wanted.
    node: Option<NodeId>,
    found: mpsc::Sender<Provider>,
    /// Those being tried. A record proves nothing of who shows it, so the address belongs to it.
    known: Mutex<Vec<Provider>>,
}

impl Waiting<'_> {
    /// Takes their records, and gives this node's own.
    async fn present(&self, endpoint: &Endpoint) {
        endpoint.serve(WAITING, |asked| std::future::ready(self.reply(&asked))).await;
    }

    fn reply(&self, asked: &Asked) -> (Res, Bytes) {
        let record = match asked.req.uri.as_str() {
            CONTACT_URI => self.take(asked),
            _ => Err(404),
        };
        match record {
            Ok(record) => (Res::new(200), record),
            Err(status) => (Res::new(status), Bytes::new()),
        }
    }

    fn take(&self, asked: &Asked) -> Result<Bytes, u16> {
        let unix = unix();
        let (record, _) = check_contact(&asked.body, self.me.node_id(), unix).map_err(|_| 400_u16)?;
        if self.node.is_some_and(|node| node != record.node_id) {
            return Err(403);
        }
        let key = record
            .wg_public_key
            .as_deref()
            .and_then(|key| X25519Public::parse_hex(key).ok())
            .ok_or(400_u16)?;
        let provider = Provider { at: asked.peer, node: record.node_id, key };
        let mut known = self.known();
        if !known.contains(&provider) {
            self.found.try_send(provider).map_err(|_| 503_u16)?;
            known.push(provider);
        }
        // Nothing listens here: the record says who asks, and no more.
        Places::default().record(self.me, unix).encode().map(Bytes::from).map_err(|_| 500)
    }

    /// It may present itself again.
    fn forget(&self, provider: Provider) {
        self.known().retain(|known| *known != provider);
    }

    fn known(&self) -> MutexGuard<'_, Vec<Provider>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer for a terminal: its lines stay.
fn plain_text(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

fn lost() -> Failure {
    Failure::new("more happened in the DHT than could be followed; try again")
}
