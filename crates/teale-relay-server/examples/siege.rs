//! A relay under attack, and what a well-behaved pair of clients notices: their round trip, before and during each
//! attack, and the relay's memory. The flood runs to its last message twice: held back by the default limits, which takes
//! 100 s for a million, and with all limits of rate lifted.
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
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use teale_identity::{Identity, signed};
use teale_relay_server::{RelayServer, RelayServerConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::sleep,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const ROLE: &str = "TEALE_SIEGE_ROLE";
const SESSION: &str = "9b2f9e3e-3c1a-4f53-9d0e-2f1f5a1c7a10";
/// Round trips of one measurement, and the time between two.
const TRIPS: usize = 400;
const EVERY: Duration = Duration::from_millis(5);

fn main() -> Result<(), Box<dyn Error>> {
    if let Ok(role) = env::var(ROLE) {
        return tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(relay(&role));
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
    let mut table = Table::default();

    let server = Server::start("limited")?;
    let mut pair = Pair::start(server.address).await;
    table.quiet("quiet", pair.measure(|| false).await, &server);
    flooded(&mut table, "default limits", &server, &mut pair, messages).await?;
    crowded(&mut table, &server, &mut pair, crowd).await;
    let address = server.address;
    let (_, going) = attack(move || unread(address));
    sleep(Duration::from_millis(500)).await;
    table.row("a reader that never reads", pair.measure(|| false).await, &server);
    drop(going);
    server.stop()?;

    let server = Server::start("unlimited")?;
    let mut pair = Pair::start(server.address).await;
    table.quiet("quiet, a relay without limits of rate", pair.measure(|| false).await, &server);
    flooded(&mut table, "no limits of rate", &server, &mut pair, messages).await?;
    server.stop()?;
    table.print();
    Ok(())
}

/// Measures from the flood's first message until the relay has answered for its last.
async fn flooded(
    table: &mut Table,
    limits: &str,
    server: &Server,
    pair: &mut Pair,
    messages: usize,
) -> Result<(), Box<dyn Error>> {
    println!("a flood of {messages} messages, {limits} ...");
    let before = server.figure("teale_relay_dropped_total").await?;
    let (address, flood) = (server.address, Arc::new(Flood::default()));
    let (start, shared) = (Instant::now(), flood.clone());
    let (flooding, going) = attack(move || flood_of(shared, address, messages));
    let times = pair.measure(|| !flooding.is_finished()).await;
    let took = start.elapsed();
    drop(going);
    table.row(&format!("a flood of {messages} messages, {limits}"), times, server);
    let dropped = server.figure("teale_relay_dropped_total").await? - before;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (sent, delivered) = (count(&flood.sent), count(&flood.delivered));
    table.note(format!(
        "sent {sent}, delivered {delivered}, dropped and counted as such {dropped}, lost {}; complaints to the flooder \
         {}; {:.1} s, {:.0} messages/s",
        i128::from(sent) - i128::from(delivered) - i128::from(dropped),
        count(&flood.complaints),
        took.as_secs_f64(),
        sent as f64 / took.as_secs_f64(),
    ));
    Ok(())
}

async fn crowded(table: &mut Table, server: &Server, pair: &mut Pair, crowd: usize) {
    println!("{crowd} sockets that never register ...");
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
    table.row(
        &format!("{} sockets that never register", sockets.len()),
        pair.measure(|| false).await,
        server,
    );
    sleep(Duration::from_secs(11)).await;
    drop(sockets);
    table.row("after they were closed", pair.measure(|| false).await, server);
}

async fn relay(role: &str) -> Result<(), Box<dyn Error>> {
    let mut config = RelayServerConfig::new(([127, 0, 0, 1], 0).into());
    config.limits.sockets_per_ip = config.limits.sockets;
    if role == "unlimited" {
        config.limits.messages_per_second = u32::MAX;
        config.limits.messages_burst = u32::MAX;
        config.limits.bytes_per_second = u64::MAX;
        config.limits.bytes_burst = u64::MAX;
    }
    let server = RelayServer::bind(config).await?;
    println!("{}", server.local_addr());
    Ok(server.run().await?)
}

/// What is printed at the end.
#[derive(Default)]
struct Table {
    rows: Vec<String>,
    /// The median without an attack.
    quiet: Duration,
}

impl Table {
    fn quiet(&mut self, name: &str, times: Vec<Duration>, server: &Server) {
        self.quiet = percentile(&times, 50);
        self.row(name, times, server);
    }

    fn row(&mut self, name: &str, times: Vec<Duration>, server: &Server) {
        let (p50, p99) = (percentile(&times, 50), percentile(&times, 99));
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        self.rows.push(format!(
            "{name:<52} {:>6} {:>9.0} {:>9.0} {:>8.2} {:>8.1} {:>8.1}",
            times.len(),
            micros(p50),
            micros(p99),
            p50.as_secs_f64() / self.quiet.as_secs_f64(),
            server.memory("VmRSS:"),
            server.memory("VmHWM:"),
        ));
    }

    fn note(&mut self, note: String) {
        self.rows.push(format!("    {note}"));
    }

    fn print(&self) {
        println!(
            "\n{:<52} {:>6} {:>9} {:>9} {:>8} {:>8} {:>8}",
            "", "trips", "p50 µs", "p99 µs", "p50 ×", "MiB now", "MiB most"
        );
        self.rows.iter().for_each(|row| println!("{row}"));
    }
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(role: &str) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(env::current_exe()?).env(ROLE, role).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok(Self { child, address: line.trim().parse()? })
    }

    fn stop(mut self) -> Result<(), Box<dyn Error>> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Memory, in MiB.
    fn memory(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }

    /// One of the relay's own figures, over all labels.
    async fn figure(&self, name: &str) -> Result<u64, Box<dyn Error>> {
        figure(self.address, name).await.ok_or_else(|| "the relay does not give its figures".into())
    }
}

async fn figure(address: SocketAddr, name: &str) -> Option<u64> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = b"GET /metrics/prometheus HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let lines = answer.lines().filter(|line| line.starts_with(name));
    Some(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
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

    /// Round trips: [`TRIPS`], and on while something else goes on.
    async fn measure(&mut self, goes_on: impl Fn() -> bool) -> Vec<Duration> {
        let there = relay_data(&self.alice.0, &self.bob.0, 1024);
        let back = relay_data(&self.bob.0, &self.alice.0, 1024);
        let mut times = Vec::new();
        while times.len() < TRIPS || goes_on() {
            let start = Instant::now();
            self.alice.1.send(Message::text(there.clone())).await.unwrap();
            self.bob.1.next().await.unwrap().unwrap();
            self.bob.1.send(Message::text(back.clone())).await.unwrap();
            self.alice.1.next().await.unwrap().unwrap();
            times.push(start.elapsed());
            // On this thread's own clock and never the same: tokio's timers ring on the same millisecond, so the trips
            // would always coincide with the attackers' next blow.
            thread::sleep(EVERY + Duration::from_micros(times.len() as u64 * 617 % 2000));
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

/// What became of a flood's messages.
#[derive(Default)]
struct Flood {
    sent: AtomicU64,
    delivered: AtomicU64,
    complaints: AtomicU64,
}

/// How long nothing may happen before a flood counts as over.
const SILENCE: Duration = Duration::from_secs(10);

/// Sends as fast as the relay reads, to a node that reads, until each message was delivered or dropped.
async fn flood_of(flood: Arc<Flood>, address: SocketAddr, messages: usize) {
    let ((mallory, socket), (target, mut reader)) = (node(address, 8).await, node(address, 9).await);
    let dropped_before = figure(address, "teale_relay_dropped_total").await.unwrap_or(0);
    let (mut sink, mut answers) = socket.split();
    let (at_target, at_flooder) = (flood.clone(), flood.clone());
    let drains: [JoinHandle<()>; 2] = [
        tokio::spawn(async move {
            while let Some(Ok(message)) = reader.next().await {
                let data = message.into_data().starts_with(br#"{"relayData""#);
                at_target.delivered.fetch_add(u64::from(data), Ordering::Relaxed);
            }
        }),
        tokio::spawn(async move {
            while let Some(Ok(message)) = answers.next().await {
                let complaint = message.into_data().starts_with(br#"{"error""#);
                at_flooder.complaints.fetch_add(u64::from(complaint), Ordering::Relaxed);
            }
        }),
    ];
    let frame = relay_data(&mallory, &target, 16);
    for _ in 0..messages {
        if sink.feed(Message::text(frame.clone())).await.is_err() {
            break;
        }
        flood.sent.fetch_add(1, Ordering::Relaxed);
    }
    _ = sink.flush().await;
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < SILENCE {
        let dropped = figure(address, "teale_relay_dropped_total").await.unwrap_or(0) - dropped_before;
        let settled = flood.delivered.load(Ordering::Relaxed) + dropped;
        if settled >= flood.sent.load(Ordering::Relaxed) {
            break;
        }
        if settled != last {
            (last, since) = (settled, Instant::now());
        }
        sleep(Duration::from_millis(20)).await;
    }
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
