//! What a model consists of: names, sizes, hashes, blocks. Nothing in here is trusted before it was checked.

use std::collections::HashSet;

use bytes::Bytes;
use teale_wire::{Extra, ModelFile, ModelQueryResponse};
use thiserror::Error;

use super::{
    bounds,
    digest::{Chain, FIRST, State},
    names::{NameError, check_file_name},
};

/// A model's files, checked: plain names, each once, sizes that add up, a hash for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    model: String,
    files: Vec<FileEntry>,
    total: u64,
}

/// One file of a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Its plain name.
    pub name: String,
    /// Its size, in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: State,
    /// Bytes of each block but the last.
    block_size: u64,
    /// The chain's value after each block but the last.
    states: Vec<State>,
}

/// One block of a model: which file, which block of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRef {
    /// The file's place in the manifest.
    pub file: u32,
    /// The block's place in the file.
    pub block: u32,
}

/// What a block must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its first byte in the file.
    pub offset: u64,
    /// Its size, in bytes.
    pub length: u64,
    /// The chain's value before it.
    pub from: State,
    /// The chain's value after it, or the file's hash.
    pub to: State,
    /// Whether `to` is the file's hash.
    pub is_last: bool,
}

/// What is wrong with a peer's list of files. Its own text is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The peer cannot: it sends no list (a deployed peer).
    #[error("the peer sends no file names and hashes, and without a hash nothing is fetched")]
    NoFiles,
    /// Too many files or bytes.
    #[error("the list has too many files or bytes")]
    TooBig,
    /// A name that is none.
    #[error("the name of file {index} is refused: {reason}")]
    Name {
        /// The file's place in the list.
        index: usize,
        /// What is wrong with it.
        reason: NameError,
    },
    /// Two files that some file systems take for one.
    #[error("file {index} has the name of another one, letter case aside")]
    Duplicate {
        /// The second file's place in the list.
        index: usize,
    },
    /// Not 64 hex digits, or not the hash of no bytes where there are none.
    #[error("the hash of file {index} is no SHA-256")]
    Hash {
        /// The file's place in the list.
        index: usize,
    },
    /// Blocks that do not cover the file.
    #[error("the blocks of file {index} do not fit its size")]
    Blocks {
        /// The file's place in the list.
        index: usize,
    },
    /// The sizes do not add up.
    #[error("the sizes of the files do not add up to the size of the model")]
    Total,
}

impl Manifest {
    /// Checks a peer's answer that says that the model is available.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(response: &ModelQueryResponse) -> Result<Self, ManifestError> {
        if response.files.is_empty() {
            return Err(ManifestError::NoFiles);
        }
        let mut seen = HashSet::new();
        let mut total = 0u64;
        let mut files = Vec::with_capacity(response.files.len());
        for (index, file) in response.files.iter().enumerate() {
            check_file_name(&file.file_name).map_err(|reason| ManifestError::Name { index, reason })?;
            if !seen.insert(file.file_name.to_lowercase()) {
                return Err(ManifestError::Duplicate { index });
            }
            total = total.saturating_add(file.size_bytes);
            if total > bounds::MODEL_BYTES {
                return Err(ManifestError::TooBig);
            }
            files.push(entry(index, file)?);
        }
        if response.total_size_bytes.is_some_and(|said| said != total) {
            return Err(ManifestError::Total);
        }
        Ok(Self { model: response.model_id.clone(), files, total })
    }

    /// A manifest of files that were hashed here, under names that were checked.
    pub fn of(model: impl Into<String>, files: Vec<FileEntry>) -> Self {
        let total = files.iter().map(|file| file.size).sum();
        Self { model: model.into(), files, total }
    }

    /// The model's id, as the peer wrote it.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Its files.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// Bytes of all files.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether both name the same files with the same contents and blocks.
    pub fn agrees(&self, other: &Self) -> bool {
        self.files == other.files
    }

    /// All blocks, in order.
    pub fn blocks(&self) -> impl Iterator<Item = BlockRef> {
        let files = self.files.iter().zip(0u32..);
        files.flat_map(|(entry, file)| (0..entry.blocks()).map(move |block| BlockRef { file, block }))
    }

    /// A block, if there is such a one.
    pub fn block(&self, at: BlockRef) -> Option<Block> {
        self.files.get(at.file as usize)?.block(at.block)
    }

    /// The answer that tells a peer of it.
    pub fn response(&self) -> ModelQueryResponse {
        ModelQueryResponse {
            model_id: self.model.clone(),
            available: true,
            total_size_bytes: Some(self.total),
            files: self.files.iter().map(FileEntry::wire).collect(),
            models: Vec::new(),
            extra: Extra::new(),
        }
    }
}

