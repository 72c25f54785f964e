//! `demo`, and `test`: everything CI runs, in the order in which a mistake is cheapest to find.

use std::time::Instant;

use crate::{
    Failure, install, layers, node,
    process::{self, cargo},
    python,
};

/// Crates that also build without sockets and files.
const PROTOCOL_CRATES: &[&str] = &[
    "teale-wire",
    "teale-identity",
    "teale-noise",
    "teale-relay-client",
    "teale-relay-server",
    "teale-telehash",
    "teale-cluster",
    "teale-infer",
];

/// `teale-node demo`, built if need be.
pub(crate) fn demo(args: &[String]) -> Result<(), Failure> {
    eprintln!("xtask: building teale-node (the first time llama.cpp is built too, which takes some minutes)");
    process::run(cargo(["run", "--quiet", "--package", "teale-node", "--", "demo"]).args(args))
}

/// A step's name and its work.
type Step = (&'static str, fn() -> Result<(), Failure>);

const STEPS: &[Step] = &[
    ("formatting", || process::run(&mut cargo(["fmt", "--all", "--check"]))),
    ("layers", layers::check),
    ("what the build needs", install::build_needs),
    ("clippy", || {
        process::run(&mut cargo([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "--deny",
            "warnings",
        ]))
    }),
    ("the foreign tests' Python", python_or_loud_skip),
    ("the foreign tests' Node packages", node_or_loud_skip),
    ("what the network tests need", network_or_loud_skip),
    ("tests, fuzz seeds, doc tests", || {
        process::run(&mut cargo(["test", "--workspace", "--locked", "--no-fail-fast"]))
    }),
    ("documentation", || {
        process::run(
            cargo(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "--deny warnings"),
        )
    }),
    ("without default features", || {
        PROTOCOL_CRATES.iter().try_for_each(|name| {
            process::run(&mut cargo(["check", "--locked", "--no-default-features", "--package", name]))
        })
    }),
];

/// Everything CI runs; stops at the first step that fails.
pub(crate) fn run() -> Result<(), Failure> {
    let start = Instant::now();
    for (name, work) in STEPS {
        eprintln!("\nxtask: == {name}");
        let begun = Instant::now();
        work().map_err(|failure| format!("{name}: {failure}"))?;
        eprintln!("xtask: == {name}: {:.0} s", begun.elapsed().as_secs_f64());
    }
    eprintln!("\nxtask: all {} steps went well, {:.0} s in all", STEPS.len(), start.elapsed().as_secs_f64());
    Ok(())
}

/// Without its programs a network test skips itself, with a line that says so; everything else still runs.
fn network_or_loud_skip() -> Result<(), Failure> {
    if let Err(failure) = install::network_test_needs() {
        eprintln!("xtask: SKIPPED: some tests in network namespaces cannot run: {failure}");
    }
    Ok(())
}

/// Without Python the foreign tests skip themselves, each with a line of its own; everything else still runs.
fn python_or_loud_skip() -> Result<(), Failure> {
    if let Err(failure) = python::prepare() {
        eprintln!("xtask: SKIPPED: the tests against foreign Python programs cannot run: {failure}");
    }
    Ok(())
}

/// The same for Node.
fn node_or_loud_skip() -> Result<(), Failure> {
    if let Err(failure) = node::prepare() {
        eprintln!("xtask: SKIPPED: the tests against foreign Node programs cannot run: {failure}");
    }
    Ok(())
}
