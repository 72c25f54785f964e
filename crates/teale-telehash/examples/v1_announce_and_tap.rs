//! Three switches on this machine: one seeds, one taps what is announced of a topic, one announces.
//!
//!     cargo run -p teale-telehash --example v1_announce_and_tap

#![allow(clippy::print_stdout, reason = "an example talks")]

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
};

use teale_telehash::{Endpoint, EndpointConfig, Ipp, end_of, v1};

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A switch that speaks v1 only.
fn switch(listen: SocketAddr, config: v1::Config) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::bind(EndpointConfig { listen, v1: Some(config), v2: None })?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The first switch of a DHT must know its own address; here, a port that was free a moment ago.
    let free = UdpSocket::bind(loopback(0))?.local_addr()?;
    let seed = Ipp::new(free).ok_or("no port")?;
    let _seed = switch(free, v1::Config { own: Some(seed), ..v1::Config::default() })?;
    let listener = switch(loopback(0), v1::Config { seeds: vec![seed], ..v1::Config::default() })?;
    let announcer = switch(loopback(0), v1::Config { seeds: vec![seed], ..v1::Config::default() })?;
    println!("the listener is {}, the announcer {}", listener.online().await, announcer.online().await);

    let topic = end_of("weather in Lisbon");
    let mut events = listener.events_v1();
    listener.tap(topic, Vec::new());
    while let Ok(event) = events.recv().await {
        match event {
            v1::Event::Tapped { at, .. } => {
                println!("tapped at {at:?}");
                let told = announcer.announce(topic, [("+sky".to_owned(), "blue".to_owned())].into()).await;
                println!("announced at {:?}", told.unwrap_or_default());
            }
            v1::Event::Signal { from, signals, hop, .. } => {
                println!("{from} passes on, at hop {hop}: {signals:?}");
                break;
            }
            _ => {}
        }
    }
    Ok(())
}
