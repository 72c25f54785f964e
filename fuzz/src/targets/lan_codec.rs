//! Frames come out of a byte stream the same, however the stream is cut.
//!
//! Input: one byte, the size of the pieces less one, then the stream.

use bytes::{Bytes, BytesMut};
use teale_wire::{LanCodec, limits};
use tokio_util::codec::{Decoder, Encoder};

/// Decodes the stream whole and in pieces, and writes the frames again.
pub fn run(data: &[u8]) {
    let Some((size, stream)) = data.split_first() else {
        return;
    };
    let (frames, whole) = decode([stream]);
    let (same_frames, pieces) = decode(stream.chunks(usize::from(*size) + 1));
    assert_eq!(frames, same_frames);
    assert_eq!(whole, pieces);

    let mut written = BytesMut::new();
    for frame in frames {
        assert!(frame.len() <= limits::CLUSTER_MESSAGE);
        assert!(LanCodec::default().encode(frame, &mut written).is_ok());
    }
    assert!(stream.starts_with(&written), "frames are the stream's own bytes");
}

/// The frames, and whether the stream was refused.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Bytes>, bool) {
    let (mut codec, mut buffer, mut frames) = (LanCodec::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
        let most = 2 * buffer.len().max(64 << 10) + 4;
        assert!(buffer.capacity() <= most.max(2 * limits::CLUSTER_MESSAGE), "reserved by what was announced");
    }
    (frames, false)
}
