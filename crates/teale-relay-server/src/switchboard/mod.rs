//! Who is registered, who may say what, where a frame goes. Pure: see [`Switchboard`].

mod board;
mod complaint;
mod discovery;
mod forwarding;
mod memo;
mod rate;
mod registration;
mod route;
mod sessions;
mod slots;
mod weight;

pub use board::{DropReason, Input, Output, PeerSummary, Switchboard, SwitchboardConfig, Traffic};
pub use memo::RouteMemo;
pub use route::Route;
pub use slots::SocketId;
