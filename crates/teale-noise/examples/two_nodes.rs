//! Two nodes and a carrier between them: a handshake, sealed messages, a replay, a swapped key.

#![allow(clippy::print_stdout)]

use std::{
    error::Error,
    time::{Instant, SystemTime},
};

use teale_identity::Identity;
use teale_noise::{IdentityProof, Now, Packet, Phase, ReplayGuard, TimestampSource, initiate, respond};

fn main() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let now = || -> Result<Now, Box<dyn Error>> {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(Now { unix, monotonic: start.elapsed() })
    };
    let required = IdentityProof::Required;
    let (asker, provider) = (Identity::generate()?, Identity::generate()?);
    let (stamps, mut guard) = (TimestampSource::new(), ReplayGuard::default());

    let (waiting, first) =
        initiate(&asker, provider.node_id(), provider.x25519_public(), required, &stamps, now()?)?;
    println!("{:>5} bytes  asker -> provider  {:?}", first.len(), Packet::classify(&first, Phase::Open)?);
    let incoming = respond(&provider, asker.node_id(), &first, required)?;
    let (mut providers, second) = incoming.accept(&mut guard, now()?)?;
    println!("{:>5} bytes  provider -> asker  {:?}", second.len(), Packet::classify(&second, Phase::Open)?);
    let mut askers = waiting.finish(&second, now()?)?;
    println!("equal handshake hashes: {}", askers.handshake_hash() == providers.handshake_hash());

    let elapsed = start.elapsed();
    let packet = askers.seal(b"{\"hello\":{}}", elapsed)?;
    println!("{:>5} bytes  asker -> provider  {:?}", packet.len(), Packet::classify(&packet, Phase::Sealed)?);
    println!("opened: {}", String::from_utf8_lossy(&providers.open(&packet, elapsed)?));

    // A carrier that sends it again, and one that hands out another key.
    println!("sent again: {:?}", providers.open(&packet, elapsed).err());
    println!("handshake sent again: {:?}", {
        let again = respond(&provider, asker.node_id(), &first, required)?;
        again.accept(&mut guard, now()?).err()
    });
    let relay = Identity::generate()?;
    let (waiting, first) =
        initiate(&asker, provider.node_id(), relay.x25519_public(), required, &stamps, now()?)?;
    let (_, second) = respond(&relay, asker.node_id(), &first, required)?.accept(&mut guard, now()?)?;
    println!("swapped key: {:?}", waiting.finish(&second, now()?).err());
    Ok(())
}
