//! Where the other server is, and how to speak with it.

use std::{fmt, time::Duration};

use thiserror::Error;

/// Requests sent to the server at once, if nobody says otherwise.
const DEFAULT_SLOTS: usize = 8;

/// Another server.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamOptions {
    /// Its address, with or without `/v1` at the end.
    pub url: String,
    /// Sent as a bearer token.
    pub api_key: Option<String>,
    /// Requests it gets at once.
    pub slots: usize,
    /// Models it has. Empty: it is asked, now and then, with `GET /v1/models`.
    pub models: Vec<String>,
    /// How often it is asked for its models.
    pub poll_every: Duration,
    /// How long it may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long it may be silent, before the first token too.
    pub silence_timeout: Duration,
}

impl UpstreamOptions {
    /// The defaults for an address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            api_key: None,
            slots: DEFAULT_SLOTS,
            models: Vec::new(),
            poll_every: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(300),
        }
    }

    /// The address of an endpoint below `/v1`.
    pub(super) fn endpoint(&self, name: &str) -> Result<reqwest::Url, UpstreamError> {
        let base = self.url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        let url = reqwest::Url::parse(&format!("{base}/v1/{name}")).map_err(|_| UpstreamError::Url)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(UpstreamError::Url);
        }
        Ok(url)
    }
}

impl fmt::Debug for UpstreamOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamOptions")
            .field("url", &self.url)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .field("slots", &self.slots)
            .field("models", &self.models)
            .finish_non_exhaustive()
    }
}

/// Why a backend for another server could not be made. All the caller's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// Not an address.
    #[error("the upstream address must be http://HOST[:PORT] or https://…")]
    Url,
    /// A key that cannot be sent.
    #[error("the upstream API key has letters that HTTP cannot carry")]
    ApiKey,
    /// No slots.
    #[error("slots must be 1 or more")]
    Slots,
    /// Made outside of a tokio runtime.
    #[error("an upstream backend needs a tokio runtime")]
    NoRuntime,
    /// The HTTP client could not be set up (no TLS roots, for example).
    #[error("the HTTP client cannot be set up")]
    Client,
}
