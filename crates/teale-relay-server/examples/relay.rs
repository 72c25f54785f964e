//! A relay on one port: `cargo run --example relay -- 127.0.0.1:8080`.
#![allow(clippy::print_stdout, reason = "the output is the point")]

use std::{env, error::Error, net::SocketAddr};

use teale_relay_server::{RelayServer, RelayServerConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listen: SocketAddr = env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080").parse()?;
    let server = RelayServer::bind(RelayServerConfig::new(listen)).await?;
    let address = server.local_addr();
    println!("nodes connect to ws://{address}/ws; http://{address}/metrics has the figures; ^C ends");
    let handle = server.handle();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            handle.shutdown();
        }
    });
    Ok(server.run().await?)
}
