//! Worlds of 100 and 1,000 v1 switches in virtual time: they find each other, whatever troubles the world.
//!
//! Larger ones are in `cargo xtask bench telehash`; its figures are in `docs/TELEHASH.md`.

#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test"
)]

mod world;

use std::{io::Write as _, time::Duration};

use world::{Plan, Report, v1::Core};

fn run(name: &str, plan: &Plan, least: f64) -> Report {
    let report = world::run::<Core>(plan);
    let mut out = std::io::stderr();
    writeln!(
        out,
        "{name}, {} switches: {} of {} found, {:.1} asked (95 %: {}), {:.0?} (95 %: {:.0?}), {:.1} peers, {:.1} \
         datagrams/s, {:.0} KiB each, {:.1} s of CPU",
        plan.switches,
        report.found,
        report.lookups,
        report.mean_asked(),
        report.asked_at(0.95),
        report.took_at(0.5),
        report.took_at(0.95),
        report.peers,
        report.per_second,
        report.memory / 1024.0,
        report.cpu
    )
    .unwrap();
    assert!(report.share() >= least, "{name}: {} of {} found", report.found, report.lookups);
    assert_eq!(report.asked.len(), report.lookups, "{name}: lookups that never ended");
    report
}

#[test]
fn a_hundred_find_each_other() {
    let plan = Plan { lookups: 500, ..Plan::new(100) };
    let report = run("1 % loss", &plan, 0.99);
    assert_eq!(report.offline, 0);
    run("5 % loss", &Plan { loss: 0.05, ..plan.clone() }, 0.99);
    run("a third behind NATs", &Plan { behind_nat: 1.0 / 3.0, ..plan }, 0.99);
}

#[test]
fn a_hundred_find_each_other_while_a_tenth_leaves_each_minute() {
    run("churn", &Plan { lookups: 500, churn: 0.1, ..Plan::new(100) }, 0.95);
}

#[test]
fn a_thousand_find_each_other_and_ask_few() {
    let plan = Plan { joins: 40, settle: Duration::from_secs(30), lookups: 300, ..Plan::new(1_000) };
    let report = run("1 % loss", &plan, 0.99);
    assert_eq!(report.offline, 0);
    assert!(report.mean_asked() <= 20.0, "{} asked of a thousand", report.mean_asked());
}
