//! Two nodes and the sessions between them.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::time::Duration;

use teale_identity::Identity;
use teale_noise::{IdentityProof, Now, ReplayGuard, Session, TimestampSource, initiate, respond};

pub const START: Duration = Duration::from_secs(1000);

pub fn alice() -> Identity {
    Identity::from_seed([1; 32])
}

pub fn bob() -> Identity {
    Identity::from_seed([2; 32])
}

/// `seconds` after the start, on both clocks.
pub fn at(seconds: u64) -> Now {
    let passed = Duration::from_secs(seconds);
    Now { unix: Duration::from_secs(1_713_100_000) + passed, monotonic: START + passed }
}

pub fn sessions() -> (Session, Session) {
    let (alice, bob) = (alice(), bob());
    let required = IdentityProof::Required;
    let (waiting, packet) =
        initiate(&alice, bob.node_id(), bob.x25519_public(), required, &TimestampSource::new(), at(0))
            .unwrap();
    let incoming = respond(&bob, alice.node_id(), &packet, required).unwrap();
    let (bobs, packet) = incoming.accept(&mut ReplayGuard::default(), at(0)).unwrap();
    (waiting.finish(&packet, at(0)).unwrap(), bobs)
}
