//! Frames of the relay's own: never masked, never fragmented.

use bytes::{Bytes, BytesMut};

use super::{CloseCode, MAX_CONTROL_PAYLOAD, Opcode, header::server_header};

/// A message of UTF-8 text.
pub fn text_frame(text: &[u8]) -> Bytes {
    frame(Opcode::Text, text)
}

/// The answer to a ping, with the ping's payload (at most [`MAX_CONTROL_PAYLOAD`] bytes; more is cut off).
pub fn pong_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Pong, payload.get(..MAX_CONTROL_PAYLOAD).unwrap_or(payload))
}

/// The end of the connection. `None` answers a close frame that named no code. The reason is for people and cut off
/// when too long.
pub fn close_frame(code: Option<CloseCode>, reason: &'static str) -> Bytes {
    let Some(CloseCode(code)) = code else { return frame(Opcode::Close, &[]) };
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.extend_from_slice(&code.to_be_bytes());
    let room = MAX_CONTROL_PAYLOAD - payload.len();
    payload.extend(reason.bytes().filter(u8::is_ascii).take(room));
    frame(Opcode::Close, &payload)
}

fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let (header, len) = server_header(opcode, payload.len());
    let mut out = BytesMut::with_capacity(len + payload.len());
    out.extend_from_slice(header.get(..len).unwrap_or_default());
    out.extend_from_slice(payload);
    out.freeze()
}
