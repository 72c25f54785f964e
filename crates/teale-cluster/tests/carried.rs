//! The driver with two ways at once: a real relay on loopback, and a carrier of channels that breaks when it is told.
#![allow(clippy::unwrap_used, reason = "tests")]

mod loopback;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use loopback::{MODEL, PATIENCE, Scripted, joined, node, read, relay, request, scripted, until, whole};
use teale_cluster::{
    Answer, CarriedLink, Carrier, CarrierHost, Cluster, ClusterEvent, LinkError, LinkPath, LinkReceiver,
    LinkSender,
};
use teale_identity::Identity;
use teale_relay_client::Security;
use teale_wire::{AppleDate, Extra, NodeId, PeerRecord};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const SEALED: Security = Security::Sealed { verified: true, handshake_hash: [7; 32] };

fn id(seed: u8) -> NodeId {
    Identity::from_seed([seed; 32]).node_id()
}

fn record(seed: u8) -> PeerRecord {
    PeerRecord {
        node_id: id(seed),
        public_key: id(seed),
        wg_public_key: None,
        display_name: format!("node {seed}"),
        capabilities: loopback::capabilities(),
        last_seen: AppleDate::from_unix_seconds(0.0),
        nat_type: "unknown".into(),
        endpoints: Vec::new(),
        extra: Extra::new(),
    }
}

/// A switch on a table: everybody plugged in reaches everybody, until the power goes.
#[derive(Default)]
struct Switch {
    hosts: Mutex<HashMap<NodeId, CarrierHost>>,
    /// The links' breaker; none without power.
    power: Mutex<Option<CancellationToken>>,
}

impl Switch {
    /// All links break.
    fn off(&self) {
        if let Some(power) = self.power.lock().unwrap().take() {
            power.cancel();
        }
    }

    fn on(&self, clusters: &[(u8, &Cluster)]) {
        *self.power.lock().unwrap() = Some(CancellationToken::new());
        for (seed, cluster) in clusters {
            let others = clusters.iter().filter(|(other, _)| other != seed);
            cluster.peers_found(others.map(|(other, _)| record(*other)).collect(), LinkPath::Lan);
        }
    }

    fn plug_in(self: &Arc<Self>, seed: u8, cluster: &Cluster) {
        self.hosts.lock().unwrap().insert(id(seed), cluster.host());
        cluster.add_carrier(Arc::new(Port { me: id(seed), switch: Arc::clone(self) }));
    }
}

struct Port {
    me: NodeId,
    switch: Arc<Switch>,
}

struct Half<T> {
    line: Option<T>,
    power: CancellationToken,
}

fn cut<T>(power: &CancellationToken) -> impl Future<Output = Result<T, LinkError>> {
    let power = power.clone();
    async move {
        power.cancelled().await;
        Err(LinkError::Lost("the power went".into()))
    }
}

#[async_trait]
impl LinkSender for Half<mpsc::Sender<Bytes>> {
    async fn send(&mut self, message: Bytes) -> Result<(), LinkError> {
        let line = self.line.as_ref().ok_or(LinkError::Closed)?;
        tokio::select! {
            biased;
            cut = cut(&self.power) => cut,
            sent = line.send(message) => sent.map_err(|_| LinkError::Closed),
        }
    }

    fn limit(&self) -> usize {
        1 << 20
    }

    fn close(&mut self) {
        self.line = None;
    }
}

#[async_trait]
impl LinkReceiver for Half<mpsc::Receiver<Bytes>> {
    async fn recv(&mut self) -> Result<Bytes, LinkError> {
        let line = self.line.as_mut().ok_or(LinkError::Closed)?;
        tokio::select! {
            biased;
            cut = cut(&self.power) => cut,
            got = line.recv() => got.ok_or(LinkError::Closed),
        }
    }
}

#[async_trait]
impl Carrier for Port {
    fn path(&self) -> LinkPath {
        LinkPath::Lan
    }

    fn reaches(&self, peer: NodeId) -> bool {
        self.switch.hosts.lock().unwrap().contains_key(&peer)
    }

    async fn open(&self, peer: NodeId) -> Result<CarriedLink, LinkError> {
        let Some(power) = self.switch.power.lock().unwrap().clone() else {
            // A pulled cable is silence, not an answer.
            tokio::time::sleep(Duration::from_secs(2)).await;
            return Err(LinkError::Timeout);
        };
        let host = self.switch.hosts.lock().unwrap()[&peer].clone();
        let (to, from) = (mpsc::channel(4), mpsc::channel(4));
        let link = |peer, initiator, sender, receiver| CarriedLink {
            peer,
            path: LinkPath::Lan,
            security: SEALED,
            initiator,
            sender: Box::new(Half { line: Some(sender), power: power.clone() }),
            receiver: Box::new(Half { line: Some(receiver), power: power.clone() }),
        };
        host.adopt(link(self.me, false, from.0, to.1));
        Ok(link(peer, true, to.0, from.1))
    }

