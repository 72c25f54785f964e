//! `cargo xtask demo-model`: trains the built-in model again, or scores the committed one.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Failure, install, process::run, python, root};

const USAGE: &str = "\
cargo xtask demo-model build [--steps N | --seconds N] [--from MODEL.pt]
    make the corpus, train tokenizer and model, and write crates/teale-node/assets/demo.gguf, its SHA-256 and the
    training curve; --from goes on from weights that lie elsewhere. Needs Python 3 and about 6 GB of disk for
    PyTorch; takes up to 90 minutes on two cores
cargo xtask demo-model score [FILE.gguf]
    ask the held-out questions at temperature 0; prints every miss and the score. Needs no Python";

/// `cargo xtask demo-model VERB`.
///
/// # Errors
/// A message for the person at the terminal.
pub(crate) fn command(args: &[String]) -> Result<(), Failure> {
    match args.split_first() {
        Some((verb, rest)) if verb == "build" => build(rest),
        Some((verb, rest)) if verb == "score" => score(rest),
        _ => Err(USAGE.to_owned()),
    }
}

fn build(args: &[String]) -> Result<(), Failure> {
    let scripts = root().join("xtask/demo-model");
    let interpreter = python::environment("target/python-demo", &scripts.join("requirements.txt"))?;
    let folder = root().join("target/demo-model/build");
    // A tokenizer of another corpus must not be taken for this one's.
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let script = |name: &str| {
        let mut command = Command::new(&interpreter);
        command.arg(scripts.join(name)).env("OMP_NUM_THREADS", "1");
        command
    };
    run(script("train.py").arg(&folder).args(args))?;
    run(script("export.py").arg(&folder).arg(root().join("crates/teale-node/assets/demo.gguf")))?;
    run(script("chart.py").arg(folder.join("log.jsonl")).arg(root().join("docs/demo-model-curve.svg")))
}

fn score(args: &[String]) -> Result<(), Failure> {
    install::build_needs()?;
    let model = match args {
        [] => root().join("crates/teale-node/assets/demo.gguf"),
        [file] => absolute(file)?,
        _ => return Err(USAGE.to_owned()),
    };
    run(Command::new("cargo")
        .args(["test", "--quiet", "-p", "teale-node", "--test", "demo_model", "--"])
        .args(["--nocapture", "--exact", "held_out_wordings_are_answered_with_the_right_facts"])
        .env("TEALE_DEMO_MODEL", model)
        .current_dir(root()))
}

fn absolute(file: &str) -> Result<PathBuf, Failure> {
    std::path::absolute(Path::new(file)).map_err(|error| format!("{file}: {error}"))
}
