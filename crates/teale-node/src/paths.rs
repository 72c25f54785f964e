//! Where files live: XDG base directories on Unix, the platform's own places elsewhere.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// Our folder below each base directory.
const FOLDER: &str = "teale";
/// The machine-wide configuration file, read when the user has none.
const SYSTEM_CONFIG: &str = "/etc/teale/config.toml";

/// The files of one data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// A data directory; nothing is created here.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The node's secret key: 32 raw bytes, mode 0600.
    pub fn identity(&self) -> PathBuf {
        self.0.join("wan-identity.key")
    }

    /// The file whose lock marks the directory as taken by a running node.
    pub fn lock(&self) -> PathBuf {
        self.0.join("node.lock")
    }

    /// Where a running node says how to reach it.
    pub fn runtime(&self) -> PathBuf {
        self.0.join("node.json")
    }

    /// The models that were fetched.
    pub fn models(&self) -> PathBuf {
        self.0.join("models")
    }

    /// The hashes of model files.
    pub fn model_hashes(&self) -> PathBuf {
        self.0.join("model-hashes.json")
    }

    /// The keys of the peers this node has met.
    pub fn known_peers(&self) -> PathBuf {
        self.0.join("known-peers.txt")
    }
}

/// `$XDG_DATA_HOME/teale` (default `~/.local/share/teale`), `~/Library/Application Support/Teale` on macOS,
/// `%APPDATA%\Teale` on Windows. `None` when there is no home directory.
pub fn default_data_dir() -> Option<PathBuf> {
    let home = etcetera::home_dir().ok()?;
    if cfg!(target_os = "macos") {
        return Some(home.join("Library/Application Support/Teale"));
    }
    if cfg!(windows) {
        return Some(etcetera::choose_base_strategy().ok()?.data_dir().join("Teale"));
    }
    Some(etcetera::base_strategy::Xdg::new().ok()?.data_dir().join(FOLDER))
}

/// The configuration file that is read when `--config` names none: the user's if it exists, else the machine's
/// if that exists.
pub fn config_file() -> Option<PathBuf> {
    let user = user_config_file();
    user.filter(|path| path.is_file())
        .or_else(|| Some(PathBuf::from(SYSTEM_CONFIG)).filter(|path| path.is_file()))
}

/// Where the user's configuration file is looked for: `$XDG_CONFIG_HOME/teale/config.toml`.
pub fn user_config_file() -> Option<PathBuf> {
    let base = if cfg!(windows) {
        etcetera::choose_base_strategy().ok()?.config_dir()
    } else {
        etcetera::base_strategy::Xdg::new().ok()?.config_dir()
    };
    Some(base.join(FOLDER).join("config.toml"))
}
