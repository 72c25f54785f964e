//! Sources of every nature, honest and not, a disk that hashes, and a receiver between them, in virtual time.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use proptest::prelude::*;
use teale_cluster::share::{
    BadBlock, BlockRef, Chain, FIRST, Input, Manifest, Output, PullError, Receiver, ReceiverConfig,
    SourceFault, bounds,
};
use teale_wire::{
    CancelReason, ChunkData, ClusterMessage, Extra, ModelFile, ModelQueryResponse, ModelTransferChunk,
    ModelTransferRequest, NodeId, TransferId,
};

pub const MODEL: &str = "org/model";
pub const BLOCK: usize = 64 << 10;
pub const TAG: u32 = 0xfeed_beef;

pub fn node(n: usize) -> NodeId {
    NodeId::from_bytes([n as u8 + 1; 32])
}

pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(step).collect()
}

pub fn file(name: &str, data: &[u8], blocks: bool) -> ModelFile {
    let mut chain = Chain::new(&FIRST, 0);
    let mut states = Vec::new();
    for (index, block) in data.chunks(BLOCK).enumerate() {
        chain.update(block);
        if (index + 1) * BLOCK < data.len() {
            states.extend(chain.state().unwrap());
        }
    }
    let blocks = blocks && !states.is_empty();
    ModelFile {
        file_name: name.into(),
        size_bytes: data.len() as u64,
        sha256: hex::encode(chain.finish()),
        block_size_bytes: blocks.then_some(BLOCK as u64),
        block_states: blocks.then(|| Bytes::from(states)),
        extra: Extra::new(),
    }
}

pub fn response(files: Vec<ModelFile>) -> ModelQueryResponse {
    ModelQueryResponse {
        model_id: MODEL.into(),
        available: true,
        total_size_bytes: None,
        files,
        models: Vec::new(),
        extra: Extra::new(),
    }
}

pub fn chunk_of(peer: NodeId, chunk: ModelTransferChunk) -> Input {
    Input::Chunk { peer, chunk: Box::new(chunk), beside_answers: false }
}

/// What a source does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Nature {
    Honest,
    /// Loses its link after so many chunks; comes back or not.
    Vanishes(u64, bool),
    /// Says nothing more after so many chunks.
    Stalls(u64),
    /// Flips a bit of this chunk.
    Corrupts(u64),
    /// Sends other bytes than base64.
    Garbles(u64),
    /// Shifts the offset, or names another file, or sends a chunk too much, or one nobody asked for.
    Shifts(u64),
    Renames(u64),
    Overruns(u64),
    Floods(u64),
    /// Says complete too early.
    Stops(u64),
    /// Pretends that the file ends early.
    Ends(u64),
    /// Has files of its own.
    Other,
    /// Has the same files, but lies about the chain between blocks.
    FalseChain,
    Busy(u64),
    Lacks,
}

pub fn nature() -> impl Strategy<Value = Nature> {
    let n = 0u64..40;
    prop_oneof![
        2 => Just(Nature::Honest),
        1 => (n.clone(), any::<bool>()).prop_map(|(n, back)| Nature::Vanishes(n, back)),
        1 => n.clone().prop_map(Nature::Stalls),
        1 => n.clone().prop_map(Nature::Corrupts),
        1 => n.clone().prop_map(Nature::Garbles),
        1 => n.clone().prop_map(Nature::Shifts),
        1 => n.clone().prop_map(Nature::Renames),
        1 => n.clone().prop_map(Nature::Overruns),
        1 => n.clone().prop_map(Nature::Floods),
        1 => n.clone().prop_map(Nature::Stops),
        1 => n.clone().prop_map(Nature::Ends),
        1 => Just(Nature::Other),
        1 => Just(Nature::FalseChain),
        1 => n.prop_map(Nature::Busy),
        1 => Just(Nature::Lacks),
    ]
}

