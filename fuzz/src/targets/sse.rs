//! Server-sent events: what comes out does not depend on how the bytes were cut, and nothing grows without bound.

use teale_infer::{Event, SseParser};

/// The first byte says how to cut the rest.
pub fn run(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let whole = SseParser::new().push(stream);
    let mut parser = SseParser::new();
    let mut pieces: Vec<Event> = Vec::new();
    for piece in stream.chunks(usize::from(*cut).max(1)) {
        match parser.push(piece) {
            Ok(events) => pieces.extend(events),
            Err(error) => {
                assert_eq!(whole, Err(error));
                return;
            }
        }
    }
    assert_eq!(whole, Ok(pieces));
}
