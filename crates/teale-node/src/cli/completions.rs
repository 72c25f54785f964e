//! `teale-node completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, failure::Failure};
use crate::output::Output;

/// The script is printed to stdout.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "teale-node", &mut script);
        Ok(Output::new(false).line(String::from_utf8_lossy(&script).trim_end())?)
    }
}
