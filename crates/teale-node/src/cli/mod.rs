//! The command line: one file per verb. stdout is data, stderr is logs.

mod chat;
mod completions;
mod config;
mod demo;
mod dht;
mod dht_ask;
mod failure;
mod global;
mod identity;
mod join;
mod models;
mod news;
mod peers;
mod progress;
mod prompt;
mod reading;
mod relay;
mod serve;
mod signals;
mod status;

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};
use toml::Table;

use self::{
    failure::Failure,
    global::{Context, GlobalFlags},
};

/// One inference network out of many machines.
#[derive(Debug, Parser)]
#[command(name = "teale-node", version, about, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: GlobalFlags,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Join relays and the local network, serve models, answer the local API. Without a model, only ask.
    Serve(serve::Serve),
    /// Run a relay: the place where nodes meet.
    Relay(relay::Relay),
    /// Ask a model, through the running node or by joining for this one request.
    Chat(chat::Chat),
    /// Relay, provider and consumer in one process, step by step.
    Demo(demo::Demo),
    /// Show the peers of the running node.
    Peers(peers::Peers),
    /// Show, fetch and remove models.
    Models(models::Models),
    /// Show the state of the running node.
    Status(status::Status),
    /// Run a switch of the DHT, or look into it.
    Dht(dht::DhtVerb),
    /// Show who this node is.
    Identity(identity::IdentityVerb),
    /// Show the settings and where they come from.
    Config(config::ConfigVerb),
    /// Print a completion script for a shell.
    Completions(completions::Completions),
}

/// Runs the program with the process's own arguments.
pub fn run() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => finish(cli.run()),
        Err(error) => {
            // Help and version go to stdout and are no failure.
            let _ = error.print();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(2),
            }
        }
    }
}

fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
}

impl Cli {
    fn run(self) -> Result<(), Failure> {
        let global = self.global;
        let context = |verb: Table| Context::new(global.clone(), verb);
        match self.verb {
            Verb::Completions(verb) => verb.run(),
            Verb::Config(verb) => verb.run(global),
            Verb::Serve(verb) => verb.run(&context(verb.table()?)?),
            Verb::Relay(verb) => verb.run(&context(verb.table()?)?),
            Verb::Chat(verb) => verb.run(&context(verb.table()?)?),
            Verb::Demo(verb) => verb.run(&context(Table::new())?),
            Verb::Peers(verb) => verb.run(&context(Table::new())?),
            Verb::Models(verb) => verb.run(&context(verb.table()?)?),
            Verb::Status(verb) => verb.run(&context(Table::new())?),
            Verb::Dht(verb) => verb.run(&context(Table::new())?),
            Verb::Identity(verb) => verb.run(&context(Table::new())?),
        }
    }
}

/// A runtime with several threads, for verbs that compute or serve.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("the asynchronous runtime does not start: {error}")))
}
