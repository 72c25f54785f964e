//! The client machine by itself: scripts in virtual time, and a hostile relay between two of them.

#![expect(clippy::unwrap_used, reason = "helpers of tests, where a failure is a panic")]
#![expect(unreachable_pub, reason = "a test binary has no outside")]

mod connection;
mod discovery;
mod hostile;
mod sessions;
mod support;
