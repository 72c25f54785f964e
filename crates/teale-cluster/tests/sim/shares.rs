//! Model sharing on the simulated network: both machines of `share` beside a core, a file of zeros, and a disk that takes no
//! time and finds everything right.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use teale_cluster::{
    Input, LinkId,
    share::{
        FileEntry, Input as Fetch, Manifest, Offered, Output as Fetched, Receiver, ReceiverConfig, Sender,
        SenderConfig, SenderInput, SenderOutput, block_size,
    },
};
use teale_wire::{ClusterMessage, NodeId};

const MODEL: &str = "zeros";
const FILE: &str = "zeros.gguf";

#[derive(Debug)]
pub struct Shares {
    offer: Option<Manifest>,
    sender: Sender<()>,
    receiver: Option<Receiver>,
    /// The message that waits for room on a link.
    bulk: BTreeMap<LinkId, ClusterMessage>,
    /// Whether the pull has come to its end.
    pub done: bool,
}

impl Shares {
    pub fn new(now: Duration) -> Self {
        let config = SenderConfig { uploads: 4, rate: None, relay_rate: None };
        let sender = Sender::new(config, now);
        Self { offer: None, sender, receiver: None, bulk: BTreeMap::new(), done: false }
    }

    /// Offers a file of so many bytes.
    pub fn offer(&mut self, size: u64) {
        let blocks = usize::try_from(size.div_ceil(block_size(size))).unwrap();
        let file = FileEntry::hashed(FILE, size, [7; 32], vec![[8; 32]; blocks - 1]);
        self.offer = Some(Manifest::of(MODEL, vec![file]));
    }

    /// Begins to fetch it.
    pub fn pull(&mut self, from: NodeId, now: Duration) -> Vec<Input> {
        let search = Duration::from_secs(15);
        let config = ReceiverConfig { model: MODEL.into(), begun: None, search, patience: search };
        self.receiver = Some(Receiver::new(config, [5; 32], 1, now));
        self.fetch(now, Fetch::Found(from))
    }

    /// Bytes that are here.
    pub fn pulled(&mut self) -> u64 {
        self.receiver.as_mut().map_or(0, |receiver| receiver.progress().done)
    }

    /// A message came: what the core is to be told.
    pub fn heard(
        &mut self,
        now: Duration,
        (link, peer): (LinkId, NodeId),
        beside_answers: bool,
        message: ClusterMessage,
    ) -> Vec<Input> {
        match message {
            ClusterMessage::ModelQuery(_) => {
                let answer =
                    ClusterMessage::ModelQueryResponse(Box::new(self.offer.as_ref().unwrap().response()));
                vec![Input::ShareSend { peer, message: answer }]
            }
            ClusterMessage::ModelTransferRequest(request) => {
                let size = self.offer.as_ref().unwrap().total();
                let files = Ok(vec![Offered { name: FILE.into(), size, file: () }]);
                self.send(now, SenderInput::Request { link, peer, relayed: false, request, files })
            }
            ClusterMessage::ModelTransferCancel(cancel) => {
                self.send(now, SenderInput::Cancel(link, cancel.transfer_id))
            }
            ClusterMessage::ModelQueryResponse(response) => self.fetch(now, Fetch::Response(peer, response)),
            ClusterMessage::ModelTransferChunk(chunk) => {
                self.fetch(now, Fetch::Chunk { peer, chunk, beside_answers })
            }
            ClusterMessage::ModelTransferComplete(complete) => {
                self.fetch(now, Fetch::Complete(peer, complete.transfer_id))
            }
            other => panic!("{other:?}"),
        }
    }

    /// The links with something that waits for room.
    pub fn waiting(&self) -> Vec<LinkId> {
        self.bulk.keys().copied().collect()
    }

    /// The link has room: what goes there, and what the core is to be told then.
    pub fn room(&mut self, now: Duration, link: LinkId) -> Vec<Input> {
        let Some(message) = self.bulk.remove(&link) else { return Vec::new() };
        let mut inputs = vec![Input::Bulk { link, message }];
        inputs.extend(self.send(now, SenderInput::Room(link)));
        inputs
    }

    fn send(&mut self, now: Duration, input: SenderInput<()>) -> Vec<Input> {
        let mut inputs = Vec::new();
        self.sender.handle(now, input);
        loop {
            match self.sender.poll() {
                SenderOutput::Wait(_) => return inputs,
                SenderOutput::Read { link, length, .. } => {
                    let zeros = Bytes::from(vec![0; usize::try_from(length).unwrap()]);
                    self.sender.handle(now, SenderInput::Read(link, Some(zeros)));
                }
                SenderOutput::Bulk(link, message) => {
                    assert!(self.bulk.insert(link, message).is_none(), "two messages wait for one link");
                }
                SenderOutput::Reply(peer, message) => inputs.push(Input::ShareSend { peer, message }),
            }
        }
    }

    fn fetch(&mut self, now: Duration, input: Fetch) -> Vec<Input> {
        let mut inputs = Vec::new();
        let Some(receiver) = &mut self.receiver else { return inputs };
        receiver.handle(now, input);
        loop {
            let next = match receiver.poll() {
                Fetched::Wait(_) => return inputs,
                Fetched::Send(peer, message) => {
                    inputs.push(Input::ShareSend { peer, message });
                    continue;
                }
                Fetched::Begin(_) => Fetch::Begun(BTreeSet::new()),
                Fetched::Write(piece) => {
                    let length = piece.data.decoded_len().unwrap() as u64;
                    receiver.handle(now, Fetch::Written(piece.peer, length));
                    if !piece.is_last {
                        continue;
                    }
                    Fetch::Checked(piece.peer, piece.at, Ok(()))
                }
                Fetched::Forget(peer, at) => Fetch::Forgotten(peer, at),
                Fetched::Dropped(_, fault) => panic!("{fault}"),
                Fetched::Finish => Fetch::Finished,
                Fetched::End(result) => {
                    result.unwrap();
                    self.done = true;
                    continue;
                }
            };
            receiver.handle(now, next);
        }
    }
}
