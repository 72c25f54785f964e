//! Sessions, events and the end, against the real relay.

use std::time::Duration;

use bytes::Bytes;
use teale_relay_client::{RelayClient, RelayError, RelayEvent, Security, SessionError, bounds};
use teale_wire::DiscoverFilter;
use tokio::time::timeout;

use crate::support::{PATIENCE, Relay, capabilities, config, end, incoming, record, registered, session};

#[tokio::test]
async fn two_clients_talk_sealed_with_equal_handshake_hashes() {
    let relay = Relay::start().await;
    let (a, _a_events) = registered(&relay.url(), 1).await;
    let (_b, mut b_events) = registered(&relay.url(), 2).await;
    let (at_a, at_b) = session(&a, 2, &mut b_events).await;
    assert_eq!(at_a.security(), at_b.security());
    assert!(matches!(at_a.security(), Security::Sealed { verified: true, .. }));
    assert_eq!((at_a.id(), at_a.peer()), (at_b.id(), record(2).node_id));
    let ((mut a_sends, mut a_hears), (mut b_sends, mut b_hears)) = (at_a.split(), at_b.split());
    for size in [0, 1, 1000, 100_000, bounds::SEALED_MESSAGE] {
        let message = Bytes::from(vec![b'm'; size]);
        let (sent, heard) = tokio::join!(a_sends.send(message.clone()), b_hears.recv());
        sent.unwrap();
        assert_eq!(heard.unwrap(), message);
        let (sent, heard) = tokio::join!(b_sends.send(message.clone()), a_hears.recv());
        sent.unwrap();
        assert_eq!(heard.unwrap(), message);
    }
    let big = Bytes::from(vec![0; bounds::SEALED_MESSAGE + 1]);
    assert!(matches!(a_sends.send(big).await, Err(SessionError::TooBig { .. })));
    assert_eq!(a.status().sessions, 1);
}

#[tokio::test]
async fn many_sessions_at_once_each_keep_their_order() {
    let relay = Relay::start().await;
    let (a, _a_events) = registered(&relay.url(), 1).await;
    let (_b, mut b_events) = registered(&relay.url(), 2).await;
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..16_u32 {
        let (at_a, at_b) = session(&a, 2, &mut b_events).await;
        let ((mut sends, keep), (keep_too, mut hears)) = (at_a.split(), at_b.split());
        tasks.spawn(async move {
            for n in 0..200_u32 {
                sends.send(Bytes::from(format!("{lane}:{n}"))).await.unwrap();
            }
            let _open = keep.recv_forever().await;
        });
        tasks.spawn(async move {
            for n in 0..200_u32 {
                assert_eq!(hears.recv().await.unwrap(), format!("{lane}:{n}"));
            }
            drop((keep_too, hears));
        });
    }
    timeout(PATIENCE, tasks.join_all()).await.unwrap();
}

/// Holds a receiving half until the session ends.
trait Hold {
    async fn recv_forever(self);
}

impl Hold for teale_relay_client::SessionReceiver {
    async fn recv_forever(mut self) {
        assert_eq!(end(&mut self).await, SessionError::Closed);
    }
}

#[tokio::test]
async fn what_was_sent_arrives_before_the_close() {
    let relay = Relay::start().await;
    let (a, _a_events) = registered(&relay.url(), 1).await;
    let (_b, mut b_events) = registered(&relay.url(), 2).await;
    let (at_a, at_b) = session(&a, 2, &mut b_events).await;
    let (mut sends, hears) = at_a.split();
    for n in 0..500_u32 {
        sends.send(Bytes::from(n.to_string())).await.unwrap();
    }
    drop((sends, hears));
    let (_b_sends, mut b_hears) = at_b.split();
    for n in 0..500_u32 {
        assert_eq!(b_hears.recv().await.unwrap(), n.to_string());
    }
    assert_eq!(b_hears.recv().await, Err(SessionError::Closed));
    assert_eq!(b_hears.recv().await, Err(SessionError::Closed));
}

#[tokio::test]
async fn closing_one_half_ends_the_other() {
    let relay = Relay::start().await;
    let (a, _a_events) = registered(&relay.url(), 1).await;
    let (_b, mut b_events) = registered(&relay.url(), 2).await;
    let (at_a, at_b) = session(&a, 2, &mut b_events).await;
    let (sends, mut hears) = at_a.split();
    sends.close();
    assert_eq!(end(&mut hears).await, SessionError::Closed);
    let (mut b_sends, mut b_hears) = at_b.split();
    assert_eq!(end(&mut b_hears).await, SessionError::Closed);
    assert_eq!(b_sends.send(Bytes::new()).await, Err(SessionError::Closed));
}

#[tokio::test]
async fn a_declined_session_and_a_missing_peer_fail_the_open_at_once() {
    let relay = Relay::start().await;
    let (a, _a_events) = registered(&relay.url(), 1).await;
    let (_b, mut b_events) = registered(&relay.url(), 2).await;
    let peer = record(2);
    let (opened, ()) = tokio::join!(a.open(&peer, PATIENCE), async { drop(incoming(&mut b_events).await) });
    assert_eq!(opened.unwrap_err(), SessionError::Closed);
    assert_eq!(a.open(&record(3), PATIENCE).await.unwrap_err(), SessionError::PeerNotFound);
    assert_eq!(a.open(&record(3), Duration::MAX).await.unwrap_err(), SessionError::PeerNotFound);
    drop(b_events);
    assert_eq!(
        a.open(&peer, PATIENCE).await.unwrap_err(),
        SessionError::Closed,
        "nobody listens for sessions"
    );
}

