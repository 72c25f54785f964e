//! Cluster messages on a byte stream: a u32 big-endian length, then as many bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::{Fault, WireError, limits};

/// Frames on a TCP connection or a QUIC stream. The length is checked before memory is set aside.
///
/// The frames' contents (plain JSON, a handshake, a sealed packet) are not looked at here.
#[derive(Debug, Clone, Default)]
pub struct LanCodec {
    _private: (),
}

const WHAT: &str = "a LAN frame";
const HEADER: usize = 4;

/// Errors of a framed stream: the frames' own, or the carrier's.
impl From<WireError> for std::io::Error {
    fn from(error: WireError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

impl Decoder for LanCodec {
    type Item = Bytes;
    type Error = std::io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, std::io::Error> {
        let Some(header) = src.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*header) as usize;
        if length > limits::CLUSTER_MESSAGE {
            return Err(WireError::TooBig {
                what: WHAT,
                limit: limits::CLUSTER_MESSAGE,
                got: Some(length),
                fault: Fault::Peer,
            }
            .into());
        }
        if src.len() < HEADER + length {
            // What the peer announced is reserved only as fast as it is sent: at most double what is here.
            src.reserve((HEADER + length - src.len()).min(src.len().max(64 << 10)));
            return Ok(None);
        }
        src.advance(HEADER);
        Ok(Some(src.split_to(length).freeze()))
    }
}

impl Encoder<Bytes> for LanCodec {
    type Error = std::io::Error;

    fn encode(&mut self, frame: Bytes, dst: &mut BytesMut) -> Result<(), std::io::Error> {
        let length = u32::try_from(frame.len())
            .ok()
            .filter(|_| frame.len() <= limits::CLUSTER_MESSAGE)
            .ok_or(WireError::TooBig {
                what: WHAT,
                limit: limits::CLUSTER_MESSAGE,
                got: Some(frame.len()),
                fault: Fault::Caller,
            })?;
        dst.reserve(HEADER + frame.len());
        dst.put_u32(length);
        dst.put_slice(&frame);
        Ok(())
    }
}
