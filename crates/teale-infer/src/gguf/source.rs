//! Reads little-endian fields from a file of known size; nothing is allocated that the file cannot hold.

use std::io::{self, Read};

use super::{GgufError, error::shown};

/// The longest text of a header: a large tokenizer's table of characters, or a chat template.
const LONGEST_TEXT: u64 = 64 << 20;

/// A reader that knows how much is left.
pub(super) struct Source<R> {
    reader: R,
    position: u64,
    left: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R, size: u64) -> Self {
        Self { reader, position: 0, left: size }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes the file still has.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Fails unless the file has `length` bytes more.
    pub(super) fn need(&self, length: u64, within: &'static str) -> Result<(), GgufError> {
        match length.checked_sub(self.left) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(GgufError::Truncated { within, missing }),
        }
    }

    pub(super) fn array<const N: usize>(&mut self, within: &'static str) -> Result<[u8; N], GgufError> {
        self.need(N as u64, within)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes, within)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, within: &'static str) -> Result<u32, GgufError> {
        self.array(within).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, within: &'static str) -> Result<u64, GgufError> {
        self.array(within).map(u64::from_le_bytes)
    }

    /// A length and so many bytes.
    pub(super) fn bytes(&mut self, within: &'static str) -> Result<Vec<u8>, GgufError> {
        let length = self.u64(within)?;
        self.need(length, within)?;
        if length > LONGEST_TEXT {
            return Err(GgufError::TooMany { what: "text length", value: length, limit: LONGEST_TEXT });
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.fill(&mut bytes, within)?;
        Ok(bytes)
    }

    /// The same, as text.
    pub(super) fn text(&mut self, within: &'static str) -> Result<String, GgufError> {
        String::from_utf8(self.bytes(within)?).map_err(|error| GgufError::NotText(shown(error.as_bytes())))
    }

    /// Passes over `length` bytes.
    pub(super) fn skip(&mut self, length: u64, within: &'static str) -> Result<(), GgufError> {
        self.need(length, within)?;
        let copied = io::copy(&mut (&mut self.reader).take(length), &mut io::sink())
            .map_err(|error| GgufError::Io(error.kind()))?;
        self.advance(copied);
        match length - copied {
            0 => Ok(()),
            missing => Err(GgufError::Truncated { within, missing }),
        }
    }

    fn fill(&mut self, bytes: &mut [u8], within: &'static str) -> Result<(), GgufError> {
        self.reader.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => GgufError::Truncated { within, missing: 1 },
            kind => GgufError::Io(kind),
        })?;
        self.advance(bytes.len() as u64);
        Ok(())
    }

    fn advance(&mut self, length: u64) {
        self.position = self.position.saturating_add(length);
        self.left = self.left.saturating_sub(length);
    }
}
