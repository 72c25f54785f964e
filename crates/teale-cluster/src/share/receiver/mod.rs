//! Fetching a model from several sources at once, as a machine: messages and time in, messages and file work out.
//!
//! It never touches a file or a hash itself. Its promise: whatever the sources do, the result is exactly the files of one
//! manifest, or a named error. What leaves it for the disk is always the next byte of a block that was given to
//! that source; a block counts only after its hash was right. A source that breaks a rule is dropped, and what it was
//! given goes to others.

mod events;
mod plan;
mod source;
mod steering;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use rand::{SeedableRng, rngs::StdRng};
use teale_wire::{
    CancelReason, ClusterMessage, Extra, ModelQuery, ModelQueryResponse, ModelTransferCancel,
    ModelTransferChunk, NodeId, TransferId,
};

pub use self::{
    events::{BadBlock, Input, Output, Piece, Progress, PullError, ReceiverConfig, SourceProgress},
    source::SourceFault,
};
use self::{
    plan::Plan,
    source::{Source, Standing},
};
use super::{
    bounds,
    manifest::{BlockRef, Manifest},
};

/// A field of `modelQueryResponse`, ours: the peer has the model and computes its hashes; ask again soon.
pub const PREPARING: &str = "preparing";

/// The machine. After each [`Receiver::handle`], drain [`Receiver::poll`] until [`Output::Wait`].
#[derive(Debug)]
pub struct Receiver {
    config: ReceiverConfig,
    rng: StdRng,
    /// What the ids of its transfers begin with.
    tag: u32,
    now: Duration,
    sources: BTreeMap<NodeId, Source>,
    plan: Option<Plan>,
    /// Blocks a worker still has to let go of.
    cooling: BTreeSet<(NodeId, BlockRef)>,
    /// When the first offer came.
    offered: Option<Duration>,
    /// When there last was hope.
    hope: Duration,
    fetched: u64,
    shown: u64,
    finishing: bool,
    over: bool,
    out: VecDeque<Output>,
}

impl Receiver {
    /// A machine at rest. `seed` makes the transfers' ids, which are UUIDs; their first eight digits are `tag`.
    pub fn new(config: ReceiverConfig, seed: [u8; 32], tag: u32, now: Duration) -> Self {
        Self {
            config,
            rng: StdRng::from_seed(seed),
            tag,
            now,
            sources: BTreeMap::new(),
            plan: None,
            cooling: BTreeSet::new(),
            offered: None,
            hope: now,
            fetched: 0,
            shown: 0,
            finishing: false,
            over: false,
            out: VecDeque::new(),
        }
    }

    /// Takes one input. Time that goes backwards counts as standing still.
    pub fn handle(&mut self, now: Duration, input: Input) {
        self.now = now.max(self.now);
        if self.over {
            return;
        }
        match input {
            Input::Tick => {}
            Input::Found(peer) => self.found(peer),
            Input::Lost(peer) => self.lost(peer),
            Input::Response(peer, response) => self.response(peer, &response),
            Input::Chunk { peer, chunk, beside_answers } => self.chunk(peer, *chunk, beside_answers),
            Input::Complete(peer, id) => self.complete(peer, &id),
            Input::Cancelled(peer, id, reason) => self.cancelled(peer, &id, reason.as_ref()),
            Input::Begun(found) => self.begun(&found),
            Input::Written(peer, bytes) => {
                if let Some(source) = self.sources.get_mut(&peer) {
                    source.unwritten = source.unwritten.saturating_sub(bytes);
                }
            }
            Input::Checked(peer, at, result) => self.checked(peer, at, result),
            Input::Forgotten(peer, at) => {
                if self.cooling.remove(&(peer, at))
                    && let Some(plan) = &mut self.plan
                {
                    plan.give_back(at);
                }
            }
            Input::Finished => self.end(Ok(())),
            Input::StorageFailed(reason) => self.end(Err(PullError::Storage(reason))),
        }
        self.run_timers();
        self.move_on();
    }

    /// The next thing to do; [`Output::Wait`] when there is nothing more.
    pub fn poll(&mut self) -> Output {
        self.out.pop_front().unwrap_or_else(|| Output::Wait(self.deadline()))
    }

    /// How far it is.
    pub fn progress(&mut self) -> Progress {
        let jobs = self.sources.values().flat_map(|source| &source.jobs);
        let under_way: u64 = jobs.map(|job| job.got).sum();
        let plan = self.plan.as_ref();
        let total = plan.map_or(0, |plan| plan.manifest.total());
        self.shown = self.shown.max(plan.map_or(0, |plan| plan.verified + under_way)).min(total);
        let sources = self.sources.iter().map(|(node, source)| SourceProgress {
            node: *node,
            bytes: source.received,
            rate: if source.transfers.is_empty() { 0.0 } else { source.speed.per_second() },
            state: self.state(source),
        });
        Progress { total, done: self.shown, fetched: self.fetched, sources: sources.collect() }
    }

