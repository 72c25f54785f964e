//! What is fetched: the chosen manifest, and which of its blocks are still missing.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use super::super::manifest::{BlockRef, Manifest};

/// The blocks of a chosen manifest: free to be given out, given out, or there.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) manifest: Arc<Manifest>,
    /// Whether the folder is ready.
    pub(super) begun: bool,
    free: VecDeque<BlockRef>,
    /// Given out, or waiting to be let go.
    missing: BTreeSet<BlockRef>,
    /// Bytes of blocks that are there.
    pub(super) verified: u64,
}

impl Plan {
    pub(super) fn new(manifest: Arc<Manifest>) -> Self {
        Self { manifest, begun: false, free: VecDeque::new(), missing: BTreeSet::new(), verified: 0 }
    }

    /// The folder is ready; these blocks were found there, and are right.
    pub(super) fn begin(&mut self, found: &BTreeSet<BlockRef>) {
        self.begun = true;
        let manifest = Arc::clone(&self.manifest);
        for at in manifest.blocks() {
            let length = manifest.block(at).map_or(0, |block| block.length);
            if found.contains(&at) || length == 0 {
                self.verified += length;
            } else {
                self.free.push_back(at);
                self.missing.insert(at);
            }
        }
    }

    /// Takes a free block.
    pub(super) fn take(&mut self) -> Option<BlockRef> {
        self.free.pop_front()
    }

    /// Gives a block back that was not finished; it is the next one to be taken.
    pub(super) fn give_back(&mut self, at: BlockRef) {
        if self.missing.contains(&at) && !self.free.contains(&at) {
            self.free.push_front(at);
        }
    }

    /// A block is there and right; false when it was before.
    pub(super) fn done(&mut self, at: BlockRef) -> bool {
        if !self.missing.remove(&at) {
            return false;
        }
        self.verified += self.manifest.block(at).map_or(0, |block| block.length);
        true
    }

    pub(super) fn is_complete(&self) -> bool {
        self.begun && self.missing.is_empty()
    }

    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }
}
