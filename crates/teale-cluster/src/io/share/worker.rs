//! One thread per source: decodes its pieces, writes them, hashes them.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::mpsc;

use super::folder::Partial;
use crate::share::{BadBlock, BlockRef, Chain, Input, Piece, bounds};
use teale_wire::NodeId;

/// What a worker is given, in order.
pub(super) enum Work {
    Piece(Piece),
    Forget(BlockRef),
}

/// Starts one. It ends when its sender is dropped, after what it was given.
pub(super) fn spawn(
    partial: Arc<Partial>,
    peer: NodeId,
    reports: mpsc::Sender<Input>,
) -> (mpsc::Sender<Work>, tokio::task::JoinHandle<()>) {
    let (give, mut work) = mpsc::channel(bounds::PIECES);
    let task = tokio::task::spawn_blocking(move || {
        let mut worker = Worker { partial, peer, chains: HashMap::new(), buffer: Vec::new() };
        while let Some(work) = work.blocking_recv() {
            for report in worker.work(work) {
                if reports.blocking_send(report).is_err() {
                    return;
                }
            }
        }
    });
    (give, task)
}

struct Worker {
    partial: Arc<Partial>,
    peer: NodeId,
    /// The blocks that are under way; no more than the source was given.
    chains: HashMap<BlockRef, Chain>,
    buffer: Vec<u8>,
}

impl Worker {
    fn work(&mut self, work: Work) -> Vec<Input> {
        let piece = match work {
            Work::Piece(piece) => piece,
            Work::Forget(at) => {
                self.chains.remove(&at);
                return vec![Input::Forgotten(self.peer, at)];
            }
        };
        let (at, is_last) = (piece.at, piece.is_last);
        let length = piece.data.decoded_len().unwrap_or(0) as u64;
        let written = Input::Written(self.peer, length);
        match self.take(piece) {
            Ok(Ok(())) if is_last => vec![written, Input::Checked(self.peer, at, self.check(at))],
            Ok(Ok(())) => vec![written],
            Ok(Err(bad)) => {
                self.chains.remove(&at);
                vec![written, Input::Checked(self.peer, at, Err(bad))]
            }
            Err(error) => vec![Input::StorageFailed(format!("the disk does not take the files: {error}"))],
        }
    }

    /// Decodes, writes, hashes.
    fn take(&mut self, piece: Piece) -> std::io::Result<Result<(), BadBlock>> {
        if piece.data.decode(&mut self.buffer).is_err() {
            return Ok(Err(BadBlock));
        }
        let Some(block) = self.partial.manifest.block(piece.at) else { return Ok(Err(BadBlock)) };
        if piece.offset == block.offset {
            self.chains.insert(piece.at, Chain::new(&block.from, block.offset));
        }
        // A piece after a bad one: its block was given up already.
        let Some(chain) = self.chains.get_mut(&piece.at) else { return Ok(Err(BadBlock)) };
        if chain.length() != piece.offset {
            return Ok(Err(BadBlock));
        }
        chain.update(&self.buffer);
        self.partial.write(piece.at.file, piece.offset, &self.buffer)?;
        Ok(Ok(()))
    }

    fn check(&mut self, at: BlockRef) -> Result<(), BadBlock> {
        let chain = self.chains.remove(&at).ok_or(BadBlock)?;
        let block = self.partial.manifest.block(at).ok_or(BadBlock)?;
        let is = if block.is_last { Some(chain.finish()) } else { chain.state() };
        if is != Some(block.to) {
            return Err(BadBlock);
        }
        // A note that cannot be written costs a block after a restart, nothing else.
        if let Err(error) = self.partial.note(at) {
            tracing::debug!(%error, "a block is not noted");
        }
        Ok(())
    }
}
