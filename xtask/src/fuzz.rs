//! `fuzz TARGET SECONDS`: cargo-fuzz on nightly, starting from the target's committed seeds.

use std::{path::Path, process::Command};

use crate::{
    Failure,
    process::{self, output, quiet},
    root,
};

/// Runs one target, or all of them one after the other.
fn run_targets(target: &str, seconds: u64) -> Result<(), Failure> {
    if !quiet("cargo", &["+nightly", "--version"]) {
        return Err(
            "fuzzing needs a nightly toolchain: `rustup toolchain install nightly --profile minimal`".into(),
        );
    }
    if !quiet("cargo", &["fuzz", "--version"]) {
        eprintln!("xtask: installing cargo-fuzz");
        process::run(
            Command::new("cargo")
                .args(["install", "cargo-fuzz", "--locked"])
                .current_dir(std::env::temp_dir()),
        )?;
    }
    let all = targets()?;
    let wanted: Vec<&String> = all.iter().filter(|name| target == "all" || target == name.as_str()).collect();
    if wanted.is_empty() {
        return Err(format!("there is no fuzz target `{target}`; there are: {}", all.join(", ")));
    }
    for name in wanted {
        eprintln!("\nxtask: == fuzzing {name} for {seconds} s");
        fuzz(name, seconds)?;
    }
    Ok(())
}

/// Reads the arguments.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let [target, seconds] = args else {
        return Err(format!(
            "usage: cargo xtask fuzz TARGET SECONDS; targets: all, {}",
            targets()?.join(", ")
        ));
    };
    let seconds = seconds.parse().map_err(|_| format!("`{seconds}` is not a whole number of seconds"))?;
    run_targets(target, seconds)
}

fn targets() -> Result<Vec<String>, Failure> {
    let listed = output(
        Command::new("cargo").args(["read-manifest", "--manifest-path"]).arg(root().join("fuzz/Cargo.toml")),
    )?;
    let manifest: serde_json::Value = serde_json::from_str(&listed).map_err(|error| error.to_string())?;
    let mut names: Vec<String> = manifest["targets"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|target| target["kind"][0] == "bin")
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

fn fuzz(name: &str, seconds: u64) -> Result<(), Failure> {
    let target = root().join("target/fuzz");
    let corpus = target.join("corpus").join(name);
    std::fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let mut command = Command::new("cargo");
    command
        .args(["+nightly", "fuzz", "run", "--features", "libfuzzer", "--target-dir"])
        .arg(&target)
        .arg(name)
        .arg(&corpus)
        // Link-time optimisation of every instrumented target takes minutes each and finds nothing more.
        .envs([("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_DEBUG", "none")])
        .current_dir(root());
    let seeds = root().join("fuzz/seeds").join(name);
    if Path::new(&seeds).is_dir() {
        command.arg(&seeds);
    }
    command.arg("--").arg(format!("-max_total_time={seconds}")).args([
        "-rss_limit_mb=2048",
        "-timeout=20",
        "-print_final_stats=1",
    ]);
    process::run(&mut command)
}
