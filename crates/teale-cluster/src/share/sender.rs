//! Sending model files to peers, as a machine: requests and bytes that were read in, messages and reads out.
//!
//! It knows no file and no disk. Each link has one read under way and one message waiting, so memory is bounded; links take
//! turns under one rate cap, those over relays under another one besides.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use teale_wire::{
    CancelReason, ChunkData, ClusterMessage, Extra, ModelTransferCancel, ModelTransferChunk,
    ModelTransferComplete, ModelTransferRequest, NodeId, TransferId,
};

use super::bounds;
use crate::LinkId;

/// The caps.
#[derive(Debug, Clone)]
pub struct SenderConfig {
    /// Peers sent to at once.
    pub uploads: usize,
    /// Bytes per second in all.
    pub rate: Option<u64>,
    /// Bytes per second over relays; `None`: nothing is sent over relays.
    pub relay_rate: Option<u64>,
}

/// A file that may be sent; `F` is whatever the driver reads it by.
#[derive(Debug, Clone)]
pub struct Offered<F> {
    /// Its plain name.
    pub name: String,
    /// Its size, in bytes.
    pub size: u64,
    /// What to read it by.
    pub file: F,
}

/// Something happened.
#[derive(Debug)]
pub enum SenderInput<F> {
    /// Time went by; also implied by every other input.
    Tick,
    /// A peer asks for files, which are these; or there is a reason to refuse.
    Request {
        /// On which link.
        link: LinkId,
        /// Who.
        peer: NodeId,
        /// Whether the link is relayed.
        relayed: bool,
        /// What it asks.
        request: Box<ModelTransferRequest>,
        /// The model's files.
        files: Result<Vec<Offered<F>>, CancelReason>,
    },
    /// A peer wants no more of a transfer.
    Cancel(LinkId, TransferId),
    /// A link is gone.
    Gone(LinkId),
    /// The answer to the read of a link: the bytes, or that they cannot be had.
    Read(LinkId, Option<Bytes>),
    /// Another message may be given to this link.
    Room(LinkId),
}

/// Something to do.
#[derive(Debug)]
pub enum SenderOutput<F> {
    /// Read this; answered by [`SenderInput::Read`].
    Read {
        /// For which link.
        link: LinkId,
        /// From what.
        file: F,
        /// Its place in the file, in bytes.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// Give this to the link; then say [`SenderInput::Room`] when, or if, there is room for another one.
    Bulk(LinkId, ClusterMessage),
    /// Send this to the peer, ahead of bulk.
    Reply(NodeId, ClusterMessage),
    /// Nothing more to do until the next input, or until this moment.
    Wait(Option<Duration>),
}

/// A part of a file on its way.
#[derive(Debug)]
struct Part<F> {
    name: String,
    file: F,
    size: u64,
    next: u64,
    end: u64,
}

#[derive(Debug)]
struct Sending<F> {
    id: TransferId,
    model: String,
    parts: VecDeque<Part<F>>,
}

/// What one link is sent.
#[derive(Debug)]
struct Upload<F> {
    peer: NodeId,
    relayed: bool,
    queue: VecDeque<Sending<F>>,
    /// The transfer whose read is under way, and how many bytes it reads.
    reading: Option<(TransferId, u64)>,
    waiting: VecDeque<ClusterMessage>,
    room: bool,
}

/// The machine. After each [`Sender::handle`], drain [`Sender::poll`] until [`SenderOutput::Wait`].
#[derive(Debug)]
pub struct Sender<F> {
    config: SenderConfig,
    now: Duration,
    links: BTreeMap<LinkId, Upload<F>>,
    all: Bucket,
    relayed: Bucket,
    /// Bytes of files sent so far.
    sent: u64,
    out: VecDeque<SenderOutput<F>>,
}

impl<F: Clone> Sender<F> {
    /// A machine at rest.
    pub fn new(config: SenderConfig, now: Duration) -> Self {
        let (all, relayed) = (Bucket::new(config.rate, now), Bucket::new(config.relay_rate, now));
        Self { config, now, links: BTreeMap::new(), all, relayed, sent: 0, out: VecDeque::new() }
    }

    /// Bytes of files sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Peers that are sent to at present.
    pub fn uploads(&self) -> usize {
        self.links.values().filter(|upload| !upload.queue.is_empty()).count()
    }

    /// Takes one input. Time that goes backwards counts as standing still.
    pub fn handle(&mut self, now: Duration, input: SenderInput<F>) {
        self.now = now.max(self.now);
        match input {
            SenderInput::Tick => {}
            SenderInput::Request { link, peer, relayed, request, files } => {
                if let Err(reason) = self.request(link, peer, relayed, &request, files) {
                    self.refuse(peer, request.transfer_id, reason);
                }
            }
            SenderInput::Cancel(link, id) => {
                if let Some(upload) = self.links.get_mut(&link) {
                    upload.queue.retain(|sending| sending.id != id);
                }
            }
            SenderInput::Gone(link) => {
                self.links.remove(&link);
            }
            SenderInput::Read(link, bytes) => self.read(link, bytes),
            SenderInput::Room(link) => {
                if let Some(upload) = self.links.get_mut(&link) {
                    upload.room = true;
                }
            }
        }
        self.move_on();
    }

