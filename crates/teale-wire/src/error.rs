//! What can be wrong with a message, and whose fault it is.

use thiserror::Error;

/// Who has to change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The one who sent the bytes.
    Peer,
    /// The one who called us: the message we were asked to write cannot be written.
    Caller,
}

/// A message that cannot be read or written. `Display` never repeats what the peer sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// Longer than its limit in [`limits`](crate::limits); `got` is `None` when the end was not in sight.
    #[error("{what} is too big: at most {limit} bytes are allowed")]
    TooBig {
        /// What was too big, in words.
        what: &'static str,
        /// The limit, in bytes (or items, where `what` counts items).
        limit: usize,
        /// The size met, where it is known.
        got: Option<usize>,
        /// Whose message it was.
        fault: Fault,
    },
    /// Not JSON: not UTF-8, against the grammar, nested deeper than [`limits::JSON_DEPTH`](crate::limits::JSON_DEPTH), or
    /// with a number beyond the range of f64.
    #[error("not JSON (at line {line}, column {column})")]
    NotJson {
        /// Line, from 1; 0 where none is known (invalid UTF-8). Where the text as a whole has JSON's grammar, line
        /// and column count from the start of the payload.
        line: usize,
        /// Column, from 1; 0 where none is known.
        column: usize,
    },
    /// JSON, but not one object with exactly one key.
    #[error("a message is one JSON object with exactly one key, its type")]
    NotAnEnvelope,
    /// The type is known; its payload does not have the type's shape.
    #[error("wrong shape of `{kind}` at `{field}`: {reason}")]
    WrongShape {
        /// The message type.
        kind: &'static str,
        /// The path of the field, `.` for the payload itself.
        field: String,
        /// What is wrong, without the peer's own text.
        reason: String,
    },
    /// A message we were asked to write has no place on the wire (a number JSON cannot carry).
    #[error("this `{kind}` cannot be written: {reason}")]
    NotWritable {
        /// The message type.
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A node id is 64 lower-case hex digits.
    #[error("a node id is 64 lower-case hex digits")]
    NodeId,
    /// A switch of TeleHash is named by IP:PORT, in one spelling.
    #[error("a switch's name is IP:PORT")]
    Ipp,
    /// An end of TeleHash is 40 hex digits.
    #[error("an end is 40 hex digits")]
    End,
}

impl WireError {
    /// Who has to change something.
    pub fn fault(&self) -> Fault {
        match self {
            Self::TooBig { fault, .. } => *fault,
            Self::NotWritable { .. } => Fault::Caller,
            _ => Fault::Peer,
        }
    }
}
