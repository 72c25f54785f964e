//! Frames on a byte stream.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use teale_wire::{Fault, LanCodec, WireError, limits};
use tokio_util::codec::{Decoder, Encoder};

fn wire_error(error: &std::io::Error) -> WireError {
    error.get_ref().and_then(|inner| inner.downcast_ref::<WireError>()).cloned().unwrap()
}

#[test]
fn a_length_beyond_the_limit_is_refused_and_reserves_nothing() {
    for length in [limits::CLUSTER_MESSAGE as u32 + 1, u32::MAX] {
        let mut bytes = BytesMut::from(&length.to_be_bytes()[..]);
        let before = bytes.capacity();
        let error = LanCodec::default().decode(&mut bytes).unwrap_err();
        assert!(matches!(wire_error(&error), WireError::TooBig { fault: Fault::Peer, .. }));
        assert_eq!(bytes.capacity(), before);
    }
}

#[test]
fn an_announced_frame_is_reserved_only_as_fast_as_it_arrives() {
    let mut bytes = BytesMut::from(&(limits::CLUSTER_MESSAGE as u32).to_be_bytes()[..]);
    assert_eq!(LanCodec::default().decode(&mut bytes).unwrap(), None);
    assert!(bytes.capacity() <= 128 << 10, "{} bytes for a header", bytes.capacity());
}

#[test]
fn a_frame_of_the_limit_passes_and_one_byte_more_is_the_callers_fault() {
    let mut out = BytesMut::new();
    let frame = Bytes::from(vec![b' '; limits::CLUSTER_MESSAGE]);
    LanCodec::default().encode(frame.clone(), &mut out).unwrap();
    assert_eq!(LanCodec::default().decode(&mut out).unwrap(), Some(frame));

    let error = LanCodec::default().encode(Bytes::from(vec![b' '; limits::CLUSTER_MESSAGE + 1]), &mut out);
    assert!(matches!(wire_error(&error.unwrap_err()), WireError::TooBig { fault: Fault::Caller, .. }));
    assert!(out.is_empty(), "nothing is written of a frame that is refused");
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_an_error() {
    let mut bytes = BytesMut::from(&[0, 0, 0, 5, b'{'][..]);
    assert!(LanCodec::default().decode_eof(&mut bytes).is_err());
}

proptest! {
    #[test]
    fn frames_survive_any_split(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
        cuts in prop::collection::vec(1_usize..64, 1..64),
    ) {
        let mut stream = BytesMut::new();
        for frame in &frames {
            LanCodec::default().encode(frame.clone().into(), &mut stream).unwrap();
        }
        let (mut codec, mut buffer, mut got) = (LanCodec::default(), BytesMut::new(), Vec::new());
        let mut cuts = cuts.into_iter().cycle();
        while !stream.is_empty() {
            let cut = cuts.next().unwrap().min(stream.len());
            buffer.extend_from_slice(&stream.split_to(cut));
            while let Some(frame) = codec.decode(&mut buffer).unwrap() {
                got.push(frame.to_vec());
            }
        }
        prop_assert_eq!(got, frames);
        prop_assert!(buffer.is_empty());
    }
}
