//! The LAN carrier over real sockets on loopback: peers by address, one link of two, and strangers of every kind,
//! each refused with a named reason while another link goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod loopback;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use loopback::{PATIENCE, hardware, read, request, scripted, whole};
use serde_json::{Value, json};
use teale_cluster::{
    Backend, Carrier, Cluster, ClusterConfig, ClusterEvent, LinkPath,
    lan::{Lan, LanConfig, Terms, bounds},
};
use teale_identity::Identity;
use teale_noise::IdentityProof;
use teale_relay_client::{Encryption, KnownPeers, Policy, Security};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

struct Node {
    cluster: Cluster,
    lan: Lan,
}

/// How a node of these tests differs from the plain one.
#[derive(Default)]
struct Twist {
    passcode: Option<&'static str>,
    encryption: Encryption,
    peers: Vec<String>,
}

fn start(seed: u8, backend: Option<Arc<loopback::Scripted>>, twist: Twist) -> Node {
    let identity = Arc::new(Identity::from_seed([seed; 32]));
    let name = format!("node {seed}");
    let mut config =
        ClusterConfig::new(identity.node_id(), format!("device-{seed}"), name.clone(), hardware());
    config.passcode = twist.passcode.map(str::to_owned);
    let cluster = Cluster::spawn(config, backend.map(|backend| backend as Arc<dyn Backend>), Vec::new());
    let policy = Policy {
        encryption: twist.encryption,
        identity_proof: IdentityProof::Required,
        known: KnownPeers::new(),
    };
    let mut config = LanConfig::new(Terms { identity, policy }, name, format!("device-{seed}"), hardware());
    config.listen = Some((Ipv4Addr::LOCALHOST, 0).into());
    config.mdns = false;
    config.peers = twist.peers.iter().map(|peer| peer.parse().unwrap()).collect();
    let lan = Lan::start(config, cluster.host()).unwrap();
    cluster.add_carrier(Arc::new(lan.clone()));
    Node { cluster, lan }
}

impl Node {
    fn address(&self) -> SocketAddr {
        self.lan.listening()[0]
    }

    fn is_linked(&self) -> bool {
        self.cluster.peers().iter().any(|peer| peer.path == Some(LinkPath::Lan) && peer.healthy)
    }

    async fn linked(&self) {
        until(|| self.is_linked()).await;
    }

    /// Asks the echo over the LAN, to see that its link is unharmed.
    async fn asks(&self) {
        let mut answer = self.cluster.chat(request("5")).await.unwrap();
        assert_eq!(answer.path, LinkPath::Lan);
        let (text, _, end) = read(&mut answer).await;
        assert_eq!((text, end), (whole(5), Ok(())));
    }
}

async fn until(is: impl Fn() -> bool) {
    loopback::until("what the test waits for", PATIENCE, is).await;
}

fn peers(addresses: &[SocketAddr]) -> Twist {
    Twist { peers: addresses.iter().map(ToString::to_string).collect(), ..Twist::default() }
}

