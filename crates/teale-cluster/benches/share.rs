//! What sharing a model costs: a file pulled over a sealed LAN link on loopback, against a plain TCP copy of the same
//! file that is hashed and written by its receiver, in one run. `cargo bench -p teale-cluster --bench share -- [MB]`
//!
//! The giving side is a process of its own, so that the receiver's peak memory can be told.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and may fail")]

mod pair;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use pair::{Giver, MODEL, given_file, node, noise, peer_at};
use sha2::{Digest, Sha256};
use teale_cluster::PullOptions;

const ROUNDS: usize = 3;

/// The giving process: says where its plain copy and its LAN listen.
fn give(folder: &Path) {
    let file = given_file(folder);
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in plain.incoming() {
            let (mut stream, mut file) = (stream.unwrap(), std::fs::File::open(&file).unwrap());
            let mut buffer = vec![0; 256 << 10];
            while let Ok(length @ 1..) = file.read(&mut buffer) {
                stream.write_all(&buffer[..length]).unwrap();
            }
        }
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _in = runtime.enter();
    let node = node(folder, true, None, None);
    Giver::live(&[address.port(), node.lan.listening()[0].port()]);
}

/// Receives, hashes and writes on one thread, as a plain program would.
fn plain_copy(port: u16, target: &Path) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut file = std::fs::File::create(target).unwrap();
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        hash.update(&buffer[..length]);
        file.write_all(&buffer[..length]).unwrap();
    }
    let _ = hash.finalize();
    file.sync_all().unwrap();
    start.elapsed()
}

/// The most memory this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) << 10
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let first = args.next();
    if first.as_deref() == Some("give") {
        return give(&PathBuf::from(args.next().unwrap()));
    }
    let megabytes: usize = first.and_then(|text| text.parse().ok()).unwrap_or(1000);
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("giver");
    noise(&given_file(&folder), megabytes);
    let giver = Giver::start(&folder);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let taker = dir.path().join("taker");
    let taker = runtime.block_on(async { node(&taker, false, Some(peer_at(giver.ports[1])), None) });
    let pull = || {
        let start = Instant::now();
        let options = PullOptions { search: Duration::from_secs(60), ..PullOptions::default() };
        runtime.block_on(async { taker.sharing.pull(MODEL, options).unwrap().finished().await }).unwrap();
        let elapsed = start.elapsed();
        taker.sharing.remove(MODEL).unwrap();
        elapsed
    };
    pull(); // The giver hashes its file the first time it is asked.
    let before = peak();
    let rate = |time: Duration| megabytes as f64 / time.as_secs_f64();
    let (mut plain, mut shared) = (0.0f64, 0.0f64);
    for _ in 0..ROUNDS {
        let copy = rate(plain_copy(giver.ports[0], &dir.path().join("copy")));
        let ours = rate(pull());
        println!("plain copy {copy:6.0} MB/s   pull {ours:6.0} MB/s");
        (plain, shared) = (plain.max(copy), shared.max(ours));
    }
    println!(
        "best: plain TCP copy with SHA-256 {plain:.0} MB/s, pull {shared:.0} MB/s, ratio {:.2}",
        shared / plain
    );
    println!(
        "peak memory of the receiver: {} MB ({} MB after the first pull)",
        peak() / 1_000_000,
        before / 1_000_000
    );
}
