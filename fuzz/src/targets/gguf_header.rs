//! Model files' headers: read or refused, never a panic, never more memory than the file has bytes for.

use teale_infer::gguf::{GgufError, Header};

/// The whole input is a file; the same file, said to be larger than it is, must not pass either.
pub fn run(data: &[u8]) {
    let size = data.len() as u64;
    if let Ok(header) = Header::read(data, size) {
        assert!(!header.architecture().is_empty());
        assert!(header.tensor_bytes() <= size);
        // The header does not depend on what follows the tensors.
        assert_eq!(Header::read(data, size + 1000).as_ref(), Ok(&header));
    }
    if let Some(shorter) = data.len().checked_sub(1).and_then(|length| data.get(..length)) {
        let result = Header::read(shorter, size);
        assert!(!matches!(result, Err(GgufError::Io(_))), "a short read is a truncated file");
    }
}
