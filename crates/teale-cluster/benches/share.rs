//! What sharing a model costs: a file pulled over a sealed LAN link on loopback, against a plain TCP copy of the same
//! file that is hashed and written by its receiver, in one run. `cargo bench -p teale-cluster --bench share -- [MB]`
//!
//! The giving side is a process of its own, so that the receiver's peak memory can be told.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and may fail")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use teale_cluster::{
    Cluster, ClusterConfig, PullOptions, Sharing, SharingConfig,
    lan::{Lan, LanConfig, StaticPeer, Terms},
};
use teale_identity::Identity;
use teale_noise::IdentityProof;
use teale_relay_client::{Encryption, KnownPeers, Policy};
use teale_wire::{Extra, HardwareCapability};

const MODEL: &str = "noise";
const ROUNDS: usize = 3;

fn node(folder: &Path, enabled: bool, peer: Option<StaticPeer>) -> (Cluster, Lan, Sharing) {
    let identity = Arc::new(Identity::generate().unwrap());
    let hardware = HardwareCapability {
        chip_family: "unknown".into(),
        chip_name: "bench".into(),
        total_ram_gb: 8.0,
        gpu_core_count: 0,
        memory_bandwidth_gbs: 20.0,
        tier: 2,
        gpu_backend: None,
        platform: None,
        gpu_vram_gb: None,
        extra: Extra::new(),
    };
    let device = "00000000-0000-4000-8000-000000000000";
    let config = ClusterConfig::new(identity.node_id(), device, "bench", hardware.clone());
    let cluster = Cluster::spawn(config, None, Vec::new());
    let policy = Policy {
        encryption: Encryption::Required,
        identity_proof: IdentityProof::Required,
        known: KnownPeers::new(),
    };
    let mut lan = LanConfig::new(Terms { identity, policy }, "bench", device, hardware);
    lan.mdns = false;
    lan.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    lan.peers = peer.into_iter().collect();
    let lan = Lan::start(lan, cluster.host()).unwrap();
    cluster.add_carrier(Arc::new(lan.clone()));
    let mut config = SharingConfig::new(folder.join("models"));
    config.enabled = enabled;
    let sharing = cluster.share(config);
    (cluster, lan, sharing)
}

/// The giving process: says where its plain copy and its LAN listen, and lives until its stdin closes.
fn give(folder: &Path) {
    let file = folder.join("models/noise/noise.gguf");
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
    let (_cluster, lan, _sharing) = node(folder, true, None);
    let listening = lan.listening();
    println!("{} {}", address.port(), listening[0].port());
    let _ = std::io::stdin().read(&mut [0]);
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

fn noise(path: &Path, megabytes: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut state = 88_172_645_463_325_252u64;
    for _ in 0..megabytes * 125_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let first = args.next();
    if first.as_deref() == Some("give") {
        return give(&PathBuf::from(args.next().unwrap()));
    }
    let megabytes: usize = first.and_then(|text| text.parse().ok()).unwrap_or(1000);
    let dir = tempfile::tempdir().unwrap();
    let giver = dir.path().join("giver");
    noise(&giver.join("models/noise/noise.gguf"), megabytes);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("give")
        .arg(&giver)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ports: Vec<u16> = line.split_whitespace().map(|port| port.parse().unwrap()).collect();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let taker = dir.path().join("taker");
    let peer = StaticPeer { host: "127.0.0.1".into(), port: ports[1], node: None };
    let (cluster, _lan, sharing) = runtime.block_on(async { node(&taker, false, Some(peer)) });
    let pull = || {
        let start = Instant::now();
        let options = PullOptions { search: Duration::from_secs(60), ..PullOptions::default() };
        runtime.block_on(async { sharing.pull(MODEL, options).unwrap().finished().await }).unwrap();
        let elapsed = start.elapsed();
        sharing.remove(MODEL).unwrap();
        elapsed
    };
    pull(); // The giver hashes its file the first time it is asked.
    let before = peak();
    let rate = |time: Duration| megabytes as f64 / time.as_secs_f64();
    let (mut plain, mut shared) = (0.0f64, 0.0f64);
    for _ in 0..ROUNDS {
        let copy = rate(plain_copy(ports[0], &dir.path().join("copy")));
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
    drop(cluster);
    let _ = child.kill();
    let _ = child.wait();
}
