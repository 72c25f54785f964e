//! The models' folder: `<models>/<escaped id>/` for what is whole, `<models>/.partial/<escaped id>/` for what is on its way.
//!
//! Everything here blocks. Nothing outside the folder is ever written: names come from a checked manifest, folders from
//! the escape of an id.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};

use teale_wire::ModelQueryResponse;

use crate::share::{BlockRef, Chain, Manifest, NameError, folder_model, model_folder};

const PARTIAL: &str = ".partial";
/// In a partial folder: what is being fetched. No file of a model begins with a dot.
const MANIFEST: &str = ".manifest.json";
/// In a partial folder: the blocks that were right when they were written, 8 bytes each.
const JOURNAL: &str = ".blocks";
/// Bytes of the manifest's file, at most: a cluster message.
const MANIFEST_BYTES: u64 = 16 << 20;
/// Bytes left free on the disk.
const SPARE: u64 = 64 << 20;
/// Bytes read at once while hashing.
const READ: usize = 1 << 20;

/// Where models live.
#[derive(Debug, Clone)]
pub(super) struct ModelFolder {
    root: PathBuf,
}

/// A model's files on their way.
#[derive(Debug)]
pub(super) struct Partial {
    folder: PathBuf,
    target: PathBuf,
    pub(super) manifest: Manifest,
    files: Vec<File>,
    journal: Mutex<File>,
}

