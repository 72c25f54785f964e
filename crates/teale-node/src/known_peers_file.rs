//! The memory of peers' keys, kept over restarts.
//!
//! A peer once seen with a key is never spoken to in plaintext again; without this file a restart would forget it.

use std::{io, path::Path, time::Duration};

use teale_relay_client::KnownPeers;
use tokio_util::sync::CancellationToken;

use crate::{DataDir, NodeError, runtime::replace_private_file};

/// How often the memory is looked at for changes.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// The file is not read beyond this, in bytes: many times what a full memory takes.
const FILE_LIMIT: u64 = 64 << 20;

/// Reads the memory; empty where there is no file yet.
///
/// # Errors
/// [`NodeError::DataDir`] for a file that cannot be read or is damaged. It is not skipped: a memory with a hole
/// would allow plaintext where it must not.
pub(crate) fn load(dir: &DataDir) -> Result<KnownPeers, NodeError> {
    let path = dir.known_peers();
    let failed = |source| NodeError::DataDir { path: path.clone(), source };
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(KnownPeers::new()),
        Err(error) => return Err(failed(error)),
    };
    KnownPeers::from_text(&text).map_err(|error| {
        failed(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{error}; mend the line, or delete the file"),
        ))
    })
}

fn read(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let file = std::fs::File::open(path)?;
    if file.metadata()?.len() > FILE_LIMIT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is larger than {FILE_LIMIT} bytes"),
        ));
    }
    let mut text = String::new();
    file.take(FILE_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes the memory whenever it changed, until `stop`, and then once more.
pub(crate) async fn keep(known: KnownPeers, dir: DataDir, stop: CancellationToken) {
    // As it was loaded, the memory counts from nothing.
    let mut written = 0;
    loop {
        let stopping = tokio::time::timeout(SAVE_EVERY, stop.cancelled()).await.is_ok();
        let changes = known.changes();
        if changes != written {
            let (known, path) = (known.clone(), dir.known_peers());
            let saved =
                tokio::task::spawn_blocking(move || replace_private_file(&path, known.to_text().as_bytes()))
                    .await;
            match saved {
                Ok(Ok(())) => written = changes,
                // Tried again at the next look: the disk may have room by then.
                Ok(Err(error)) => {
                    tracing::warn!(%error, path = %dir.known_peers().display(), "the peers' keys could not be saved");
                }
                Err(error) => tracing::warn!(%error, "the peers' keys could not be saved"),
            }
        }
        if stopping {
            return;
        }
    }
}