    /// The next thing to do; [`SenderOutput::Wait`] when there is nothing more.
    pub fn poll(&mut self) -> SenderOutput<F> {
        self.out.pop_front().unwrap_or_else(|| SenderOutput::Wait(self.deadline()))
    }

    fn deadline(&self) -> Option<Duration> {
        let mut waiting = self.links.values().filter(|upload| upload.wants_read()).peekable();
        waiting.peek()?;
        let soonest = waiting.map(|upload| {
            let relayed = if upload.relayed { self.relayed.ready_at() } else { Duration::ZERO };
            self.all.ready_at().max(relayed)
        });
        soonest.min().filter(|at| *at > self.now)
    }

    fn request(
        &mut self,
        link: LinkId,
        peer: NodeId,
        relayed: bool,
        request: &ModelTransferRequest,
        files: Result<Vec<Offered<F>>, CancelReason>,
    ) -> Result<(), CancelReason> {
        if relayed && self.config.relay_rate.is_none() {
            return Err(CancelReason::NotAllowed);
        }
        let parts = parts(request, files?).ok_or(CancelReason::NotFound)?;
        let is_new = self.links.get(&link).is_none_or(|upload| upload.queue.is_empty());
        if is_new && self.uploads() >= self.config.uploads {
            return Err(CancelReason::Busy);
        }
        let upload = self.links.entry(link).or_insert_with(|| Upload {
            peer,
            relayed,
            queue: VecDeque::new(),
            reading: None,
            waiting: VecDeque::new(),
            room: true,
        });
        if upload.queue.len() >= bounds::TRANSFERS {
            return Err(CancelReason::Busy);
        }
        let (id, model) = (request.transfer_id.clone(), request.model_id.clone());
        upload.queue.push_back(Sending { id, model, parts });
        Ok(())
    }

    fn refuse(&mut self, peer: NodeId, transfer_id: TransferId, reason: CancelReason) {
        let cancel = ModelTransferCancel { transfer_id, reason: Some(reason), extra: Extra::new() };
        self.out.push_back(SenderOutput::Reply(peer, ClusterMessage::ModelTransferCancel(cancel)));
    }

    fn read(&mut self, link: LinkId, bytes: Option<Bytes>) {
        let Some(upload) = self.links.get_mut(&link) else { return };
        let Some((id, length)) = upload.reading.take() else { return };
        let Some(sending) = upload.queue.front_mut().filter(|sending| sending.id == id) else { return };
        let Some(bytes) = bytes.filter(|bytes| bytes.len() as u64 == length) else {
            let peer = upload.peer;
            upload.queue.pop_front();
            return self.refuse(peer, id, CancelReason::Failed);
        };
        let Some(part) = sending.parts.front_mut() else { return };
        let offset = part.next;
        part.next += length;
        self.sent += length;
        let chunk = ModelTransferChunk {
            transfer_id: id.clone(),
            file_name: part.name.clone(),
            offset,
            data: ChunkData::new(bytes),
            is_last_chunk: part.next == part.size,
            extra: Extra::new(),
        };
        upload.waiting.push_back(ClusterMessage::ModelTransferChunk(Box::new(chunk)));
        if part.next == part.end {
            sending.parts.pop_front();
        }
        upload.end_finished();
    }

    /// Hands messages to links with room, and reads on where nothing waits.
    fn move_on(&mut self) {
        for (link, upload) in &mut self.links {
            if upload.room
                && let Some(message) = upload.waiting.pop_front()
            {
                upload.room = false;
                self.out.push_back(SenderOutput::Bulk(*link, message));
            }
            upload.end_finished();
            let may = self.all.is_ready(self.now) && (!upload.relayed || self.relayed.is_ready(self.now));
            if !upload.wants_read() || !may {
                continue;
            }
            let chunk = if upload.relayed { bounds::CHUNK_RELAYED } else { bounds::CHUNK };
            let Some(sending) = upload.queue.front() else { continue };
            let Some(part) = sending.parts.front() else { continue };
            let length = (part.end - part.next).min(chunk);
            self.all.take(length);
            if upload.relayed {
                self.relayed.take(length);
            }
            upload.reading = Some((sending.id.clone(), length));
            let read = SenderOutput::Read { link: *link, file: part.file.clone(), offset: part.next, length };
            self.out.push_back(read);
        }
        self.links.retain(|_, upload| !upload.is_idle());
    }
}

/// What a request asks for; `None` when there is no such file or range.
fn parts<F>(request: &ModelTransferRequest, files: Vec<Offered<F>>) -> Option<VecDeque<Part<F>>> {
    let whole = |offered: Offered<F>| {
        let resume = request.resume.iter().find(|point| point.file_name == offered.name);
        let next = resume.map_or(0, |point| point.offset);
        Part { name: offered.name, file: offered.file, size: offered.size, next, end: offered.size }
    };
    let Some(range) = &request.range else {
        let all: VecDeque<_> =
            files.into_iter().map(whole).filter(|part| part.next < part.end || part.size == 0).collect();
        return Some(all);
    };
    let offered = files.into_iter().find(|offered| offered.name == range.file_name)?;
    let end = range.offset.checked_add(range.length)?;
    let fits = range.length > 0 && end <= offered.size;
    let Offered { name, size, file } = offered;
    fits.then(|| VecDeque::from([Part { name, file, size, next: range.offset, end }]))
}

impl<F> Upload<F> {
    fn wants_read(&self) -> bool {
        self.reading.is_none() && self.waiting.is_empty() && !self.queue.is_empty()
    }

