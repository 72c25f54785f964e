//! The tokio driver on loopback sockets, against the real relay and against scripted ones.

#![expect(clippy::unwrap_used, reason = "helpers of tests, where a failure is a panic")]
#![expect(unreachable_pub, reason = "a test binary has no outside")]

mod driver;
mod foreign_relay;
mod reconnect;
mod support;
mod tls;
