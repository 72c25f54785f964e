//! A relay on loopback and clients of a foreign WebSocket library.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use teale_identity::{Identity, signed};
use teale_relay_server::{RelayHandle, RelayLimits, RelayServer, RelayServerConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// Nothing on loopback takes longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Relay {
    pub address: SocketAddr,
    pub handle: RelayHandle,
    task: JoinHandle<()>,
}

impl Relay {
    pub async fn start(limits: RelayLimits) -> Self {
        Self::start_with(limits, false).await
    }

    pub async fn start_with(limits: RelayLimits, require_proof: bool) -> Self {
        let mut config = RelayServerConfig::new(([127, 0, 0, 1], 0).into());
        config.limits = limits;
        config.require_proof = require_proof;
        let server = RelayServer::bind(config).await.unwrap();
        let (address, handle) = (server.local_addr(), server.handle());
        let task = tokio::spawn(async move { server.run().await.unwrap() });
        Self { address, handle, task }
    }

    pub async fn stop(self) {
        self.handle.shutdown();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }

    pub async fn connect(&self) -> Client {
        self.connect_to("/ws").await
    }

    pub async fn connect_to(&self, path: &str) -> Client {
        let url = format!("ws://{}{path}", self.address);
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let connecting = tokio_tungstenite::connect_async_with_config(url, Some(config), true);
        let (socket, _) = timeout(PATIENCE, connecting).await.unwrap().unwrap();
        let mut client = Client { socket, nonce: String::new() };
        let challenge = client.receive().await;
        client.nonce = challenge["challenge"]["nonce"].as_str().unwrap().to_owned();
        client
    }

    pub async fn node(&self, identity: &Identity) -> Client {
        let mut client = self.connect().await;
        client.register(identity, true).await;
        client
    }

    /// The status and the body.
    pub async fn get(&self, path: &str, headers: &str) -> (u16, String) {
        let (head, body) = self.request(&format!("GET {path} HTTP/1.1\r\n{headers}")).await;
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    /// The head and the body of what a request is answered with.
    pub async fn request(&self, head: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{head}Host: relay\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub nonce: String,
}

impl Client {
    pub async fn send(&mut self, message: Value) {
        self.send_text(message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: impl Into<String>) {
        timeout(PATIENCE, self.socket.send(Message::text(text.into()))).await.unwrap().unwrap();
    }

    pub async fn next(&mut self) -> Message {
        timeout(PATIENCE, self.socket.next()).await.unwrap().unwrap().unwrap()
    }

    /// The next message; the socket must not be closed.
    pub async fn receive(&mut self) -> Value {
        loop {
            match self.next().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Binary(bytes) => return serde_json::from_slice(&bytes).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    /// The code and text of the next message, which must be an error.
    pub async fn error(&mut self) -> (String, String) {
        let message = self.receive().await;
        let text =
            |name: &str| message["error"][name].as_str().unwrap_or_else(|| panic!("{message}")).to_owned();
        (text("code"), text("message"))
    }

    /// The code the relay closes with; what comes before it is skipped.
    pub async fn closed(&mut self) -> u16 {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.unwrap() {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(Message::Close(None))) => return 1005,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return 1006,
            }
        }
    }

    pub async fn register(&mut self, identity: &Identity, proof: bool) {
        let register = register(identity, proof.then_some(self.nonce.as_str()));
        self.send(register).await;
        let ack = self.receive().await;
        assert_eq!(ack["registerAck"]["nodeID"], identity.node_id().to_string(), "{ack}");
    }
}

pub fn identity(seed: u8) -> Identity {
    Identity::from_seed([seed; 32])
}

pub fn capabilities(models: &[&str]) -> Value {
    json!({
        "hardware": {
            "chipFamily": "m4Pro", "chipName": "Apple M4 Pro", "totalRAMGB": 48.0, "gpuCoreCount": 20,
            "memoryBandwidthGBs": 273.0, "tier": 2
        },
        "loadedModels": models, "maxModelSizeGB": 44.0, "isAvailable": true
    })
}

/// A registration; with a nonce, one that answers the challenge.
pub fn register(identity: &Identity, nonce: Option<&str>) -> Value {
    let node = identity.node_id().to_string();
    let wg = identity.x25519_public().to_hex();
    let mut payload = json!({
        "nodeID": node, "publicKey": node, "wgPublicKey": wg, "displayName": "a node",
        "capabilities": capabilities(&["llama"]), "signature": signed::register_signature(identity),
    });
    if let Some(nonce) = nonce {
        payload["proof"] = signed::register_proof(identity, nonce, Some(&wg)).into();
    }
    json!({ "register": payload })
}

pub fn session_message(kind: &str, from: &Identity, to: &Identity, session: &str) -> Value {
    json!({ kind: {
        "fromNodeID": from.node_id().to_string(), "toNodeID": to.node_id().to_string(), "sessionID": session,
    }})
}

pub fn relay_data(from: &Identity, to: &Identity, session: &str, data: &str) -> String {
    format!(
        r#"{{"relayData":{{"fromNodeID":"{}","toNodeID":"{}","sessionID":"{session}","data":"{data}"}}}}"#,
        from.node_id(),
        to.node_id()
    )
}

pub const SESSION: &str = "9b2f9e3e-3c1a-4f53-9d0e-2f1f5a1c7a10";

/// This process's resident memory, in KiB.
pub fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