    /// Whether nothing is left to do, and no message is under way: one that was forgotten could be overtaken by the next.
    fn is_idle(&self) -> bool {
        self.room && self.queue.is_empty() && self.waiting.is_empty() && self.reading.is_none()
    }

    /// Says of transfers without a part left that they are complete.
    fn end_finished(&mut self) {
        while let Some(sending) = self.queue.pop_front_if(|sending| sending.parts.is_empty()) {
            let complete = ModelTransferComplete {
                transfer_id: sending.id,
                model_id: sending.model,
                extra: Extra::new(),
            };
            self.waiting.push_back(ClusterMessage::ModelTransferComplete(complete));
        }
    }
}

/// A rate cap: bytes may be taken while there is credit, and leave it in debt.
#[derive(Debug)]
struct Bucket {
    rate: Option<u64>,
    credit: f64,
    at: Duration,
}

impl Bucket {
    fn new(rate: Option<u64>, now: Duration) -> Self {
        Self { rate, credit: 1.0, at: now }
    }

    fn is_ready(&mut self, now: Duration) -> bool {
        let Some(rate) = self.rate else { return true };
        let time = now.saturating_sub(self.at).as_secs_f64();
        let most = (rate as f64 * bounds::BURST.as_secs_f64()).max(1.0);
        self.credit = (self.credit + time * rate as f64).min(most);
        self.at = now;
        self.credit > 0.0
    }

    fn take(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.credit -= bytes as f64;
        }
    }

    /// When there is credit again.
    fn ready_at(&self) -> Duration {
        match self.rate {
            Some(rate) if self.credit <= 0.0 => {
                let time = (1.0 - self.credit) / rate.max(1) as f64;
                self.at
                    + Duration::try_from_secs_f64(time).unwrap_or(Duration::MAX / 4)
                    + Duration::from_millis(1)
            }
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use teale_wire::FileRange;

    use super::*;

    /// Requests that come while the last message of the one before is still under way.
    #[test]
    fn one_message_per_link_is_under_way_whatever_comes() {
        let config = SenderConfig { uploads: 1, rate: None, relay_rate: None };
        let (mut sender, now, link) = (Sender::new(config, Duration::ZERO), Duration::ZERO, LinkId(1));
        let (mut under_way, mut sent) = (0, Vec::new());
        for n in 0..200u64 {
            if n % 3 == 0 {
                let request = Box::new(ModelTransferRequest {
                    transfer_id: TransferId::from_random([n as u8; 16]),
                    model_id: "m".into(),
                    resume: Vec::new(),
                    range: Some(FileRange { file_name: "f".into(), offset: n, length: 1 }),
                    extra: Extra::new(),
                });
                let files = Ok(vec![Offered { name: "f".into(), size: 1000, file: () }]);
                let peer = NodeId::from_bytes([1; 32]);
                sender.handle(now, SenderInput::Request { link, peer, relayed: false, request, files });
            } else if under_way > 0 {
                under_way -= 1;
                sender.handle(now, SenderInput::Room(link));
            }
            loop {
                match sender.poll() {
                    SenderOutput::Wait(_) => break,
                    SenderOutput::Read { length, .. } => {
                        let bytes = Bytes::from(vec![0; length as usize]);
                        sender.handle(now, SenderInput::Read(link, Some(bytes)));
                    }
                    SenderOutput::Bulk(_, message) => {
                        under_way += 1;
                        assert_eq!(under_way, 1, "two messages race");
                        sent.push(message.kind().to_owned());
                    }
                    SenderOutput::Reply(_, message) => panic!("refused: {message:?}"),
                }
            }
        }
        assert!(sent.len() > 100);
        assert!(sent.windows(2).all(|pair| pair[0] != pair[1]), "each chunk is followed by its end");
    }
}
