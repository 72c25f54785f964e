//! What can be wrong with a key or a signature.

use thiserror::Error;

/// A key or a signature that cannot be used. `Display` never repeats what was given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Whoever signed: the signature does not verify (strictly) under the key.
    #[error("the signature does not verify")]
    BadSignature,
    /// Whoever sent it: not hex of the right length, or not a point on the curve in its one canonical encoding.
    #[error("not a valid {0}")]
    Malformed(&'static str),
    /// Whoever sent it: a key of small order, under which one signature or secret fits everything.
    #[error("the key is of small order")]
    WeakKey,
    /// Nobody's: the operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    NoRandomness,
}
