//! Settings: which layer wins, what is refused, and that the table of settings is complete.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

use std::collections::HashMap;

use teale_node::{ConfigError, Layers, Resolved, Settings};
use toml::Table;

fn resolve(flags: &str, variables: &[(&str, &str)], file: &str) -> Result<Resolved, ConfigError> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    Layers {
        flags: flags.parse().unwrap(),
        variables: &|name| variables.get(name).map(|value| (*value).to_owned()),
        file: Some(("config.toml".into(), file.parse().unwrap())),
        defaults: "name = \"host\"".parse().unwrap(),
    }
    .resolve()
}

#[test]
fn flag_beats_variable_beats_file_beats_default() {
    let file = "slots = 2\nqueue = 2\nthreads = 2";
    let resolved = resolve("slots = 4", &[("TEALE_SLOTS", "3"), ("TEALE_QUEUE", "3")], file).unwrap();
    let settings = resolved.settings;
    assert_eq!((settings.slots, settings.queue, settings.threads), (4, 3, Some(2)));
    assert_eq!(settings.name, "host");
    assert_eq!(settings.api.port(), 11435);
    let source = |key| resolved.rows.iter().find(|row| row.key == key).unwrap().source.clone();
    assert_eq!(source("slots"), "flag");
    assert_eq!(source("queue"), "variable TEALE_QUEUE");
    assert_eq!(source("threads"), "file config.toml");
    assert_eq!(source("name"), "default");
}

#[test]
fn lists_and_tables_come_from_every_layer() {
    let variables = [("TEALE_RELAYS", "ws://a/ws, ws://b/ws"), ("TEALE_RELAY_REQUIRE_PROOF", "yes")];
    let settings = resolve("", &variables, "[relay]\nsockets = 7\nidle = 30").unwrap().settings;
    assert_eq!(settings.relays, ["ws://a/ws", "ws://b/ws"]);
    assert!(settings.relay.require_proof);
    let limits = settings.relay.limits.to_limits();
    assert_eq!((limits.sockets, limits.idle.as_secs()), (7, 30));
    assert_eq!(limits.sockets_per_ip, teale_node::relay_server::RelayLimits::default().sockets_per_ip);
}

#[test]
fn mistakes_name_the_setting_and_its_place() {
    for (variables, file, expected) in [
        (&[("TEALE_SLOTS", "x")][..], "", "setting `slots` (variable TEALE_SLOTS)"),
        (&[], "slots = \"x\"", "setting `slots` (file config.toml)"),
        (&[], "api = \"nowhere\"", "setting `api` (file config.toml)"),
        (&[], "encryption = \"maybe\"", "setting `encryption` (file config.toml)"),
        (&[], "slot = 1", "no setting `slot`"),
        (&[], "[relay]\nlissen = 1", "no setting `relay.lissen`"),
        (&[], "api_key = 7", "setting `api_key` (file config.toml)"),
        (&[], "api_key = \"\"", "setting `api_key` (file config.toml): it is empty"),
        (&[], "api_key = \"a\"\napi_key_file = \"b\"", "`api_key` and `api_key_file`"),
        (&[("TEALE_API_KEY_FILE", "/nonexistent/key")], "", "/nonexistent/key"),
    ] {
        let error = resolve("", variables, file).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn secrets_come_from_files_and_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, "sesame\n").unwrap();
    let resolved =
        resolve("", &[("TEALE_API_KEY_FILE", path.to_str().unwrap())], "api_key = \"other\"").unwrap();
    assert_eq!(resolved.settings.api_key.as_ref().map(|key| key.reveal()), Some("sesame"));
    let shown = format!("{resolved:?}");
    assert!(!shown.contains("sesame"), "{shown}");
}

#[test]
fn names_and_passwords_in_urls_are_not_shown() {
    let file =
        "relays = [\"wss://me:sesame@a.example/ws\", \"ws://b/ws\"]\nupstream = \"http://sesame@c:1/v1\"";
    let resolved = resolve("", &[], file).unwrap();
    assert_eq!(resolved.settings.relays[0], "wss://me:sesame@a.example/ws");
    let shown = serde_json::to_string(&resolved.rows).unwrap();
    assert!(!shown.contains("sesame"), "{shown}");
    for url in ["wss://***@a.example/ws", "ws://b/ws", "http://***@c:1/v1"] {
        assert!(shown.contains(url), "{shown}");
    }
}

#[test]
fn every_setting_is_in_the_table() {
    let rows = resolve("", &[], "").unwrap().rows;
    let known = |key: &str| rows.iter().any(|row| row.key == key);
    let settings = Table::try_from(Settings::default()).unwrap();
    for (key, value) in &settings {
        match value.as_table() {
            Some(inner) => {
                inner.keys().for_each(|inner| assert!(known(&format!("{key}.{inner}")), "{key}.{inner}"))
            }
            None => assert!(known(key), "{key}"),
        }
    }
    // Optional ones do not show in the defaults; the relay's limits all have a row.
    for limit in ["frame_bytes", "sockets", "http_life", "buffered_bytes", "drain_time"] {
        assert!(known(&format!("relay.{limit}")), "{limit}");
    }
}