fn entry(index: usize, file: &ModelFile) -> Result<FileEntry, ManifestError> {
    let mut sha256 = [0; 32];
    hex::decode_to_slice(&file.sha256, &mut sha256).map_err(|_| ManifestError::Hash { index })?;
    if file.size_bytes == 0 && sha256 != Chain::new(&FIRST, 0).finish() {
        return Err(ManifestError::Hash { index });
    }
    let wrong = ManifestError::Blocks { index };
    let states: Vec<State> = match &file.block_states {
        None => Vec::new(),
        Some(bytes) => match bytes.as_chunks::<32>() {
            (states, []) => states.to_vec(),
            _ => return Err(wrong),
        },
    };
    let block_size = file.block_size_bytes.unwrap_or(file.size_bytes);
    let one_block = file.size_bytes <= block_size;
    if !one_block && (!block_size.is_multiple_of(64) || block_size < bounds::BLOCK_MIN) {
        return Err(wrong);
    }
    let entry = FileEntry { name: file.file_name.clone(), size: file.size_bytes, sha256, block_size, states };
    let inner = if one_block { 0 } else { entry.size.div_ceil(block_size) - 1 };
    if entry.states.len() as u64 != inner {
        return Err(wrong);
    }
    Ok(entry)
}

impl FileEntry {
    /// A file that was hashed here with [`block_size`] of its size.
    pub fn hashed(name: impl Into<String>, size: u64, sha256: State, states: Vec<State>) -> Self {
        Self { name: name.into(), size, sha256, block_size: block_size(size), states }
    }

    /// How many blocks it has; an empty file has one.
    pub fn blocks(&self) -> u32 {
        self.states.len() as u32 + 1
    }

    /// Whether its blocks have the size that [`block_size`] makes of its own.
    pub fn has_our_blocks(&self) -> bool {
        self.size == 0
            || self.block_size == block_size(self.size)
            || (self.states.is_empty() && self.size <= bounds::BLOCK)
    }

    /// The values of the chain, as they are kept on disk.
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// A block, if there is such a one.
    pub fn block(&self, block: u32) -> Option<Block> {
        let index = block as usize;
        let is_last = index == self.states.len();
        let to = if is_last { self.sha256 } else { *self.states.get(index)? };
        let from = match index.checked_sub(1) {
            None => FIRST,
            Some(before) => *self.states.get(before)?,
        };
        let offset = u64::from(block) * self.block_size;
        let length = if is_last { self.size - offset } else { self.block_size };
        Some(Block { offset, length, from, to, is_last })
    }

    fn wire(&self) -> ModelFile {
        let states = (!self.states.is_empty()).then(|| Bytes::from(self.states.concat()));
        ModelFile {
            file_name: self.name.clone(),
            size_bytes: self.size,
            sha256: hex::encode(self.sha256),
            block_size_bytes: states.is_some().then_some(self.block_size),
            block_states: states,
            extra: Extra::new(),
        }
    }
}

/// The size of the blocks we make of a file, in bytes: 1 MiB, or as many times its double as keeps them at most 1024.
pub fn block_size(size: u64) -> u64 {
    let mut block = bounds::BLOCK;
    while size.div_ceil(block) > bounds::BLOCKS {
        block *= 2;
    }
    block
}
