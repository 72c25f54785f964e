//! Errors in OpenAI's shape: `{"error":{"message","type","param","code"}}`.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use serde::Serialize;
use teale_cluster::AskError;
use teale_wire::ErrorCode;

/// Seconds a client should wait before it asks a busy node again.
const BUSY_RETRY_SECONDS: u32 = 2;

/// An error as the API answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// Stable, for programs.
    pub(crate) code: Option<&'static str>,
    /// The field at fault.
    pub(crate) param: Option<String>,
    /// For people.
    pub(crate) message: String,
    /// When to try again.
    pub(crate) retry_after: Option<u32>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'a str>,
    code: Option<&'static str>,
}

impl ApiError {
    /// An error without field and retry time.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code: Some(code), param: None, message: message.into(), retry_after: None }
    }

    /// A request that cannot be served as it is.
    pub(crate) fn invalid(param: Option<String>, message: impl Into<String>) -> Self {
        Self { param, ..Self::new(StatusCode::BAD_REQUEST, "invalid_request", message) }
    }

    /// Nobody serves this path.
    pub(super) fn unknown_url(method: &str, path: &str) -> Self {
        let short = |text: &str| text.chars().take(200).collect::<String>();
        let message = format!("Unknown request URL: {} {}", short(method), short(path));
        Self::new(StatusCode::NOT_FOUND, "unknown_url", message)
    }

    /// The path is not served with this method.
    pub(super) fn wrong_method(method: &str) -> Self {
        let method: String = method.chars().take(200).collect();
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("{method} is not allowed here"),
        )
    }

    /// What an asker is told.
    pub(crate) fn from_ask(error: &AskError, model: &str) -> Self {
        let retry = |this: Self| Self { retry_after: Some(BUSY_RETRY_SECONDS), ..this };
        match error {
            AskError::ModelNotFound => Self {
                param: Some("model".into()),
                ..Self::new(
                    StatusCode::NOT_FOUND,
                    "model_not_found",
                    format!(
                        "The model `{model}` is not served by this node or any peer it can reach; GET /v1/models lists what is."
                    ),
                )
            },
            AskError::Unavailable(_) | AskError::ShuttingDown => {
                retry(Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string()))
            }
            AskError::Timeout => Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", error.to_string()),
            AskError::LinkLost(_) => Self::new(StatusCode::BAD_GATEWAY, "link_lost", error.to_string()),
            AskError::Provider { node, code, message } => Self::from_provider(node.is_none(), code, message),
            AskError::TooBig { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", error.to_string())
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", error.to_string()),
        }
    }

    fn from_provider(own: bool, code: &ErrorCode, message: &str) -> Self {
        let retry = |this: Self| Self { retry_after: Some(BUSY_RETRY_SECONDS), ..this };
        let broken = if own { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::BAD_GATEWAY };
        match code {
            ErrorCode::ContextLengthExceeded => Self {
                param: Some("messages".into()),
                ..Self::new(StatusCode::BAD_REQUEST, "context_length_exceeded", message)
            },
            ErrorCode::InvalidRequest => Self::invalid(None, message),
            ErrorCode::ModelNotLoaded => {
                retry(Self::new(StatusCode::SERVICE_UNAVAILABLE, "model_not_loaded", message))
            }
            ErrorCode::QueueFull => retry(Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message)),
            ErrorCode::Unavailable => {
                retry(Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message))
            }
            ErrorCode::Timeout => Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message),
            ErrorCode::Cancelled => Self::new(broken, "cancelled", message),
            _ => Self::new(broken, "internal_error", message),
        }
    }

    /// OpenAI's `type`, which follows from the status.
    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// The JSON body, also sent as the last event of a stream that failed.
    pub(crate) fn to_json(&self) -> String {
        let body = Body {
            error: Inner {
                message: &self.message,
                kind: self.kind(),
                param: self.param.as_deref(),
                code: self.code,
            },
        };
        serde_json::to_string(&body).unwrap_or_else(|_| r#"{"error":{"message":"internal error"}}"#.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Body {
            error: Inner {
                message: &self.message,
                kind: self.kind(),
                param: self.param.as_deref(),
                code: self.code,
            },
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// For paths nobody serves.
pub(super) async fn not_found(request: axum::extract::Request) -> ApiError {
    ApiError::unknown_url(request.method().as_str(), request.uri().path())
}

/// For methods a path does not serve.
pub(super) async fn method_not_allowed(request: axum::extract::Request) -> ApiError {
    ApiError::wrong_method(request.method().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_status_and_code() {
        let provider = |code| AskError::Provider { node: None, code, message: "m".into() };
        let table = [
            (AskError::ModelNotFound, 404, "model_not_found"),
            (AskError::Unavailable("x".into()), 503, "unavailable"),
            (AskError::ShuttingDown, 503, "unavailable"),
            (AskError::Timeout, 504, "timeout"),
            (AskError::TooBig { got: 2, limit: 1 }, 413, "request_too_large"),
            (AskError::LinkLost("x".into()), 502, "link_lost"),
            (provider(ErrorCode::ContextLengthExceeded), 400, "context_length_exceeded"),
            (provider(ErrorCode::InvalidRequest), 400, "invalid_request"),
            (provider(ErrorCode::QueueFull), 429, "queue_full"),
            (provider(ErrorCode::ModelNotLoaded), 503, "model_not_loaded"),
            (provider(ErrorCode::InternalError), 500, "internal_error"),
        ];
        for (error, status, code) in table {
            let api = ApiError::from_ask(&error, "m");
            assert_eq!((api.status.as_u16(), api.code), (status, Some(code)), "{error:?}");
            assert_eq!(api.retry_after.is_some(), matches!(status, 429 | 503), "{error:?}");
        }
    }

    #[test]
    fn the_body_is_openais() {
        let json = ApiError::from_ask(&AskError::ModelNotFound, "gone").to_json();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["error"]["type"], "invalid_request_error");
        assert_eq!(value["error"]["param"], "model");
        assert_eq!(value["error"]["code"], "model_not_found");
        assert!(value["error"]["message"].as_str().unwrap().contains("`gone`"));
    }
}
