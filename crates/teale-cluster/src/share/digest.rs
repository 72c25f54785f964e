//! SHA-256 in blocks: one pass over the bytes checks each block by itself and, all together, the whole file.
//!
//! SHA-256 is a chain: 64 bytes at a time turn one value of 32 bytes into the next. Whoever knows the value before a
//! block and the value after it can check that block alone, in any order and on any thread. When every block fits and the
//! last one ends in the file's own hash, the file has that hash, and nothing was hashed twice.

use sha2::block_api::compress256;

/// A chaining value, its words in big-endian order. The hash itself is one too.
pub type State = [u8; 32];

/// Where the chain begins (FIPS 180-4, 5.3.3).
pub const FIRST: State = [
    0x6a, 0x09, 0xe6, 0x67, 0xbb, 0x67, 0xae, 0x85, 0x3c, 0x6e, 0xf3, 0x72, 0xa5, 0x4f, 0xf5, 0x3a, 0x51,
    0x0e, 0x52, 0x7f, 0x9b, 0x05, 0x68, 0x8c, 0x1f, 0x83, 0xd9, 0xab, 0x5b, 0xe0, 0xcd, 0x19,
];

/// The chain somewhere in a file.
#[derive(Debug, Clone)]
pub struct Chain {
    words: [u32; 8],
    /// Bytes of the file before and in this part.
    length: u64,
    /// The last few bytes, less than 64 of them.
    tail: [u8; 64],
    tail_len: usize,
}

impl Chain {
    /// Goes on from a value that `offset` bytes led to; `offset` is a multiple of 64.
    pub fn new(from: &State, offset: u64) -> Self {
        let (words, _) = from.as_chunks::<4>();
        let mut chain = Self { words: [0; 8], length: offset, tail: [0; 64], tail_len: 0 };
        for (word, bytes) in chain.words.iter_mut().zip(words) {
            *word = u32::from_be_bytes(*bytes);
        }
        chain
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if self.tail_len > 0 {
            let take = bytes.len().min(64 - self.tail_len);
            let (now, later) = bytes.split_at(take);
            self.keep(now);
            bytes = later;
        }
        let (blocks, rest) = bytes.as_chunks::<64>();
        compress256(&mut self.words, blocks);
        self.keep(rest);
    }

    /// Appends to the tail, at most up to a whole 64 bytes.
    fn keep(&mut self, bytes: &[u8]) {
        let end = self.tail_len + bytes.len();
        if let Some(place) = self.tail.get_mut(self.tail_len..end) {
            place.copy_from_slice(bytes);
        }
        self.tail_len = end;
        if end == 64 {
            compress256(&mut self.words, &[self.tail]);
            self.tail_len = 0;
        }
    }

    /// Bytes of the file so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The value here; `None` between multiples of 64 bytes.
    pub fn state(&self) -> Option<State> {
        (self.tail_len == 0).then(|| self.value())
    }

    /// The hash, if the file ends here.
    pub fn finish(mut self) -> State {
        let bits = self.length.wrapping_mul(8);
        self.keep(&[0x80]);
        if self.tail_len > 56 {
            self.keep(&[0; 64][self.tail_len..]);
        }
        self.keep(&[0; 56][self.tail_len..]);
        self.keep(&bits.to_be_bytes());
        self.value()
    }

    fn value(&self) -> State {
        let mut state = [0; 32];
        for (place, word) in state.as_chunks_mut::<4>().0.iter_mut().zip(self.words) {
            *place = word.to_be_bytes();
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    proptest! {
        #[test]
        fn a_chain_ends_in_the_hash(data in prop::collection::vec(any::<u8>(), 0..600), cuts: Vec<prop::sample::Index>) {
            let mut chain = Chain::new(&FIRST, 0);
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(data.len() + 1)).collect();
            at.extend([0, data.len()]);
            at.sort_unstable();
            at.windows(2).for_each(|pair| chain.update(&data[pair[0]..pair[1]]));
            prop_assert_eq!(chain.length(), data.len() as u64);
            prop_assert_eq!(chain.finish(), <State>::from(Sha256::digest(&data)));
        }

        #[test]
        fn blocks_are_hashed_alone(data in prop::collection::vec(any::<u8>(), 128..600)) {
            let mut chain = Chain::new(&FIRST, 0);
            chain.update(&data[..128]);
            let mut second = Chain::new(&chain.state().unwrap(), 128);
            second.update(&data[128..]);
            prop_assert_eq!(second.finish(), <State>::from(Sha256::digest(&data)));
        }
    }
}
