//! Two nodes meet at a relay in this process and chat, sealed end to end.
//!
//! `cargo run -p teale-relay-client --example sealed_session`

#![expect(clippy::print_stdout, reason = "an example that shows what happens")]

use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use teale_identity::Identity;
use teale_relay_client::{RelayClient, RelayConfig, RelayEvent};
use teale_relay_server::{RelayServer, RelayServerConfig};
use teale_wire::{HardwareCapability, NodeCapabilities};

const PATIENCE: Duration = Duration::from_secs(10);

fn capabilities() -> NodeCapabilities {
    let hardware = HardwareCapability {
        chip_family: "unknown".into(),
        chip_name: "example".into(),
        total_ram_gb: 8.0,
        gpu_core_count: 0,
        memory_bandwidth_gbs: 0.0,
        tier: 2,
        gpu_backend: None,
        platform: None,
        gpu_vram_gb: None,
        extra: Default::default(),
    };
    NodeCapabilities {
        hardware,
        loaded_models: Vec::new(),
        max_model_size_gb: 0.0,
        is_available: true,
        ptn_ids: None,
        swappable_models: None,
        max_concurrent_requests: None,
        effective_context: None,
        on_ac_power: None,
        extra: Default::default(),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let relay = RelayServer::bind(RelayServerConfig::new(([127, 0, 0, 1], 0).into())).await?;
    let url = format!("ws://{}/ws", relay.local_addr());
    let stop = relay.handle();
    let relay = tokio::spawn(relay.run());

    let config = |name| -> Result<_, Box<dyn Error>> {
        Ok(RelayConfig::new(&url, Arc::new(Identity::generate()?), name, capabilities()))
    };
    let (alice, _alices_news) = RelayClient::spawn(config("alice")?);
    let (bob, mut bobs_news) = RelayClient::spawn(config("bob")?);
    alice.registered(PATIENCE).await?;
    bob.registered(PATIENCE).await?;

    // Bob answers everything he hears.
    let bobs_side = tokio::spawn(async move {
        while let Some(news) = bobs_news.next().await {
            let RelayEvent::Incoming(session) = news else { continue };
            let (mut sender, mut receiver) = session.accept().await?.split();
            while let Ok(message) = receiver.recv().await {
                let answer = format!("bob heard: {}", String::from_utf8_lossy(&message));
                sender.send(Bytes::from(answer)).await?;
            }
            break;
        }
        Ok::<_, teale_relay_client::SessionError>(())
    });

    // One discover in ten seconds: Alice's first may have come before Bob registered.
    let bobs_record = loop {
        let peers = alice.discover(None, 3 * PATIENCE).await?;
        if let Some(record) = peers.into_iter().find(|record| record.display_name == "bob") {
            break record;
        }
    };
    let session = alice.open(&bobs_record, PATIENCE).await?;
    println!("{:?}", session.security());
    let (mut sender, mut receiver) = session.split();
    for message in ["hello", "how are you?"] {
        sender.send(Bytes::from(message)).await?;
        println!("{}", String::from_utf8_lossy(&receiver.recv().await?));
    }
    drop((sender, receiver));

    bobs_side.await??;
    alice.shutdown().await;
    bob.shutdown().await;
    stop.shutdown();
    relay.await??;
    Ok(())
}
