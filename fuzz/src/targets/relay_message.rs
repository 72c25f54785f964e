//! A relay message that is read can be written, and reads the same again.

use teale_wire::{Fault, RelayMessage};

/// Reads, writes, reads again.
pub fn run(data: &[u8]) {
    let Ok(message) = RelayMessage::parse(data) else {
        return;
    };
    match message.encode() {
        Ok(frame) => assert_eq!(RelayMessage::parse(&frame).as_ref(), Ok(&message)),
        // Numbers and defaults may be written longer than they came.
        Err(error) => assert_eq!(error.fault(), Fault::Caller),
    }
}
