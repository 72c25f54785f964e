//! What the benches of two nodes share: a node on loopback, the giving process, a file of noise.
#![allow(dead_code, unreachable_pub, reason = "each bench uses its part")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use teale_cluster::{
    Backend, Cluster, ClusterConfig, Sharing, SharingConfig,
    lan::{Lan, LanConfig, StaticPeer, Terms},
};
use teale_identity::Identity;
use teale_noise::IdentityProof;
use teale_relay_client::{Encryption, KnownPeers, Policy};
use teale_wire::{Extra, HardwareCapability};

/// The model that is pulled.
pub const MODEL: &str = "noise";

pub struct Node {
    pub cluster: Cluster,
    pub lan: Lan,
    pub sharing: Sharing,
}

/// A node that knows one peer at most and offers what lies in its folder, or nothing.
pub fn node(folder: &Path, gives: bool, peer: Option<StaticPeer>, backend: Option<Arc<dyn Backend>>) -> Node {
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
    let cluster = Cluster::spawn(config, backend, Vec::new());
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
    config.enabled = gives;
    let sharing = cluster.share(config);
    Node { cluster, lan, sharing }
}

/// A peer at a port of this machine.
pub fn peer_at(port: u16) -> StaticPeer {
    StaticPeer { host: "127.0.0.1".into(), port, node: None }
}

/// The giving process; killed when dropped.
pub struct Giver {
    child: Child,
    /// The ports it said.
    pub ports: Vec<u16>,
}

impl Giver {
    /// This program again, as `give FOLDER`.
    pub fn start(folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("give")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ports = line.split_whitespace().map(|port| port.parse().unwrap()).collect();
        Self { child, ports }
    }

    /// In the giving process: says the ports, and lives until its stdin closes.
    pub fn live(ports: &[u16]) {
        println!("{}", ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        let _ = std::io::stdin().read(&mut [0]);
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the giving node has its model's file.
pub fn given_file(folder: &Path) -> std::path::PathBuf {
    folder.join("models/noise/noise.gguf")
}

/// Writes a file that nothing makes smaller, the same each time.
pub fn noise(path: &Path, megabytes: usize) {
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
