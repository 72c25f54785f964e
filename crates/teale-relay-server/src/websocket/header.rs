//! Frame headers (RFC 6455 §5.2).

use super::{MAX_CONTROL_PAYLOAD, Violation};

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// More of the message that has begun.
    Continuation,
    /// A message of UTF-8 text, or its first fragment.
    Text,
    /// A message of bytes, or its first fragment.
    Binary,
    /// The connection ends.
    Close,
    /// Are you there?
    Ping,
    /// I am.
    Pong,
}

impl Opcode {
    fn read(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    pub(crate) fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    /// Close, ping and pong.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A client's frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The last frame of its message.
    pub fin: bool,
    /// What it is.
    pub opcode: Opcode,
    /// The masking key.
    pub key: [u8; 4],
    /// Payload length, in bytes.
    pub payload: u64,
    /// The header's own length, in bytes: 6, 8 or 14.
    pub len: usize,
}

impl Header {
    /// What the mask adds to a header, in bytes.
    pub const MASK: usize = 4;

    /// Whether it is a whole message in one frame.
    pub(super) fn is_message(&self) -> bool {
        self.fin && matches!(self.opcode, Opcode::Text | Opcode::Binary)
    }

    /// Reads a client's header; `None` when the bytes end within it.
    ///
    /// # Errors
    /// The rule that is broken, as soon as it can be seen.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Violation::Reserved);
        }
        let fin = first & 0x80 != 0;
        let opcode = Opcode::read(first & 0x0f).ok_or(Violation::Reserved)?;
        if second & 0x80 == 0 {
            return Err(Violation::Unmasked);
        }
        let short = second & 0x7f;
        if opcode.is_control() && (!fin || usize::from(short) > MAX_CONTROL_PAYLOAD) {
            return Err(Violation::Control);
        }
        let (payload, rest, least) = match short {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest, 126),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest, 1 << 16),
                None => return Ok(None),
            },
            short => (u64::from(short), rest, 0),
        };
        if payload < least || payload >> 63 != 0 {
            return Err(Violation::Length);
        }
        let Some((&key, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        Ok(Some(Self { fin, opcode, key, payload, len: bytes.len() - rest.len() }))
    }
}

/// The longest server header, in bytes.
pub(crate) const MAX_SERVER_HEADER: usize = 10;

/// Writes an unmasked header for an unfragmented frame; returns it and its length.
pub(crate) fn server_header(opcode: Opcode, payload: usize) -> ([u8; MAX_SERVER_HEADER], usize) {
    let mut header = [0; MAX_SERVER_HEADER];
    header[0] = 0x80 | opcode.bits();
    let len = if let Ok(short @ 0..=125) = u8::try_from(payload) {
        header[1] = short;
        2
    } else if let Ok(medium) = u16::try_from(payload) {
        header[1] = 126;
        header[2..4].copy_from_slice(&medium.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..].copy_from_slice(&(payload as u64).to_be_bytes());
        10
    };
    (header, len)
}

#[cfg(feature = "io")]
/// The payloads of whole server frames that lie one after the other.
pub(crate) fn server_payloads(mut frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&[_, short], rest) = frames.split_first_chunk::<2>()?;
        let (len, rest) = match short {
            126 => rest.split_first_chunk().map(|(len, rest)| (u64::from(u16::from_be_bytes(*len)), rest))?,
            127 => rest.split_first_chunk().map(|(len, rest)| (u64::from_be_bytes(*len), rest))?,
            short => (u64::from(short), rest),
        };
        let (payload, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        frames = rest;
        Some(payload)
    })
}
