//! Many switches on real sockets of one process: each finds each.
//!
//! 40 of them, or as many as `TEALE_TEST_SWITCHES` says; 200 are fine.

#![cfg(feature = "io")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::{
    io::Write as _,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use teale_telehash::{Endpoint, EndpointConfig, Ipp, end_of_switch, v1};

/// How long one may stay hidden from another: it tells of itself with its pings, each 25 s.
const HIDDEN: Duration = Duration::from_secs(60);

fn start(listen: SocketAddr, own: Option<Ipp>, seeds: Vec<Ipp>) -> Endpoint {
    let config = v1::Config { own, seeds, lines_per_host: 1024, ..v1::Config::default() };
    Endpoint::bind(EndpointConfig { listen, v1: Some(config), v2: None }).unwrap()
}

/// Dials all the others, one after the other; how many were found at once.
async fn find_all(endpoint: Endpoint, own: Ipp, all: Vec<Ipp>) -> usize {
    let mut at_once = 0;
    for target in all.into_iter().filter(|ipp| *ipp != own) {
        let begun = Instant::now();
        loop {
            let dialed = endpoint.dial(end_of_switch(target)).await.expect("a dial ends");
            if dialed.closest.contains(&target) {
                break;
            }
            assert!(begun.elapsed() < HIDDEN, "{own} does not find {target}, but {dialed:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        at_once += usize::from(begun.elapsed() < Duration::from_secs(1));
    }
    at_once
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_finds_each() {
    let count: usize = std::env::var("TEALE_TEST_SWITCHES").map_or(40, |text| text.parse().unwrap());
    let (cpu, memory, begun) = (processor(), resident(), Instant::now());
    // A port that is free now, for the first switch: it is told who it is.
    let first = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let seed = Ipp::new(first).unwrap();
    let mut endpoints = vec![start(first, Some(seed), Vec::new())];
    for _ in 1..count {
        endpoints.push(start("127.0.0.1:0".parse().unwrap(), None, vec![seed]));
    }
    let mut all = Vec::new();
    for endpoint in &endpoints {
        let own = tokio::time::timeout(HIDDEN, endpoint.online()).await.expect("online");
        assert_eq!(own.socket_addr(), endpoint.local_addr());
        all.push(own);
    }
    let online = begun.elapsed();
    let tasks: Vec<_> = endpoints
        .iter()
        .zip(&all)
        .map(|(endpoint, own)| tokio::spawn(find_all(endpoint.clone(), *own, all.clone())))
        .collect();
    let mut at_once = 0;
    for task in tasks {
        at_once += task.await.unwrap();
    }
    let pairs = count * (count - 1);
    let unsent: u64 = endpoints.iter().map(Endpoint::unsent).sum();
    writeln!(
        std::io::stderr(),
        "{count} switches: online after {online:.1?}; {pairs} dials found all, {at_once} of them at once, after \
         {:.1?}; {:.1} s of CPU, {:.0} KiB each, {unsent} datagrams not taken",
        begun.elapsed(),
        processor() - cpu,
        (resident() - memory) / 1024.0 / count as f64,
    )
    .unwrap();
    assert!(at_once * 100 >= pairs * 90, "{at_once} of {pairs} at once");
}

/// Memory of this process in bytes, where the system tells.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.map_or(f64::NAN, |pages| pages * 4096.0)
}

/// Seconds of the processor this process has used, where the system tells.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let times: Vec<f64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    if times.len() == 2 { times.iter().sum::<f64>() / 100.0 } else { f64::NAN }
}
