//! The key file: the only place where this crate meets the operating system's files and environment.

mod key_file;
mod key_path;

pub use key_file::{KeyFile, KeyFileError};
pub use key_path::{KEY_FILE_NAME, default_key_path};
