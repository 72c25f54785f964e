//! The Python environment of the foreign tests: pinned packages in `target/python`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Failure, install, process::run, root};

/// Makes the environment where it is missing or older than its requirements; returns the interpreter.
pub(crate) fn prepare() -> Result<PathBuf, Failure> {
    install::test_needs()?;
    environment("target/python", &root().join("xtask/python/requirements.txt"))
}

/// Makes a virtual environment in `folder` (below the workspace) with these requirements; returns the interpreter.
pub(crate) fn environment(folder: &str, requirements: &Path) -> Result<PathBuf, Failure> {
    let folder = root().join(folder);
    let interpreter = folder.join("bin/python");
    let stamp = folder.join("requirements.txt");
    let wanted = std::fs::read_to_string(requirements)
        .map_err(|error| format!("{} cannot be read: {error}", requirements.display()))?;
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) && interpreter.exists() {
        return Ok(interpreter);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    run(Command::new(&interpreter)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(requirements))?;
    std::fs::write(&stamp, wanted)
        .map_err(|error| format!("{} cannot be written: {error}", stamp.display()))?;
    Ok(interpreter)
}
