//! A relay under attack, and what a well-behaved pair of clients notices: their round trip, before and during each
//! attack, and the relay's memory.
//!
//! `cargo run --release -p teale-relay-server --example siege [-- SOCKETS MESSAGES]` (10,000 sockets, a million messages)
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement prints, and stops where it cannot go on"
)]

use std::{
    env,
    error::Error,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use teale_identity::{Identity, signed};
use teale_relay_server::{RelayServer, RelayServerConfig};
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle, time::sleep};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const ROLE: &str = "TEALE_SIEGE_ROLE";
const SESSION: &str = "9b2f9e3e-3c1a-4f53-9d0e-2f1f5a1c7a10";
/// Round trips of one measurement, and the time between two.
const TRIPS: usize = 400;
const EVERY: Duration = Duration::from_millis(5);

fn main() -> Result<(), Box<dyn Error>> {
    if env::var(ROLE).is_ok() {
        return tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(relay());
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(siege())
}

/// An attacker on a thread and a runtime of its own, so that it does not delay the clients that are measured. It ends
/// when the sender is dropped.
fn attack<F: Future<Output = ()>>(
    attacker: impl FnOnce() -> F + Send + 'static,
) -> (thread::JoinHandle<()>, oneshot::Sender<()>) {
    let (going, gone) = oneshot::channel();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                () = attacker() => {}
                _ = gone => {}
            }
        });
    });
    (thread, going)
}

async fn siege() -> Result<(), Box<dyn Error>> {
    let mut numbers = env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let (crowd, messages) = (numbers.next().unwrap_or(10_000), numbers.next().unwrap_or(1_000_000));
    let mut server = Server::start()?;
    let mut pair = Pair::start(server.address).await;
    let quiet = pair.measure().await;
    println!("{:<44} {:>9} {:>9} {:>8} {:>10}", "", "p50 µs", "p99 µs", "p50 ×", "relay MiB");
    let report = |name: &str, times: &[Duration], server: &Server| {
        let (p50, p99) = (percentile(times, 50), percentile(times, 99));
        let ratio = p50.as_secs_f64() / percentile(&quiet, 50).as_secs_f64();
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        println!(
            "{name:<44} {:>9.0} {:>9.0} {ratio:>8.2} {:>10.1}",
            micros(p50),
            micros(p99),
            server.resident()
        );
    };
    report("quiet", &quiet, &server);

    let address = server.address;
    let (flooding, going) = attack(move || flood(address, messages));
    report(&format!("a flood of {messages} messages"), &pair.measure().await, &server);
    let sent = flooding.is_finished();
    drop(going);
    println!("    (the flood {})", if sent { "has ended" } else { "is still held back by the relay" });

    let mut sockets = Vec::new();
    for _ in 0..crowd {
        match TcpStream::connect(server.address).await {
            Ok(stream) => sockets.push(stream),
            Err(_) => break,
        }
    }
    let upgrades: Vec<_> = sockets.into_iter().map(upgrade).collect();
    let mut sockets = Vec::new();
    for upgrading in upgrades {
        sockets.extend(upgrading.await);
    }
    report(&format!("{} sockets that never register", sockets.len()), &pair.measure().await, &server);
    sleep(Duration::from_secs(11)).await;
    drop(sockets);
    report("after they were closed", &pair.measure().await, &server);

    let (_, going) = attack(move || unread(address));
    sleep(Duration::from_millis(500)).await;
    report("a reader that never reads", &pair.measure().await, &server);
    drop(going);
    server.child.kill()?;
    Ok(())
}

async fn relay() -> Result<(), Box<dyn Error>> {
    let mut config = RelayServerConfig::new(([127, 0, 0, 1], 0).into());
    config.limits.sockets_per_ip = config.limits.sockets;
    let server = RelayServer::bind(config).await?;
    println!("{}", server.local_addr());
    Ok(server.run().await?)
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Result<Self, Box<dyn Error>> {
        let mut child =
            Command::new(env::current_exe()?).env(ROLE, "relay").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok(Self { child, address: line.trim().parse()? })
    }

    /// Resident memory, in MiB.
    fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }
}

/// Two clients that mind their own business.
struct Pair {
    alice: (Identity, Socket),
    bob: (Identity, Socket),
}

