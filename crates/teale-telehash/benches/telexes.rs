//! How many telexes a second one core takes: `cargo bench -p teale-telehash --bench telexes`.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a bench")]

use std::{
    hint::black_box,
    net::SocketAddr,
    time::{Duration, Instant},
};

use teale_telehash::{
    Ipp, end_of,
    v1::{Config, Input, Output, Switch},
};
use teale_wire::telehash::Telex;

/// When it is measured, and when the first peer came.
const NOW: Duration = Duration::from_secs(100);
const BEGIN: Duration = Duration::from_secs(80);
/// From one peer to the next: strangers are answered at a rate.
const GAP: Duration = Duration::from_millis(2);
const FOR: Duration = Duration::from_secs(1);

fn own() -> Ipp {
    "10.0.0.1:42424".parse().unwrap()
}

fn address(n: u32) -> SocketAddr {
    let [_, b, c, d] = n.to_be_bytes();
    ([10, 1 + b, c, d], 7).into()
}

/// What is sent upon a datagram.
fn hear(switch: &mut Switch, now: Duration, from: SocketAddr, bytes: &[u8]) -> Vec<Telex> {
    switch.handle(now, Input::Datagram { from, bytes });
    let mut sent = Vec::new();
    loop {
        match switch.poll() {
            Output::Send { to, bytes } if to.socket_addr() == from => {
                sent.push(Telex::parse(&bytes).unwrap())
            }
            Output::Wait(_) => return sent,
            _ => {}
        }
    }
}

/// The same, when only the work counts.
fn work(switch: &mut Switch, from: SocketAddr, bytes: &[u8]) -> usize {
    switch.handle(NOW, Input::Datagram { from, bytes });
    let mut sent = 0;
    loop {
        match switch.poll() {
            Output::Send { bytes, .. } => sent += black_box(bytes).len().min(1),
            Output::Wait(_) => return sent,
            _ => {}
        }
    }
}

/// A switch that so many have told of themselves.
fn switch(peers: u32) -> Switch {
    let mut switch = Switch::new(Config { own: Some(own()), ..Config::default() }, BEGIN, [1; 32]);
    for n in 0..peers {
        lined(&mut switch, BEGIN + GAP * n, n);
    }
    switch
}

/// Opens a line with a peer that tells of itself.
fn lined(switch: &mut Switch, now: Duration, n: u32) -> u32 {
    let from = address(n);
    let ring = br#"{"+end":"a9993e364706816aba3e25717850c26c9cd0d89d","_ring":7}"#;
    let line = hear(switch, now, from, ring)[0].line.unwrap();
    let told = format!(r#"{{".see":["{from}"],"_line":{line},"_br":1000000000000}}"#);
    hear(switch, now, from, told.as_bytes());
    line
}

fn measure(name: &str, mut one: impl FnMut(u32) -> usize) {
    let (start, mut telexes, mut answers) = (Instant::now(), 0, 0);
    while start.elapsed() < FOR {
        for _ in 0..1000 {
            answers += one(telexes);
            telexes += 1;
        }
    }
    let rate = f64::from(telexes) / start.elapsed().as_secs_f64();
    let share = answers as f64 / f64::from(telexes);
    println!("{name:<52} {rate:>10.0} telexes/s, {share:.2} sent for each");
}

fn main() {
    let dials: Vec<Vec<u8>> = (0..1000)
        .map(|n| {
            let end = end_of(format!("{n}"));
            format!(r#"{{"+end":"{end}","_to":"{}","_br":1000000000000,"_ring":5240}}"#, own()).into_bytes()
        })
        .collect();
    let dial = |n: u32| dials[n as usize % dials.len()].as_slice();
    measure("a dial parsed", |n| Telex::parse(black_box(dial(n))).map_or(0, |telex| telex.signals.len()));
    for peers in [0, 50, 300, 3000] {
        let mut switch = switch(peers);
        let asked: Vec<Vec<u8>> = (0..100)
            .map(|n| {
                let line = lined(&mut switch, BEGIN + GAP * (peers + n), 1_000_000 + n);
                let end = end_of(format!("{n}"));
                let to = own();
                format!(r#"{{"+end":"{end}","_to":"{to}","_br":1000000000000,"_line":{line}}}"#).into_bytes()
            })
            .collect();
        let kept = switch.lines().filter(|line| line.kept).count();
        measure(&format!("dials of 100 peers answered, {kept} in buckets"), |n| {
            work(&mut switch, address(1_000_000 + n % 100), &asked[n as usize % 100])
        });
        measure(&format!("dials of ever new addresses, {kept} in buckets"), |n| {
            work(&mut switch, address(2_000_000 + n), dial(n))
        });
    }
    for tappers in [0, 1, 256] {
        let mut switch = switch(0);
        for n in 0..tappers {
            let now = BEGIN + GAP * n;
            let line = lined(&mut switch, now, n);
            let tap = r#"{"is":{"+end":"a9993e364706816aba3e25717850c26c9cd0d89d"},"has":["+foo"]}"#;
            hear(&mut switch, now, address(n), format!(r#"{{".tap":[{tap}],"_line":{line}}}"#).as_bytes());
        }
        measure(&format!("signals that none of {tappers} tappers wants"), |n| {
            work(
                &mut switch,
                address(2_000_000 + n),
                br#"{"+end":"b9993e364706816aba3e25717850c26c9cd0d89d","+foo":"bar","_hop":1}"#,
            )
        });
    }
    let mut switch = switch(10);
    measure("made-up lines refused", |n| work(&mut switch, address(n % 10), br#"{"_line":7,"+x":"y"}"#));
    measure("garbage refused", |n| work(&mut switch, address(n), b"\x00\x02{}"));
}
