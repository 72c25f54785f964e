//! What happened, as text to read and to snapshot, and as one number to compare.

use std::{collections::BTreeMap, fmt, fmt::Write as _};

use crate::{NodeId, queue::Nanos, random::mix};

/// Bytes of text a trace keeps; what happens after that is only counted.
const TEXT: usize = 16 << 20;

/// Stands where no node is near.
pub(crate) const NOBODY: NodeId = NodeId(u32::MAX);

/// Turns a payload into a few words.
pub type Label = fn(&[u8]) -> String;

#[derive(Debug, Default)]
pub(crate) struct Trace {
    text: String,
    on: bool,
    label: Option<Label>,
    left_out: u64,
    names: BTreeMap<NodeId, String>,
    fingerprint: u64,
}

/// What kind of thing happened, for the fingerprint.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(crate) enum Kind {
    Sent = 1,
    Delivered,
    Lost,
    Woken,
    Stream,
    Life,
}

impl Trace {
    pub(crate) fn turn_on(&mut self, label: Option<Label>) {
        (self.on, self.label) = (true, label);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    pub(crate) fn name(&mut self, node: NodeId, name: String) {
        self.names.insert(node, name);
    }

    pub(crate) fn take(&mut self) -> String {
        let mut text = std::mem::take(&mut self.text);
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let _ = writeln!(text, "… and {left_out} lines more");
        }
        text
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Counts a thing into the fingerprint.
    pub(crate) fn mark(&mut self, now: Nanos, kind: Kind, node: NodeId, more: u64) {
        let what = (kind as u64) << 56 ^ u64::from(node.0) << 24;
        self.fingerprint = mix(self.fingerprint ^ mix(now ^ what.rotate_left(7)) ^ more);
    }

    /// Writes a line; the caller asked [`Self::is_on`] before it made the text.
    pub(crate) fn line(&mut self, now: Nanos, node: NodeId, what: fmt::Arguments<'_>) {
        if self.text.len() >= TEXT {
            self.left_out += 1;
            return;
        }
        let (ms, rest) = (now / 1_000_000, now / 1_000 % 1_000);
        let name = match self.names.get(&node) {
            Some(name) => name.clone(),
            None if node == NOBODY => "-".to_owned(),
            None => node.to_string(),
        };
        let _ = writeln!(self.text, "{ms:>8}.{rest:03} {name:<6} {what}");
    }

    /// A payload's size and label.
    pub(crate) fn payload(&self, payload: &[u8]) -> String {
        let bytes = payload.len();
        match self.label {
            Some(label) => format!("{bytes} B {}", label(payload)),
            None => format!("{bytes} B"),
        }
    }
}