pub struct Peer {
    pub nature: Nature,
    pub response: ModelQueryResponse,
    pub files: BTreeMap<String, Arc<Vec<u8>>>,
    pub sent: u64,
    pub linked: bool,
    pub chunk: usize,
}

/// Things that arrive, in time.
pub type Wire = VecDeque<(Duration, Input)>;

impl Peer {
    /// What comes back for a request.
    pub fn serve(&mut self, me: NodeId, request: &ModelTransferRequest, at: Duration, wire: &mut Wire) {
        let id = request.transfer_id.clone();
        let range = request.range.clone().expect("we ask for ranges");
        let data = Arc::clone(&self.files[&range.file_name]);
        let (mut next, end) = (range.offset as usize, (range.offset + range.length) as usize);
        while next < end {
            if !self.linked {
                return;
            }
            self.sent += 1;
            let n = self.sent - 1;
            let length = self.chunk.min(end - next);
            let mut bytes = data[next..next + length].to_vec();
            let mut chunk = ModelTransferChunk {
                transfer_id: id.clone(),
                file_name: range.file_name.clone(),
                offset: next as u64,
                data: ChunkData::new(Vec::new()),
                is_last_chunk: next + length == data.len(),
                extra: Extra::new(),
            };
            let mut extra = Vec::new();
            match self.nature {
                Nature::Vanishes(when, _) if n >= when => {
                    self.linked = false;
                    wire.push_back((at, Input::Lost(me)));
                    return;
                }
                Nature::Stalls(when) if n >= when => return,
                Nature::Corrupts(when) if n == when => bytes[length / 2] ^= 4,
                Nature::Shifts(when) if n == when => chunk.offset += 64,
                Nature::Renames(when) if n == when => chunk.file_name = "../x".into(),
                Nature::Overruns(when) if n == when => bytes.extend([0; 9000]),
                Nature::Ends(when) if n == when => chunk.is_last_chunk ^= true,
                Nature::Stops(when) if n == when => {
                    wire.push_back((at, Input::Complete(me, id)));
                    return;
                }
                Nature::Busy(when) if n == when => {
                    wire.push_back((at, Input::Cancelled(me, id, Some(CancelReason::Busy))));
                    return;
                }
                Nature::Floods(when) if n == when => {
                    let unasked = TransferId::from_random([7; 16]);
                    let more = ModelTransferChunk { transfer_id: unasked, ..chunk.clone() };
                    extra.extend((0..100).map(|_| chunk_of(me, more.clone())));
                }
                _ => {}
            }
            chunk.data = ChunkData::new(bytes);
            if self.nature == Nature::Garbles(n) {
                let text = format!("{:?}", chunk.file_name);
                let json = serde_json::json!(["!".repeat(length.div_ceil(3) * 4)]);
                chunk.data = serde_json::from_value(json[0].clone()).expect(&text);
            }
            wire.push_back((at, chunk_of(me, chunk)));
            wire.extend(extra.into_iter().map(|input| (at, input)));
            next += length;
        }
        wire.push_back((at, Input::Complete(me, id)));
    }
}

/// A disk that hashes, and that trusts nobody.
#[derive(Default)]
pub struct Disk {
    pub manifest: Option<Arc<Manifest>>,
    pub files: Vec<Vec<u8>>,
    pub chains: BTreeMap<(NodeId, BlockRef), Chain>,
    pub verified: BTreeSet<BlockRef>,
    pub finished: bool,
}

pub struct World {
    pub receiver: Receiver,
    pub peers: Vec<Peer>,
    pub disk: Disk,
    pub wire: Wire,
    pub now: Duration,
    pub end: Option<Result<(), PullError>>,
    pub dropped: Vec<(NodeId, SourceFault)>,
    pub last_done: u64,
    pub most_open: u64,
    /// Whether answers come on the links too.
    pub beside_answers: bool,
    /// Bytes asked for that have not come.
    pub open: u64,
    /// The most of them after a request that was made beside answers, and after one that was not.
    pub most_asked: [u64; 2],
}

