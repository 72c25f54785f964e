//! Masking (RFC 6455 §5.3).

/// XORs `data` with the repeated key. `offset` is where in the payload `data` begins, so that a payload can be
/// unmasked as it arrives.
pub fn unmask(data: &mut [u8], key: [u8; 4], offset: usize) {
    let mut key = key;
    key.rotate_left(offset % 4);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_definition_in_any_cut(
            data in proptest::collection::vec(any::<u8>(), 0..200), key: [u8; 4], cut in 0usize..200,
        ) {
            let expected: Vec<u8> = data.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            let cut = cut.min(data.len());
            let mut got = data;
            let (head, tail) = got.split_at_mut(cut);
            super::unmask(head, key, 0);
            super::unmask(tail, key, cut);
            prop_assert_eq!(got, expected);
        }
    }
}
