//! URLs as they may be shown: without the name and password they may carry.

use std::borrow::Cow;

/// What stands in for a name and a password.
const HIDDEN: &str = "***";

/// A URL for logs, `status` and error messages: `wss://user:pass@host/ws` becomes `wss://***@host/ws`. Text without
/// credentials, or that is no URL, comes back as it is.
pub fn url_without_credentials(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Cow::Borrowed(url);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A password with a slash in it is a mistake, but its writer will not want to read it in a log all the same.
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    let mistaken =
        port.is_some_and(|port| !port.ends_with(']') && !port.bytes().all(|byte| byte.is_ascii_digit()));
    let end = match authority.rfind('@') {
        None if mistaken => rest.rfind('@'),
        found => found,
    };
    match end {
        Some(end) => Cow::Owned(format!("{scheme}://{HIDDEN}{}", rest.get(end..).unwrap_or_default())),
        None => Cow::Borrowed(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_hidden_and_nothing_else() {
        for (url, shown) in [
            ("wss://user:pass@relay.example/ws?x=a@b", "wss://***@relay.example/ws?x=a@b"),
            ("https://token@host:8443", "https://***@host:8443"),
            ("ws://u:p@ss@[::1]:80/ws", "ws://***@[::1]:80/ws"),
            ("ws://user:pa/ss@host/ws", "ws://***@host/ws"),
            ("ws://user:pa?ss@host/ws", "ws://***@host/ws"),
            ("ws://[::1]/@x", "ws://[::1]/@x"),
            ("ws://host:80/@x", "ws://host:80/@x"),
            ("ws://relay.example/ws", "ws://relay.example/ws"),
            ("name@host", "name@host"),
            ("", ""),
        ] {
            assert_eq!(url_without_credentials(url), shown);
        }
    }
}
