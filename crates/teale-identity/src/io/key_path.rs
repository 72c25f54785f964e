//! Where the key file lives by default.

use std::{ffi::OsString, path::PathBuf};

use crate::KeyFileError;

/// The key file's name in Teale's data folder.
pub const KEY_FILE_NAME: &str = "wan-identity.key";

/// `$XDG_DATA_HOME/teale/wan-identity.key` (default `~/.local/share`) on Linux and other Unix systems,
/// `~/Library/Application Support/Teale/wan-identity.key` on Apple's, `%APPDATA%\Teale\wan-identity.key` on Windows.
///
/// # Errors
/// [`KeyFileError::NoDataFolder`] when the environment names no home.
pub fn default_key_path() -> Result<PathBuf, KeyFileError> {
    let platform = if cfg!(windows) {
        Platform::Windows
    } else if cfg!(target_vendor = "apple") {
        Platform::Apple
    } else {
        Platform::Xdg
    };
    let home = std::env::home_dir();
    data_folder(platform, home, |name| std::env::var_os(name))
        .map(|folder| folder.join(KEY_FILE_NAME))
        .ok_or(KeyFileError::NoDataFolder)
}

#[derive(Clone, Copy)]
enum Platform {
    Xdg,
    Apple,
    Windows,
}

fn data_folder(
    platform: Platform,
    home: Option<PathBuf>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<PathBuf> {
    let home = home.filter(|path| path.is_absolute());
    // The XDG base directory specification has relative paths ignored; an empty value is one of them.
    let folder = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match platform {
        Platform::Xdg => {
            let data = folder("XDG_DATA_HOME").or_else(|| Some(home?.join(".local").join("share")));
            Some(data?.join("teale"))
        }
        Platform::Apple => Some(home?.join("Library").join("Application Support").join("Teale")),
        Platform::Windows => Some(folder("APPDATA")?.join("Teale")),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn at(platform: Platform, home: Option<&str>, variables: &[(&str, &str)]) -> Option<PathBuf> {
        data_folder(platform, home.map(PathBuf::from), |name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn each_platform_has_its_folder() {
        let home = Some("/home/a");
        assert_eq!(at(Platform::Xdg, home, &[]), Some("/home/a/.local/share/teale".into()));
        assert_eq!(at(Platform::Xdg, home, &[("XDG_DATA_HOME", "/data")]), Some("/data/teale".into()));
        assert_eq!(at(Platform::Xdg, None, &[("XDG_DATA_HOME", "/data")]), Some("/data/teale".into()));
        assert_eq!(at(Platform::Apple, home, &[]), Some("/home/a/Library/Application Support/Teale".into()));
        assert_eq!(at(Platform::Windows, home, &[("APPDATA", "/roaming")]), Some("/roaming/Teale".into()));
    }

    #[test]
    fn relative_folders_are_ignored() {
        assert_eq!(
            at(Platform::Xdg, Some("/home/a"), &[("XDG_DATA_HOME", "")]),
            Some("/home/a/.local/share/teale".into())
        );
        assert_eq!(
            at(Platform::Xdg, Some("/home/a"), &[("XDG_DATA_HOME", "data")]),
            Some("/home/a/.local/share/teale".into())
        );
        assert_eq!(at(Platform::Windows, None, &[("APPDATA", "x")]), None);
        assert_eq!(at(Platform::Xdg, Some("."), &[]), None);
        assert_eq!(at(Platform::Apple, None, &[]), None);
    }
}
