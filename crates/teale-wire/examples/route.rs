//! What a relay does with a frame: `cargo run -p teale-wire --example route`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use bytes::Bytes;
use teale_wire::{ClusterMessage, Dialect, Extra, NodeId, Peek, RelayData, RelayMessage, SessionId, peek};

fn main() -> Result<(), Box<dyn Error>> {
    // A node puts a cluster message into a relayed session …
    let (hello, dialect) = ClusterMessage::parse(
        br#"{"inferenceCancel":{"_0":{"requestID":"550E8400-E29B-41D4-A716-446655440000"}}}"#,
    )?;
    println!("a peer that writes {dialect:?} said {}", hello.kind());
    let frame = RelayMessage::RelayData(RelayData {
        from: NodeId::from_bytes([1; 32]),
        to: NodeId::from_bytes([2; 32]),
        session: SessionId::from_random([3; 16]),
        data: Bytes::from(hello.encode(Dialect::Flat)?),
        extra: Extra::new(),
    })
    .encode()?;
    println!("on the wire: {}", String::from_utf8_lossy(&frame));

    // … and the relay finds the target without looking at what the frame carries.
    match peek(&frame)? {
        Peek::Forward { kind, to, session, .. } => println!("{kind:?} for {to}, session {session}"),
        Peek::Other => println!("for the relay itself: {:?}", RelayMessage::parse(&frame)?),
    }
    Ok(())
}
