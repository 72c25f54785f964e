//! The engine's thread: every step decodes one batch with a token of each writing slot and a piece of each reading
//! one, then samples.
//!
//! It waits on nothing but being unparked; whoever gives it work, reads from a full stream, or drops a stream does
//! that.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::mpsc::Receiver,
    thread,
    time::{Duration, Instant},
};

use llama_cpp_2::{
    context::{LlamaContext, params::LlamaContextParams},
    llama_batch::LlamaBatch,
    model::LlamaModel,
};
use teale_cluster::BackendError;

use super::{
    answer::{After, Job, Running},
    backend::Shared,
    library,
    log::Lines,
    options::{BATCH, LlamaOptions, STEP},
    sampler,
    schedule::{self, Pace},
    slot::{self, Slot},
};

/// A sleeping engine looks around this often even if nobody woke it.
const NAP: Duration = Duration::from_millis(500);

/// Models below this many bytes are computed by one thread, unless told otherwise.
const SMALL_MODEL: u64 = 64 << 20;

/// The context and its slots.
pub(super) struct Engine<'model> {
    context: LlamaContext<'model>,
    model: &'model LlamaModel,
    batch: LlamaBatch<'static>,
    slots: Vec<Slot>,
    waiting: VecDeque<Job>,
    pace: Pace,
    slot_context: u32,
    reuse_prefix: bool,
    clock: u64,
    lines: Lines,
}

/// A slot's share of a batch: which slot, how many tokens, and where its logits are if it gets any.
type Share = (usize, usize, Option<i32>);

