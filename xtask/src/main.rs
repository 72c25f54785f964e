//! The workspace's own commands: `cargo xtask VERB`.
//!
//! `demo` and `test` are the two commands a newcomer needs; each installs what it needs and then does its job.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod demo_model;
mod fuzz;
mod install;
mod layers;
mod node;
mod process;
mod python;
mod suite;

use std::{path::PathBuf, process::ExitCode};

/// Why a verb failed, in words for the person at the terminal.
type Failure = String;

const USAGE: &str = "\
cargo xtask VERB

  demo [ARGS…]              install what is missing, then run `teale-node demo ARGS…`
  test                      install what is missing, then run everything CI runs
  layers                    check that every dependency goes down the stack, and the other house rules
  fuzz TARGET SECONDS       fuzz one target on nightly (`all`: each of them), starting from its seeds
  bench [NAME]              run the benches (relay, seal, engine, share, chat, telehash, telexes, overhead); without a name: list them
  tiny-model [ARGS…]        write the tests' GGUF model again (`--help` tells more)
  demo-model build|score    train the built-in model again; ask it the held-out questions
  python                    make the Python environment that the foreign tests use
  node                      install the Node packages that the foreign tests use
  install                   only install what is missing";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let result = match verb.as_str() {
        "demo" => install::build_needs().and_then(|()| suite::demo(&rest)),
        "test" => suite::run(),
        "layers" => layers::check(),
        "fuzz" => fuzz::run(&rest),
        "bench" => install::build_needs().and_then(|()| bench::run(&rest)),
        "tiny-model" => xtask::tiny_model::command(&rest),
        "demo-model" => demo_model::command(&rest),
        "python" => python::prepare().map(|path| println!("{}", path.display())),
        "node" => node::prepare().map(|path| println!("{}", path.display())),
        "install" => install::build_needs().and_then(|()| install::test_needs()),
        "" | "help" | "-h" | "--help" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(format!("there is no verb `{other}`\n\n{USAGE}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's top folder.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}
