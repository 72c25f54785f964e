//! The v1 switch by itself, in virtual time. Tests named `sNN_…` prove a statement of conformance (`docs/TELEHASH.md`).

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]
#![expect(unreachable_pub, reason = "a test binary has no outside")]

mod bytes;
mod conversation;
mod dial;
mod family;
mod hostile;
mod line;
mod pop;
mod properties;
mod see;
mod start;
mod support;
mod tap;