    fn state(&self, source: &Source) -> String {
        let other = self.plan.as_ref().is_some_and(|plan| !source.offers(&plan.manifest));
        match source.standing {
            Standing::Dropped(fault) => fault.to_string(),
            Standing::Gone => "gone".into(),
            Standing::Without(_) => "without".into(),
            Standing::Ready if other => "other files".into(),
            Standing::Ready if !source.transfers.is_empty() => "fetching".into(),
            Standing::Preparing(_) => "hashing its files".into(),
            Standing::Ready | Standing::Resting(_) | Standing::Asked(_) => "waiting".into(),
        }
    }

    fn deadline(&self) -> Option<Duration> {
        if self.over || self.finishing {
            return None;
        }
        let sources = self.sources.values().filter_map(Source::deadline);
        let choice = self.offered.filter(|_| self.plan.is_none()).map(|first| first + bounds::CHOICE);
        let patience = Some(self.hope + self.patience());
        sources.chain(choice).chain(patience).filter(|at| *at > self.now).min()
    }

    fn patience(&self) -> Duration {
        if self.plan.is_some() { self.config.patience } else { self.config.search }
    }

    fn found(&mut self, peer: NodeId) {
        let ask = match self.sources.get(&peer).map(|source| source.standing) {
            None => self.sources.len() < bounds::SOURCES,
            Some(Standing::Gone) => true,
            Some(Standing::Without(until) | Standing::Preparing(until)) => until <= self.now,
            Some(_) => false,
        };
        if ask {
            let standing = Standing::Asked(self.now + bounds::ANSWER);
            let now = self.now;
            self.sources.entry(peer).or_insert_with(|| Source::new(standing, now)).standing = standing;
            let query = ModelQuery { model_id: self.config.model.clone(), extra: Extra::new() };
            self.out.push_back(Output::Send(peer, ClusterMessage::ModelQuery(query)));
        }
    }

    fn lost(&mut self, peer: NodeId) {
        self.release(peer, false);
        if let Some(source) = self.sources.get_mut(&peer)
            && !matches!(source.standing, Standing::Dropped(_))
        {
            source.standing = Standing::Gone;
        }
    }

    fn response(&mut self, peer: NodeId, response: &ModelQueryResponse) {
        let again = Standing::Without(self.now + bounds::ASK_AGAIN);
        let Some(source) = self.sources.get_mut(&peer) else { return };
        if !matches!(source.standing, Standing::Asked(_)) || response.model_id != self.config.model {
            return; // Nobody asked, or it is an answer to somebody else's question.
        }
        if !response.available {
            let preparing = response.extra.get(PREPARING).is_some_and(|value| *value == true);
            source.lacked = !preparing;
            source.standing = if preparing { Standing::Preparing(self.now + bounds::REST) } else { again };
            return;
        }
        match Manifest::check(response) {
            Ok(manifest) => {
                source.lacked = false;
                source.offer = Some(Arc::new(manifest));
                source.standing = Standing::Ready;
                self.offered.get_or_insert(self.now);
            }
            Err(error) => self.drop_source(peer, SourceFault::Manifest(error)),
        }
    }

    fn chunk(&mut self, peer: NodeId, chunk: ModelTransferChunk, beside_answers: bool) {
        let now = self.now;
        let (Some(source), Some(plan)) = (self.sources.get_mut(&peer), &self.plan) else { return };
        if matches!(source.standing, Standing::Dropped(_)) {
            return;
        }
        let Some(index) = source.transfers.iter().position(|transfer| transfer.id == chunk.transfer_id)
        else {
            if !source.ended.contains(&chunk.transfer_id) {
                self.drop_source(peer, SourceFault::Unasked);
            }
            return;
        };
        source.beside_answers = beside_answers;
        let fits = source.take(index, &chunk, &plan.manifest);
        self.fetched += chunk.data.decoded_len().unwrap_or(0) as u64;
        let Some((at, length, is_last)) = fits else {
            return self.drop_source(peer, SourceFault::Wrong);
        };
        source.received += length;
        source.unwritten += length;
        source.heard = now;
        source.speed.add(length, now);
        self.out.push_back(Output::Write(Piece {
            peer,
            at,
            offset: chunk.offset,
            data: chunk.data,
            is_last,
        }));
    }

