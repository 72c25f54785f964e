//! Loading the seed, and creating it where there is none.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::{Identity, IdentityError};

/// Why a key file cannot be used. Nothing here shows any of its content. The file is left as it is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// There is none, and it was not to be created.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// Not 32 bytes: another file, or a damaged one.
    #[error(
        "{} is not a key file: it has {found} bytes, a key has exactly 32; move it away to start with a new identity",
        path.display()
    )]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
    },
    /// Group or others may read or write it.
    #[error(
        "{} can be read or written by others (mode {mode:04o}); if nobody else has seen it, run: chmod 600 {}",
        path.display(), path.display()
    )]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A folder, a device, a pipe or a socket.
    #[error("{} is not a regular file; give the path of a key file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A symbolic link. Its folders may be links, the key file itself may not.
    #[error("{} is a symbolic link; give the path of the key file itself", path.display())]
    SymbolicLink {
        /// The link.
        path: PathBuf,
    },
    /// A path without a file name, such as `/` or `..`.
    #[error("{} names no file; give the path of a key file", path.display())]
    NoFileName {
        /// The path.
        path: PathBuf,
    },
    /// Neither a home folder nor a data folder is known from the environment.
    #[error("no data folder is known; set HOME (on Windows APPDATA), or give the path of the key file")]
    NoDataFolder,
    /// No seed could be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

/// A path at which an identity is kept: exactly the 32 raw bytes of the seed, mode 0600.
///
/// The file appears under its name complete or not at all, and never replaces another: of several processes that
/// create it at once, one wins and all load the same key. Ownership of the folders above it is not checked.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
}

impl Identity {
    /// Loads the key file, or creates it where there is none. See [`KeyFile::load_or_create`].
    ///
    /// # Errors
    /// [`KeyFileError`]; an existing file that cannot be used is never replaced.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyFileError> {
        KeyFile::new(path).load_or_create()
    }
}

impl KeyFile {
    /// The key file at `path`. Nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Loads the identity.
    ///
    /// # Errors
    /// [`KeyFileError::NotFound`] when there is none; otherwise what is wrong with it.
    pub fn load(&self) -> Result<Identity, KeyFileError> {
        let file = self.open()?;
        let metadata = file.metadata().map_err(|error| self.io("read", error))?;
        self.check(&metadata)?;
        self.read_seed(file, metadata.len())
    }

    /// Loads the identity, or creates a fresh one (missing folders too, with mode 0700) where there is no file.
    ///
    /// # Errors
    /// [`KeyFileError`], but never `NotFound`.
    pub fn load_or_create(&self) -> Result<Identity, KeyFileError> {
        match self.load() {
            Err(KeyFileError::NotFound { .. }) => {}
            loaded => return loaded,
        }
        self.create(&Identity::generate()?)?;
        // Read back whoever made it: another process may have been faster, and what is on disk is what the next
        // start will be.
        self.load()
    }

    /// Writes `identity` where there is no file yet. `false`: there is one already, and it is left as it is.
    ///
    /// # Errors
    /// [`KeyFileError::NoFileName`] and [`KeyFileError::Io`].
    pub fn create(&self, identity: &Identity) -> Result<bool, KeyFileError> {
        let Some(name) = self.path.file_name() else {
            return Err(KeyFileError::NoFileName { path: self.path.clone() });
        };
        let folder = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        create_folder(folder).map_err(|error| io_error("create", folder, error))?;

        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(name);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".new");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600));

        let mut file =
            builder.tempfile_in(folder).map_err(|error| io_error("create a file in", folder, error))?;
        file.write_all(identity.x25519_secret().as_slice()).map_err(|error| self.io("write", error))?;
        file.as_file().sync_all().map_err(|error| self.io("write", error))?;
        match file.persist_noclobber(&self.path) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(self.io("create", error.error)),
        }
        sync_folder(folder).map_err(|error| io_error("sync", folder, error))?;
        Ok(true)
    }

    fn open(&self) -> Result<File, KeyFileError> {
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        {
            use rustix::fs::OFlags;
            use std::os::unix::fs::OpenOptionsExt;
            // A link is refused by the open itself, and a pipe cannot make us wait for its writer.
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
            options.custom_flags(flags.bits().cast_signed());
        }
        options.open(&self.path).map_err(|error| self.refused(error))
    }

    /// Names why the open failed. The path is looked at a moment later, when another process may have made the file:
    /// what the open found missing was missing.
    fn refused(&self, error: io::Error) -> KeyFileError {
        let path = self.path.clone();
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => KeyFileError::SymbolicLink { path },
            _ if error.kind() == io::ErrorKind::NotFound => KeyFileError::NotFound { path },
            Ok(metadata) if !metadata.is_file() => KeyFileError::NotAFile { path },
            _ => KeyFileError::Io { action: "open", path, source: error },
        }
    }

    fn check(&self, metadata: &fs::Metadata) -> Result<(), KeyFileError> {
        let path = || self.path.clone();
        if !metadata.is_file() {
            return Err(KeyFileError::NotAFile { path: path() });
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = metadata.permissions().mode() & 0o7777;
            if mode & 0o077 != 0 {
                return Err(KeyFileError::ReadableByOthers { path: path(), mode });
            }
        }
        #[cfg(not(unix))]
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(KeyFileError::SymbolicLink { path: path() });
        }
        Ok(())
    }

    fn read_seed(&self, mut file: File, len: u64) -> Result<Identity, KeyFileError> {
        let wrong_size = |found| KeyFileError::WrongSize { path: self.path.clone(), found };
        let mut seed = Zeroizing::new([0; Identity::SEED_LEN]);
        if len != seed.len() as u64 {
            return Err(wrong_size(len));
        }
        match file.read_exact(seed.as_mut_slice()) {
            Ok(()) => Ok(Identity::from_seed(*seed)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(wrong_size(0)),
            Err(error) => Err(self.io("read", error)),
        }
    }

    fn io(&self, action: &'static str, source: io::Error) -> KeyFileError {
        io_error(action, &self.path, source)
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Io { action, path: path.to_path_buf(), source }
}

fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Makes the new name survive a power cut. Windows has no such call; its file systems journal names.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_that_appears_just_after_the_open_was_missing() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("key"));
        assert!(file.create(&Identity::from_seed([1; 32])).unwrap());
        assert!(matches!(file.refused(io::ErrorKind::NotFound.into()), KeyFileError::NotFound { .. }));
        assert!(matches!(file.refused(io::ErrorKind::PermissionDenied.into()), KeyFileError::Io { .. }));
    }
}
