//! Sockets: their options, and frames read from them.

use std::{io, net::SocketAddr};

use bytes::{Bytes, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use teale_wire::{Fault, LanCodec, WireError, limits};
use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, tcp::OwnedReadHalf},
};
use tokio_util::codec::Decoder;

use crate::lan::bounds;

/// Bytes read at once.
const READ: usize = 64 << 10;
const HEADER: usize = 4;

/// Small frames leave at once, a dead peer is noticed in seconds, little waits in the kernel. A system that knows an
/// option not works without it.
pub(super) fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let keepalive =
        TcpKeepalive::new().with_time(bounds::KEEPALIVE_IDLE).with_interval(bounds::KEEPALIVE_EVERY);
    #[cfg(not(target_os = "windows"))]
    let keepalive = keepalive.with_retries(bounds::KEEPALIVE_PROBES);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let _ = socket.set_tcp_notsent_lowat(bounds::NOT_SENT);
    }
    set_patient(stream, false);
}

/// Whether the kernel leaves it to us to give up a peer that takes nothing. It ends a connection whose peer's window stays
/// closed for its time-out, even while that peer acknowledges every probe.
pub(super) fn set_patient(stream: &TcpStream, patient: bool) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let time = if patient { bounds::WRITE_WITHIN + bounds::USER_TIMEOUT } else { bounds::USER_TIMEOUT };
        let _ = SockRef::from(stream).set_tcp_user_timeout(Some(time));
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (stream, patient);
}

/// An IPv4 address in its own form, also where the socket speaks IPv6 too.
pub(super) fn plain_address(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Frames from a connection.
#[derive(Debug)]
pub(super) struct FrameReader {
    half: OwnedReadHalf,
    buffer: BytesMut,
    codec: LanCodec,
}

impl FrameReader {
    pub(super) fn new(half: OwnedReadHalf) -> Self {
        Self { half, buffer: BytesMut::new(), codec: LanCodec::default() }
    }

    /// The next frame of at most `limit` bytes; `None` at the end. Cancelling it loses nothing.
    pub(super) async fn next(&mut self, limit: usize) -> io::Result<Option<Bytes>> {
        loop {
            self.check(limit)?;
            if let Some(frame) = self.codec.decode(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            if self.buffer.capacity() - self.buffer.len() < READ / 4 {
                self.buffer.reserve(READ);
            }
            if self.half.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Before a link is open a frame is short; the codec's own limit is that of a link.
    fn check(&self, limit: usize) -> io::Result<()> {
        let announced =
            self.buffer.first_chunk::<HEADER>().map_or(0, |header| u32::from_be_bytes(*header) as usize);
        if limit < limits::CLUSTER_MESSAGE && announced > limit {
            let what = "the first LAN frame";
            return Err(WireError::TooBig { what, limit, got: Some(announced), fault: Fault::Peer }.into());
        }
        Ok(())
    }

    /// Reads and throws away until the peer closes.
    pub(super) async fn discard(mut self) {
        loop {
            self.buffer.clear();
            self.buffer.reserve(READ);
            if !matches!(self.half.read_buf(&mut self.buffer).await, Ok(1..)) {
                return;
            }
        }
    }
}