impl World {
    pub fn new(peers: Vec<Peer>, found: BTreeSet<BlockRef>) -> Self {
        let config = ReceiverConfig {
            model: MODEL.into(),
            begun: None,
            search: Duration::from_secs(15),
            patience: Duration::from_secs(60),
        };
        let receiver = Receiver::new(config, [3; 32], TAG, Duration::ZERO);
        let disk = Disk { verified: found, ..Disk::default() };
        Self {
            receiver,
            peers,
            disk,
            wire: VecDeque::new(),
            now: Duration::ZERO,
            end: None,
            dropped: Vec::new(),
            last_done: 0,
            most_open: 0,
            beside_answers: false,
            open: 0,
            most_asked: [0; 2],
        }
    }

    pub fn run(&mut self) -> Result<(), PullError> {
        for index in 0..self.peers.len() {
            self.give(Input::Found(node(index)));
        }
        for step in 0..20_000 {
            if let Some(end) = self.end.clone() {
                return end;
            }
            match self.wire.pop_front() {
                Some((at, input)) => {
                    self.now = self.now.max(at);
                    self.give(input);
                }
                None => {
                    let Output::Wait(until) = self.receiver.poll() else { panic!("not drained") };
                    let until = until.unwrap_or_else(|| panic!("it waits for nothing, at step {step}"));
                    assert!(until > self.now, "it wakes for nothing");
                    self.now = until;
                    for (index, peer) in self.peers.iter_mut().enumerate() {
                        if !peer.linked && matches!(peer.nature, Nature::Vanishes(_, true)) {
                            (peer.linked, peer.nature) = (true, Nature::Honest);
                            self.wire.push_back((until, Input::Found(node(index))));
                        }
                    }
                    self.give(Input::Tick);
                }
            }
        }
        panic!("it never ends");
    }

    pub fn give(&mut self, mut input: Input) {
        if let Input::Chunk { chunk, beside_answers, .. } = &mut input {
            *beside_answers = self.beside_answers;
            self.open = self.open.saturating_sub(chunk.data.decoded_len().unwrap_or(0) as u64);
        }
        self.receiver.handle(self.now, input);
        loop {
            match self.receiver.poll() {
                Output::Wait(_) => break,
                output => self.act(output),
            }
        }
        let progress = self.receiver.progress();
        assert!(progress.done <= progress.total);
        let under_way: u64 = self.wire.len() as u64;
        self.most_open = self.most_open.max(under_way);
        self.last_done = progress.done;
    }

