//! A client's bytes cut in two ways say the same; the frames sent on hold the payloads that came.

use teale_relay_server::websocket::{Event, Inbox, Violation};

const LIMIT: usize = 1 << 14;

/// The first byte says how the rest is cut.
pub fn run(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let whole = read(bytes, bytes.len().max(1));
    let parts = read(bytes, usize::from(*cut) + 1);
    assert_eq!(whole, parts);
}

/// What the client said, and the rule it broke.
type Said = (Vec<(Vec<u8>, usize)>, Option<Violation>);

fn read(bytes: &[u8], cut: usize) -> Said {
    let mut inbox = Inbox::new(LIMIT);
    let mut said = Vec::new();
    for piece in bytes.chunks(cut) {
        inbox.buffer().extend_from_slice(piece);
        loop {
            match inbox.next() {
                Ok(Some(Event::Message { frame, payload_at, .. })) => {
                    let frame = inbox.bytes(&frame).to_vec();
                    assert!(payload_at <= frame.len() && frame.len() - payload_at <= LIMIT);
                    said.push((frame, payload_at));
                }
                Ok(Some(other)) => said.push((format!("{other:?}").into_bytes(), 0)),
                Ok(None) => break,
                Err(violation) => return (said, Some(violation)),
            }
        }
        inbox.end_batch();
        assert!(inbox.held() <= LIMIT + bytes.len());
    }
    (said, None)
}
