//! Messages between a node and a relay. Always the flat envelope.

mod data;
mod discovery;
mod message;
mod registration;
mod signal;

pub use data::{RelayData, SessionRef};
pub use discovery::{Discover, DiscoverFilter, DiscoverResponse, PeerNotice, PeerRecord};
pub use message::RelayMessage;
pub use registration::{Challenge, Register, RegisterAck, RelayErrorCode, RelayErrorMessage};
pub use signal::{Candidate, ConnectionInfo, IceCandidate, Offer};