#[tokio::test]
async fn a_peer_that_leaves_ends_its_sessions() {
    let relay = Relay::start().await;
    let (a, _a_events) = registered(&relay.url(), 1).await;
    let (b, mut b_events) = registered(&relay.url(), 2).await;
    let (at_a, at_b) = session(&a, 2, &mut b_events).await;
    b.shutdown().await;
    assert_eq!(end(&mut at_a.split().1).await, SessionError::Closed);
    assert_eq!(end(&mut at_b.split().1).await, SessionError::Closed);
    let drained = timeout(PATIENCE, async { while b_events.next().await.is_some() {} }).await;
    assert!(drained.is_ok(), "no news of a client that is gone");
    assert_eq!(b.open(&record(1), PATIENCE).await.unwrap_err(), SessionError::Closed);
    assert_eq!(b.discover(None, PATIENCE).await, Err(RelayError::Closed));
    assert_eq!(b.registered(PATIENCE).await, Err(RelayError::Closed));
}

#[tokio::test]
async fn the_last_handle_dropped_ends_everything() {
    let relay = Relay::start().await;
    let (a, mut a_events) = registered(&relay.url(), 1).await;
    let (_b, mut b_events) = registered(&relay.url(), 2).await;
    let (at_a, _at_b) = session(&a, 2, &mut b_events).await;
    let other = a.clone();
    drop(a);
    assert!(other.status().registered);
    drop(other);
    assert_eq!(end(&mut at_a.split().1).await, SessionError::Closed);
    timeout(PATIENCE, async { while a_events.next().await.is_some() {} }).await.unwrap();
}

#[tokio::test]
async fn a_reader_that_does_not_read_loses_its_session_and_no_other() {
    let relay = Relay::start().await;
    let (a, _a_events) = registered(&relay.url(), 1).await;
    let (_b, mut b_events) = registered(&relay.url(), 2).await;
    let (slow_a, slow_b) = session(&a, 2, &mut b_events).await;
    let (good_a, good_b) = session(&a, 2, &mut b_events).await;
    let ((mut floods, _open), (_open_too, mut never_read)) = (slow_a.split(), slow_b.split());
    let flood = tokio::spawn(async move {
        let message = Bytes::from(vec![b'x'; 64 << 10]);
        loop {
            if let Err(error) = floods.send(message.clone()).await {
                return error;
            }
        }
    });
    let ((mut sends, _keep), (_keep_too, mut hears)) = (good_a.split(), good_b.split());
    for n in 0..100_u32 {
        let (sent, heard) = tokio::join!(sends.send(Bytes::from(n.to_string())), hears.recv());
        sent.unwrap();
        assert_eq!(heard.unwrap(), n.to_string());
    }
    assert_eq!(timeout(PATIENCE, flood).await.unwrap().unwrap(), SessionError::Closed);
    let mut bytes = 0;
    let error = loop {
        match never_read.recv().await {
            Ok(message) => bytes += message.len(),
            Err(error) => break error,
        }
    };
    assert_eq!(error, SessionError::TooSlow);
    assert!(bytes > 0 && bytes <= bounds::RECEIVE_QUEUE_SESSION);
}

#[tokio::test]
async fn discover_finds_peers_and_set_capabilities_reaches_them() {
    let relay = Relay::start().await;
    let (b, _b_events) = registered(&relay.url(), 2).await;
    let (a, mut a_events) = registered(&relay.url(), 1).await;
    let polled = timeout(PATIENCE, async {
        loop {
            match a_events.next().await {
                Some(RelayEvent::Peers(peers)) => return peers,
                Some(_) => {}
                None => panic!("the client is gone"),
            }
        }
    });
    let b_id = record(2).node_id;
    assert_eq!(polled.await.unwrap().iter().map(|peer| peer.node_id).collect::<Vec<_>>(), [b_id]);
    b.set_capabilities(capabilities(&["m"]));
    let found = timeout(PATIENCE, async {
        // Each new client may ask at once; the first may come before the relay heard the news.
        for seed in 3..100 {
            let config = config(&relay.url(), seed);
            let known = config.known_peers.clone();
            let (client, _events) = RelayClient::spawn(config);
            let filter = DiscoverFilter { model_id: Some("m".into()), ..DiscoverFilter::default() };
            let peers = client.discover(Some(filter), PATIENCE).await.unwrap();
            client.shutdown().await;
            if !peers.is_empty() {
                assert!(known.get(b_id).is_some_and(|known| !known.proved));
                return peers;
            }
        }
        panic!("the new capabilities never arrived");
    });
    assert_eq!(found.await.unwrap()[0].capabilities.loaded_models, ["m"]);
    drop(a);
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_an_error_with_a_reason() {
    let (client, mut events) = RelayClient::spawn(config("ws://127.0.0.1:1/ws", 1));
    let Err(RelayError::NotConnected(reason)) = client.registered(Duration::from_millis(300)).await else {
        panic!("registered with nobody");
    };
    assert!(reason.contains("connection refused"), "{reason}");
    assert!(matches!(events.next().await, Some(RelayEvent::Disconnected { .. })));
    client.shutdown().await;
}