    async fn shutdown(&self) {}
}

/// A provider and a consumer, joined by a relay and by the switch.
async fn pair(backend: &Arc<Scripted>) -> (Cluster, Cluster, Arc<Switch>) {
    let relay = relay().await;
    let provider = node(relay, 1, Some(Arc::clone(backend)));
    joined(&provider).await;
    let consumer = node(relay, 2, None);
    assert!(consumer.wait_for_model(MODEL, PATIENCE).await);
    let switch = Arc::new(Switch::default());
    switch.plug_in(1, &provider);
    switch.plug_in(2, &consumer);
    switch.on(&[(1, &provider), (2, &consumer)]);
    until("they are linked by the switch", PATIENCE, || path(&consumer) == Some(LinkPath::Lan)).await;
    (provider, consumer, switch)
}

fn path(cluster: &Cluster) -> Option<LinkPath> {
    cluster.peers().first().and_then(|peer| peer.path)
}

async fn skip(answer: &mut Answer, chunks: usize) -> String {
    let mut text = String::new();
    for _ in 0..chunks {
        let chunk = answer.next().await.unwrap().unwrap();
        text.extend(chunk.choices.iter().filter_map(|choice| choice.delta.content.as_deref()));
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_survives_the_switch_and_returns_to_it() {
    let backend = scripted(1, Duration::from_millis(2));
    let (provider, consumer, switch) = pair(&backend).await;
    // Eight seconds of tokens: also a loaded machine is back on the switch before they are over.
    let mut events = consumer.events();
    let mut answer = consumer.chat(request("4000")).await.unwrap();
    assert_eq!(answer.path, LinkPath::Lan);
    let mut text = skip(&mut answer, 300).await;
    switch.off();
    text += &skip(&mut answer, 300).await;
    assert_eq!(path(&consumer), Some(LinkPath::Relay));
    switch.on(&[(1, &provider), (2, &consumer)]);
    until("it is back on the switch", PATIENCE, || path(&consumer) == Some(LinkPath::Lan)).await;
    let (rest, usage, end) = read(&mut answer).await;
    assert_eq!(end, Ok(()));
    assert_eq!(text + &rest, whole(4000));
    assert_eq!(usage.unwrap().completion_tokens, 4000);
    let mut moves = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let ClusterEvent::Moved { path, .. } = event {
            moves.push(path);
        }
    }
    assert_eq!(moves, [LinkPath::Relay, LinkPath::Lan]);
    until("nothing is kept", PATIENCE, || provider.status().detached + backend.running() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_waits_for_room_and_hears_of_the_end() {
    let (provider, consumer, switch) = pair(&scripted(1, Duration::from_millis(2))).await;
    let (link, ..) = provider.host().link_of(id(2)).unwrap();
    let message = |n: usize| {
        let text = format!(r#"{{"modelTransferComplete":{{"transferID":"{n}","modelID":"m"}}}}"#);
        teale_wire::ClusterMessage::parse(text.as_bytes()).unwrap().0
    };
    let mut heard = consumer.host().take_sharing();
    for n in 0..40 {
        tokio::time::timeout(PATIENCE, provider.host().bulk(link, message(n))).await.unwrap().unwrap();
    }
    for n in 0..40 {
        let news = tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
        let teale_cluster::ShareNews::Message { peer, message: got, .. } = news else { panic!("{news:?}") };
        assert_eq!((peer, got), (id(1), message(n)));
    }
    // Nobody reads any more: the queues fill, and whoever waits is told when the link goes.
    let host = provider.host();
    let flood = tokio::spawn(async move {
        let mut sent = 0;
        while host.bulk(link, message(sent)).await.is_ok() {
            sent += 1;
        }
        sent
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!flood.is_finished(), "it waits for room");
    switch.off();
    let sent = tokio::time::timeout(PATIENCE, flood).await.unwrap().unwrap();
    assert!((64..200).contains(&sent), "{sent}");
    assert_eq!(provider.host().bulk(link, message(0)).await, Err(teale_cluster::LinkGone));
}

/// A peer that says nothing and never lets go of its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_closed_is_let_go_of_whatever_the_peer_does() {
    let provider = node(relay().await, 1, None);
    let power = CancellationToken::new();
    let (sender, _never_read) = mpsc::channel(4);
    let (keeps_open, receiver) = mpsc::channel(4);
    provider.adopt(CarriedLink {
        peer: id(1), // Our own id: such a link is closed at once.
        path: LinkPath::Lan,
        security: SEALED,
        initiator: false,
        sender: Box::new(Half { line: Some(sender), power: power.clone() }),
        receiver: Box::new(Half { line: Some(receiver), power }),
    });
    until("its reader is gone", PATIENCE, || keeps_open.is_closed()).await;
}
