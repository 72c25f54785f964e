//! A world of 100 v2 switches in virtual time: each listens to a name, and is found by whoever seeks it.

#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test"
)]

mod world;

use std::io::Write as _;

use world::{Plan, v2::Core};

fn run(name: &str, plan: Plan, least: f64) {
    let report = world::run::<Core>(&Plan { settle: world::LISTENING, lookups: 300, ..plan });
    let mut out = std::io::stderr();
    writeln!(
        out,
        "{name}, v2: {} of {} found, {:.0?} (95 %: {:.0?}), {:.1} sessions, {:.1} s of CPU",
        report.found,
        report.lookups,
        report.took_at(0.5),
        report.took_at(0.95),
        report.peers,
        report.cpu
    )
    .unwrap();
    assert!(report.share() >= least, "{name}: {} of {} found", report.found, report.lookups);
    assert_eq!(report.took.len(), report.lookups, "{name}: searches that never ended");
}

#[test]
fn a_hundred_that_listen_are_found() {
    run("1 % loss", Plan::new(100), 0.99);
    run("5 % loss", Plan { loss: 0.05, ..Plan::new(100) }, 0.99);
}

#[test]
fn a_hundred_are_found_behind_nats() {
    run("a third behind NATs", Plan { behind_nat: 1.0 / 3.0, ..Plan::new(100) }, 0.95);
}

#[test]
fn a_hundred_are_found_while_a_tenth_leaves_each_minute() {
    run("churn", Plan { churn: 0.1, ..Plan::new(100) }, 0.95);
}
