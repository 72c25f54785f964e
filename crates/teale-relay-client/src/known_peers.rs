//! Which nodes have a key: the memory that keeps a relay from talking us into plaintext.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use teale_identity::{NodeId, X25519Public};
use teale_noise::{ReplayGuard, TimestampSource};

use crate::bounds;

/// What is remembered of one node's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownKey {
    /// Its X25519 key.
    pub key: X25519Public,
    /// Whether the node signed it inside a handshake. Otherwise a relay said so.
    pub proved: bool,
}

/// The memory of peers' keys, and of the handshakes seen and started. Clones share it: give the same one to every
/// relay's client of a node, so that what one relay told binds the others, and no handshake is replayed on another.
///
/// A node once seen with a key is never spoken to in plaintext again, so nothing is ever forgotten to make
/// room: at [`bounds::KNOWN_PEERS`] nodes a relay's word is no longer written down (a proved key still is, in the
/// place of one that is not), and as long as the memory is full, plaintext is refused with every node.
///
/// [`to_text`](Self::to_text) and [`from_text`](Self::from_text) carry the keys over a restart. The handshakes
/// are not carried over: a handshake message replayed after a restart opens a session in which nobody can speak.
#[derive(Clone)]
pub struct KnownPeers(Arc<Memories>);

struct Memories {
    memory: Mutex<Memory>,
    stamps: TimestampSource,
}

struct Memory {
    keys: HashMap<NodeId, KnownKey>,
    capacity: usize,
    changes: u64,
    guard: ReplayGuard,
}

/// Why a line of a snapshot cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the known peers is not `NODEID KEY proved|advertised`")]
pub struct KnownPeersError {
    /// Its number, from 1.
    pub line: usize,
}

/// What a node may be spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recall {
    Key(KnownKey),
    Never,
    /// Not remembered, and the memory is full.
    Full,
}

impl Default for KnownPeers {
    fn default() -> Self {
        Self::with_capacity(bounds::KNOWN_PEERS)
    }
}

impl KnownPeers {
    /// An empty memory of [`bounds::KNOWN_PEERS`] nodes.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let guard = ReplayGuard::new(bounds::REPLAY_KEYS);
        let memory = Memory { keys: HashMap::new(), capacity, changes: 0, guard };
        Self(Arc::new(Memories { memory: Mutex::new(memory), stamps: TimestampSource::new() }))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Every change is a single insert: a panic elsewhere leaves nothing half done.
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered of a node.
    pub fn get(&self, node: NodeId) -> Option<KnownKey> {
        self.memory().keys.get(&node).copied()
    }

