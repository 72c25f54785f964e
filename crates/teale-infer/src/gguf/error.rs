//! What can be wrong with a model file's header.

use thiserror::Error;

/// The file's fault; nobody else's.
///
/// Names of keys and tensors are shown because a person needs them to repair the file; they are cut and stripped of
/// control characters.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GgufError {
    /// It does not start with `GGUF`.
    #[error("not a GGUF file")]
    NotGguf,
    /// Another version than 2 or 3.
    #[error("GGUF version {0} is not supported (2 and 3 are)")]
    Version(u32),
    /// Written for a machine of the other byte order.
    #[error("the file is for big-endian machines")]
    ByteOrder,
    /// The file ends before the header or the tensors do.
    #[error("the file is truncated: it ends within {within}, {missing} bytes are missing at least")]
    Truncated {
        /// What was being read.
        within: &'static str,
        /// How many bytes more the file must have.
        missing: u64,
    },
    /// A count or a length above what any model has.
    #[error("the header's {what} is {value}, more than {limit}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The file's number.
        value: u64,
        /// Ours.
        limit: u64,
    },
    /// A key or a tensor that is there twice.
    #[error("`{0}` is there twice")]
    Duplicate(String),
    /// A value of a type the format does not have.
    #[error("`{key}` has the unknown type {kind}")]
    UnknownType {
        /// Key.
        key: String,
        /// Type number.
        kind: u32,
    },
    /// Text that is not UTF-8 where text is needed.
    #[error("`{0}` is not UTF-8")]
    NotText(String),
    /// A key without which no model can be run.
    #[error("`{0}` is missing")]
    Missing(String),
    /// A key whose value makes no sense.
    #[error("`{key}` {problem}")]
    Value {
        /// Key.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A tensor whose description makes no sense.
    #[error("tensor `{name}` {problem}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file could be opened but not read.
    #[error("reading failed: {0}")]
    Io(std::io::ErrorKind),
}

/// A name from the file, made fit for a terminal.
pub(super) fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 80;
    let text = String::from_utf8_lossy(name);
    text.chars().map(|letter| if letter.is_control() { '\u{FFFD}' } else { letter }).take(LONGEST).collect()
}
