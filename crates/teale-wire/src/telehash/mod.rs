//! TeleHash on the wire: telexes of v1, packets of v2, and what both name switches by.
//!
//! Source: the TeleHash pages of 2011 (v1) and the draft of 2012-08-03 (v2). Nothing here knows TealeNet.

mod content;
mod end;
mod ipp;
mod lenient;
mod packet;
mod receipt;
mod sid;
mod tap_rule;
mod telex;

pub use content::{HeaderValue, Headers, Req, Res};
pub use end::{Distance, End};
pub use ipp::Ipp;
pub use packet::Packet;
pub use receipt::Receipt;
pub use sid::Sid;
pub use tap_rule::TapRule;
pub use telex::{LINE_MAX, RING_MAX, Signals, Telex};