    /// Nodes remembered.
    pub fn len(&self) -> usize {
        self.memory().keys.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Goes up with every change: whoever keeps a copy on disk sees when to write it again.
    pub fn changes(&self) -> u64 {
        self.memory().changes
    }

    pub(crate) fn recall(&self, node: NodeId) -> Recall {
        let memory = self.memory();
        match memory.keys.get(&node) {
            Some(known) => Recall::Key(*known),
            None if memory.keys.len() >= memory.capacity => Recall::Full,
            None => Recall::Never,
        }
    }

    /// A relay says that this is the node's key. A proved key stands; otherwise the latest word does.
    pub(crate) fn advertise(&self, node: NodeId, key: X25519Public) {
        let mut memory = self.memory();
        let memory = &mut *memory;
        let room = memory.keys.len() < memory.capacity;
        match memory.keys.get_mut(&node) {
            Some(known) if known.proved || known.key == key => return,
            Some(known) => known.key = key,
            None if room => {
                memory.keys.insert(node, KnownKey { key, proved: false });
            }
            None => return,
        }
        memory.changes += 1;
    }

    /// The node signed this key inside a handshake.
    pub(crate) fn prove(&self, node: NodeId, key: X25519Public) {
        let mut memory = self.memory();
        let known = KnownKey { key, proved: true };
        if memory.keys.get(&node) == Some(&known) {
            return;
        }
        if memory.keys.len() >= memory.capacity && !memory.keys.contains_key(&node) {
            let Some(victim) = memory.keys.iter().find(|(_, known)| !known.proved).map(|(node, _)| *node)
            else {
                return;
            };
            memory.keys.remove(&victim);
        }
        memory.keys.insert(node, known);
        memory.changes += 1;
    }

    /// Where every handshake of the node gets its timestamp.
    pub fn stamps(&self) -> &TimestampSource {
        &self.0.stamps
    }

    /// Runs `step` with the memory of handshakes seen.
    pub fn with_guard<T>(&self, step: impl FnOnce(&mut ReplayGuard) -> T) -> T {
        step(&mut self.memory().guard)
    }

    /// The keys as text, one `NODEID KEY proved|advertised` a line, sorted.
    pub fn to_text(&self) -> String {
        let memory = self.memory();
        let mut lines: Vec<String> = memory
            .keys
            .iter()
            .map(|(node, known)| {
                format!(
                    "{node} {} {}\n",
                    known.key.to_hex(),
                    if known.proved { "proved" } else { "advertised" }
                )
            })
            .collect();
        lines.sort_unstable();
        lines.concat()
    }

    /// Reads [`to_text`](Self::to_text). Lines beyond [`bounds::KNOWN_PEERS`] are left out.
    ///
    /// # Errors
    /// The first line that cannot be read: a memory with a hole would allow plaintext where it must not.
    pub fn from_text(text: &str) -> Result<Self, KnownPeersError> {
        let known = Self::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let error = KnownPeersError { line: index + 1 };
            let mut words = line.split_ascii_whitespace();
            let (Some(node), Some(key), Some(how), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return Err(error);
            };
            let node = NodeId::parse(node.as_bytes()).map_err(|_| error)?;
            let key = X25519Public::parse_hex(key).map_err(|_| error)?;
            match how {
                "proved" => known.prove(node, key),
                "advertised" => known.advertise(node, key),
                _ => return Err(error),
            }
        }
        known.memory().changes = 0;
        Ok(known)
    }
}

impl fmt::Debug for KnownPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownPeers").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn key(n: u8) -> X25519Public {
        X25519Public([n; 32])
    }

    #[test]
    fn a_relays_word_never_replaces_a_proved_key() {
        let known = KnownPeers::new();
        known.prove(node(1), key(1));
        known.advertise(node(1), key(2));
        assert_eq!(known.get(node(1)), Some(KnownKey { key: key(1), proved: true }));
    }

    #[test]
    fn a_full_memory_forgets_nothing_and_says_so() {
        let known = KnownPeers::with_capacity(2);
        known.advertise(node(1), key(1));
        known.advertise(node(2), key(2));
        known.advertise(node(3), key(3));
        assert_eq!(known.get(node(3)), None);
        assert_eq!(known.recall(node(3)), Recall::Full);
        assert!(known.get(node(1)).is_some() && known.get(node(2)).is_some());
    }

    #[test]
    fn a_proved_key_takes_the_place_of_an_advertised_one() {
        let known = KnownPeers::with_capacity(2);
        known.advertise(node(1), key(1));
        known.prove(node(2), key(2));
        known.prove(node(3), key(3));
        assert_eq!(known.get(node(1)), None);
        assert!(known.get(node(2)).is_some() && known.get(node(3)).is_some());
        known.prove(node(4), key(4));
        assert_eq!(known.get(node(4)), None, "proved keys make room for nobody");
    }

    #[test]
    fn a_snapshot_reads_back_and_a_broken_line_is_named() {
        let known = KnownPeers::new();
        known.advertise(node(2), key(2));
        known.prove(node(1), key(1));
        let text = known.to_text();
        let again = KnownPeers::from_text(&text).unwrap();
        assert_eq!(again.to_text(), text);
        assert_eq!(again.changes(), 0);
        let broken = format!("{text}nonsense\n");
        assert_eq!(KnownPeers::from_text(&broken).err(), Some(KnownPeersError { line: 3 }));
    }
}
