//! Relays that are not ours: a deployed one, which checks nothing, and ones that misbehave.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use teale_relay_client::{
    RelayClient, RelayError, RelayEvent, Security, SessionError, SessionReceiver, SessionSender, bounds,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};

use crate::support::{PATIENCE, config, record};

type Socket = WebSocketStream<TcpStream>;

/// A client connected to a relay the test plays.
async fn connected() -> (RelayClient, teale_relay_client::RelayEvents, Socket) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (client, events) =
        RelayClient::spawn(config(&format!("ws://{}/ws", listener.local_addr().unwrap()), 1));
    let (stream, _) = listener.accept().await.unwrap();
    (client, events, accept_async(stream).await.unwrap())
}

async fn say(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

/// The next frame of this type.
async fn hear(socket: &mut Socket, kind: &str) -> Value {
    timeout(PATIENCE, async {
        loop {
            let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            if let Some(payload) = message.get(kind) {
                return payload.clone();
            }
        }
    })
    .await
    .unwrap()
}

async fn register(socket: &mut Socket) {
    let register = hear(socket, "register").await;
    say(
        socket,
        json!({"registerAck": {"nodeID": register["nodeID"], "registeredAt": 1.0, "ttlSeconds": 300}}),
    )
    .await;
}

/// A session with a peer that has no key, whose side the test plays.
async fn plaintext_session(client: &RelayClient, socket: &mut Socket) -> (SessionSender, SessionReceiver) {
    let mut peer = record(2);
    peer.wg_public_key = None;
    let ready = async {
        let open = hear(socket, "relayOpen").await;
        let (from, to, session) = (&open["toNodeID"], &open["fromNodeID"], &open["sessionID"]);
        say(socket, json!({"relayReady": {"fromNodeID": from, "toNodeID": to, "sessionID": session}})).await;
    };
    let (session, ()) = tokio::join!(client.open(&peer, PATIENCE), ready);
    session.unwrap().split()
}

/// A message large enough to fill queues soon.
fn bulk() -> Bytes {
    Bytes::from(format!("{{\"x\":\"{}\"}}", "y".repeat(60_000)))
}

/// Sends until the relay, which does not read, has backed everything up; says how many messages were taken.
async fn back_up(sends: &mut SessionSender) -> usize {
    let mut taken = 0;
    while let Ok(result) = timeout(Duration::from_millis(300), sends.send(bulk())).await {
        result.unwrap();
        taken += 1;
        assert!(taken < 5000, "nothing ever made the sender wait");
    }
    taken
}

#[tokio::test]
async fn shutdown_writes_what_was_handed_over_although_the_relay_reads_late() {
    let (client, _events, mut socket) = connected().await;
    register(&mut socket).await;
    client.registered(PATIENCE).await.unwrap();
    let (mut sends, _hears) = plaintext_session(&client, &mut socket).await;
    let taken = back_up(&mut sends).await;
    let shutdown = tokio::spawn(async move { client.shutdown().await });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut arrived = 0;
    while let Some(Ok(message)) = timeout(PATIENCE, socket.next()).await.unwrap() {
        arrived += usize::from(message.to_text().is_ok_and(|text| text.starts_with("{\"relayData\"")));
    }
    assert_eq!(arrived, taken);
    timeout(PATIENCE, shutdown).await.unwrap().unwrap();
}

#[tokio::test]
async fn time_limits_count_the_wait_for_a_connection_that_is_backed_up() {
    let (client, _events, mut socket) = connected().await;
    register(&mut socket).await;
    client.registered(PATIENCE).await.unwrap();
    let (mut sends, _hears) = plaintext_session(&client, &mut socket).await;
    back_up(&mut sends).await;
    // The client's own frames pile up, then the requests of its handles.
    let peers: Vec<_> = (10..20).map(record).collect();
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..bounds::CONTROL_QUEUE + bounds::COMMANDS + 10 {
        let (client, peer) = (client.clone(), peers[n % peers.len()].clone());
        waiting.spawn(async move { client.open(&peer, 10 * PATIENCE).await });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let limit = Duration::from_millis(500);
    let opened = timeout(PATIENCE / 2, client.open(&record(9), limit)).await.unwrap();
    assert_eq!(opened.unwrap_err(), SessionError::Timeout(limit));
    let found = timeout(PATIENCE / 2, client.discover(None, limit)).await.unwrap();
    assert_eq!(found.unwrap_err(), RelayError::Timeout(limit));
}

#[tokio::test]
async fn a_relay_without_challenge_that_broadcasts_and_speaks_binary_serves() {
    let (client, mut events, mut socket) = connected().await;
    let register = hear(&mut socket, "register").await;
    assert_eq!(register.get("proof"), None);
    let id = register["nodeID"].clone();
    say(&mut socket, json!({"peerJoined": {"nodeID": id, "displayName": "x"}})).await;
    say(&mut socket, json!({"registerAck": {"nodeID": id, "registeredAt": 1.0, "ttlSeconds": 300}})).await;
    client.registered(PATIENCE).await.unwrap();
    hear(&mut socket, "discover").await;
    let mut peer = record(2);
    peer.wg_public_key = None;
    let response = json!({"discoverResponse": {"peers": [peer]}}).to_string();
    socket.send(Message::binary(response.into_bytes())).await.unwrap();
    let peers = loop {
        if let Some(RelayEvent::Peers(peers)) = events.next().await {
            break peers;
        }
    };
    assert_eq!(peers, [peer.clone()]);
    // A peer without a key, which sends bytes as an array of numbers.
    let talk = async {
        let open = hear(&mut socket, "relayOpen").await;
        let route = |extra: Value| {
            let mut payload =
                json!({"fromNodeID": open["toNodeID"], "toNodeID": id, "sessionID": open["sessionID"]});
            payload.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            payload
        };
        say(&mut socket, json!({"relayReady": route(json!({}))})).await;
        say(&mut socket, json!({"relayData": route(json!({"data": [123, 125]}))})).await;
    };
    let (session, ()) = tokio::join!(client.open(&peer, PATIENCE), talk);
    let session = session.unwrap();
    assert_eq!(session.security(), Security::Plaintext);
    assert_eq!(session.split().1.recv().await.unwrap(), "{}");
    assert_eq!(client.status().counters.plaintext_sessions, 1);
}

#[tokio::test]
async fn a_relay_that_does_not_read_makes_senders_wait_and_memory_stays() {
    let (client, _events, mut socket) = connected().await;
    register(&mut socket).await;
    client.registered(PATIENCE).await.unwrap();
    let (mut sends, _hears) = plaintext_session(&client, &mut socket).await;
    let message = bulk();
    let mut sent = 0;
    let waits = loop {
        match timeout(Duration::from_millis(300), sends.send(message.clone())).await {
            Ok(result) => result.unwrap(),
            Err(_) => break true,
        }
        sent += message.len();
        if sent > 256 << 20 {
            break false;
        }
    };
    assert!(waits, "nothing ever made the sender wait");
    // What the kernel's buffers took, and our queue.
    assert!(sent < 32 << 20, "{sent} bytes taken for a relay that reads nothing");
    // Once it reads again, everything flows on.
    let drain = tokio::spawn(async move { while let Some(Ok(_)) = socket.next().await {} });
    timeout(PATIENCE, sends.send(message)).await.unwrap().unwrap();
    drain.abort();
    assert_eq!(client.status().sessions, 1);
}

#[tokio::test]
async fn a_frame_beyond_the_limit_ends_the_connection() {
    let (client, mut events, mut socket) = connected().await;
    register(&mut socket).await;
    client.registered(PATIENCE).await.unwrap();
    let flood = Message::text("x".repeat(5 << 20));
    let _ = socket.send(flood).await;
    let reason = timeout(PATIENCE, async {
        loop {
            if let Some(RelayEvent::Disconnected { reason, .. }) = events.next().await {
                return reason;
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(reason, "the relay sent a frame beyond the limit");
}

#[tokio::test]
async fn a_flood_of_offers_is_bounded_while_nobody_reads_the_events() {
    let (client, mut events, mut socket) = connected().await;
    register(&mut socket).await;
    client.registered(PATIENCE).await.unwrap();
    let me = record(1).node_id;
    let peers: Vec<_> = (10..30).map(|seed| record(seed).node_id).collect();
    for n in 0..2000 {
        let from = peers[n % peers.len()];
        let open = json!({"relayOpen": {"fromNodeID": from, "toNodeID": me, "sessionID": format!("s{n}")}});
        socket.feed(Message::text(open.to_string())).await.unwrap();
    }
    socket.flush().await.unwrap();
    let closed = timeout(PATIENCE, async {
        let mut closed = 0;
        while closed < 2000 - bounds::HALF_OPEN {
            hear(&mut socket, "relayClose").await;
            closed += 1;
        }
        closed
    })
    .await
    .unwrap();
    assert_eq!(closed, 2000 - bounds::HALF_OPEN);
    let mut offers = 0;
    let mut rejected = 0;
    while let Ok(Some(event)) = timeout(Duration::from_millis(50), events.next()).await {
        match event {
            RelayEvent::Incoming(session) => {
                offers += 1;
                drop(session);
            }
            RelayEvent::Rejected { error, .. } => {
                rejected += 1;
                assert!(matches!(error, SessionError::NotPossible(_)));
            }
            _ => {}
        }
    }
    assert_eq!((offers, rejected), (bounds::HALF_OPEN, bounds::REJECTED_EVENTS));
    assert_eq!(client.status().counters.rejected, (2000 - bounds::HALF_OPEN) as u64);
}

#[tokio::test]
async fn who_stops_waiting_for_a_discover_gives_its_place_back() {
    let (client, _events, _socket) = connected().await;
    for _ in 0..2 * bounds::DISCOVER_WAITERS {
        let asked = timeout(Duration::from_millis(1), client.discover(None, PATIENCE)).await;
        assert!(asked.is_err(), "no registration, no answer: {asked:?}");
    }
    let answer = client.discover(None, Duration::from_millis(100)).await;
    assert!(matches!(answer, Err(RelayError::NotConnected(_))), "{answer:?}");
}

#[tokio::test]
async fn who_stops_waiting_for_a_session_closes_it() {
    let (client, _events, mut socket) = connected().await;
    register(&mut socket).await;
    client.registered(PATIENCE).await.unwrap();
    let peer = record(2);
    let opened = tokio::select! {
        opened = client.open(&peer, Duration::MAX) => panic!("nobody answered, but {opened:?}"),
        opened = hear(&mut socket, "relayOpen") => opened,
    };
    let closed = hear(&mut socket, "relayClose").await;
    assert_eq!(closed["sessionID"], opened["sessionID"]);
}

#[tokio::test]
async fn a_plaintext_session_whose_peer_turns_out_to_have_a_key_is_closed_by_the_next_send() {
    let (client, mut events, mut socket) = connected().await;
    register(&mut socket).await;
    hear(&mut socket, "discover").await;
    let peer = record(2);
    let mut stripped = peer.clone();
    stripped.wg_public_key = None;
    let ready = async {
        let open = hear(&mut socket, "relayOpen").await;
        let (from, to, session) = (&open["toNodeID"], &open["fromNodeID"], &open["sessionID"]);
        say(&mut socket, json!({"relayReady": {"fromNodeID": from, "toNodeID": to, "sessionID": session}}))
            .await;
    };
    let (session, ()) = tokio::join!(client.open(&stripped, PATIENCE), ready);
    let (mut sends, _hears) = session.unwrap().split();
    sends.send(Bytes::from_static(b"{}")).await.unwrap();
    say(&mut socket, json!({"discoverResponse": {"peers": [peer]}})).await;
    while !matches!(events.next().await.unwrap(), RelayEvent::Peers(_)) {}
    let refused = SessionError::PlaintextRefused("the peer is known to have a key");
    assert_eq!(sends.send(Bytes::from_static(b"{\"secret\":1}")).await, Err(refused.clone()));
    hear(&mut socket, "relayClose").await;
    assert_eq!(sends.send(Bytes::from_static(b"{}")).await, Err(refused));
}
