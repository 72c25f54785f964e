//! One source of a pull: what it offers, what it was asked for, how fast it is.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use teale_wire::{FileRange, ModelTransferChunk, TransferId};
use thiserror::Error;

use super::{
    super::{
        bounds,
        manifest::{BlockRef, Manifest, ManifestError},
    },
    plan::Plan,
};

/// Why a source is not used any more. All of these are the source's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SourceFault {
    /// What it says of its files cannot be.
    #[error("its list of files is refused: {0}")]
    Manifest(ManifestError),
    /// A chunk of nothing that was asked for.
    #[error("it sent what nobody asked for")]
    Unasked,
    /// A chunk of another file or place, too long or too short, or an end before the end.
    #[error("it sent something else than it was asked for")]
    Wrong,
    /// A chunk that is no base64, or a block with another hash.
    #[error("it sent corrupt data")]
    Corrupt,
    /// It cannot read its own file.
    #[error("it cannot read its file")]
    Failed,
    /// It stopped sending, several times.
    #[error("it stopped sending, again and again")]
    Stalled,
}

/// Where a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// A query is under way, until then.
    Asked(Duration),
    /// It computes its hashes; to be asked again then.
    Preparing(Duration),
    /// It offers what is fetched, or what may be chosen.
    Ready,
    /// The same, later.
    Resting(Duration),
    /// It has nothing, or does not share it; it may be asked again then.
    Without(Duration),
    /// No link.
    Gone,
    /// Not any more.
    Dropped(SourceFault),
}

/// A block that a source was given.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) at: BlockRef,
    /// Its first byte in the file, and its size.
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Bytes of it that were asked for, and that came.
    pub(super) asked: u64,
    pub(super) got: u64,
}

/// A request that is open.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) id: TransferId,
    pub(super) at: BlockRef,
    /// The byte that comes next, and the one behind the last.
    pub(super) next: u64,
    pub(super) end: u64,
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) standing: Standing,
    /// Whether it had nothing when it was asked before.
    pub(super) lacked: bool,
    pub(super) offer: Option<Arc<Manifest>>,
    pub(super) jobs: Vec<Job>,
    pub(super) transfers: Vec<Transfer>,
    pub(super) ended: VecDeque<TransferId>,
    /// Bytes that came from it.
    pub(super) received: u64,
    /// Of them not yet on the disk.
    pub(super) unwritten: u64,
    pub(super) heard: Duration,
    pub(super) stalls: u32,
    pub(super) speed: Speed,
    /// Whether answers come on its link too, as of its last chunk.
    pub(super) beside_answers: bool,
}

impl Source {
    pub(super) fn new(standing: Standing, now: Duration) -> Self {
        Self {
            standing,
            lacked: false,
            offer: None,
            jobs: Vec::new(),
            transfers: Vec::new(),
            ended: VecDeque::new(),
            received: 0,
            unwritten: 0,
            heard: now,
            stalls: 0,
            speed: Speed::new(now),
            beside_answers: false,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.standing == Standing::Ready
    }

    /// Whether something may still come of it. One that had nothing is asked again now and then, but not waited for.
    pub(super) fn has_hope(&self) -> bool {
        match self.standing {
            Standing::Asked(_) => !self.lacked,
            Standing::Preparing(_) | Standing::Ready | Standing::Resting(_) => true,
            Standing::Without(_) | Standing::Gone | Standing::Dropped(_) => false,
        }
    }

    pub(super) fn offers(&self, manifest: &Manifest) -> bool {
        self.offer.as_ref().is_some_and(|offer| offer.agrees(manifest))
    }

    /// Bytes that were asked for and have not come.
    pub(super) fn open(&self) -> u64 {
        self.transfers.iter().map(|transfer| transfer.end - transfer.next).sum()
    }

    /// Whether another request may be opened: a few, and no more bytes than come in half a second; none while the disk
    /// does not keep up. Beside answers much less: what is open may stand before the next token, in whatever queues the
    /// way has.
    pub(super) fn has_room(&self) -> bool {
        if self.unwritten >= bounds::WINDOW || self.transfers.len() >= bounds::REQUESTS {
            return false;
        }
        if self.beside_answers {
            let window = self.window_beside();
            return self.open() + range_of(window) <= window;
        }
        let window = (self.speed.per_second() * bounds::WINDOW_SECONDS).clamp(0.0, bounds::WINDOW as f64);
        self.transfers.len() < 2 || ((self.open() + self.unwritten) as f64) < window
    }

    /// Bytes it may have open while answers come on its link too.
    fn window_beside(&self) -> u64 {
        let window = self.speed.per_second() * bounds::WINDOW_BESIDE_SECONDS;
        (window as u64).clamp(bounds::WINDOW_BESIDE_MIN, bounds::WINDOW_BESIDE)
    }

    pub(super) fn remember(&mut self, id: TransferId) {
        if self.ended.len() >= bounds::ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(id);
    }

    /// When something has to be done about it.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.standing {
            Standing::Asked(until)
            | Standing::Preparing(until)
            | Standing::Resting(until)
            | Standing::Without(until) => Some(until),
            Standing::Ready if !self.transfers.is_empty() => Some(self.heard + bounds::STALL),
            Standing::Ready | Standing::Gone | Standing::Dropped(_) => None,
        }
    }
}