impl ModelFolder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a whole model lies.
    pub(super) fn model(&self, model: &str) -> Result<PathBuf, NameError> {
        Ok(self.root.join(model_folder(model)?))
    }

    fn partial(&self, model: &str) -> Result<PathBuf, NameError> {
        Ok(self.root.join(PARTIAL).join(model_folder(model)?))
    }

    /// The whole models: id and folder.
    pub(super) fn models(&self) -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let model = |entry: fs::DirEntry| {
            let id = folder_model(entry.file_name().to_str()?)?;
            entry.file_type().ok()?.is_dir().then(|| (id, entry.path()))
        };
        entries.filter_map(model).collect()
    }

    /// What was begun of a model before.
    pub(super) fn begun(&self, model: &str) -> Option<Manifest> {
        read_manifest(&self.partial(model).ok()?)
    }

    /// Removes a model, and what was begun of it; whether there was one.
    pub(super) fn remove(&self, model: &str) -> io::Result<bool> {
        let mut any = false;
        for folder in [self.model(model), self.partial(model)] {
            let folder = folder.map_err(io::Error::other)?;
            match fs::remove_dir_all(&folder) {
                Ok(()) => any = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }

    /// Opens the partial folder for these files: goes on with what was begun of the same files, or begins anew. `hashed`
    /// hears how many bytes of what was found have been checked. Answers the blocks that are there, and right.
    pub(super) fn prepare(
        &self,
        manifest: &Manifest,
        id: &str,
    ) -> Result<(Partial, BTreeSet<BlockRef>), String> {
        let target = self.model(id).map_err(|error| error.to_string())?;
        let folder = self.partial(id).map_err(|error| error.to_string())?;
        let failed = |error: io::Error| format!("cannot use {}: {error}", folder.display());
        let goes_on = read_manifest(&folder).is_some_and(|begun| begun.agrees(manifest));
        if !goes_on {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        private_folder(&folder).map_err(failed)?;
        if !goes_on {
            let text = serde_json::to_vec(&manifest.response()).map_err(|error| failed(error.into()))?;
            write_whole(&folder.join(MANIFEST), &text).map_err(failed)?;
        }
        let open = |name: &str| {
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(folder.join(name))
        };
        let files: io::Result<Vec<File>> = manifest.files().iter().map(|file| open(&file.name)).collect();
        let files = files.map_err(failed)?;
        let found = found_blocks(manifest, &files, &folder.join(JOURNAL)).map_err(failed)?;
        let there: u64 = found.iter().filter_map(|at| manifest.block(*at)).map(|block| block.length).sum();
        check_disk(&folder, manifest.total() - there)?;
        // The journal begins anew with what was found right.
        let mut journal = File::create(folder.join(JOURNAL)).map_err(failed)?;
        found.iter().try_for_each(|at| journal.write_all(&entry(*at))).map_err(failed)?;
        let partial =
            Partial { folder, target, manifest: manifest.clone(), files, journal: Mutex::new(journal) };
        Ok((partial, found))
    }
}

impl Partial {
    /// Writes a piece of a file.
    pub(super) fn write(&self, file: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.files.get(file as usize).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        write_all_at(file, bytes, offset)
    }

    /// Remembers a block that is there, and right.
    pub(super) fn note(&self, at: BlockRef) -> io::Result<()> {
        self.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write_all(&entry(at))
    }

    /// Moves the files into place, in one step. Every block of them has been found right.
    pub(super) fn finish(self) -> io::Result<PathBuf> {
        for (file, entry) in self.files.iter().zip(self.manifest.files()) {
            file.set_len(entry.size)?;
            file.sync_all()?;
        }
        drop((self.files, self.journal));
        fs::remove_file(self.folder.join(JOURNAL))?;
        fs::remove_file(self.folder.join(MANIFEST))?;
        fs::rename(&self.folder, &self.target)?;
        Ok(self.target)
    }
}

fn entry(at: BlockRef) -> [u8; 8] {
    (u64::from(at.file) << 32 | u64::from(at.block)).to_be_bytes()
}

/// The journal's blocks that still are what they should be: each is read and hashed again.
fn found_blocks(manifest: &Manifest, files: &[File], journal: &Path) -> io::Result<BTreeSet<BlockRef>> {
    let mut noted = Vec::new();
    match File::open(journal) {
        Ok(file) => file.take(manifest.blocks().count() as u64 * 16).read_to_end(&mut noted)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let entry = |bytes: &[u8; 8]| {
        let number = u64::from_be_bytes(*bytes);
        BlockRef { file: (number >> 32) as u32, block: number as u32 }
    };
    let noted: BTreeSet<BlockRef> = noted.as_chunks::<8>().0.iter().map(entry).collect();
    let mut buffer = vec![0; READ];
    let mut found = BTreeSet::new();
    for at in noted {
        let (Some(block), Some(file)) = (manifest.block(at), files.get(at.file as usize)) else { continue };
        let mut chain = Chain::new(&block.from, block.offset);
        let end = block.offset + block.length;
        while chain.length() < end {
            let want = usize::try_from(end - chain.length()).unwrap_or(READ).min(READ);
            let got = read_at(file, &mut buffer[..want], chain.length())?;
            if got == 0 {
                break;
            }
            chain.update(&buffer[..got]);
        }
        let whole = chain.length() == end;
        if whole && (if block.is_last { Some(chain.finish()) } else { chain.state() }) == Some(block.to) {
            found.insert(at);
        }
    }
    Ok(found)
}

fn read_manifest(folder: &Path) -> Option<Manifest> {
    let mut text = Vec::new();
    File::open(folder.join(MANIFEST)).ok()?.take(MANIFEST_BYTES).read_to_end(&mut text).ok()?;
    let response: ModelQueryResponse = serde_json::from_slice(&text).ok()?;
    Manifest::check(&response).ok()
}

/// Writes a file beside its place and moves it there.
pub(super) fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path)
}

/// Whether so many bytes fit the disk. Not known outside Unix: there the write fails when it is full.
fn check_disk(folder: &Path, needed: u64) -> Result<(), String> {
    #[cfg(unix)]
    if let Ok(stat) = rustix::fs::statvfs(folder) {
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < needed.saturating_add(SPARE) {
            let mb = |bytes: u64| bytes / 1_000_000;
            return Err(format!(
                "the disk of {} has {} MB free, but {} MB are needed",
                folder.display(),
                mb(free),
                mb(needed + SPARE)
            ));
        }
    }
    #[cfg(not(unix))]
    let _ = (folder, needed, SPARE);
    Ok(())
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

/// Reads what is there, up to the buffer's size.
#[cfg(unix)]
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}
