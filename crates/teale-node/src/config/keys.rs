//! The table of settings: name, shape, meaning. Variables, file checks and `config show` all follow it.

/// What a setting holds, and so how its `TEALE_*` variable is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, as it is.
    Text,
    /// Several texts, separated by commas in a variable.
    List,
    /// A whole number.
    Whole,
    /// `true` or `false`; also `1`, `0`, `yes`, `no`.
    Switch,
    /// Text that is never shown; `NAME_file` names a file that holds it.
    Secret,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// As in the configuration file; a dot separates a table from its key.
    pub(super) name: &'static str,
    /// Its shape.
    pub(super) kind: Kind,
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind }
}

/// Every setting, in the order `config show` prints them.
pub(super) const KEYS: &[Key] = &[
    key("data_dir", Kind::Text),
    key("log_format", Kind::Text),
    key("name", Kind::Text),
    key("relays", Kind::List),
    key("relay_ca", Kind::Text),
    key("use_relays", Kind::Switch),
    key("lan", Kind::Switch),
    key("lan_listen", Kind::Text),
    key("peers", Kind::List),
    key("interfaces", Kind::List),
    key("exclude_interfaces", Kind::List),
    key("dht", Kind::Switch),
    key("dht_seeds", Kind::List),
    key("dht_listen", Kind::Text),
    key("models", Kind::List),
    key("upstream", Kind::Text),
    key("upstream_key", Kind::Secret),
    key("api", Kind::Text),
    key("api_key", Kind::Secret),
    key("allowed_hosts", Kind::List),
    key("cors_origins", Kind::List),
    key("slots", Kind::Whole),
    key("context", Kind::Whole),
    key("threads", Kind::Whole),
    key("gpu_layers", Kind::Whole),
    key("queue", Kind::Whole),
    key("encryption", Kind::Text),
    key("identity_proof", Kind::Text),
    key("passcode", Kind::Secret),
    key("drain_seconds", Kind::Whole),
    key("first_token_seconds", Kind::Whole),
    key("next_token_seconds", Kind::Whole),
    key("models_dir", Kind::Text),
    key("share.enabled", Kind::Switch),
    key("share.caches", Kind::Switch),
    key("share.uploads", Kind::Whole),
    key("share.upload_rate", Kind::Whole),
    key("share.relay", Kind::Switch),
    key("share.relay_rate", Kind::Whole),
    key("relay.listen", Kind::Text),
    key("relay.require_proof", Kind::Switch),
    key("relay.frame_bytes", Kind::Whole),
    key("relay.unregistered_frame_bytes", Kind::Whole),
    key("relay.messages_per_second", Kind::Whole),
    key("relay.messages_burst", Kind::Whole),
    key("relay.bytes_per_second", Kind::Whole),
    key("relay.bytes_burst", Kind::Whole),
    key("relay.sockets", Kind::Whole),
    key("relay.sockets_per_ip", Kind::Whole),
    key("relay.unregistered_life", Kind::Whole),
    key("relay.idle", Kind::Whole),
    key("relay.registration_ttl", Kind::Whole),
    key("relay.outbound_bytes", Kind::Whole),
    key("relay.drain_time", Kind::Whole),
    key("relay.drain_bytes", Kind::Whole),
    key("relay.buffered_bytes", Kind::Whole),
    key("relay.discover_interval", Kind::Whole),
    key("relay.sessions_per_node", Kind::Whole),
    key("relay.sessions", Kind::Whole),
    key("relay.http_header_time", Kind::Whole),
    key("relay.http_life", Kind::Whole),
];

impl Key {
    /// Its environment variable.
    pub(super) fn variable(&self) -> String {
        format!("TEALE_{}", self.name.replace('.', "_").to_uppercase())
    }
}