/// A provider, and a good peer whose link has to survive whatever comes.
async fn provider_and_friend() -> (Node, Node) {
    let provider = start(1, Some(scripted(4, Duration::ZERO)), Twist::default());
    let friend = start(2, None, peers(&[provider.address()]));
    friend.linked().await;
    friend.asks().await;
    (provider, friend)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_by_address_is_linked_sealed_and_asked() {
    let (provider, friend) = provider_and_friend().await;
    let peer = friend.cluster.peers().remove(0);
    assert!(peer.encrypted && peer.verified, "{peer:?}");
    let status = friend.lan.status();
    assert!(
        status.peers[0].linked && status.peers[0].node.is_some() && status.diagnosis.is_none(),
        "{status:?}"
    );
    assert_eq!((provider.lan.status().links, status.links), (1, 1));
    let named = Twist { peers: vec![format!("{}@{}", peer.node, provider.address())], ..Twist::default() };
    start(3, None, named).linked().await;
    let other =
        Twist { peers: vec![format!("{}@{}", "0".repeat(64), provider.address())], ..Twist::default() };
    let misled = start(4, None, other);
    until(|| misled.lan.status().peers[0].error.is_some()).await;
    let error = misled.lan.status().peers[0].error.clone().unwrap();
    assert!(error.contains("another node answers"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_dial_each_other_settle_on_one_link() {
    let a = start(1, Some(scripted(1, Duration::ZERO)), Twist::default());
    // A port that is free now; the second node takes it.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    drop(a);
    let listener = |address: SocketAddr, seed: u8, peer: SocketAddr| {
        let identity = Arc::new(Identity::from_seed([seed; 32]));
        let config = ClusterConfig::new(identity.node_id(), format!("device-{seed}"), "n", hardware());
        let backend = (seed == 1).then(|| scripted(1, Duration::ZERO) as Arc<dyn Backend>);
        let cluster = Cluster::spawn(config, backend, Vec::new());
        let policy = Policy {
            encryption: Encryption::Required,
            identity_proof: IdentityProof::Required,
            known: KnownPeers::new(),
        };
        let mut config =
            LanConfig::new(Terms { identity, policy }, "n", format!("device-{seed}"), hardware());
        config.listen = Some(address);
        config.mdns = false;
        config.peers = vec![peer.to_string().parse().unwrap()];
        let lan = Lan::start(config, cluster.host()).unwrap();
        cluster.add_carrier(Arc::new(lan.clone()));
        Node { cluster, lan }
    };
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (a, b) = (listener(free, 1, other), listener(other, 2, free));
    a.linked().await;
    b.linked().await;
    until(|| a.lan.status().links == 1 && b.lan.status().links == 1).await;
    b.asks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passcodes_that_differ_or_are_missing_on_one_side_are_refused_by_name() {
    let provider =
        start(1, Some(scripted(4, Duration::ZERO)), Twist { passcode: Some("sesame"), ..Twist::default() });
    let friend = start(2, None, Twist { passcode: Some("sesame"), ..peers(&[provider.address()]) });
    friend.linked().await;
    let mut events = provider.cluster.events();
    for (seed, passcode) in [(3, Some("open")), (4, None)] {
        let stranger = start(seed, None, Twist { passcode, ..peers(&[provider.address()]) });
        assert_eq!(refusal(&mut events).await, "the cluster passcodes differ");
        assert!(!stranger.is_linked());
    }
    friend.asks().await;
}

async fn refusal(events: &mut tokio::sync::broadcast::Receiver<ClusterEvent>) -> String {
    let wait = async {
        loop {
            if let ClusterEvent::Refused { reason, .. } = events.recv().await.unwrap() {
                return reason;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap()
}

fn hello(version: u32) -> Value {
    json!({"hello": {"deviceInfo": {"id": "stranger", "name": "s", "hardware": hardware(), "registeredAt": 0,
        "lastSeenAt": 0, "isCurrentDevice": true, "loadedModels": []}, "protocolVersion": version,
        "loadedModels": [], "clusterPasscodeHash": null, "ownerUserID": null}})
}

fn framed(message: &Value) -> Vec<u8> {
    let text = message.to_string();
    let mut frame = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(text.as_bytes());
    frame
}

/// Reads until the node closes the connection.
async fn closed(stream: &mut TcpStream) {
    let mut rest = vec![0; 4096];
    let read = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    tokio::time::timeout(PATIENCE, read).await.expect("the node closes the connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_by_name_and_others_are_unharmed() {
    let (provider, friend) = provider_and_friend().await;
    let mut events = provider.cluster.events();
    let too_long = (16_u32 << 20 | 1).to_be_bytes().to_vec();
    let mut late = framed(&hello(1));
    late.extend(&too_long);
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("another version", framed(&hello(2)), "the peer speaks another protocol version"),
        ("an oversize first frame", too_long.clone(), "the first LAN frame is too big"),
        ("an oversize frame on a link", late, "a LAN frame is too big"),
        ("garbage", b"\0\0\0\x0eGET / HTTP/1.1".to_vec(), "neither a handshake nor a cluster message"),
        ("a broken handshake", [&[0, 0, 0, 50][..], &[1; 50]].concat(), "invalid"),
        ("a message before hello", framed(&json!({"heartbeatAck": {}})), "wrong shape"),
    ];
    for (what, bytes, reason) in cases {
        let mut stream = TcpStream::connect(provider.address()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let said = refusal(&mut events).await;
        assert!(said.contains(reason), "{what}: {said}");
        closed(&mut stream).await;
        friend.asks().await;
    }
    let status = provider.lan.status();
    assert!(status.refused >= 5 && status.last_refusal.is_some(), "{status:?}");
}

/// Waits for the five seconds a greeting may take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_is_closed_and_takes_no_place_from_others() {
    let (provider, friend) = provider_and_friend().await;
    let mut events = provider.cluster.events();
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(TcpStream::connect(provider.address()).await.unwrap());
    }
    // Eight may be half open from one address; the others are closed at once.
    assert_eq!(refusal(&mut events).await, "too many connections are being opened from this address");
    friend.asks().await;
    loop {
        let said = refusal(&mut events).await;
        if said.contains("the peer sent nothing within 5s") {
            break;
        }
    }
    for stream in &mut silent {
        closed(stream).await;
    }
    start(3, None, peers(&[provider.address()])).linked().await;
    friend.asks().await;
}

/// A plaintext peer asks for a long answer and never reads it. Waits for the fifteen seconds that it is given: its system
/// acknowledges every probe, so it is not taken for dead after five.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_reading_is_cut_off_by_name_and_others_are_unharmed() {
    let backend = scripted(4, Duration::ZERO);
    let provider = start(1, Some(Arc::clone(&backend)), Twist::default());
    let friend = start(2, None, peers(&[provider.address()]));
    friend.linked().await;
    let mut events = provider.cluster.events();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&provider.address().into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(socket.into()).unwrap();
    stream.write_all(&framed(&hello(1))).await.unwrap();
    let ask = json!({"inferenceRequest": {"requestID": "1", "streaming": true,
        "request": request("100000000")}});
    stream.write_all(&framed(&ask)).await.unwrap();
    until(|| backend.running() == 1).await;
    let begun = std::time::Instant::now();
    let down = async {
        loop {
            if let ClusterEvent::LinkDown { reason, .. } = events.recv().await.unwrap() {
                return reason;
            }
        }
    };
    let reason = tokio::time::timeout(3 * PATIENCE, down).await.expect("the link is given up");
    assert!(reason.contains("does not read"), "{reason}");
    let given = begun.elapsed();
    assert!(given > bounds::WRITE_WITHIN - bounds::PATIENT_AFTER, "given up after {given:?}");
    until(|| backend.running() == 0).await;
    friend.asks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_identity_is_reported_on_both_sides_and_others_are_unharmed() {
    let (provider, friend) = provider_and_friend().await;
    let mut events = provider.cluster.events();
    let copy = start(1, None, peers(&[provider.address()]));
    let seen = async {
        loop {
            if let ClusterEvent::CopiedIdentity { place } = events.recv().await.unwrap() {
                return place;
            }
        }
    };
    // The copy asks who is there, sees itself, and goes no further: so the provider sees nothing yet.
    until(|| !copy.lan.status().warnings.is_empty()).await;
    let warning = copy.lan.status().warnings.remove(0);
    assert!(
        warning.contains("identity file was copied") && warning.contains(&provider.address().to_string()),
        "{warning}"
    );
    // One that does not ask first.
    let Some(handshake) = own_handshake() else { panic!("no handshake") };
    let mut stream = TcpStream::connect(provider.address()).await.unwrap();
    stream.write_all(&handshake).await.unwrap();
    let place = tokio::time::timeout(PATIENCE, seen).await.unwrap();
    assert_eq!(place.parse::<IpAddr>().unwrap(), IpAddr::from(Ipv4Addr::LOCALHOST));
    assert_eq!(provider.lan.status().warnings.len(), 1);
    friend.asks().await;
}

/// Message 1 of a node with the provider's own identity.
fn own_handshake() -> Option<Vec<u8>> {
    let identity = Identity::from_seed([1; 32]);
    let now = teale_noise::Now {
        unix: std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?,
        monotonic: Duration::ZERO,
    };
    let stamps = teale_noise::TimestampSource::new();
    let (node, key) = (identity.node_id(), identity.x25519_public());
    let (_, packet) =
        teale_noise::initiate(&identity, node, key, IdentityProof::Required, &stamps, now).ok()?;
    let mut frame = u32::try_from(packet.len()).ok()?.to_be_bytes().to_vec();
    frame.extend_from_slice(&packet);
    Some(frame)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encryption_required_refuses_plaintext_peers_by_name() {
    let provider = start(1, None, Twist { encryption: Encryption::Required, ..Twist::default() });
    let mut events = provider.cluster.events();
    let mut stream = TcpStream::connect(provider.address()).await.unwrap();
    stream.write_all(&framed(&hello(1))).await.unwrap();
    assert_eq!(refusal(&mut events).await, "plaintext refused: encryption is required");
    closed(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plaintext_peer_is_served_and_marked_where_that_is_allowed() {
    let provider = start(1, Some(scripted(1, Duration::ZERO)), Twist::default());
    let mut stream = TcpStream::connect(provider.address()).await.unwrap();
    stream.write_all(&framed(&hello(1))).await.unwrap();
    until(|| provider.cluster.peers().iter().any(|peer| peer.path == Some(LinkPath::Lan))).await;
    let peer = provider.cluster.peers().remove(0);
    assert!(!peer.encrypted && !peer.verified, "{peer:?}");
    assert_eq!(provider.cluster.status().plaintext_links, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_peer_is_dialled_again() {
    let provider = start(1, Some(scripted(1, Duration::ZERO)), Twist::default());
    let address = provider.address();
    let friend = start(2, None, peers(&[address]));
    friend.linked().await;
    provider.cluster.drain(Duration::from_secs(1)).await;
    drop(provider);
    until(|| !friend.is_linked()).await;
    let identity = Arc::new(Identity::from_seed([1; 32]));
    let config = ClusterConfig::new(identity.node_id(), "device-1", "n", hardware());
    let cluster = Cluster::spawn(config, Some(scripted(1, Duration::ZERO) as Arc<dyn Backend>), Vec::new());
    let policy = Policy {
        encryption: Encryption::Required,
        identity_proof: IdentityProof::Required,
        known: KnownPeers::new(),
    };
    let mut config = LanConfig::new(Terms { identity, policy }, "n", "device-1", hardware());
    (config.listen, config.mdns) = (Some(address), false);
    let lan = Lan::start(config, cluster.host()).unwrap();
    assert_eq!(lan.listening(), [address], "the port is free again");
    cluster.add_carrier(Arc::new(lan.clone()));
    friend.linked().await;
    let answer = friend.cluster.chat(request("5")).await.unwrap();
    assert!(matches!(answer.security, Some(Security::Sealed { verified: true, .. })));
    lan.shutdown().await;
}
