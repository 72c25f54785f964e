//! Who may call the API: Host and Origin (against DNS rebinding and foreign pages), then the key.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{Api, errors::ApiError};
use crate::config::Secret;

/// Paths that tell nothing and need no key.
const OPEN: [&str; 2] = ["/health", "/ready"];

/// The rules.
#[derive(Debug)]
pub(crate) struct Guard {
    /// What clients must present; `None` only on loopback.
    pub(crate) key: Option<Secret>,
    /// Lets processes of the same user in (they can read the runtime file).
    pub(crate) token: Secret,
    /// Host names besides IP addresses and localhost.
    pub(crate) hosts: Vec<String>,
    /// Origins whose pages may call.
    pub(crate) origins: Vec<String>,
}

impl Guard {
    /// Whether an address can be reached from other machines.
    pub(crate) fn is_exposed(address: SocketAddr) -> bool {
        !address.ip().to_canonical().is_loopback()
    }

    /// A page of a hostile site can point its own name at this machine, but then the name is in `Host`.
    /// An address as `Host` cannot be faked that way. With a key the attack has nothing to win.
    fn check_host(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let name = host_name(host);
        let known = is_local(name) || self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
        if known || (self.key.is_some() && !name.is_empty()) {
            return Ok(());
        }
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "host_not_allowed",
            "The Host header names neither an address nor an allowed host; list the name in `allowed_hosts`.",
        ))
    }

    /// The origin to answer with CORS headers; `None` when the request comes from no page or from our own.
    fn check_origin<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h HeaderValue>, ApiError> {
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(None) };
        let text = origin.to_str().unwrap_or_default();
        if self.origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(text)) {
            return Ok(Some(origin));
        }
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let own = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        if !host.is_empty() && own.is_some_and(|own| own.eq_ignore_ascii_case(host)) {
            return Ok(None);
        }
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            "Pages of this origin may not call this API; list the origin in `cors_origins`.",
        ))
    }

    fn check_key(&self, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(key) = self.key.as_ref().filter(|_| !OPEN.contains(&path)) else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        match given {
            Some(given) if key.matches(given) || self.token.matches(given) => Ok(()),
            given => Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "invalid_api_key",
                if given.is_some() {
                    "The API key is not valid."
                } else {
                    "An API key is needed: `Authorization: Bearer KEY`."
                },
            )),
        }
    }
}

/// The middleware around every route.
pub(super) async fn check(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let guard = &api.guard;
    let headers = request.headers();
    if let Err(error) = guard.check_host(headers) {
        return error.into_response();
    }
    let origin = match guard.check_origin(headers) {
        Ok(origin) => origin.cloned(),
        Err(error) => return error.into_response(),
    };
    let preflight = request.method() == Method::OPTIONS && origin.is_some();
    let mut response = if preflight {
        StatusCode::NO_CONTENT.into_response()
    } else if let Err(error) = guard.check_key(request.uri().path(), headers) {
        error.into_response()
    } else {
        next.run(request).await
    };
    if let Some(origin) = origin {
        allow(response.headers_mut(), origin, preflight);
    }
    response
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue, preflight: bool) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("authorization, content-type"),
        );
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    } else {
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("x-teale-node, x-teale-path, x-teale-encrypted, x-teale-verified"),
        );
    }
}

/// `HOST[:PORT]` or `[V6][:PORT]` without the port.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_local(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok() || lower == "localhost" || lower.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(key: Option<&str>) -> Guard {
        Guard {
            key: key.map(Secret::new),
            token: Secret::new("token"),
            hosts: vec!["box.lan".into()],
            origins: vec!["https://app.example".into()],
        }
    }

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn names_that_could_be_rebound_are_refused() {
        for (host, fine) in [
            ("127.0.0.1:11435", true),
            ("localhost:1", true),
            ("[::1]:80", true),
            ("192.168.0.7", true),
            ("BOX.lan:11435", true),
            ("evil.example:11435", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let seen = guard(None).check_host(&headers(&[(header::HOST, host)]));
            assert_eq!(seen.is_ok(), fine, "{host:?}");
        }
        assert!(guard(None).check_host(&HeaderMap::new()).is_err());
        assert!(guard(Some("k")).check_host(&headers(&[(header::HOST, "any.example")])).is_ok());
    }

    #[test]
    fn foreign_pages_are_refused_and_listed_ones_get_cors() {
        let seen = |origin: &str| {
            let headers = headers(&[(header::HOST, "localhost:1"), (header::ORIGIN, origin)]);
            guard(None).check_origin(&headers).map(|allowed| allowed.is_some()).ok()
        };
        assert_eq!(seen("https://app.example"), Some(true));
        assert_eq!(seen("http://localhost:1"), Some(false));
        assert_eq!(seen("http://localhost:2"), None);
        assert_eq!(seen("null"), None);
        assert_eq!(seen("https://evil.example"), None);
    }

    #[test]
    fn the_key_or_the_token_opens() {
        let guard = guard(Some("secret"));
        let seen =
            |value: &str| guard.check_key("/v1/models", &headers(&[(header::AUTHORIZATION, value)])).is_ok();
        assert!(seen("Bearer secret") && seen("bearer token"));
        assert!(!seen("Bearer secre") && !seen("secret") && !seen("Basic secret"));
        assert!(guard.check_key("/v1/models", &HeaderMap::new()).is_err());
        assert!(guard.check_key("/health", &HeaderMap::new()).is_ok());
    }

    #[test]
    fn only_loopback_is_not_exposed() {
        for (address, exposed) in [
            ("127.0.0.1:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("0.0.0.0:1", true),
            ("10.0.0.1:1", true),
        ] {
            assert_eq!(Guard::is_exposed(address.parse().unwrap()), exposed, "{address}");
        }
    }
}
