//! Noise IK handshakes with an identity proof, and sealed sessions.
//!
//! Stands on `teale-identity` and below whatever carries bytes between nodes. It knows no relay, no socket and no
//! cluster message: packets and time go in, packets and plaintext come out. It reads no clock; the one thing it asks
//! of the operating system is randomness for ephemeral keys.
//!
//! The contract: each state is consumed by the next, so no key outlives its step.
//!
//! ```text
//! initiate ──► AwaitingReply ──finish──►  Session        0x01 + message 1  ─►
//! respond  ──► Incoming      ──accept──►  Session        0x02 + message 2  ◄─
//! ```
//!
//! - The pattern is `Noise_IK_25519_ChaChaPoly_BLAKE2s` (Noise revision 34) with an empty prologue. Inside both
//!   messages each side proves with its Ed25519 key that the X25519 key in use is its own: a relay that hands out
//!   another key breaks the handshake, nothing else.
//! - A [`ReplayGuard`] refuses first messages that were accepted before; a [`TimestampSource`] keeps our own new.
//! - A [`Session`] seals each cluster message, whatever its size, into one packet: counter, ciphertext, tag. Each
//!   packet opens at most once; [`Session::split`] gives the two directions to two tasks.
//! - [`Packet::classify`] tells handshake, sealed and plaintext packets apart.
//!
//! ```
//! use std::time::Duration;
//! use teale_identity::Identity;
//! use teale_noise::{IdentityProof, NoiseError, Now, ReplayGuard, TimestampSource, initiate, respond};
//!
//! let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
//! let (stamps, mut guard) = (TimestampSource::new(), ReplayGuard::default());
//! let now = Now { unix: Duration::from_secs(1_713_100_000), monotonic: Duration::ZERO };
//! let required = IdentityProof::Required;
//!
//! let (waiting, packet) = initiate(&alice, bob.node_id(), bob.x25519_public(), required, &stamps, now)?;
//! let incoming = respond(&bob, alice.node_id(), &packet, required)?;
//! let (mut bobs, packet) = incoming.accept(&mut guard, now)?;
//! let mut alices = waiting.finish(&packet, now)?;
//! assert_eq!(alices.handshake_hash(), bobs.handshake_hash());
//!
//! let packet = alices.seal(b"{\"hello\":{}}", now.monotonic)?;
//! assert_eq!(bobs.open(&packet, now.monotonic)?, &b"{\"hello\":{}}"[..]);
//! assert_eq!(bobs.open(&packet, now.monotonic), Err(NoiseError::ReplayDetected));
//! # Ok::<(), NoiseError>(())
//! ```

mod clock;
mod error;
mod handshake;
mod packet;
mod session;

pub use clock::{Now, Timestamp, TimestampSource};
pub use error::NoiseError;
pub use handshake::{
    AwaitingReply, IdentityProof, Incoming, ReplayGuard, initiate, respond, respond_to_anyone,
};
pub use packet::{Packet, Phase};
pub use session::{Draft, LIFETIME, Opener, PACKET_OVERHEAD, Sealer, Session};
