//! The v2 switch by itself: the sheet's statements one by one (`sNN_…`), strangers who mean harm, and bad networks. All
//! of it in virtual time.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, where a failure is a panic")]
#![expect(unreachable_pub, reason = "a test binary has no outside")]

mod content;
mod conversation;
mod dht;
mod framing;
mod hostile;
mod listening;
mod lossy;
mod popping;
mod reliability;
mod sessions;
mod support;
mod world;