impl Pair {
    async fn start(address: SocketAddr) -> Self {
        Self { alice: node(address, 1).await, bob: node(address, 2).await }
    }

    async fn measure(&mut self) -> Vec<Duration> {
        let there = relay_data(&self.alice.0, &self.bob.0, 1024);
        let back = relay_data(&self.bob.0, &self.alice.0, 1024);
        let mut times = Vec::new();
        for trip in 0..TRIPS {
            let start = Instant::now();
            self.alice.1.send(Message::text(there.clone())).await.unwrap();
            self.bob.1.next().await.unwrap().unwrap();
            self.bob.1.send(Message::text(back.clone())).await.unwrap();
            self.alice.1.next().await.unwrap().unwrap();
            times.push(start.elapsed());
            // On this thread's own clock and never the same: tokio's timers ring on the same millisecond, so the trips
            // would always coincide with the attackers' next blow.
            thread::sleep(EVERY + Duration::from_micros(trip as u64 * 617 % 2000));
        }
        times.sort();
        times
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

async fn connect(address: SocketAddr) -> (Socket, String) {
    let url = format!("ws://{address}/ws");
    let (mut socket, _) = tokio_tungstenite::connect_async_with_config(url, None, true).await.unwrap();
    let challenge = socket.next().await.unwrap().unwrap();
    let challenge: Value = serde_json::from_slice(&challenge.into_data()).unwrap();
    let nonce = challenge["challenge"]["nonce"].as_str().unwrap().to_owned();
    (socket, nonce)
}

async fn node(address: SocketAddr, seed: u8) -> (Identity, Socket) {
    let identity = Identity::from_seed([seed; 32]);
    let (mut socket, nonce) = connect(address).await;
    let node = identity.node_id().to_string();
    let register = json!({ "register": {
        "nodeID": node, "publicKey": node, "displayName": "siege", "signature": signed::register_signature(&identity),
        "proof": signed::register_proof(&identity, &nonce, None),
        "capabilities": {
            "hardware": {
                "chipFamily": "unknown", "chipName": "siege", "totalRAMGB": 1.0, "gpuCoreCount": 0,
                "memoryBandwidthGBs": 1.0, "tier": 2
            },
            "loadedModels": [], "maxModelSizeGB": 1.0, "isAvailable": true
        }
    }});
    socket.send(Message::text(register.to_string())).await.unwrap();
    socket.next().await.unwrap().unwrap();
    (identity, socket)
}

fn relay_data(from: &Identity, to: &Identity, size: usize) -> String {
    let (from, to, data) = (from.node_id(), to.node_id(), "A".repeat(size));
    format!(
        r#"{{"relayData":{{"fromNodeID":"{from}","toNodeID":"{to}","sessionID":"{SESSION}","data":"{data}"}}}}"#
    )
}

/// Sends as fast as the relay reads, to a node that reads.
async fn flood(address: SocketAddr, messages: usize) {
    let ((mallory, socket), (target, mut reader)) = (node(address, 8).await, node(address, 9).await);
    let (mut sink, mut answers) = socket.split();
    let drains: [JoinHandle<()>; 2] = [
        tokio::spawn(async move { while reader.next().await.is_some() {} }),
        tokio::spawn(async move { while answers.next().await.is_some() {} }),
    ];
    let frame = relay_data(&mallory, &target, 16);
    for _ in 0..messages {
        if sink.feed(Message::text(frame.clone())).await.is_err() {
            break;
        }
    }
    _ = sink.flush().await;
    drains.iter().for_each(JoinHandle::abort);
}

/// A WebSocket that was asked for; its answer is not read.
async fn upgrade(stream: TcpStream) -> Option<TcpStream> {
    let request = b"GET /ws HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.writable().await.ok()?;
    stream.try_write(request).ok().map(|_| stream)
}

/// Sends large frames to a node that never reads.
async fn unread(address: SocketAddr) {
    let ((mallory, mut socket), (target, _unread)) = (node(address, 10).await, node(address, 11).await);
    let frame = relay_data(&mallory, &target, 256 << 10);
    while socket.send(Message::text(frame.clone())).await.is_ok() {
        // Its own answers are heard, so that it is not the slow one.
        while let Ok(Some(Ok(_))) = tokio::time::timeout(EVERY, socket.next()).await {}
    }
}
