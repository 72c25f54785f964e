//! The Node packages of the foreign tests: pinned, in `target/node`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Failure, install, process::run, root};

/// The files that say which packages; npm reads both.
const FILES: &[&str] = &["package.json", "package-lock.json"];

/// Installs the packages where they are missing or others than wanted; returns the folder.
pub(crate) fn prepare() -> Result<PathBuf, Failure> {
    install::node_test_needs()?;
    let folder = root().join("target/node");
    let wanted = root().join("xtask/node");
    let same = |file: &&str| {
        let made = std::fs::read(folder.join("made").join(file));
        made.is_ok_and(|made| std::fs::read(wanted.join(file)).is_ok_and(|wanted| made == wanted))
    };
    if FILES.iter().all(same) {
        return Ok(folder);
    }
    copy(&wanted, &folder)?;
    run(Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&folder))?;
    // Only what was installed counts as made.
    copy(&wanted, &folder.join("made"))?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(to).map_err(|error| format!("{} cannot be made: {error}", to.display()))?;
    for file in FILES {
        std::fs::copy(from.join(file), to.join(file))
            .map_err(|error| format!("{file} cannot be copied to {}: {error}", to.display()))?;
    }
    Ok(())
}
