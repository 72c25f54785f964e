//! Masking (RFC 6455 §5.3), and a look at what comes out while it passes through the registers.

use std::ops::Range;

/// Bytes handled side by side.
const LANES: usize = 16;
/// Bytes in one turn of the loop.
const BLOCK: usize = 4 * LANES;
/// The first plain character.
const FIRST: u8 = b'#';
/// The last plain character, counted from the first.
const SPAN: u8 = 0x7f - FIRST;

/// Whether a byte is plain: ASCII from `#` to 0x7f but for the backslash. JSON gives none of these a meaning within a
/// string; the space and `!`, which are as harmless, are left out because the range is quicker to check without them.
pub fn is_plain(byte: u8) -> bool {
    byte.wrapping_sub(FIRST) <= SPAN && byte != b'\\'
}

/// XORs `data` with the repeated key. `offset` is where in the payload `data` begins, so that a payload can be
/// unmasked as it arrives.
pub fn unmask(data: &mut [u8], key: [u8; 4], offset: usize) {
    let key = rotated(key, offset);
    let word = u32::from_ne_bytes(key);
    let wide = u64::from(word) << 32 | u64::from(word);
    let (blocks, rest) = data.as_chunks_mut::<8>();
    for block in blocks {
        *block = (u64::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Unmasks the part of a payload that lies at `from` in the buffer and puts it at `to`, which is not behind
/// `from.start`. `offset` is where in the payload it begins. Returns whether all of it is plain.
pub(super) fn unmask_plain(
    buffer: &mut [u8],
    from: Range<usize>,
    to: usize,
    key: [u8; 4],
    offset: usize,
) -> bool {
    debug_assert!(to <= from.start);
    let Some(window) = buffer.get_mut(to..from.end) else { return false };
    let shift = from.start - to;
    let mut lanes = Lanes::new(rotated(key, offset));
    let (mut at, len) = (0, from.len());
    // Each part is read before anything is put behind its beginning: it is put no later than where it was read.
    while let Some(block) = window.get(at + shift..).and_then(<[u8]>::first_chunk::<BLOCK>) {
        let mut block = *block;
        block.as_chunks_mut().0.iter_mut().for_each(|part| lanes.pass(part));
        if let Some(place) = window.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *place = block;
        }
        at += BLOCK;
    }
    while let Some(part) = window.get(at + shift..).and_then(<[u8]>::first_chunk::<LANES>) {
        let mut part = *part;
        lanes.pass(&mut part);
        if let Some(place) = window.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *place = part;
        }
        at += LANES;
    }
    let mut plain = lanes.are_plain();
    for (at, key) in (at..len).zip(lanes.key) {
        let byte = window.get(at + shift).copied().unwrap_or_default() ^ key;
        plain &= is_plain(byte);
        if let Some(place) = window.get_mut(at) {
            *place = byte;
        }
    }
    plain
}

/// The key from the payload's byte at `offset` on.
fn rotated(key: [u8; 4], offset: usize) -> [u8; 4] {
    let bits = 8 * (offset % 4) as u32;
    u32::from_be_bytes(key).rotate_left(bits).to_be_bytes()
}

/// What is known of the bytes that passed, lane by lane. Written so that it becomes vector code.
struct Lanes {
    key: [u8; LANES],
    /// The greatest distance from the first plain character.
    span: [u8; LANES],
    /// The least distance from the backslash.
    backslash: [u8; LANES],
}

impl Lanes {
    fn new(key: [u8; 4]) -> Self {
        let mut wide = [0; LANES];
        wide.as_chunks_mut().0.fill(key);
        Self { key: wide, span: [0; LANES], backslash: [u8::MAX; LANES] }
    }

    #[inline(always)]
    fn pass(&mut self, part: &mut [u8; LANES]) {
        let seen = self.span.iter_mut().zip(&mut self.backslash);
        for ((byte, key), (span, backslash)) in part.iter_mut().zip(&self.key).zip(seen) {
            *byte ^= key;
            *span = (*span).max(byte.wrapping_sub(FIRST));
            *backslash = (*backslash).min(*byte ^ b'\\');
        }
    }

    fn are_plain(&self) -> bool {
        self.span.iter().fold(0, |most, span| most.max(*span)) <= SPAN
            && self.backslash.iter().fold(u8::MAX, |least, distance| least.min(*distance)) != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_the_definition_in_any_cut(
            data in proptest::collection::vec(any::<u8>(), 0..200), key: [u8; 4], cut in 0usize..200,
        ) {
            let expected: Vec<u8> = data.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            let cut = cut.min(data.len());
            let mut got = data;
            let (head, tail) = got.split_at_mut(cut);
            unmask(head, key, 0);
            unmask(tail, key, cut);
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn unmasks_to_another_place_and_sees_what_is_not_plain(
            clear in proptest::collection::vec(prop_oneof![40 => b'#'..=b'[', 1 => any::<u8>()], 0..200),
            key: [u8; 4], offset in 0usize..8, before in 0usize..40, shift in 0usize..40,
        ) {
            let masked = clear.iter().enumerate().map(|(i, byte)| byte ^ key[(i + offset) % 4]);
            let mut buffer = vec![7; before + shift];
            buffer.extend(masked);
            let whole = buffer.len();
            let plain = unmask_plain(&mut buffer, before + shift..whole, before, key, offset);
            prop_assert_eq!(plain, clear.iter().all(|byte| is_plain(*byte)));
            prop_assert_eq!(&buffer[before..before + clear.len()], &clear);
            prop_assert!(buffer[..before].iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn plain_is_what_serde_json_takes_as_it_is() {
        for byte in (0..=u8::MAX).filter(|byte| is_plain(*byte)) {
            let text = [b'"', byte, b'"'];
            let read: &str = serde_json::from_slice(&text).unwrap();
            assert_eq!(read.as_bytes(), [byte]);
        }
    }
}
