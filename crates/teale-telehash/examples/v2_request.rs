//! Two switches on this machine: one answers requests, the other opens a session with it and asks.
//!
//!     cargo run -p teale-telehash --example v2_request

#![allow(clippy::print_stdout, reason = "an example talks")]

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr},
};

use bytes::Bytes;
use teale_telehash::{
    Asked, Endpoint, EndpointConfig, Ipp,
    v2::{self, Req, Res},
};

/// A switch that speaks v2 only.
fn switch() -> Result<Endpoint, Box<dyn Error>> {
    let listen: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    Ok(Endpoint::bind(EndpointConfig { listen, v1: None, v2: Some(v2::Config::default()) })?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = switch()?;
    let at = Ipp::new(server.local_addr()).ok_or("no port")?;
    let reverse = |asked: Asked| async move {
        println!("{} asks for {} with {} bytes", asked.peer, asked.req.uri, asked.body.len());
        let answer: Bytes = asked.body.iter().rev().copied().collect();
        (Res::new(200), answer)
    };
    // At most sixteen requests at a time.
    let answering = tokio::spawn(async move { server.serve(16, reverse).await });

    let client = switch()?;
    let session = client.open(at, None).await?;
    let body: Bytes = (0..100_000_u32).map(|n| n as u8).collect();
    let (res, answer) = client.request(session, Req::new("PUT", "example:reverse"), body.clone()).await?;
    println!("the answer is {} with {} bytes", res.s, answer.len());
    assert!(answer.iter().rev().eq(body.iter()), "nothing is lost, doubled or out of order");
    answering.abort();
    Ok(())
}
