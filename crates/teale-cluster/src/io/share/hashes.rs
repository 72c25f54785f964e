//! Hashes of files that were read before, kept on disk: a file with the same size and time is not hashed again.

use std::{
    collections::BTreeMap,
    fs::{File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::folder::{read_at, write_whole};
use crate::share::{Chain, FIRST, FileEntry, State, block_size};

/// Files remembered; beyond it the ones with the smallest paths make room.
const FILES: usize = 4096;
/// Bytes of the file that remembers them, at most.
const FILE_BYTES: u64 = 512 << 20;
/// Bytes read at once.
const READ: usize = 1 << 20;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    size: u64,
    /// Nanoseconds since 1970.
    modified: u64,
    sha256: String,
    /// The chain's values after each block, in hex.
    states: String,
}

/// Hashes by path.
#[derive(Debug)]
pub(super) struct Hashes {
    file: Option<PathBuf>,
    known: Mutex<BTreeMap<PathBuf, Known>>,
}

impl Hashes {
    /// Reads what was kept; a file that cannot be read is as good as none.
    pub(super) fn load(file: Option<PathBuf>) -> Self {
        let read = |path: &PathBuf| {
            let mut text = Vec::new();
            File::open(path).ok()?.take(FILE_BYTES).read_to_end(&mut text).ok()?;
            serde_json::from_slice(&text).ok()
        };
        let known = file.as_ref().and_then(read).unwrap_or_default();
        Self { file, known: Mutex::new(known) }
    }

    /// The hashes of a file as it is now, if they are known.
    pub(super) fn get(&self, path: &Path, name: &str) -> Option<FileEntry> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()?;
        let metadata = std::fs::metadata(path).ok()?;
        if (known.size, known.modified) != (metadata.len(), modified(&metadata)) {
            return None;
        }
        let (mut sha256, mut states) = ([0; 32], vec![0; known.states.len() / 2]);
        hex::decode_to_slice(&known.sha256, &mut sha256).ok()?;
        hex::decode_to_slice(&known.states, &mut states).ok()?;
        Some(FileEntry::hashed(name, known.size, sha256, states.as_chunks::<32>().0.to_vec()))
    }

    /// Keeps hashes that were found otherwise.
    pub(super) fn put(&self, path: &Path, entry: &FileEntry) {
        let Ok(metadata) = std::fs::metadata(path) else { return };
        let known = Known {
            size: entry.size,
            modified: modified(&metadata),
            sha256: hex::encode(entry.sha256),
            states: hex::encode(entry.states().concat()),
        };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(path.to_owned(), known);
        while all.len() > FILES {
            all.pop_first();
        }
        if let Some(file) = &self.file
            && let Ok(text) = serde_json::to_vec(&*all)
            && let Err(error) = write_whole(file, &text)
        {
            tracing::debug!(%error, "the hashes of model files are not kept");
        }
    }

    /// Reads and hashes a file. Blocks for as long as that takes; `stop` ends it early.
    pub(super) fn compute(&self, path: &Path, name: &str, stop: &dyn Fn() -> bool) -> io::Result<FileEntry> {
        let file = File::open(path)?;
        let before = file.metadata()?;
        let (size, block) = (before.len(), block_size(before.len()));
        let mut chain = Chain::new(&FIRST, 0);
        let mut states: Vec<State> = Vec::new();
        let mut buffer = vec![0; READ];
        while chain.length() < size {
            if stop() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            // Blocks are multiples of what is read at once.
            let want = usize::try_from(size - chain.length()).unwrap_or(READ).min(READ);
            let got = read_whole(&file, &mut buffer[..want], chain.length())?;
            chain.update(&buffer[..got]);
            if chain.length().is_multiple_of(block) && chain.length() < size {
                states.extend(chain.state());
            }
        }
        let after = std::fs::metadata(path)?;
        if (after.len(), modified(&after)) != (size, modified(&before)) {
            return Err(io::Error::other("the file changed while it was read"));
        }
        let entry = FileEntry::hashed(name, size, chain.finish(), states);
        self.put(path, &entry);
        Ok(entry)
    }
}

/// Fills the buffer.
pub(super) fn read_whole(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read_at(file, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// When a file last changed, in nanoseconds since 1970.
pub(super) fn modified(metadata: &Metadata) -> u64 {
    let time = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
