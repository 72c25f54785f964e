//! What kind of packet the carrier brought, by its first byte.

use crate::NoiseError;

/// First byte of a packet with handshake message 1.
pub(crate) const INITIATION_BYTE: u8 = 0x01;
/// First byte of a packet with handshake message 2.
pub(crate) const REPLY_BYTE: u8 = 0x02;
/// First byte of a cluster message in plaintext: a JSON object.
const PLAINTEXT_BYTE: u8 = b'{';

/// What a carrier's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet {
    /// A cluster message in JSON.
    Plaintext,
    /// Handshake message 1, for [`respond`](crate::respond).
    Initiation,
    /// Handshake message 2, for [`AwaitingReply::finish`](crate::AwaitingReply::finish).
    Reply,
    /// A sealed packet, for [`Opener::open`](crate::Opener::open).
    Sealed,
}

/// How far a session between two nodes has come: what its first bytes mean depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No handshake has finished on this session.
    Open,
    /// A handshake has finished: from here on there are only sealed packets.
    Sealed,
}

impl Packet {
    /// Tells by phase and first byte.
    ///
    /// A sealed packet begins with the low byte of its counter, which takes every value in turn, those of `{` and of
    /// handshake messages too. So after the handshake *everything* is a sealed packet, and what is not fails to
    /// open; before it nothing is.
    ///
    /// # Errors
    /// [`NoiseError::InvalidMessage`] when it is empty, or of no known kind before the handshake.
    pub fn classify(payload: &[u8], phase: Phase) -> Result<Self, NoiseError> {
        let first = *payload.first().ok_or(NoiseError::InvalidMessage)?;
        match (phase, first) {
            (Phase::Sealed, _) => Ok(Self::Sealed),
            (Phase::Open, PLAINTEXT_BYTE) => Ok(Self::Plaintext),
            (Phase::Open, INITIATION_BYTE) => Ok(Self::Initiation),
            (Phase::Open, REPLY_BYTE) => Ok(Self::Reply),
            (Phase::Open, _) => Err(NoiseError::InvalidMessage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_one_meaning_in_each_phase() {
        for first in 0..=u8::MAX {
            let expected = match first {
                b'{' => Ok(Packet::Plaintext),
                1 => Ok(Packet::Initiation),
                2 => Ok(Packet::Reply),
                _ => Err(NoiseError::InvalidMessage),
            };
            assert_eq!(Packet::classify(&[first, 0], Phase::Open), expected);
            assert_eq!(Packet::classify(&[first, 0], Phase::Sealed), Ok(Packet::Sealed));
        }
        assert_eq!(Packet::classify(&[], Phase::Sealed), Err(NoiseError::InvalidMessage));
    }
}
