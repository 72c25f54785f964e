//! The text of a chat: from the command line, or from stdin.

use std::io::{IsTerminal, Read};

use super::failure::Failure;

/// A prompt larger than this fits no message, in bytes.
const LIMIT: u64 = teale_wire::limits::CLUSTER_MESSAGE as u64;

/// The given prompt, else all of stdin.
pub(super) fn read(given: Option<&str>) -> Result<String, Failure> {
    if let Some(text) = given.filter(|text| *text != "-") {
        return Ok(text.to_owned());
    }
    let stdin = std::io::stdin();
    if given.is_none() && stdin.is_terminal() {
        return Err(Failure::usage("no prompt").hint("give it as the last argument, or pipe it in"));
    }
    let mut text = String::new();
    let read = stdin.lock().take(LIMIT + 1).read_to_string(&mut text);
    read.map_err(|error| Failure::new(format!("the prompt cannot be read from stdin: {error}")))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Failure::usage("the prompt on stdin is empty")),
        _ if text.len() as u64 > LIMIT => {
            Err(Failure::usage(format!("the prompt is larger than {LIMIT} bytes")))
        }
        text => Ok(text.to_owned()),
    }
}
