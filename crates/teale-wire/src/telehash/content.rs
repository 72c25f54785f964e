//! What travels in a v2 session: requests and responses, which look like HTTP's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

/// A header's value: text, or a number as in the draft's `"Content-Length":100`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HeaderValue {
    /// Text.
    Text(String),
    /// A number.
    Number(Number),
}

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for HeaderValue {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

/// Headers by name, as the sender spells it.
pub type Headers = BTreeMap<String, HeaderValue>;

/// `req`: what is asked for. The body is the packet's, and its thread's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Req {
    /// What is meant, of any scheme.
    pub uri: String,
    /// What to do with it, such as `GET`; schemes other than HTTP's may have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub m: Option<String>,
    /// Headers.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub h: Headers,
}

impl Req {
    /// A request without headers.
    pub fn new(method: impl Into<String>, uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), m: Some(method.into()), h: Headers::new() }
    }
}

/// `res`: the answer to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Res {
    /// The status, such as 200.
    pub s: u16,
    /// Headers.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub h: Headers,
}

impl Res {
    /// A response without headers.
    pub fn new(status: u16) -> Self {
        Self { s: status, h: Headers::new() }
    }
}