    fn complete(&mut self, peer: NodeId, id: &TransferId) {
        // After its last byte a transfer is not open any more: one that is has not had all of them.
        if self
            .sources
            .get(&peer)
            .is_some_and(|source| source.transfers.iter().any(|transfer| transfer.id == *id))
        {
            self.drop_source(peer, SourceFault::Wrong);
        }
    }

    fn cancelled(&mut self, peer: NodeId, id: &TransferId, reason: Option<&CancelReason>) {
        let Some(source) = self.sources.get(&peer) else { return };
        if !source.transfers.iter().any(|transfer| transfer.id == *id) {
            return;
        }
        let standing = match reason {
            Some(CancelReason::Failed) => return self.drop_source(peer, SourceFault::Failed),
            Some(CancelReason::NotFound | CancelReason::NotAllowed) => {
                Standing::Without(self.now + bounds::ASK_AGAIN)
            }
            _ => Standing::Resting(self.now + bounds::REST),
        };
        self.release(peer, true);
        if let Some(source) = self.sources.get_mut(&peer) {
            source.standing = standing;
        }
    }

    fn begun(&mut self, found: &BTreeSet<BlockRef>) {
        if let Some(plan) = self.plan.as_mut().filter(|plan| !plan.begun) {
            plan.begin(found);
        }
    }

    fn checked(&mut self, peer: NodeId, at: BlockRef, result: Result<(), BadBlock>) {
        let (Some(plan), Some(source)) = (&mut self.plan, self.sources.get_mut(&peer)) else { return };
        let had = source.jobs.iter().any(|job| job.at == at);
        let cooled = self.cooling.contains(&(peer, at));
        if !had && !cooled {
            return;
        }
        source.jobs.retain(|job| job.at != at);
        match result {
            Ok(()) => {
                self.cooling.remove(&(peer, at));
                source.stalls = 0;
                plan.done(at);
            }
            Err(BadBlock) => {
                if had {
                    self.forget(peer, at);
                }
                self.drop_source(peer, SourceFault::Corrupt);
            }
        }
    }

    fn forget(&mut self, peer: NodeId, at: BlockRef) {
        self.cooling.insert((peer, at));
        self.out.push_back(Output::Forget(peer, at));
    }

    /// Takes back everything a source was given.
    fn release(&mut self, peer: NodeId, tell: bool) {
        let Some(source) = self.sources.get_mut(&peer) else { return };
        let transfers = std::mem::take(&mut source.transfers);
        let jobs = std::mem::take(&mut source.jobs);
        for transfer in transfers {
            source.remember(transfer.id.clone());
            if tell {
                let cancel =
                    ModelTransferCancel { transfer_id: transfer.id, reason: None, extra: Extra::new() };
                self.out.push_back(Output::Send(peer, ClusterMessage::ModelTransferCancel(cancel)));
            }
        }
        for job in jobs {
            self.forget(peer, job.at);
        }
    }

    fn drop_source(&mut self, peer: NodeId, fault: SourceFault) {
        self.release(peer, true);
        if let Some(source) = self.sources.get_mut(&peer)
            && !matches!(source.standing, Standing::Dropped(_))
        {
            source.standing = Standing::Dropped(fault);
            self.out.push_back(Output::Dropped(peer, fault));
        }
    }

    fn run_timers(&mut self) {
        let now = self.now;
        let due = |source: &Source| source.deadline().is_some_and(|at| at <= now);
        let due: Vec<NodeId> =
            self.sources.iter().filter(|(_, source)| due(source)).map(|(peer, _)| *peer).collect();
        for peer in due {
            let Some(source) = self.sources.get_mut(&peer) else { continue };
            match source.standing {
                Standing::Asked(_) => {
                    source.lacked = true;
                    source.standing = Standing::Without(now + bounds::ASK_AGAIN);
                }
                Standing::Resting(_) => {
                    source.standing = Standing::Ready;
                    source.heard = now;
                }
                Standing::Without(_) | Standing::Preparing(_) => self.found(peer),
                Standing::Ready => {
                    source.stalls += 1;
                    if source.stalls >= bounds::STALLS {
                        self.drop_source(peer, SourceFault::Stalled);
                        continue;
                    }
                    self.release(peer, true);
                    if let Some(source) = self.sources.get_mut(&peer) {
                        source.standing = Standing::Resting(now + bounds::REST);
                    }
                }
                Standing::Gone | Standing::Dropped(_) => {}
            }
        }
    }

    fn end(&mut self, result: Result<(), PullError>) {
        for peer in self.sources.keys().copied().collect::<Vec<_>>() {
            self.release(peer, true);
        }
        self.over = true;
        self.out.push_back(Output::End(result));
    }
}
