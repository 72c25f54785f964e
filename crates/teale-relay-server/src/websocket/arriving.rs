//! A frame that is arriving: how much of it is unmasked, and what was seen of it meanwhile.

use super::{
    header::Header,
    mask::{unmask, unmask_plain},
};

/// A guess at what the next messages look like: all but the first `head` and the last `tail` bytes are plain
/// ([`is_plain`](super::is_plain)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Bytes before the plain ones.
    pub head: usize,
    /// Bytes after them.
    pub tail: usize,
}

/// A frame whose header is there.
#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) header: Header,
    /// Bytes of the payload that are unmasked.
    unmasked: usize,
    /// The form it has as far as it is unmasked.
    form: Option<Form>,
}

impl Arriving {
    pub(super) fn new(header: Header, form: Option<Form>) -> Self {
        let whole = usize::try_from(header.payload).unwrap_or(usize::MAX);
        let form =
            form.filter(|form| !header.opcode.is_control() && form.head.saturating_add(form.tail) <= whole);
        Self { header, unmasked: 0, form }
    }

    /// The form that the whole payload turned out to have.
    pub(super) fn form(&self) -> Option<Form> {
        self.form
    }

    /// Whether nothing is unmasked.
    pub(super) fn untouched(&self) -> bool {
        self.unmasked == 0
    }

    /// Unmasks the payload, which lies at `from` in the buffer, as far as it has arrived, and puts it at `to`. That is
    /// `from` or, if all of it comes at once, a place before.
    pub(super) fn unmask(&mut self, buffer: &mut [u8], from: usize, arrived: usize, to: usize) {
        let start = self.unmasked;
        self.unmasked = arrived;
        let Some(form) = self.form else {
            return self.part(buffer, from, start..arrived, to);
        };
        let middle = form.head..(self.header.payload as usize).saturating_sub(form.tail);
        let (first, last) = (middle.start.clamp(start, arrived), middle.end.clamp(start, arrived));
        self.part(buffer, from, start..first, to);
        if !unmask_plain(buffer, from + first..from + last, to + first, self.header.key, first) {
            self.form = None;
        }
        self.part(buffer, from, last..arrived, to);
    }

    /// A part about which nothing has to be known.
    fn part(&self, buffer: &mut [u8], from: usize, part: std::ops::Range<usize>, to: usize) {
        let (place, key) = (from + part.start..from + part.end, self.header.key);
        if from != to {
            unmask_plain(buffer, place, to + part.start, key, part.start);
        } else if let Some(bytes) = buffer.get_mut(place) {
            unmask(bytes, key, part.start);
        }
    }
}
