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

const NOW: Duration = Duration::from_secs(100);
const FOR: Duration = Duration::from_secs(1);

fn own() -> Ipp {
    "10.0.0.1:42424".parse().unwrap()
}

fn address(n: u32) -> SocketAddr {
    let [_, b, c, d] = n.to_be_bytes();
    ([10, 1 + b, c, d], 7).into()
}

/// What is sent upon a datagram.
fn hear(switch: &mut Switch, from: SocketAddr, bytes: &[u8]) -> Vec<Telex> {
    switch.handle(NOW, Input::Datagram { from, bytes });
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
    let mut switch = Switch::new(Config { own: Some(own()), ..Config::default() }, NOW, [1; 32]);
    for n in 0..peers {
        let from = address(n);
        let sent =
            hear(&mut switch, from, br#"{"+end":"a9993e364706816aba3e25717850c26c9cd0d89d","_ring":7}"#);
        let line = sent[0].line.unwrap();
        hear(&mut switch, from, format!(r#"{{".see":["{from}"],"_line":{line},"_br":1000000}}"#).as_bytes());
    }
    switch
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
        let kept = switch.lines().filter(|line| line.kept).count();
        measure(&format!("dials of 100 peers answered, {kept} in buckets"), |n| {
            work(&mut switch, address(1_000_000 + n % 100), dial(n))
        });
        measure(&format!("dials of ever new addresses answered, {kept} in buckets"), |n| {
            work(&mut switch, address(2_000_000 + n), dial(n))
        });
    }
    for tappers in [0, 1, 256] {
        let mut switch = switch(tappers);
        for n in 0..tappers {
            let from = address(n);
            let line = hear(
                &mut switch,
                from,
                br#"{"+end":"a9993e364706816aba3e25717850c26c9cd0d89d","_br":1000000}"#,
            );
            let tap = r#"{"is":{"+end":"a9993e364706816aba3e25717850c26c9cd0d89d"},"has":["+foo"]}"#;
            let tap = format!(r#"{{".tap":[{tap}],"_line":{}}}"#, line[0].line.unwrap());
            hear(&mut switch, from, tap.as_bytes());
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