    pub fn act(&mut self, output: Output) {
        let later = self.now + Duration::from_millis(2);
        match output {
            Output::Send(to, message) => {
                let index = (0..self.peers.len()).find(|n| node(*n) == to).unwrap();
                let peer = &mut self.peers[index];
                if !peer.linked {
                    return self.wire.push_back((later, Input::Lost(to)));
                }
                match message {
                    ClusterMessage::ModelQuery(_) => {
                        let response = Box::new(peer.response.clone());
                        self.wire.push_back((later, Input::Response(to, response)));
                    }
                    ClusterMessage::ModelTransferRequest(request) => {
                        assert!(request.transfer_id.as_str().starts_with("feedbeef"));
                        let length = request.range.as_ref().unwrap().length;
                        assert!(length <= bounds::RANGE);
                        self.open += length;
                        let most = &mut self.most_asked[usize::from(self.beside_answers)];
                        *most = self.open.max(*most);
                        peer.serve(to, &request, later, &mut self.wire);
                    }
                    ClusterMessage::ModelTransferCancel(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            Output::Begin(manifest) => {
                let same = self.disk.manifest.as_ref().is_none_or(|before| before.agrees(&manifest));
                if !same {
                    self.disk.verified.clear();
                }
                self.disk.chains.clear();
                self.disk.files = manifest.files().iter().map(|file| vec![0; file.size as usize]).collect();
                self.disk.manifest = Some(manifest);
                let found = self.disk.verified.clone();
                self.wire.push_back((later, Input::Begun(found)));
            }
            Output::Write(piece) => {
                let manifest = self.disk.manifest.clone().unwrap();
                let block = manifest.block(piece.at).unwrap();
                assert!(!self.disk.verified.contains(&piece.at), "a finished block is written again");
                let length = piece.data.decoded_len().unwrap() as u64;
                assert!(piece.offset >= block.offset && piece.offset + length <= block.offset + block.length);
                let mut bytes = Vec::new();
                let key = (piece.peer, piece.at);
                self.wire.push_front((self.now, Input::Written(piece.peer, length)));
                if piece.data.decode(&mut bytes).is_err() {
                    self.disk.chains.remove(&key);
                    return self
                        .wire
                        .push_front((self.now, Input::Checked(piece.peer, piece.at, Err(BadBlock))));
                }
                if piece.offset == block.offset {
                    self.disk.chains.insert(key, Chain::new(&block.from, block.offset));
                }
                let Some(chain) = self.disk.chains.get_mut(&key) else {
                    return self
                        .wire
                        .push_front((self.now, Input::Checked(piece.peer, piece.at, Err(BadBlock))));
                };
                assert_eq!(chain.length(), piece.offset, "pieces of a block come in order");
                chain.update(&bytes);
                let start = piece.offset as usize;
                self.disk.files[piece.at.file as usize][start..start + bytes.len()].copy_from_slice(&bytes);
                if piece.is_last {
                    let chain = self.disk.chains.remove(&key).unwrap();
                    let is = if block.is_last { Some(chain.finish()) } else { chain.state() };
                    let right = is == Some(block.to);
                    if right {
                        self.disk.verified.insert(piece.at);
                    }
                    let result = if right { Ok(()) } else { Err(BadBlock) };
                    self.wire.push_front((self.now, Input::Checked(piece.peer, piece.at, result)));
                }
            }
            Output::Forget(peer, at) => {
                self.disk.chains.remove(&(peer, at));
                self.wire.push_back((self.now, Input::Forgotten(peer, at)));
            }
            Output::Dropped(peer, fault) => self.dropped.push((peer, fault)),
            Output::Finish => {
                let manifest = self.disk.manifest.clone().unwrap();
                for at in manifest.blocks() {
                    let empty = manifest.block(at).unwrap().length == 0;
                    assert!(empty || self.disk.verified.contains(&at), "{at:?} was never found right");
                }
                self.disk.finished = true;
                self.wire.push_back((later, Input::Finished));
            }
            Output::End(result) => self.end = Some(result),
            Output::Wait(_) => unreachable!(),
        }
    }
}

/// The model's files: one of several blocks, a small one, an empty one.
pub fn truth() -> Vec<(&'static str, Vec<u8>)> {
    vec![("big.gguf", noise(300_000, 1)), ("small.json", noise(777, 2)), ("empty", Vec::new())]
}

pub fn peer(nature: Nature, blocks: bool) -> Peer {
    let mut files: Vec<_> = truth();
    if nature == Nature::Other {
        files[0].1 = noise(300_000, 99);
    }
    let mut wire: Vec<_> = files.iter().map(|(name, data)| file(name, data, blocks)).collect();
    if nature == Nature::FalseChain && blocks {
        let mut states = wire[0].block_states.clone().unwrap().to_vec();
        states[40] ^= 1;
        wire[0].block_states = Some(states.into());
    }
    let mut response = response(wire);
    response.available = nature != Nature::Lacks;
    if nature == Nature::Lacks {
        response.files.clear();
    }
    let files = files.into_iter().map(|(name, data)| (name.to_owned(), Arc::new(data))).collect();
    Peer { nature, response, files, sent: 0, linked: true, chunk: 20_000 }
}

pub fn is_truth(disk: &Disk) -> bool {
    disk.files == truth().into_iter().map(|(_, data)| data).collect::<Vec<_>>()
}
