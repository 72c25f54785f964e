//! One link as a carrier: frames on a stream, the opener's node id first.

use std::collections::VecDeque;

use bytes::Bytes;
use teale_cluster::{LinkId, LinkPath};
use teale_sim::{Context, StreamId};
use teale_wire::{ClusterMessage, Dialect, NodeId};

#[derive(Debug)]
pub struct Wire {
    pub stream: StreamId,
    pub path: LinkPath,
    pub initiator: bool,
    /// Its number, once the core knows it.
    pub link: Option<LinkId>,
    /// Frames the stream had no room for.
    waiting: VecDeque<Bytes>,
    /// Closed by the core: closes when everything was written.
    pub closing: bool,
    unread: Vec<u8>,
}

/// Frames one stream keeps while it has no room: the one that was taken when it had none, and last words.
const WAITING: usize = 300;

pub fn frame(payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(4 + payload.len());
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(payload);
    frame.into()
}

pub fn message(message: &ClusterMessage, dialect: Dialect) -> Bytes {
    frame(&message.encode(dialect).unwrap())
}

impl Wire {
    pub fn new(stream: StreamId, path: LinkPath, initiator: bool) -> Self {
        Self {
            stream,
            path,
            initiator,
            link: None,
            waiting: VecDeque::new(),
            closing: false,
            unread: Vec::new(),
        }
    }

    /// Writes a frame, or keeps it until there is room.
    pub fn put(&mut self, frame: Bytes, context: &mut Context<'_>) {
        self.waiting.push_back(frame);
        assert!(self.waiting.len() <= WAITING, "a driver takes messages it has no room for");
        self.flush(context);
    }

    /// Writes what waits; true if nothing waits any more.
    pub fn flush(&mut self, context: &mut Context<'_>) -> bool {
        while let Some(next) = self.waiting.front() {
            if context.write(self.stream, next.clone()).is_err() {
                return false;
            }
            self.waiting.pop_front();
        }
        true
    }

    pub fn read(&mut self, data: &[u8]) {
        self.unread.extend_from_slice(data);
    }

    /// The next whole frame.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        let length = u32::from_be_bytes(self.unread.get(..4)?.try_into().unwrap()) as usize;
        let payload = self.unread.get(4..4 + length)?.to_vec();
        self.unread.drain(..4 + length);
        Some(payload)
    }
}

/// The opener's node id.
pub fn preface(payload: &[u8]) -> NodeId {
    NodeId::from_bytes(payload.try_into().unwrap())
}
