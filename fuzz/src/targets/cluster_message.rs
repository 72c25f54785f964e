//! A cluster message that is read can be written in both dialects, and reads the same again.

use serde_json::Value;
use teale_wire::{ClusterMessage, Dialect, Fault};

/// Reads, writes in both dialects, reads again.
pub fn run(data: &[u8]) {
    let Ok((message, came_in)) = ClusterMessage::parse(data) else {
        return;
    };
    for dialect in [Dialect::Flat, Dialect::Wrapped] {
        // Written flat, an unknown payload that looks wrapped would be unwrapped. It came wrapped and is answered so.
        let looks_wrapped = matches!(&message, ClusterMessage::Unknown { payload: Value::Object(map), .. }
            if map.len() == 1 && map.contains_key("_0"));
        if looks_wrapped && dialect != came_in {
            continue;
        }
        match message.encode(dialect) {
            Ok(text) => {
                let again = ClusterMessage::parse(&text);
                assert_eq!(again.as_ref().map(|(message, _)| message), Ok(&message));
                assert_eq!(again.map(|(_, dialect)| dialect), Ok(dialect));
            }
            Err(error) => assert_eq!(error.fault(), Fault::Caller),
        }
    }
}
