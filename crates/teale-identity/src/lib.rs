//! Ed25519 node identities, and the exact bytes they sign.
//!
//! Stands on `teale-wire` (which gives [`NodeId`] as text) and below `teale-noise` and the relay crates. It knows
//! nothing of peers, sessions or sockets. Without the feature `io` it touches neither files nor the environment.
//!
//! - [`Identity`]: one 32-byte seed. It is the Ed25519 private key (RFC 8032) whose public key is the node id, and
//!   the *same* 32 bytes are the X25519 private key (RFC 7748, clamped by X25519 itself) behind `wgPublicKey`.
//! - [`signed`]: every string of the protocol that gets signed, each with its check.
//! - [`verify`]: the one way a signature is checked, strictly.
//! - [`KeyFile`] and [`default_key_path`] (feature `io`): where the seed lives.
//!
//! What holds always: a secret is in no `Debug`, no error and no log, and is wiped when dropped; a key file is
//! never overwritten, and never readable by others, not even for an instant.
//!
//! ```
//! use teale_identity::{Identity, signed};
//!
//! let me = Identity::from_seed([0x42; 32]);
//! assert!(me.node_id().to_string().starts_with("2152f8d19b791d24"));
//!
//! let signature = signed::register_signature(&me);
//! signed::verify_register(me.node_id(), &signature)?;
//! # Ok::<(), teale_identity::IdentityError>(())
//! ```

mod error;
mod identity;
#[cfg(feature = "io")]
mod io;
pub mod signed;
mod verify;
mod x25519_public;

pub use error::IdentityError;
pub use identity::Identity;
#[cfg(feature = "io")]
pub use io::{KEY_FILE_NAME, KeyFile, KeyFileError, default_key_path};
pub use teale_wire::NodeId;
pub use verify::verify;
pub use x25519_public::X25519Public;
