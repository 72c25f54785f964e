//! The seeds of all targets, replayed on stable Rust, and the scheme's own completeness.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, fs, path::Path};

use teale_fuzz::TARGETS;

fn names(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "mod")
        .collect()
}

#[test]
fn no_seed_is_a_finding() {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name);
        let mut count = 0;
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            (target.run)(&fs::read(path).unwrap());
            count += 1;
        }
        assert!(count > 0, "{} has no seeds", target.name);
    }
}

#[test]
fn every_target_is_complete() {
    let listed: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(listed.len(), TARGETS.len(), "a name is there twice");
    assert_eq!(names("src/targets"), listed);
    assert_eq!(names("fuzz_targets"), listed);
    assert_eq!(names("seeds"), listed);
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    for name in &listed {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} has no [[bin]]");
    }
}
