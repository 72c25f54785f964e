//! How a verb fails: an exit code, what happened, and what to do next.

use std::{fmt, process::ExitCode};

use crate::{ConfigError, DataDir, NodeError, client::ClientError};

/// Something went wrong.
const FAILURE: u8 = 1;
/// The command line or the configuration makes no sense.
const USAGE: u8 = 2;
/// No node is running.
const NO_NODE: u8 = 3;

/// A verb's failure. `Display` is one or two lines.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { code: FAILURE, message: message.into(), hint: None }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::new(message) }
    }

    pub(super) fn no_node(dir: &DataDir) -> Self {
        Self {
            code: NO_NODE,
            message: format!("no node is running in {}", dir.path().display()),
            hint: Some("start one with `teale-node serve`, or name its API with --api URL".into()),
        }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", crate::output::plain(&self.message))?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        let usage = matches!(error, NodeError::RelayUrl { .. } | NodeError::ApiKeyNeeded(_));
        Self { code: if usage { USAGE } else { FAILURE }, ..Self::new(error.to_string()) }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(format!("cannot write to stdout: {error}"))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self::new(error.to_string());
        match error {
            ClientError::Unreachable { .. } => {
                Self { code: NO_NODE, ..failure }.hint("is a node running there?")
            }
            ClientError::Refused { code: Some(code), .. } if code == "model_not_found" => {
                failure.hint("`teale-node models list` shows what is served")
            }
            ClientError::Refused { code: Some(code), .. } if code == "invalid_api_key" => {
                failure.hint("name a file that holds the key in TEALE_API_KEY_FILE, or `api_key_file` in the configuration")
            }
            _ => failure,
        }
    }
}
