//! What teale-wire promises, seen from outside.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod chat;
mod cluster;
mod lan;
mod limits;
mod packet;
mod peek;
mod relay;
mod round_trips;
mod sharing;
mod telex;
mod vectors;

/// The first node id of the vectors.
const ALICE: &str = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
/// The second.
const BOB: &str = "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12";
/// A UUID as Apple nodes spell it.
const UPPER_UUID: &str = "550E8400-E29B-41D4-A716-446655440000";
/// The same as we write it.
const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";
