//! Any conversation with the sources of a model: whatever they send, what goes to the disk is the next byte of a block that
//! was asked of that source, within its file, and the files are complete only when every block was found right.
//!
//! Input: steps of four bytes: what, from whom, and with what.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use teale_cluster::share::{
    BadBlock, BlockRef, Chain, FIRST, Input, Manifest, Output, Receiver, ReceiverConfig, bounds,
    check_file_name,
};
use teale_wire::{
    CancelReason, ChunkData, ClusterMessage, Extra, FileRange, ModelFile, ModelQueryResponse,
    ModelTransferChunk, NodeId, TransferId,
};

const MODEL: &str = "m";
const NAMES: [&str; 6] = ["a.gguf", "../x", "/etc/x", "CON", "a\0b", "A.gguf"];
const SIZE: usize = 150_000;
const STEPS: usize = 2000;

struct World {
    receiver: Receiver,
    now: Duration,
    manifest: Option<Arc<Manifest>>,
    /// What each source was asked for and has not been told to forget.
    asked: Vec<(NodeId, TransferId, FileRange)>,
    /// How far each block under way is.
    blocks: BTreeMap<(NodeId, BlockRef), u64>,
    right: BTreeSet<BlockRef>,
    over: bool,
}

fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n % 3 + 1; 32])
}

/// Runs the steps.
pub fn run(data: &[u8]) {
    let second = Duration::from_secs(1);
    let config =
        ReceiverConfig { model: MODEL.into(), begun: None, search: 15 * second, patience: 60 * second };
    let mut world = World {
        receiver: Receiver::new(config, [1; 32], 7, Duration::ZERO),
        now: Duration::ZERO,
        manifest: None,
        asked: Vec::new(),
        blocks: BTreeMap::new(),
        right: BTreeSet::new(),
        over: false,
    };
    for step in data.as_chunks::<4>().0.iter().take(STEPS) {
        if world.over {
            return;
        }
        world.step(*step);
    }
}

/// A source's list of files: honest for most arguments, bent for the others.
fn response(how: u8) -> ModelQueryResponse {
    let mut chain = Chain::new(&FIRST, 0);
    let mut states = Vec::new();
    for (index, block) in contents().chunks(bounds::BLOCK_MIN as usize).enumerate() {
        chain.update(block);
        if (index + 1) * (bounds::BLOCK_MIN as usize) < SIZE {
            states.extend(chain.state().unwrap_or_default());
        }
    }
    let bent = |bit: u8| how & 0x80 != 0 && how & bit != 0;
    let file = ModelFile {
        file_name: NAMES[usize::from(if bent(1) { how >> 3 } else { 0 }) % NAMES.len()].into(),
        size_bytes: if bent(2) { u64::MAX - u64::from(how) } else { SIZE as u64 },
        sha256: chain.finish().iter().map(|byte| format!("{byte:02x}")).collect(),
        block_size_bytes: Some(if bent(4) { u64::from(how) } else { bounds::BLOCK_MIN }),
        block_states: Some(states.into()),
        extra: Extra::new(),
    };
    let files = if bent(8) { vec![file.clone(), file] } else { vec![file] };
    ModelQueryResponse {
        model_id: MODEL.into(),
        available: how & 0x40 == 0,
        total_size_bytes: None,
        files,
        models: Vec::new(),
        extra: Extra::new(),
    }
}

/// What an honest source has; made once, for all runs.
fn contents() -> &'static [u8] {
    static CONTENTS: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    CONTENTS.get_or_init(|| (0..SIZE).map(|n| ((n * 31) >> 5) as u8).collect())
}

impl World {
    fn step(&mut self, [what, who, a, b]: [u8; 4]) {
        let peer = node(who);
        match what % 10 {
            0 => self.give(Input::Found(peer)),
            1 => {
                self.asked.retain(|(node, ..)| *node != peer);
                self.give(Input::Lost(peer));
            }
            2 => self.give(Input::Response(peer, Box::new(response(a)))),
            3..=5 => self.chunk(peer, a, b),
            6 => {
                let id = self.id_of(peer, a);
                self.give(Input::Complete(peer, id));
            }
            7 => {
                let reasons = [CancelReason::Busy, CancelReason::NotFound, CancelReason::Failed];
                let id = self.id_of(peer, a);
                self.give(Input::Cancelled(peer, id, reasons.get(usize::from(b) % 4).cloned()));
            }
            8 => {
                self.now += Duration::from_millis(u64::from(a) * u64::from(b));
                self.give(Input::Tick);
            }
            // A run of honest chunks.
            _ => (0..=a).for_each(|_| self.chunk(peer, 0, 0)),
        }
    }

    fn id_of(&self, peer: NodeId, which: u8) -> TransferId {
        let mut ids = self.asked.iter().filter(|(node, ..)| *node == peer);
        ids.nth(usize::from(which) / 16)
            .map_or_else(|| TransferId::from_random([which; 16]), |(_, id, _)| id.clone())
    }

