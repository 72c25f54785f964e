//! Who asks a node over the DHT's sessions: answered only where it proved who it is, and only from the node's own models.
#![allow(clippy::unwrap_used, reason = "a test")]
#![cfg(feature = "llama")]

mod common;

use std::{net::UdpSocket, time::Duration};

use bytes::Bytes;
use common::{Running, finish, program, tiny_as_model};
use serde_json::{Value, json};
use teale_identity::{Identity, NodeId, X25519Public};
use teale_noise::{IdentityProof, Now, Session, TimestampSource, initiate};
use teale_telehash::{Endpoint, EndpointConfig, Ipp, v2};
use teale_wire::telehash::{Req, Res};

struct Provider {
    _seed: Running,
    _node: Running,
    _dir: tempfile::TempDir,
    at: Ipp,
    node: NodeId,
    key: X25519Public,
}

fn provider() -> Provider {
    let dir = tempfile::tempdir().unwrap();
    let seed_at = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let seed = dir.path().join("seed");
    let seed = Running::start(program(&seed).args(["dht", "serve", "--json", "--listen", &seed_at]));
    seed.json();
    let data = dir.path().join("provider");
    let mut serve = program(&data);
    serve.args(["serve", "--json", "--api", "127.0.0.1:0", "--model", &tiny_as_model(), "--no-lan", "--dht"]);
    serve.args(["--dht-seed", &seed_at, "--dht-listen", "127.0.0.1:0", "--lan-listen", "127.0.0.1:0"]);
    let node = Running::start(&mut serve);
    node.json();
    let show = |args: &[&str]| -> Value {
        serde_json::from_slice(&finish(program(&data).args(args)).stdout).unwrap()
    };
    let identity = show(&["identity", "show", "--json"]);
    let status = show(&["dht", "status", "--json"]);
    Provider {
        at: status["listening"].as_str().unwrap().parse().unwrap(),
        node: identity["node"].as_str().unwrap().parse().unwrap(),
        key: X25519Public::parse_hex(identity["wg_public_key"].as_str().unwrap()).unwrap(),
        _seed: seed,
        _node: node,
        _dir: dir,
    }
}

struct Stranger {
    endpoint: Endpoint,
    session: v2::SessionId,
    sealed: Option<Session>,
}

fn now() -> Now {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Now { unix, monotonic: Duration::ZERO }
}

