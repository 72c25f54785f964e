//! Worlds of a few nodes, one kind of trouble at a time.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod datagrams;
mod host;
mod life;
mod nats;
mod properties;
mod scale;
mod streams;
mod traces;
