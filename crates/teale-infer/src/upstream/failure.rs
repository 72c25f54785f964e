//! Sorts what went wrong with another server into our kinds of errors.

use reqwest::StatusCode;
use teale_cluster::BackendError;

use super::wire::ErrorWords;

/// An error status, and what the body said.
pub(super) fn of_status(status: StatusCode, words: Option<ErrorWords>) -> BackendError {
    let told = words.is_some();
    let words = words.unwrap_or_default();
    if matches!(status.as_u16(), 401 | 403) && !words.code.contains("model_not_found") {
        // Whatever it says is about our key: nothing that an asker may hear.
        return key_refused();
    }
    if let Some(error) = of_code(&words) {
        return error;
    }
    match status.as_u16() {
        404 if told => BackendError::ModelNotFound,
        400 | 413 | 422 => invalid(words),
        408 | 504 => BackendError::Timeout,
        429 | 502 | 503 => {
            BackendError::Unavailable(format!("the upstream server is busy or away ({status})"))
        }
        404 => BackendError::Unavailable(
            "the upstream server has no chat completions at this address".to_owned(),
        ),
        _ => BackendError::Internal(format!("the upstream server answered {status}")),
    }
}

/// An error in the middle of a stream.
pub(super) fn of_event(words: ErrorWords) -> BackendError {
    of_code(&words).unwrap_or_else(|| BackendError::Internal("the upstream server failed midway".to_owned()))
}

/// An error of the connection.
pub(super) fn of_transport(error: &reqwest::Error) -> BackendError {
    tracing::debug!(%error, "the upstream server failed us");
    if error.is_timeout() && !error.is_connect() {
        BackendError::Timeout
    } else if error.is_connect() {
        BackendError::Unavailable("the upstream server cannot be reached".to_owned())
    } else {
        BackendError::Unavailable("the connection to the upstream server broke".to_owned())
    }
}

/// Errors that name themselves.
fn of_code(words: &ErrorWords) -> Option<BackendError> {
    let has = |name: &str| words.code.contains(name);
    if has("model_not_found") {
        Some(BackendError::ModelNotFound)
    } else if has("invalid_api_key") || has("authentication_error") || has("permission_error") {
        Some(key_refused())
    } else if has("context_length_exceeded") || has("exceed_context_size") {
        let (context, prompt) = lengths(&words.message);
        Some(BackendError::ContextLengthExceeded {
            prompt: words.prompt.or(prompt).unwrap_or_default(),
            context: words.context.or(context).unwrap_or_default(),
        })
    } else if has("model_not_loaded") {
        Some(BackendError::ModelNotLoaded("the upstream server has not loaded it".to_owned()))
    } else if has("rate_limit") || has("overloaded") {
        Some(BackendError::Unavailable("the upstream server is busy".to_owned()))
    } else if has("invalid_request_error") {
        Some(invalid(words.clone()))
    } else {
        None
    }
}

fn key_refused() -> BackendError {
    BackendError::Unavailable("the upstream server refuses our key".to_owned())
}

fn invalid(words: ErrorWords) -> BackendError {
    let reason =
        if words.message.is_empty() { "refused by the upstream server".to_owned() } else { words.message };
    BackendError::InvalidRequest { field: words.param.unwrap_or_else(|| "request".to_owned()), reason }
}

/// Context and prompt out of OpenAI's sentence, which names them in this order.
fn lengths(message: &str) -> (Option<u64>, Option<u64>) {
    let numbers = message.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse().ok());
    let mut numbers = numbers.filter(|number: &u64| *number > 0);
    (numbers.next(), numbers.next())
}
