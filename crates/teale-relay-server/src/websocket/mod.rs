//! The server's half of RFC 6455, on bytes: no socket, no clock.
//!
//! [`Inbox`] takes what a client sent and yields messages. A client masks its frames and a server does not, so an
//! unmasked header is four bytes shorter than the masked one it replaces: the inbox unmasks a payload where it lies and
//! writes the server's header right before it. The frame to send on is then a slice of the bytes that were read.
//!
//! No extension is spoken, so the reserved bits are always refused.

mod arriving;
mod encode;
mod handshake;
mod header;
mod inbox;
mod mask;

pub use arriving::Form;
pub use encode::{close_frame, pong_frame, text_frame};
pub use handshake::{UpgradeError, accept_key};
#[cfg(feature = "io")]
pub(crate) use header::server_payloads;
pub use header::{Header, Opcode};
#[cfg(feature = "io")]
pub(crate) use inbox::WASTE;
pub use inbox::{Event, Inbox, MAX_CONTROL_PAYLOAD, Piece};
pub use mask::{is_plain, unmask};

/// A WebSocket close code (RFC 6455 §7.4, and its registry).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// Done.
    pub const NORMAL: Self = Self(1000);
    /// The endpoint goes away.
    pub const AWAY: Self = Self(1001);
    /// The peer broke a rule of RFC 6455.
    pub const PROTOCOL: Self = Self(1002);
    /// Text that is not UTF-8.
    pub const NOT_UTF8: Self = Self(1007);
    /// The peer broke a rule of ours.
    pub const POLICY: Self = Self(1008);
    /// A message beyond the limit.
    pub const TOO_BIG: Self = Self(1009);
    /// Connect again: another connection took this one's place.
    pub const RESTART: Self = Self(1012);
    /// Try again later.
    pub const TRY_LATER: Self = Self(1013);

    /// Whether an endpoint may send this code.
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// The client broke a rule; the connection is closed with [`code`](Self::code).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A reserved bit or opcode.
    #[error("a reserved bit or opcode is set")]
    Reserved,
    /// A client frame without a mask.
    #[error("a client's frame is not masked")]
    Unmasked,
    /// A length in more bytes than it needs, or with its top bit set.
    #[error("a length is not written in its shortest form")]
    Length,
    /// A control frame that is fragmented or longer than 125 bytes.
    #[error("a control frame is fragmented or too long")]
    Control,
    /// A continuation of nothing, or a new message within another.
    #[error("fragments out of order")]
    Fragment,
    /// A message longer than the limit.
    #[error("a message is longer than its limit")]
    TooBig,
    /// A close frame whose code or reason is malformed.
    #[error("a malformed close frame")]
    Close,
    /// Text that is not UTF-8.
    #[error("text that is not UTF-8")]
    NotUtf8,
}

impl Violation {
    /// What to close with.
    pub fn code(self) -> CloseCode {
        match self {
            Self::TooBig => CloseCode::TOO_BIG,
            Self::NotUtf8 => CloseCode::NOT_UTF8,
            _ => CloseCode::PROTOCOL,
        }
    }
}
