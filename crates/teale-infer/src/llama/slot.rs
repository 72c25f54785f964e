//! A slot: one sequence of the context, the tokens it remembers, and the request that uses it.

use llama_cpp_2::token::LlamaToken;

use super::answer::Running;

/// One sequence of the context.
#[derive(Debug)]
pub(super) struct Slot {
    /// The sequence's number.
    pub(super) sequence: u32,
    /// Prompt and answer so far. An idle slot keeps those of its last request.
    pub(super) tokens: Vec<LlamaToken>,
    /// How many of the tokens the context has seen.
    pub(super) decoded: usize,
    /// When it was last given to a request.
    pub(super) last_used: u64,
    pub(super) running: Option<Running>,
    /// Tokens of the request's prompt.
    prompt: usize,
    /// A batch with this slot failed, and everything up to this token is read again in batches of its own.
    alone_until: usize,
    /// How often that happened to the request.
    read_again: u32,
}

/// How often a request's tokens are read again because a batch failed that need not have been its fault.
const MOST_READ_AGAIN: u32 = 3;

impl Slot {
    pub(super) fn new(sequence: u32) -> Self {
        Self {
            sequence,
            tokens: Vec::new(),
            decoded: 0,
            last_used: 0,
            running: None,
            prompt: 0,
            alone_until: 0,
            read_again: 0,
        }
    }

    /// Gives the slot to a request.
    pub(super) fn begin(&mut self, prompt: Vec<LlamaToken>, running: Running) {
        self.prompt = prompt.len();
        self.tokens = prompt;
        self.running = Some(running);
        (self.alone_until, self.read_again) = (0, 0);
    }

    /// Whether the prompt has not been read to its end.
    pub(super) fn is_reading(&self) -> bool {
        self.decoded < self.prompt
    }

    /// A batch with `count` tokens of this slot failed, and the context only knows `kept` of its tokens any more:
    /// they are read again, in batches of their own, so that the next failure says whose fault it was. False when
    /// that is known, or was tried often enough.
    pub(super) fn read_again(&mut self, kept: usize, count: usize, was_alone: bool) -> bool {
        self.alone_until = self.alone_until.max(self.decoded + count);
        self.decoded = kept;
        self.read_again += 1;
        !was_alone && self.read_again <= MOST_READ_AGAIN
    }

    fn is_alone(&self) -> bool {
        self.running.is_some() && self.decoded < self.alone_until
    }

    /// Tokens the context has yet to see, if its reader can take what comes of them.
    pub(super) fn todo(&self) -> usize {
        match &self.running {
            Some(running) if running.has_room() => self.tokens.len() - self.decoded,
            _ => 0,
        }
    }

    /// How many tokens of a prompt the slot remembers already. The last one must be decoded again: its logits are
    /// wanted.
    pub(super) fn shared(&self, prompt: &[LlamaToken]) -> usize {
        let known = self.tokens.iter().take(self.decoded);
        let same = known.zip(prompt).take_while(|(known, wanted)| known == wanted).count();
        same.min(prompt.len().saturating_sub(1))
    }

    /// Ends the request; what was decoded is remembered.
    pub(super) fn free(&mut self) -> Option<Running> {
        self.tokens.truncate(self.decoded);
        self.running.take()
    }
}

/// Tokens that each slot could take in the next batch; of slots that need a batch of their own only the first.
pub(super) fn todo(slots: &[Slot]) -> Vec<usize> {
    let ready = |slot: &&Slot| slot.is_alone() && slot.todo() > 0;
    match slots.iter().position(|slot| ready(&slot)) {
        Some(alone) => slots
            .iter()
            .enumerate()
            .map(|(index, slot)| if index == alone { slot.todo() } else { 0 })
            .collect(),
        None => slots.iter().map(Slot::todo).collect(),
    }
}

/// The idle slot that remembers most of a prompt; among equals the one used longest ago.
pub(super) fn choose(slots: &[Slot], prompt: &[LlamaToken]) -> Option<usize> {
    let idle = slots.iter().enumerate().filter(|(_, slot)| slot.running.is_none());
    let best = idle.max_by_key(|(_, slot)| (slot.shared(prompt), std::cmp::Reverse(slot.last_used)));
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(sequence: u32, tokens: &[i32], last_used: u64) -> Slot {
        let tokens: Vec<_> = tokens.iter().copied().map(LlamaToken).collect();
        Slot { decoded: tokens.len(), tokens, last_used, ..Slot::new(sequence) }
    }

    fn prompt(tokens: &[i32]) -> Vec<LlamaToken> {
        tokens.iter().copied().map(LlamaToken).collect()
    }

    #[test]
    fn the_longest_memory_wins_then_the_oldest() {
        let slots = [slot(0, &[1, 2], 3), slot(1, &[1, 2, 3], 9), slot(2, &[5], 1)];
        assert_eq!(choose(&slots, &prompt(&[1, 2, 3, 4])), Some(1));
        assert_eq!(choose(&slots, &prompt(&[9, 9])), Some(2));
    }

    #[test]
    fn the_last_token_of_a_prompt_is_always_decoded() {
        assert_eq!(slot(0, &[1, 2, 3], 0).shared(&prompt(&[1, 2, 3])), 2);
        assert_eq!(slot(0, &[1, 2, 3], 0).shared(&prompt(&[1])), 0);
    }

    #[test]
    fn tokens_are_not_read_again_for_ever() {
        let mut slot = Slot { decoded: 0, ..slot(0, &[1, 2, 3, 4], 0) };
        assert!(slot.read_again(0, 4, false) && slot.alone_until == 4);
        assert!(!slot.read_again(0, 4, true), "alone, the fault is its own");
        let mut unlucky = Slot { decoded: 1, ..slot };
        unlucky.read_again = 0;
        let tries = (0..100).take_while(|_| unlucky.read_again(0, 1, false)).count();
        assert_eq!(tries, MOST_READ_AGAIN as usize);
    }

    #[test]
    fn what_was_not_decoded_is_not_remembered() {
        let mut slot = Slot { decoded: 2, ..slot(0, &[1, 2, 3, 4], 0) };
        slot.free();
        assert_eq!(slot.tokens, prompt(&[1, 2]));
    }
}
