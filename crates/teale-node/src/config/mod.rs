//! Settings: what can be set, where each value came from, and the typed result.
//!
//! Order of precedence: flag, `TEALE_*` variable, configuration file, default.

mod keys;
mod layers;
mod relay_limits;
mod secret;
mod settings;

pub use layers::{ConfigError, Layers, Resolved, Row, Source};
pub(crate) use layers::{read_file, unknown_variables};
pub use relay_limits::RelayLimitSettings;
pub use secret::Secret;
pub use settings::{EncryptionChoice, LogFormat, ProofChoice, RelaySettings, Settings, ShareSettings};
pub(crate) use settings::{FIRST_TOKEN_SECONDS, NEXT_TOKEN_SECONDS, QUEUE, SLOTS};