impl Source {
    /// Takes a chunk of an open request if it is the next part of it: its block, its length, whether it ends the block.
    pub(super) fn take(
        &mut self,
        index: usize,
        chunk: &ModelTransferChunk,
        manifest: &Manifest,
    ) -> Option<(BlockRef, u64, bool)> {
        let transfer = self.transfers.get_mut(index)?;
        let job = self.jobs.iter_mut().find(|job| job.at == transfer.at)?;
        let file = manifest.files().get(transfer.at.file as usize)?;
        let length = chunk.data.decoded_len().ok()? as u64;
        let end = chunk.offset.checked_add(length)?;
        let next =
            chunk.offset == transfer.next && chunk.offset == job.offset + job.got && end <= transfer.end;
        let long_enough = length >= bounds::CHUNK_MIN || (end == transfer.end && length > 0);
        let too_early = chunk.is_last_chunk && end != file.size;
        if !next || !long_enough || too_early || chunk.file_name != file.name {
            return None;
        }
        transfer.next = end;
        job.got += length;
        let taken = (job.at, length, job.got == job.length);
        if transfer.next == transfer.end {
            let id = self.transfers.remove(index).id;
            self.remember(id);
        }
        Some(taken)
    }

    /// The next part of a block it has, or of a fresh one; entered as open.
    pub(super) fn next_range(&mut self, plan: &mut Plan, id: TransferId) -> Option<FileRange> {
        if !self.jobs.iter().any(|job| job.asked < job.length) {
            let at = plan.take()?;
            let block = plan.manifest.block(at)?;
            self.jobs.push(Job { at, offset: block.offset, length: block.length, asked: 0, got: 0 });
        }
        let most = if self.beside_answers { range_of(self.window_beside()) } else { bounds::RANGE };
        let job = self.jobs.iter_mut().find(|job| job.asked < job.length)?;
        let length = (job.length - job.asked).min(most);
        let offset = job.offset + job.asked;
        job.asked += length;
        self.transfers.push(Transfer { id, at: job.at, next: offset, end: offset + length });
        let file_name = plan.manifest.files().get(job.at.file as usize)?.name.clone();
        Some(FileRange { file_name, offset, length })
    }
}

/// The bytes of one request in such a window: two at least are under way, so that the link does not rest in between.
fn range_of(window_beside: u64) -> u64 {
    (window_beside / 2).min(bounds::RANGE_BESIDE)
}

/// Bytes per second, averaged over the last second or so.
#[derive(Debug)]
pub(super) struct Speed {
    since: Duration,
    bytes: u64,
    average: f64,
}

impl Speed {
    /// How long one measurement takes.
    const SAMPLE: Duration = Duration::from_millis(100);
    /// Its weight in the average.
    const WEIGHT: f64 = 0.2;

    fn new(now: Duration) -> Self {
        Self { since: now, bytes: 0, average: 0.0 }
    }

    pub(super) fn add(&mut self, bytes: u64, now: Duration) {
        self.bytes += bytes;
        let time = now.saturating_sub(self.since);
        if time >= Self::SAMPLE {
            let sample = self.bytes as f64 / time.as_secs_f64();
            let fresh = self.average == 0.0;
            self.average += (sample - self.average) * if fresh { 1.0 } else { Self::WEIGHT };
            (self.since, self.bytes) = (now, 0);
        }
    }

    pub(super) fn per_second(&self) -> f64 {
        self.average
    }
}
