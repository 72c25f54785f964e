//! The house rules that a machine can check: layers, who may use which package, where sockets and clocks may be.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    Failure,
    process::{cargo, output},
    root,
};

/// Each crate's floor. An edge only goes down; what is not in the table does not exist.
const FLOORS: &[(&str, u32)] = &[
    ("teale-wire", 0),
    ("teale-sim", 0),
    ("teale-identity", 1),
    ("teale-noise", 2),
    ("teale-relay-client", 3),
    ("teale-relay-server", 3),
    ("teale-telehash", 3),
    ("teale-cluster", 4),
    ("teale-nat", 5),
    ("teale-teleport", 5),
    ("teale-infer", 6),
    ("teale-node", 7),
];

/// Stand beside the stack; nothing may depend on them.
const BESIDE: &[&str] = &["xtask", "teale-fuzz"];

/// Packages that carry a secret of their layer, and the only crates that may know it.
const KEPT: &[(&str, &[&str])] = &[
    ("ed25519-dalek", &["teale-identity"]),
    ("x25519-dalek", &["teale-identity", "teale-noise"]),
    ("snow", &["teale-noise"]),
    ("ring", &["teale-noise"]),
    ("tokio-tungstenite", &["teale-relay-client"]),
    ("mdns-sd", &["teale-cluster"]),
    ("if-addrs", &["teale-cluster"]),
    ("llama-cpp-2", &["teale-infer"]),
    ("minijinja", &["teale-infer"]),
    ("axum", &["teale-node"]),
    ("clap", &["teale-node"]),
    ("indicatif", &["teale-node"]),
];

/// What may stand only below `src/io/` of a protocol crate (floors 0 to 5).
const DRIVER_ONLY: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "std::net::Tcp",
    "std::net::Udp",
    "tokio::net",
    "tokio::time",
    "tokio::spawn",
    "std::fs::",
];

const TOP_LEVEL: &[&str] =
    &["Cargo.toml", "Cargo.lock", "crates", "xtask", "fuzz", "docs", "README.md", "rust-toolchain.toml"];
const TOP_LEVEL_TOO: &[&str] = &[
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "SECURITY.md",
    "clippy.toml",
    "deny.toml",
    "rustfmt.toml",
    "target",
];

/// Checks all of it; the failure lists every breach.
pub(crate) fn check() -> Result<(), Failure> {
    let metadata = output(&mut cargo(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut breaches = Vec::new();
    let mut edges = 0;
    for package in packages {
        edges += check_package(package, &mut breaches);
    }
    check_sources(&mut breaches)?;
    check_top_level(&mut breaches)?;
    if breaches.is_empty() {
        println!("layers: {} crates, {edges} edges, all of them down", packages.len());
        return Ok(());
    }
    Err(format!("house rules broken:\n  {}", breaches.join("\n  ")))
}

fn floor(name: &str) -> Option<u32> {
    FLOORS.iter().find(|(known, _)| *known == name).map(|(_, floor)| *floor)
}

/// Checks one package's dependencies (those of tests are free to look sideways); counts its edges in the stack.
fn check_package(package: &Value, breaches: &mut Vec<String>) -> usize {
    let name = package["name"].as_str().unwrap_or_default();
    let own = floor(name);
    if own.is_none() && !BESIDE.contains(&name) {
        breaches.push(format!("{name} has no floor in the table of xtask/src/layers.rs"));
    }
    let mut edges = 0;
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let target = dependency["name"].as_str().unwrap_or_default();
        if dependency["kind"] == "dev" {
            continue;
        }
        if BESIDE.contains(&target) {
            breaches.push(format!("{name} uses {target}, which stands beside the stack"));
        }
        if let (Some(own), Some(below)) = (own, floor(target)) {
            edges += 1;
            if below >= own {
                breaches.push(format!("{name} (floor {own}) uses {target} (floor {below})"));
            }
            if target == "teale-sim" {
                breaches.push(format!("{name} uses teale-sim outside its tests"));
            }
        }
        if let Some((_, keepers)) = KEPT.iter().find(|(kept, _)| *kept == target)
            && own.is_some()
            && !keepers.contains(&name)
        {
            breaches.push(format!("{name} uses {target}, which only {} may", keepers.join(", ")));
        }
    }
    edges
}

/// Protocol crates: sockets, files and clocks only below `src/io/`.
fn check_sources(breaches: &mut Vec<String>) -> Result<(), Failure> {
    for (name, floor) in FLOORS {
        let src = root().join("crates").join(name).join("src");
        if *floor > 5 || !src.is_dir() {
            continue;
        }
        for file in rust_files(&src)? {
            if file
                .strip_prefix(&src)
                .is_ok_and(|inner| inner.starts_with("io") || inner == Path::new("io.rs"))
            {
                continue;
            }
            let text =
                std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            for (number, line) in text.lines().enumerate() {
                if line.trim_start().starts_with("//") {
                    continue;
                }
                if let Some(word) = DRIVER_ONLY.iter().find(|word| line.contains(**word)) {
                    breaches.push(format!(
                        "{}:{}: `{word}` belongs below src/io/",
                        file.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    Ok(())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The top of the tree is fixed.
fn check_top_level(breaches: &mut Vec<String>) -> Result<(), Failure> {
    let Ok(tracked) = output(std::process::Command::new("git").args(["ls-files"]).current_dir(root())) else {
        eprintln!("xtask: not a git checkout: the top level is not checked");
        return Ok(());
    };
    let mut tops: Vec<&str> = tracked.lines().filter_map(|path| path.split('/').next()).collect();
    tops.dedup();
    for top in tops {
        if !top.starts_with('.') && !TOP_LEVEL.contains(&top) && !TOP_LEVEL_TOO.contains(&top) {
            breaches.push(format!("{top} does not belong at the top level"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(name: &str, dependency: &str, kind: Option<&str>) -> Vec<String> {
        let package = serde_json::json!({
            "name": name,
            "dependencies": [{ "name": dependency, "kind": kind }],
        });
        let mut breaches = Vec::new();
        check_package(&package, &mut breaches);
        breaches
    }

    #[test]
    fn an_edge_down_is_fine() {
        assert!(breaches("teale-node", "teale-wire", None).is_empty());
        assert!(breaches("teale-noise", "snow", None).is_empty());
    }

    #[test]
    fn an_edge_up_or_sideways_is_a_breach() {
        assert_eq!(breaches("teale-wire", "teale-identity", None).len(), 1);
        assert_eq!(breaches("teale-relay-client", "teale-relay-server", None).len(), 1);
    }

    #[test]
    fn tests_may_look_sideways() {
        assert!(breaches("teale-relay-client", "teale-relay-server", Some("dev")).is_empty());
    }

    #[test]
    fn a_kept_package_elsewhere_is_a_breach() {
        assert_eq!(breaches("teale-node", "llama-cpp-2", None).len(), 1);
        assert_eq!(breaches("teale-cluster", "snow", Some("build")).len(), 1);
    }

    #[test]
    fn a_crate_without_a_floor_is_a_breach() {
        assert_eq!(breaches("teale-extra", "bytes", None).len(), 1);
    }
}
