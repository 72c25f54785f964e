//! A message in the making.

use std::{fmt, io};

use bytes::{BufMut, BytesMut};
use teale_wire::limits::CLUSTER_MESSAGE;

use super::{COUNTER_LEN, PACKET_OVERHEAD};
use crate::NoiseError;

/// A message in the making, with room around it for what sealing adds: [`Sealer::seal_draft`](crate::Sealer::seal_draft)
/// turns it into a packet where it lies. Write it like a file; it takes at most
/// [`CLUSTER_MESSAGE`](teale_wire::limits::CLUSTER_MESSAGE) bytes.
pub struct Draft {
    /// The counter's place, then the message.
    packet: BytesMut,
}

impl Draft {
    /// An empty one that takes a message of `len` bytes without moving. More can be written than that.
    pub fn with_capacity(len: usize) -> Self {
        let mut packet = BytesMut::with_capacity(len.min(CLUSTER_MESSAGE) + PACKET_OVERHEAD);
        packet.put_bytes(0, COUNTER_LEN);
        Self { packet }
    }

    /// What was written so far.
    pub fn message(&self) -> &[u8] {
        self.packet.get(COUNTER_LEN..).unwrap_or_default()
    }

    /// The counter's place, then the message.
    pub(super) fn into_packet(self) -> BytesMut {
        self.packet
    }
}

impl io::Write for Draft {
    /// Takes all of it or, beyond the limit, nothing: then the error holds a [`NoiseError::TooBig`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let got = self.message().len().saturating_add(bytes.len());
        if got > CLUSTER_MESSAGE {
            let error = NoiseError::TooBig { got, limit: CLUSTER_MESSAGE };
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
        }
        self.packet.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Draft({} bytes)", self.message().len())
    }
}