impl Stranger {
    async fn meet(provider: &Provider) -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = EndpointConfig { listen, v1: None, v2: Some(v2::Config::default()) };
        let endpoint = Endpoint::bind(config).unwrap();
        let session = endpoint.open(provider.at, None).await.unwrap();
        Self { endpoint, session, sealed: None }
    }

    async fn ask(&self, uri: &str, body: impl Into<Bytes>) -> (u16, Bytes) {
        let (Res { s, .. }, body) =
            self.endpoint.request(self.session, Req::new("POST", uri), body.into()).await.unwrap();
        (s, body)
    }

    /// Proves who it is; the first packet, for those who keep such.
    async fn shake(&mut self, provider: &Provider, me: &Identity) -> Bytes {
        let (stamps, proof) = (TimestampSource::new(), IdentityProof::Required);
        let (waiting, packet) = initiate(me, provider.node, provider.key, proof, &stamps, now()).unwrap();
        let (status, answer) = self.ask("teale:noise", packet.clone()).await;
        assert_eq!(status, 200);
        self.sealed = Some(waiting.finish(&answer, now()).unwrap());
        packet
    }

    /// Asks under the seal; with the packet, for those who keep such.
    async fn sealed(&mut self, method: &str, uri: &str, body: &str) -> (u64, Value, Bytes) {
        let head = serde_json::to_vec(&Req::new(method, uri)).unwrap();
        let framed = [&(head.len() as u16).to_be_bytes()[..], &head, body.as_bytes()].concat();
        let packet = self.sealed.as_mut().unwrap().seal(&framed, Duration::ZERO).unwrap();
        let (status, answer) = self.ask("teale:sealed", packet.clone()).await;
        assert_eq!(status, 200);
        assert!(
            !answer.windows(4).any(|part| part == b"data" || part == b"text" || part == b"erro"),
            "sealed"
        );
        let answer = self.sealed.as_mut().unwrap().open(&answer, Duration::ZERO).unwrap();
        let length = usize::from(u16::from_be_bytes([answer[0], answer[1]]));
        let res: Value = serde_json::from_slice(&answer[2..2 + length]).unwrap();
        let body = serde_json::from_slice(&answer[2 + length..]).unwrap();
        (res["s"].as_u64().unwrap(), body, packet)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_prove_who_they_are_are_answered() {
    let provider = provider();
    let mut stranger = Stranger::meet(&provider).await;
    assert_eq!(stranger.ask("http://node/v1/models", "").await, (401, Bytes::new()));
    assert_eq!(stranger.ask("https://node/v1/chat/completions", "{}").await.0, 401);
    assert_eq!(stranger.ask("teale:sealed", vec![7; 100]).await.0, 401);
    assert_eq!(stranger.ask("teale:noise", vec![1; 100]).await.0, 403);
    assert_eq!(stranger.ask("ftp://node/", "").await.0, 404);
    let me = Identity::from_seed([9; 32]);
    let greeting = stranger.shake(&provider, &me).await;
    assert_eq!(
        Stranger::meet(&provider).await.ask("teale:noise", greeting).await.0,
        403,
        "said again by another"
    );
    let (status, models, packet) = stranger.sealed("GET", "http://node/v1/models", "").await;
    assert_eq!((status, &models["data"][0]["id"]), (200, &"tiny".into()));
    assert_eq!(stranger.ask("teale:sealed", packet.clone()).await.0, 400, "a packet passes once");
    let mut other = Stranger::meet(&provider).await;
    other.shake(&provider, &me).await;
    assert_eq!(other.ask("teale:sealed", packet).await.0, 400, "in its session");
    // Whoever greets again is known anew, and under the old seal no more.
    let old = other.sealed.take().unwrap();
    other.shake(&provider, &me).await;
    assert_eq!(other.sealed("GET", "http://node/v1/models", "").await.0, 200);
    other.sealed = Some(old);
    let packet = other.sealed.as_mut().unwrap().seal(b"\0\x02{}", Duration::ZERO).unwrap();
    assert_eq!(other.ask("teale:sealed", packet).await.0, 400);

    let chat = |model: &str, more: Value| {
        let mut body = json!({"model": model, "max_tokens": 4, "temperature": 0, "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let uri = "http://node/v1/chat/completions";
    let (status, answer, _) = stranger.sealed("POST", uri, &chat("tiny", json!({}))).await;
    assert_eq!((status, &answer["usage"]["completion_tokens"]), (200, &4.into()), "{answer}");
    let refused = [
        ("POST", uri, chat("gpt-9", json!({})), 404),
        ("POST", uri, chat("tiny", json!({"stream": true})), 400),
        ("POST", uri, "nonsense".to_owned(), 400),
        ("DELETE", uri, String::new(), 405),
        ("GET", "http://node/metrics", String::new(), 404),
        ("GET", "http://node/teale/v1/status", String::new(), 404),
        ("GET", "http://node/v1/models/other", String::new(), 404),
    ];
    for (method, uri, body, expected) in refused {
        let (status, answer, _) = stranger.sealed(method, uri, &body).await;
        assert_eq!(status, expected, "{method} {uri}: {answer}");
        assert!(answer["error"]["message"].is_string());
    }
    // What it does not like it does not repeat at length.
    let long = json!({"model": "tiny", "messages": [], "stream": "\u{7f}".repeat(100_000)}).to_string();
    let (status, answer, _) = stranger.sealed("POST", uri, &long).await;
    assert!(status == 400 && answer.to_string().len() < 3_000);
    let (status, model, _) = stranger.sealed("GET", "http://node/v1/models/tiny", "").await;
    assert_eq!((status, &model["id"]), (200, &"tiny".into()));
}
