//! The frames one read gave rise to, grouped by target and sent once per target.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    conn::{Conn, Frames},
    hub::Hub,
};
use crate::{
    DropReason, Input, Route, SocketId,
    limits::OUTBOUND_SLACK,
    websocket::{Inbox, Piece, server_payloads},
};

/// The rest of a frame from this size on is kept by sharing the buffer it was read into; below, by copying, so that a
/// few bytes do not hold a large buffer. In bytes.
const SHARED: usize = 16 << 10;

/// Frames to send, and sockets to close after that.
#[derive(Debug, Default)]
pub(super) struct Batch {
    deliveries: Vec<Delivery>,
    closes: Vec<Arc<Conn>>,
    refused: Vec<Refused>,
}

#[derive(Debug)]
struct Delivery {
    conn: Arc<Conn>,
    piece: Piece,
    /// The relay's own word, not a forwarded frame.
    own: bool,
    sent: bool,
}

/// Forwarded frames that were not sent.
#[derive(Debug)]
struct Refused {
    target: SocketId,
    frames: Bytes,
    reason: DropReason,
}

impl Batch {
    /// A frame to forward. One that follows on the last one, for the same target, becomes part of it.
    pub(super) fn forward(&mut self, conn: &Arc<Conn>, piece: Piece) {
        if let Some(last) = self.deliveries.last_mut()
            && let (Piece::Here(last_range), Piece::Here(range)) = (&mut last.piece, &piece)
            && last_range.end == range.start
            && Arc::ptr_eq(&last.conn, conn)
        {
            last_range.end = range.end;
            return;
        }
        self.deliveries.push(Delivery { conn: conn.clone(), piece, own: false, sent: false });
    }

    /// A frame of the relay's own.
    pub(super) fn send(&mut self, conn: &Arc<Conn>, frame: Bytes) {
        let piece = Piece::Apart(frame);
        self.deliveries.push(Delivery { conn: conn.clone(), piece, own: true, sent: false });
    }

    /// Closes a socket once the batch is sent.
    pub(super) fn close(&mut self, conn: Arc<Conn>) {
        self.closes.push(conn);
    }

    /// Sends everything. `inbox` is where the pieces that are [`Piece::Here`] lie; its batch is ended.
    pub(super) fn flush(&mut self, hub: &Hub, now: Duration, from: Option<SocketId>, inbox: &mut Inbox) {
        let mut source = Source { inbox, taken: None };
        for first in 0..self.deliveries.len() {
            if let Some(mut group) = Group::gather(&mut self.deliveries, first, &mut source) {
                let conn = group.conn.clone();
                let slack = if group.own { OUTBOUND_SLACK } else { 0 };
                conn.send(hub, now, &mut group, slack);
                let refused = group.refused;
                self.refused.extend(refused);
            }
        }
        source.end();
        self.deliveries.clear();
        for conn in self.closes.drain(..) {
            conn.close(now);
        }
        if !self.refused.is_empty()
            && let Some(from) = from
        {
            self.report_refused(hub, now, from);
        }
    }

    /// Tells the switchboard, whose answers make one more round. Its own frames that are refused are not reported.
    #[cold]
    fn report_refused(&mut self, hub: &Hub, now: Duration, socket: SocketId) {
        for Refused { target, frames, reason } in std::mem::take(&mut self.refused) {
            for payload in server_payloads(&frames) {
                let input = Input::Undelivered { socket, target, route: Route::of(payload), reason };
                hub.handle(now, input, None, self);
            }
        }
        self.flush(hub, now, None, &mut Inbox::new(0));
        self.refused.clear();
    }

    /// Gives back what a burst needed.
    pub(super) fn shrink(&mut self) {
        self.deliveries.shrink_to(0);
        self.closes.shrink_to(0);
        self.refused.shrink_to(0);
    }
}

/// Where the pieces lie: in the inbox, until one has to outlive it.
struct Source<'a> {
    inbox: &'a mut Inbox,
    taken: Option<Bytes>,
}

impl Source<'_> {
    fn slice<'b>(&'b self, piece: &'b Piece) -> &'b [u8] {
        match (piece, &self.taken) {
            (Piece::Here(range), Some(taken)) => taken.get(range.clone()).unwrap_or_default(),
            _ => self.inbox.bytes(piece),
        }
    }

    fn keep(&mut self, piece: &Piece, skip: usize) -> Bytes {
        let range = match piece {
            Piece::Apart(bytes) => return bytes.slice(skip.min(bytes.len())..),
            Piece::Here(range) => range.start + skip..range.end,
        };
        if range.len() < SHARED {
            return Bytes::copy_from_slice(self.slice(&Piece::Here(range)));
        }
        let taken = self.taken.get_or_insert_with(|| self.inbox.take_batch());
        if range.end <= taken.len() { taken.slice(range) } else { Bytes::new() }
    }

    fn end(self) {
        if self.taken.is_none() {
            self.inbox.end_batch();
        }
    }
}

/// The deliveries of one batch to one target. Nearly always one, so no list is made for it.
struct Group<'a, 'b> {
    conn: Arc<Conn>,
    first: Piece,
    more: Vec<Piece>,
    own: bool,
    source: &'a mut Source<'b>,
    refused: Vec<Refused>,
}

impl<'a, 'b> Group<'a, 'b> {
    /// The delivery at `first` and all later ones to the same target; `None` when it was gathered before.
    fn gather(deliveries: &mut [Delivery], first: usize, source: &'a mut Source<'b>) -> Option<Self> {
        let (head, tail) = deliveries.get_mut(first..)?.split_first_mut()?;
        if head.sent {
            return None;
        }
        let mut own = head.own;
        let mut more = Vec::new();
        for delivery in tail.iter_mut().filter(|delivery| !delivery.sent) {
            if Arc::ptr_eq(&delivery.conn, &head.conn) {
                delivery.sent = true;
                own &= delivery.own;
                more.push(std::mem::replace(&mut delivery.piece, Piece::Here(0..0)));
            }
        }
        let first = std::mem::replace(&mut head.piece, Piece::Here(0..0));
        Some(Self { conn: head.conn.clone(), first, more, own, source, refused: Vec::new() })
    }

    fn piece(&self, index: usize) -> &Piece {
        match index {
            0 => &self.first,
            index => self.more.get(index - 1).unwrap_or(&self.first),
        }
    }
}

impl Frames for Group<'_, '_> {
    fn count(&self) -> usize {
        1 + self.more.len()
    }

    fn slice(&self, index: usize) -> &[u8] {
        self.source.slice(self.piece(index))
    }

    fn keep(&mut self, index: usize, skip: usize) -> Bytes {
        let piece = self.piece(index).clone();
        self.source.keep(&piece, skip)
    }

    fn refused(&mut self, index: usize, reason: DropReason) {
        let frames = self.keep(index, 0);
        self.refused.push(Refused { target: self.conn.id, frames, reason });
    }
}
