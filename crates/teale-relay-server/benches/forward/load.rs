//! The load: pairs of clients between which messages circulate.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use teale_identity::{Identity, signed};
use tokio::sync::Notify;

use crate::Scenario;

/// Any key will do.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const READ: usize = 256 << 10;

/// Messages that circulate through one of the measured processes.
pub(crate) struct Load {
    shared: Arc<Shared>,
}

struct Shared {
    running: AtomicBool,
    wake: Notify,
    received: AtomicU64,
    /// Messages on their way while paused.
    resting: AtomicUsize,
    in_all: usize,
}

impl Load {
    /// Connects the pairs; nothing circulates yet.
    pub(crate) async fn start(address: SocketAddr, scenario: &Scenario, relay: bool) -> Self {
        let in_all = scenario.pairs * scenario.in_flight;
        let shared = Arc::new(Shared {
            running: AtomicBool::new(false),
            wake: Notify::new(),
            received: AtomicU64::new(0),
            resting: AtomicUsize::new(in_all),
            in_all,
        });
        tokio::spawn(stay_awake(shared.clone()));
        for pair in 0..scenario.pairs {
            let names = [0, 1].map(|side| Identity::from_seed([(2 * pair + side + 1) as u8; 32]));
            let streams = [0, 1].map(|side| {
                let mut stream = TcpStream::connect(address).unwrap();
                _ = crate::congestion_control(&stream);
                stream.set_nodelay(true).unwrap();
                if relay {
                    join(&mut stream, &names[side]);
                }
                stream
            });
            for (side, stream) in streams.into_iter().enumerate() {
                stream.set_nonblocking(true).unwrap();
                let frame = message(&names[side], &names[1 - side], scenario.size);
                let frame = masked(&frame);
                // A server's frame is shorter by the key.
                let expected = frame.len() - if relay { KEY.len() } else { 0 };
                let client = Client {
                    stream: tokio::net::TcpStream::from_std(stream).unwrap(),
                    frame,
                    expected,
                    starts_with: if side == 0 { scenario.in_flight } else { 0 },
                };
                tokio::spawn(client.run(shared.clone()));
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        Self { shared }
    }

    pub(crate) fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    pub(crate) fn resume(&self) {
        self.shared.running.store(true, Ordering::Relaxed);
        self.shared.wake.notify_waiters();
    }

    /// Stops, and waits until every message has come to rest.
    pub(crate) async fn pause(&self) {
        self.shared.running.store(false, Ordering::Relaxed);
        for _ in 0..1000 {
            if self.shared.resting.load(Ordering::Relaxed) == self.shared.in_all {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("messages were lost");
    }
}

/// Keeps this thread from sleeping while messages circulate.
async fn stay_awake(shared: Arc<Shared>) {
    loop {
        shared.wake.notified().await;
        while shared.running.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    }
}

struct Client {
    stream: tokio::net::TcpStream,
    frame: Vec<u8>,
    expected: usize,
    starts_with: usize,
}

impl Client {
    async fn run(self, shared: Arc<Shared>) {
        let mut buffer = vec![0; READ];
        // Messages to send, bytes of the present one sent, bytes of the present one received.
        let (mut owed, mut sent, mut got) = (self.starts_with, 0, 0);
        // A burst is written at once.
        let burst = self.frame.repeat((READ / self.frame.len()).clamp(1, 16));
        loop {
            let mut may_send = owed > 0;
            if sent == 0 && may_send && !shared.running.load(Ordering::Relaxed) {
                let wake = shared.wake.notified();
                tokio::pin!(wake);
                wake.as_mut().enable();
                may_send = shared.running.load(Ordering::Relaxed);
                if !may_send {
                    tokio::select! {
                        () = wake => continue,
                        ready = self.stream.readable() => ready.unwrap(),
                    }
                }
            }
            if may_send {
                let whole = (owed * self.frame.len()).min(burst.len());
                match self.stream.try_write(&burst[sent..whole]) {
                    Ok(count) => {
                        let finished = (sent + count) / self.frame.len();
                        let started =
                            (sent + count).div_ceil(self.frame.len()) - sent.div_ceil(self.frame.len());
                        shared.resting.fetch_sub(started, Ordering::Relaxed);
                        owed -= finished;
                        sent = (sent + count) % self.frame.len();
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(error) => panic!("{error}"),
                }
            }
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    got += count;
                    let whole = got / self.expected;
                    got %= self.expected;
                    owed += whole;
                    shared.resting.fetch_add(whole, Ordering::Relaxed);
                    shared.received.fetch_add(whole as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let interest = if may_send && owed > 0 {
                        tokio::io::Interest::READABLE | tokio::io::Interest::WRITABLE
                    } else {
                        tokio::io::Interest::READABLE
                    };
                    if owed == 0 || may_send {
                        self.stream.ready(interest).await.unwrap();
                    }
                }
                Err(_) => return,
            }
        }
    }
}

fn message(from: &Identity, to: &Identity, size: usize) -> Vec<u8> {
    let head = format!(
        r#"{{"relayData":{{"fromNodeID":"{}","toNodeID":"{}","sessionID":"9b2f9e3e-3c1a-4f53-9d0e-2f1f5a1c7a10","data":""#,
        from.node_id(),
        to.node_id()
    );
    let data: String = (0..size - head.len() - 3).map(|i| char::from(b'A' + (i * 7 % 26) as u8)).collect();
    format!("{head}{data}\"}}}}").into_bytes()
}

fn masked(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// Upgrades and registers, by hand.
fn join(stream: &mut TcpStream, identity: &Identity) {
    let request = "GET /ws HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    read_until(stream, "challenge");
    let node = identity.node_id().to_string();
    let register = json!({ "register": {
        "nodeID": node, "publicKey": node, "displayName": "load", "signature": signed::register_signature(identity),
        "capabilities": {
            "hardware": {
                "chipFamily": "unknown", "chipName": "load", "totalRAMGB": 1.0, "gpuCoreCount": 0,
                "memoryBandwidthGBs": 1.0, "tier": 2
            },
            "loadedModels": [], "maxModelSizeGB": 1.0, "isAvailable": true
        }
    }});
    stream.write_all(&masked(register.to_string().as_bytes())).unwrap();
    read_until(stream, "registerAck");
}

/// Reads up to the end of the message that has this word in it.
fn read_until(stream: &mut TcpStream, word: &str) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&seen).contains(word) || !seen.ends_with(b"}}") {
        stream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
}