impl<'model> Engine<'model> {
    /// Sets up a context with `context` tokens for each slot.
    ///
    /// # Errors
    /// None of its own: llama.cpp's reason is in the log lines.
    pub(super) fn new(
        model: &'model LlamaModel,
        options: &LlamaOptions,
        context: u32,
        lines: Lines,
    ) -> Option<Self> {
        let slots = u32::try_from(options.slots).ok()?;
        let threads = i32::try_from(options.threads.unwrap_or_else(|| default_threads(model.size()))).ok()?;
        let many = i32::try_from(options.threads.unwrap_or_else(machine_threads)).ok()?;
        let batch = u32::try_from(BATCH).ok()?;
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(context.checked_mul(slots)?))
            .with_n_seq_max(slots)
            .with_kv_unified(false)
            .with_n_batch(batch)
            .with_n_ubatch(batch)
            .with_n_threads(threads)
            // Steps of several tokens: busy slots together, and prompts.
            .with_n_threads_batch(many)
            .with_no_perf(true);
        let context_handle = model.new_context(library::handle(), params).ok()?;
        Some(Self {
            slot_context: context.min(context_handle.n_ctx() / slots),
            context: context_handle,
            model,
            batch: LlamaBatch::new(BATCH, 1),
            slots: (0..slots).map(Slot::new).collect(),
            waiting: VecDeque::new(),
            pace: Pace::new(STEP, BATCH),
            reuse_prefix: options.reuse_prefix,
            clock: 0,
            lines,
        })
    }

    /// Works until `shared` says stop; then every request left is told.
    pub(super) fn run(mut self, jobs: &Receiver<Job>, shared: &Shared) {
        while !shared.is_stopping() {
            self.waiting.extend(jobs.try_iter());
            self.drop_cancelled();
            self.fill_slots();
            shared.gauges.busy(self.slots.iter().filter(|slot| slot.running.is_some()).count());
            if !self.step(shared) {
                thread::park_timeout(NAP);
            }
        }
        let gone = || BackendError::Unavailable("the engine is shutting down".to_owned());
        self.slots.iter_mut().filter_map(Slot::free).for_each(|running| running.fail(gone()));
        for job in self.waiting.into_iter().chain(jobs.try_iter()) {
            // The stream may be gone, and its buffer is empty: nothing was sent yet.
            let _ = job.chunks.try_send(Err(gone()));
        }
    }

    fn drop_cancelled(&mut self) {
        self.waiting.retain(|job| !job.chunks.is_closed());
        let cancelled = |slot: &&mut Slot| slot.running.as_ref().is_some_and(Running::is_cancelled);
        self.slots.iter_mut().filter(cancelled).for_each(|slot| drop(slot.free()));
    }

    fn fill_slots(&mut self) {
        while let Some(job) = self.waiting.front() {
            let Some(index) = slot::choose(&self.slots, &job.prompt) else { return };
            let (Some(slot), Some(job)) = (self.slots.get_mut(index), self.waiting.pop_front()) else {
                return;
            };
            let keep = if self.reuse_prefix { slot.shared(&job.prompt) } else { 0 };
            slot.decoded = forget(&mut self.context, slot.sequence, keep);
            self.clock += 1;
            slot.last_used = self.clock;
            let sampler = sampler::chain(&job.sampling, self.model.vocab().n_tokens(), self.slot_context);
            let (running, prompt) = Running::new(job, sampler, self.slot_context);
            slot.begin(prompt, running);
        }
    }

    /// One batch; false when there was nothing to decode.
    fn step(&mut self, shared: &Shared) -> bool {
        let todo = slot::todo(&self.slots);
        let given = schedule::share(&todo, self.pace.budget(), BATCH);
        let shares: Vec<(usize, usize)> =
            given.into_iter().enumerate().filter(|(_, count)| *count > 0).collect();
        if shares.is_empty() {
            return false;
        }
        let reading = self.reading(&shares);
        let start = Instant::now();
        match self.decode(&shares) {
            Ok(done) => {
                let took = start.elapsed();
                self.pace.measured(shares.iter().map(|(_, count)| count).sum(), took);
                shared.gauges.step(reading, took);
                self.sample_all(&done);
            }
            Err(reason) => self.one_by_one(&shares, &reason),
        }
        true
    }

    /// How many tokens of these shares belong to prompts.
    fn reading(&self, shares: &[(usize, usize)]) -> usize {
        let reads = |index: &usize| self.slots.get(*index).is_some_and(Slot::is_reading);
        shares.iter().filter(|(index, _)| reads(index)).map(|(_, count)| count).sum()
    }

    fn decode(&mut self, shares: &[(usize, usize)]) -> Result<Vec<Share>, String> {
        self.batch.clear();
        let mut done = Vec::with_capacity(shares.len());
        for (index, count) in shares {
            let Some(slot) = self.slots.get(*index) else { continue };
            let upto = slot.decoded + count;
            let last = upto == slot.tokens.len();
            let tokens = slot.tokens.iter().enumerate().take(upto).skip(slot.decoded);
            for (position, token) in tokens {
                let logits = last && position + 1 == upto;
                let (position, sequence) = (position_of(position), position_of(slot.sequence as usize));
                self.batch.add(*token, position, &[sequence], logits).map_err(|error| error.to_string())?;
            }
            done.push((*index, *count, last.then_some(self.batch.n_tokens() - 1)));
        }
        self.context.decode(&mut self.batch).map_err(|error| error.to_string())?;
        for (index, count, _) in &done {
            if let Some(slot) = self.slots.get_mut(*index) {
                slot.decoded += count;
            }
        }
        Ok(done)
    }

    /// The batch failed: try each slot alone, so that only the one at fault is lost.
    fn one_by_one(&mut self, shares: &[(usize, usize)], reason: &str) {
        tracing::warn!(reason, problems = ?self.lines.drain(), "a batch failed; trying its requests one by one");
        for (index, count) in shares {
            let Some(slot) = self.slots.get_mut(*index) else { continue };
            let kept = forget(&mut self.context, slot.sequence, slot.decoded);
            if kept < slot.decoded {
                // The context cannot forget a part: what it knew is read again, by itself.
                if !slot.read_again(kept, *count, shares.len() == 1) {
                    self.fail(*index, reason);
                }
                continue;
            }
            match self.decode(&[(*index, *count)]) {
                Ok(done) => self.sample_all(&done),
                Err(reason) => self.fail(*index, &reason),
            }
        }
    }

    fn fail(&mut self, index: usize, reason: &str) {
        let problems = self.lines.drain().join("; ");
        let Some(slot) = self.slots.get_mut(index) else { return };
        forget(&mut self.context, slot.sequence, 0);
        slot.decoded = 0;
        if let Some(running) = slot.free() {
            tracing::warn!(reason, problems, "a request failed in the engine");
            running.fail(BackendError::Internal(reason.to_owned()));
        }
    }

    fn sample_all(&mut self, done: &[Share]) {
        let mut lost = Vec::new();
        for (index, _, logits) in done {
            let Some(at) = logits else { continue };
            if self.context.get_logits_ith(*at).iter().any(|logit| logit.is_nan()) {
                lost.push(*index);
                continue;
            }
            self.sample(*index, *at);
        }
        lost.into_iter()
            .for_each(|index| self.fail(index, "the model computed something that is not a number"));
    }

    fn sample(&mut self, index: usize, at: i32) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Some(running) = slot.running.as_mut() else { return };
        let token = running.sampler.sample(&self.context, at);
        let vocab = self.model.vocab();
        let after = if vocab.is_eog(token) {
            running.token(None)
        } else {
            let mut bytes = Vec::with_capacity(16);
            vocab.token_to_piece_into(token, &mut bytes, false, None);
            running.token(Some(&bytes))
        };
        match after {
            After::Continue => slot.tokens.push(token),
            After::Finished => drop(slot.free()),
        }
    }
}

/// As many threads as the machine runs at once; one for a small model, whose steps of one token are shorter than it
/// takes threads to meet.
fn default_threads(model_bytes: u64) -> u32 {
    if model_bytes < SMALL_MODEL { 1 } else { machine_threads() }
}

/// As many threads as the machine runs at once.
fn machine_threads() -> u32 {
    thread::available_parallelism().map_or(1, |threads| u32::try_from(threads.get()).unwrap_or(u32::MAX))
}

/// Makes the context forget a sequence from position `keep`; gives how much it still knows, which is nothing where
/// the model cannot forget in part.
fn forget(context: &mut LlamaContext<'_>, sequence: u32, keep: usize) -> usize {
    let from = u32::try_from(keep).ok();
    match context.clear_kv_cache_seq(Some(sequence), from, None) {
        Ok(true) => keep,
        _ => {
            let _ = context.clear_kv_cache_seq(Some(sequence), None, None);
            0
        }
    }
}

/// Positions and sequence numbers stay far below llama.cpp's 31 bits: contexts do.
fn position_of(position: usize) -> i32 {
    i32::try_from(position).unwrap_or(i32::MAX)
}
