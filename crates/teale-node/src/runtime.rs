//! One data directory, one running node: the lock that says so, and the file that says how to reach it.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use teale_identity::NodeId;

use crate::{DataDir, NodeError};

/// How often, and how long apart, a taken lock is tried again: a client that looks whether a node runs holds it
/// for a moment.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(40);
/// A runtime file larger than this is not ours, in bytes.
const FILE_LIMIT: u64 = 64 << 10;

/// How to reach a running node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeFile {
    /// Its process.
    pub pid: u32,
    /// Its id.
    pub node: NodeId,
    /// Its API, `http://HOST:PORT`.
    pub api: String,
    /// Lets the processes of the same user in without the API key.
    pub token: String,
}

impl fmt::Debug for RuntimeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeFile")
            .field("pid", &self.pid)
            .field("node", &self.node)
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

/// The exclusive right to a data directory. Dropping it releases the lock and removes the runtime file.
#[derive(Debug)]
pub struct DataDirLock {
    dir: DataDir,
    _file: File,
    published: bool,
}

impl DataDirLock {
    /// Creates the directory (mode 0700) where there is none, and takes the lock.
    ///
    /// # Errors
    /// [`NodeError::DataDirBusy`] while another process holds it; [`NodeError::DataDir`] from the file system.
    pub fn acquire(dir: &DataDir) -> Result<Self, NodeError> {
        let failed = |source| NodeError::DataDir { path: dir.path().to_owned(), source };
        create_private_dir(dir.path()).map_err(failed)?;
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(dir.lock()).map_err(failed)?;
        for attempt in 1.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempt < LOCK_TRIES => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let pid = read(&dir.runtime()).map(|runtime| runtime.pid);
                    return Err(NodeError::DataDirBusy { path: dir.path().to_owned(), pid });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        // Whatever an earlier process left is stale: it would hold the lock otherwise.
        let _ = std::fs::remove_file(dir.runtime());
        Ok(Self { dir: dir.clone(), _file: file, published: false })
    }

    /// Writes the runtime file (mode 0600, replaced in one step).
    ///
    /// # Errors
    /// [`NodeError::DataDir`] from the file system.
    pub fn publish(&mut self, runtime: &RuntimeFile) -> Result<(), NodeError> {
        let failed = |source| NodeError::DataDir { path: self.dir.runtime(), source };
        let text = serde_json::to_vec_pretty(runtime).map_err(|error| failed(error.into()))?;
        replace_private_file(&self.dir.runtime(), &text).map_err(failed)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for DataDirLock {
    fn drop(&mut self) {
        if self.published {
            let _ = std::fs::remove_file(self.dir.runtime());
        }
    }
}

/// The running node of a data directory; `None` when there is none, or only a file that a dead one left.
pub fn running(dir: &DataDir) -> Option<RuntimeFile> {
    let runtime = read(&dir.runtime())?;
    let lock = OpenOptions::new().write(true).open(dir.lock()).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(runtime),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn read(path: &Path) -> Option<RuntimeFile> {
    use std::io::Read;
    let mut text = Vec::new();
    File::open(path).ok()?.take(FILE_LIMIT).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Writes a file of mode 0600 beside its place and moves it there, so that a reader sees the old or the new one.
pub(crate) fn replace_private_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    // tempfile creates with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> RuntimeFile {
        RuntimeFile {
            pid: 7,
            node: NodeId::from_bytes([1; 32]),
            api: "http://127.0.0.1:1".into(),
            token: "sesame".into(),
        }
    }

    #[test]
    fn the_token_is_not_shown() {
        let shown = format!("{:?}", runtime());
        assert!(shown.contains("127.0.0.1") && !shown.contains("sesame"), "{shown}");
    }

    #[test]
    fn one_holder_at_a_time_and_the_file_goes_with_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::new(temp.path().join("a/b"));
        assert_eq!(running(&dir), None);
        let mut lock = DataDirLock::acquire(&dir).unwrap();
        lock.publish(&runtime()).unwrap();
        assert_eq!(running(&dir), Some(runtime()));
        let busy = DataDirLock::acquire(&dir).unwrap_err();
        assert!(matches!(busy, NodeError::DataDirBusy { pid: Some(7), .. }), "{busy:?}");
        drop(lock);
        assert_eq!(running(&dir), None);
        DataDirLock::acquire(&dir).unwrap();
    }

    #[test]
    fn a_file_left_by_a_dead_process_counts_for_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::new(temp.path());
        drop(DataDirLock::acquire(&dir).unwrap());
        replace_private_file(&dir.runtime(), &serde_json::to_vec(&runtime()).unwrap()).unwrap();
        assert_eq!(running(&dir), None);
    }

    #[cfg(unix)]
    #[test]
    fn others_cannot_read_the_token() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::new(temp.path());
        let mut lock = DataDirLock::acquire(&dir).unwrap();
        lock.publish(&runtime()).unwrap();
        assert_eq!(std::fs::metadata(dir.runtime()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
