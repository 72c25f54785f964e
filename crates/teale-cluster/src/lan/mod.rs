//! The local network, as far as it needs no socket: who is there, which interfaces count, what a connection's first
//! frames mean, what is sealed and opened after them, and what to tell people when nobody is found.
//!
//! Must never touch a socket, a clock or a file: bytes, addresses and time come in as arguments. The driver is
//! `io::lan` (feature `lan`).

mod advertisement;
mod book;
pub mod bounds;
mod diagnosis;
mod dial_order;
mod dialable;
mod doorkeeper;
mod error;
mod frames;
mod greeting;
mod hints;
mod interfaces;
mod ration;
mod retry;
mod static_peer;

pub use self::{
    advertisement::{Advertisement, SERVICE, TxtError, address_node_id, device_node_id, instance_name},
    book::{Book, News},
    diagnosis::{InterfaceView, LanStatus, MdnsStatus, StaticPeerView, explain},
    dial_order::dial_order,
    dialable::is_dialable,
    doorkeeper::{Doorkeeper, Full},
    error::GreetingError,
    frames::{FrameOpener, FrameSealer},
    greeting::{Answering, Dialling, Next, Opened, Target, Terms},
    hints::Hints,
    interfaces::{InterfaceRules, Nic, Skipped},
    ration::Ration,
    retry::Retry,
    static_peer::{StaticPeer, StaticPeerError},
};
#[cfg(feature = "lan")]
pub use crate::io::{Lan, LanConfig, LanStartError};
