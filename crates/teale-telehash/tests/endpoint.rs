//! The driver on loopback: both versions on real sockets, a handful of switches.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "io")]

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use teale_telehash::{Asked, Endpoint, EndpointConfig, Ipp, end_of, end_of_switch, v1, v2};
use teale_wire::telehash::{Req, Res, TapRule};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// A port of loopback that was free a moment ago.
fn free() -> SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

fn seed() -> (Endpoint, Ipp) {
    let address = free();
    let own = Ipp::new(address).unwrap();
    let v1 = v1::Config { own: Some(own), ..v1::Config::default() };
    let mut v2 = v2::Config::default();
    v2.own = Some(own);
    let config = EndpointConfig { listen: address, v1: Some(v1), v2: Some(v2) };
    (Endpoint::bind(config).unwrap(), own)
}

fn member(seed: Ipp) -> Endpoint {
    let v1 = v1::Config { seeds: vec![seed], ..v1::Config::default() };
    let mut v2 = v2::Config::default();
    v2.seeds = vec![seed];
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Endpoint::bind(EndpointConfig { listen, v1: Some(v1), v2: Some(v2) }).unwrap()
}

#[tokio::test]
async fn switches_find_each_other_and_a_signal_reaches_a_tap() {
    let (_seed, at) = seed();
    let members = [member(at), member(at), member(at)];
    let mut own = Vec::new();
    for member in &members {
        let online = timeout(PATIENCE, member.online()).await.unwrap();
        assert_eq!(online.socket_addr(), member.local_addr());
        own.push(online);
    }
    let wanted = end_of("a thing");
    let mut events = members[0].events_v1();
    let rule = TapRule::new([("+end".to_owned(), wanted.to_string())], ["+from".to_owned()]).unwrap();
    members[0].tap(wanted, vec![rule]).unwrap();
    let tapped = async {
        loop {
            if let v1::Event::Tapped { at, .. } = events.recv().await.unwrap()
                && !at.is_empty()
            {
                return;
            }
        }
    };
    timeout(PATIENCE, tapped).await.unwrap();

    let signals = BTreeMap::from([("+from".to_owned(), own[1].to_string())]);
    let told = timeout(PATIENCE, members[1].announce(wanted, signals)).await.unwrap().unwrap();
    assert!(!told.is_empty());
    let heard = async {
        loop {
            if let v1::Event::Signal { signals, .. } = events.recv().await.unwrap() {
                return signals["+from"].clone();
            }
        }
    };
    assert_eq!(timeout(PATIENCE, heard).await.unwrap(), own[1].to_string());

    let dialed = timeout(PATIENCE, members[2].dial(end_of_switch(own[0]))).await.unwrap().unwrap();
    assert_eq!(dialed.closest.first(), Some(&own[0]), "{dialed:?}");
}

#[tokio::test]
async fn one_socket_speaks_both_versions() {
    let (seed, at) = seed();
    let asker = member(at);
    let own = timeout(PATIENCE, asker.online()).await.unwrap();
    let answering = tokio::spawn(async move {
        let turn = |asked: Asked| async move {
            let turned: Vec<u8> = asked.body.iter().rev().copied().collect();
            (Res::new(200), turned.into())
        };
        seed.serve(4, turn).await;
    });
    let session = timeout(PATIENCE, asker.open(at, None)).await.unwrap().unwrap();
    let body: Bytes = (0..20_000_u32).map(|n| n as u8).collect::<Vec<_>>().into();
    let req = Req::new("POST", "test:turn");
    let (res, turned) = timeout(PATIENCE, asker.request(session, req, body.clone())).await.unwrap().unwrap();
    assert_eq!(res.s, 200);
    assert!(turned.iter().eq(body.iter().rev()));
    assert_eq!(asker.v1(|switch, _| switch.own()).unwrap(), Some(own), "v1 goes on beside it");
    answering.abort();
}

#[tokio::test]
async fn a_handler_answers_http_and_no_more_at_once_than_it_wants() {
    let (seed, at) = seed();
    let asker = member(at);
    timeout(PATIENCE, asker.online()).await.unwrap();
    let (began, mut waiting) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |asked: Asked| {
        let began = began.clone();
        async move {
            if asked.req.uri == "http://example/slow" {
                began.send(asked.peer).unwrap();
                std::future::pending::<()>().await;
            }
            (Res::new(200), format!("{} {}", asked.req.m.unwrap_or_default(), asked.req.uri).into())
        }
    };
    let serving = tokio::spawn(async move { seed.serve(2, handler).await });
    let session = timeout(PATIENCE, asker.open(at, None)).await.unwrap().unwrap();
    let ask = async |uri: &str| {
        let asked = asker.request(session, Req::new("GET", uri), Bytes::new());
        timeout(PATIENCE, asked).await.unwrap().unwrap()
    };
    assert_eq!(ask("http://example/a").await.1, "GET http://example/a");
    let slow = [asker.clone(), asker.clone()].map(|asker| {
        tokio::spawn(async move {
            asker.request(session, Req::new("GET", "http://example/slow"), Bytes::new()).await
        })
    });
    for _ in 0..2 {
        let peer = timeout(PATIENCE, waiting.recv()).await.unwrap().unwrap();
        assert_eq!(Some(peer.socket_addr()), Some(asker.local_addr()));
    }
    assert_eq!(ask("http://example/b").await.0.s, 503);
    slow.into_iter().for_each(|asking| asking.abort());
    serving.abort();
}

#[tokio::test]
async fn garbage_is_counted_and_nothing_else() {
    let (seed, at) = seed();
    let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for bytes in [&b""[..], b"\0", b"\0\x02", b"nonsense", b"[]", b"{}", &[0xff; 1400], &[b' '; 60_000]] {
        stranger.send_to(bytes, at.socket_addr()).await.unwrap();
    }
    stranger
        .send_to(br#"{"+end":"a9993e364706816aba3e25717850c26c9cd0d89d"}"#, at.socket_addr())
        .await
        .unwrap();
    let mut answer = [0; 2048];
    let (length, from) = timeout(PATIENCE, stranger.recv_from(&mut answer)).await.unwrap().unwrap();
    assert_eq!(from, at.socket_addr());
    assert!(std::str::from_utf8(&answer[..length]).unwrap().contains(".see"));
    assert!(seed.v1(|switch, _| switch.counters().not_telexes).unwrap() >= 3);
    assert!(seed.v2(|switch, _| switch.counters().malformed).unwrap() >= 2);
}
