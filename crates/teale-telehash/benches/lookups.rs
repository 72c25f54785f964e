//! How often and how fast switches find each other in worlds of 100 to 50,000, in virtual time.
//!
//!     cargo bench -p teale-telehash --bench lookups -- [--docs] [--up-to N] [--only WORDS]
//!
//! Each world runs in a process of its own, so that memory is told apart, and prints a JSON line. With `--docs` the
//! lines go into `docs/`, and the table and the plot are made anew.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench prints and gives up"
)]

#[path = "../tests/world/mod.rs"]
mod world;

use std::process::{Command, Stdio};

use serde_json::Value;
use world::{Plan, record};

/// Version, what troubles the world, sizes.
const WORLDS: &[(&str, &str, &[usize])] = &[
    ("v1", "1 % loss", &[100, 1_000, 10_000, 50_000]),
    ("v1", "5 % loss", &[100, 1_000, 10_000]),
    ("v1", "a tenth leaves each minute", &[100, 1_000, 10_000]),
    ("v1", "a third behind NATs", &[100, 1_000, 10_000]),
    ("v2", "1 % loss", &[100, 1_000]),
    ("v2", "5 % loss", &[100]),
    ("v2", "a tenth leaves each minute", &[100]),
    ("v2", "a third behind NATs", &[100]),
];

fn plan(trouble: &str, switches: usize) -> Plan {
    let plan = Plan::new(switches);
    match trouble {
        "5 % loss" => Plan { loss: 0.05, ..plan },
        "a tenth leaves each minute" => Plan { churn: 0.1, ..plan },
        "a third behind NATs" => Plan { behind_nat: 1.0 / 3.0, ..plan },
        _ => plan,
    }
}

fn one(version: &str, trouble: &str, switches: usize) -> Value {
    let mut plan = plan(trouble, switches);
    let report = if version == "v1" {
        world::run::<world::v1::Core>(&plan)
    } else {
        plan.settle = plan.settle.max(world::LISTENING);
        world::run::<world::v2::Core>(&plan)
    };
    record::line(version, trouble, &plan, &report)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [flag, version, trouble, switches] = &args[..]
        && flag == "--one"
    {
        println!("{}", one(version, trouble, switches.parse().unwrap()));
        return;
    }
    let value = |flag: &str| args.iter().position(|arg| arg == flag).and_then(|at| args.get(at + 1));
    let up_to = value("--up-to").map_or(usize::MAX, |text| text.parse().unwrap());
    let mut lines = record::read(&std::fs::read_to_string(record::docs(record::FIGURES)).unwrap_or_default());
    for (version, trouble, sizes) in WORLDS {
        let named = format!("{version}, {trouble}");
        for size in sizes.iter().filter(|size| **size <= up_to) {
            if value("--only").is_some_and(|words| !named.contains(words.as_str())) {
                continue;
            }
            let size = size.to_string();
            let mut run = Command::new(std::env::current_exe().unwrap());
            run.args(["--one", version, trouble, &size]).stderr(Stdio::inherit());
            let out = run.output().unwrap();
            let line: Value = serde_json::from_slice(&out.stdout).expect("a world's line");
            println!("{line}");
            record::merge(&mut lines, line);
        }
    }
    if args.iter().any(|arg| arg == "--docs") {
        write_docs(&lines);
    }
}

fn write_docs(lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(record::docs(record::FIGURES), text).unwrap();
    std::fs::write(record::docs(record::PLOT), record::plot(lines)).unwrap();
    let page = std::fs::read_to_string(record::docs(record::PAGE)).unwrap();
    let (before, rest) = page.split_once(record::MARKS.0).unwrap();
    let (_, after) = rest.split_once(record::MARKS.1).unwrap();
    let page = format!("{before}{}{}{}{after}", record::MARKS.0, record::table(lines), record::MARKS.1);
    std::fs::write(record::docs(record::PAGE), page).unwrap();
}