    /// A chunk of the oldest request, bent by `a`.
    fn chunk(&mut self, peer: NodeId, a: u8, b: u8) {
        if self.over {
            return;
        }
        let Some(index) = self.asked.iter().position(|(node, ..)| *node == peer) else {
            let nothing = FileRange { file_name: "a.gguf".into(), offset: 0, length: 5000 };
            return self.send(peer, TransferId::from_random([a; 16]), &nothing, (a, b));
        };
        let (_, id, range) = self.asked[index].clone();
        self.send(peer, id, &range, (a, b));
        let Some((.., range)) = self.asked.get_mut(index) else { return };
        let taken = range.length.min(20_000);
        (range.offset, range.length) = (range.offset + taken, range.length - taken);
        if range.length == 0 {
            self.asked.remove(index);
        }
    }

    fn send(&mut self, peer: NodeId, id: TransferId, range: &FileRange, (a, b): (u8, u8)) {
        let contents = contents();
        let start = usize::try_from(range.offset).unwrap_or(0).min(SIZE);
        let end = (start + range.length.min(20_000) as usize).min(SIZE);
        let mut bytes = contents[start..end].to_vec();
        let bent = |bit: u8| a & bit != 0;
        if bent(1)
            && let Some(byte) = bytes.first_mut()
        {
            *byte ^= b | 1;
        }
        if bent(2) {
            bytes.resize(usize::from(b) * 300, 0);
        }
        let chunk = ModelTransferChunk {
            transfer_id: id,
            file_name: NAMES[usize::from(if bent(4) { b } else { 0 }) % NAMES.len()].into(),
            offset: if bent(8) { u64::MAX - u64::from(b) } else { range.offset },
            data: ChunkData::new(bytes),
            is_last_chunk: bent(16) || end == SIZE,
            extra: Extra::new(),
        };
        self.give(Input::Chunk { peer, chunk: Box::new(chunk), beside_answers: bent(32) });
    }

    fn give(&mut self, input: Input) {
        self.receiver.handle(self.now, input);
        loop {
            match self.receiver.poll() {
                Output::Wait(until) => {
                    assert!(until.is_none_or(|until| until > self.now), "it wakes for nothing");
                    break;
                }
                output => self.act(output),
            }
        }
        let progress = self.receiver.progress();
        assert!(progress.done <= progress.total);
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Send(peer, ClusterMessage::ModelTransferRequest(request)) => {
                let Some(range) = request.range.clone() else { panic!("a request without a range") };
                self.asked.push((peer, request.transfer_id.clone(), range));
                let open = self.asked.iter().filter(|(node, ..)| *node == peer).count();
                assert!(open <= bounds::REQUESTS, "too many open requests");
            }
            Output::Send(peer, ClusterMessage::ModelTransferCancel(cancel)) => {
                self.asked.retain(|(node, id, _)| *node != peer || *id != cancel.transfer_id);
            }
            Output::Send(..) | Output::Dropped(..) => {}
            Output::Begin(manifest) => {
                for file in manifest.files() {
                    assert!(check_file_name(&file.name).is_ok(), "a hostile name gets through");
                }
                self.blocks.clear();
                self.right.clear();
                self.asked.clear();
                self.manifest = Some(manifest);
                self.receiver.handle(self.now, Input::Begun(BTreeSet::new()));
            }
            Output::Write(piece) => self.write(&piece),
            Output::Forget(peer, at) => {
                self.blocks.remove(&(peer, at));
                self.receiver.handle(self.now, Input::Forgotten(peer, at));
            }
            Output::Finish => {
                let Some(manifest) = &self.manifest else { panic!("finished without a manifest") };
                assert!(
                    manifest.blocks().all(|at| self.right.contains(&at)),
                    "a block was never found right"
                );
                self.receiver.handle(self.now, Input::Finished);
            }
            Output::End(_) => self.over = true,
            Output::Wait(_) => {}
        }
    }

    fn write(&mut self, piece: &teale_cluster::share::Piece) {
        let block = self.manifest.as_ref().and_then(|manifest| manifest.block(piece.at));
        let Some(block) = block else { panic!("a block that is none") };
        assert!(!self.right.contains(&piece.at), "a finished block is written again");
        let mut bytes = Vec::new();
        let Ok(()) = piece.data.decode(&mut bytes) else { panic!("this was base64") };
        let next = self.blocks.entry((piece.peer, piece.at)).or_insert(block.offset);
        assert_eq!(*next, piece.offset, "not the next byte");
        *next += bytes.len() as u64;
        assert!(*next <= block.offset + block.length && *next <= SIZE as u64, "beyond the block");
        let start = piece.offset as usize;
        let honest = contents()[start..start + bytes.len()] == bytes[..];
        self.receiver.handle(self.now, Input::Written(piece.peer, bytes.len() as u64));
        if !honest {
            // What the hash would say at the block's end is said at once.
            self.blocks.remove(&(piece.peer, piece.at));
            self.receiver.handle(self.now, Input::Checked(piece.peer, piece.at, Err(BadBlock)));
        } else if piece.is_last {
            self.blocks.remove(&(piece.peer, piece.at));
            self.right.insert(piece.at);
            self.receiver.handle(self.now, Input::Checked(piece.peer, piece.at, Ok(())));
        }
    }
}
