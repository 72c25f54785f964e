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
}

impl Slot {
    pub(super) fn new(sequence: u32) -> Self {
        Self { sequence, tokens: Vec::new(), decoded: 0, last_used: 0, running: None }
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
    fn what_was_not_decoded_is_not_remembered() {
        let mut slot = Slot { decoded: 2, ..slot(0, &[1, 2, 3, 4], 0) };
        slot.free();
        assert_eq!(slot.tokens, prompt(&[1, 2]));
    }
}
