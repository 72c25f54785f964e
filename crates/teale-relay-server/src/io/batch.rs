//! The frames one read gave rise to, grouped by target and sent once per target.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    conn::{Conn, Frames},
    hub::Hub,
};
use crate::{
    DropReason, Input, Route, SocketId,
    websocket::{Inbox, Piece, WASTE, server_payloads},
};

/// The rest of a frame from this size on is kept by sharing the buffer it was read into; below, by copying, so that a
/// few bytes do not hold a large buffer (for the same reason it has to be a fair part of that buffer). In bytes.
const SHARED: usize = 16 << 10;
/// With more deliveries than this they are sorted by target first: looking for the same target among all of them takes
/// quadratic time, and when a node with many sessions leaves, there are many.
const SEARCHED: usize = 32;

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

impl Delivery {
    /// The piece, and whether it is the relay's own.
    fn take(&mut self) -> (Piece, bool) {
        (std::mem::replace(&mut self.piece, Piece::Here(0..0)), self.own)
    }
}

/// A forwarded frame that was not sent.
#[derive(Debug)]
struct Refused {
    target: SocketId,
    route: Route<'static>,
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
        if self.deliveries.len() == 1
            && let Some(Delivery { conn, piece, own, .. }) = self.deliveries.pop()
        {
            let group = Group::new(&conn, (piece, own), Vec::new(), &mut source);
            self.send_group(hub, now, &conn, group);
        } else {
            self.send_groups(hub, now, &mut source);
        }
        source.end();
        while let Some(conn) = self.closes.pop() {
            conn.close(now);
        }
        if !self.refused.is_empty()
            && let Some(from) = from
        {
            self.report_refused(hub, now, from);
        }
    }

    fn send_groups(&mut self, hub: &Hub, now: Duration, source: &mut Source<'_>) {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        let sorted = deliveries.len() > SEARCHED;
        if sorted {
            deliveries.sort_by_key(|delivery| delivery.conn.id);
        }
        for first in 0..deliveries.len() {
            if let Some((conn, group)) = Group::gather(&mut deliveries, first, sorted, source) {
                self.send_group(hub, now, &conn, group);
            }
        }
        deliveries.clear();
        self.deliveries = deliveries;
    }

    fn send_group(&mut self, hub: &Hub, now: Duration, conn: &Conn, mut group: Group<'_, '_>) {
        conn.send(hub, now, &mut group);
        self.refused.append(&mut group.refused);
    }

    /// Tells the switchboard, whose answers make one more round.
    #[cold]
    fn report_refused(&mut self, hub: &Hub, now: Duration, socket: SocketId) {
        for Refused { target, route, reason } in std::mem::take(&mut self.refused) {
            hub.handle(now, Input::Undelivered { socket, target, route, reason }, None, self);
        }
        self.flush(hub, now, None, &mut Inbox::new(0));
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
        if range.len() < SHARED || range.len().saturating_mul(WASTE) < self.inbox.allocated() {
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
    target: SocketId,
    first: (Piece, bool),
    more: Vec<(Piece, bool)>,
    source: &'a mut Source<'b>,
    refused: Vec<Refused>,
}

impl<'a, 'b> Group<'a, 'b> {
    fn new(conn: &Conn, first: (Piece, bool), more: Vec<(Piece, bool)>, source: &'a mut Source<'b>) -> Self {
        Self { target: conn.id, first, more, source, refused: Vec::new() }
    }

    /// The delivery at `first` and all later ones to the same target, which follow it at once if they are `sorted`;
    /// `None` when it was gathered before.
    fn gather(
        deliveries: &mut [Delivery],
        first: usize,
        sorted: bool,
        source: &'a mut Source<'b>,
    ) -> Option<(Arc<Conn>, Self)> {
        let (head, tail) = deliveries.get_mut(first..)?.split_first_mut()?;
        if head.sent {
            return None;
        }
        let mut more = Vec::new();
        for delivery in tail.iter_mut().filter(|delivery| !delivery.sent) {
            if Arc::ptr_eq(&delivery.conn, &head.conn) {
                delivery.sent = true;
                more.push(delivery.take());
            } else if sorted {
                break;
            }
        }
        let conn = head.conn.clone();
        let group = Self::new(&conn, head.take(), more, source);
        Some((conn, group))
    }

    fn piece(&self, index: usize) -> &(Piece, bool) {
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
        self.source.slice(&self.piece(index).0)
    }

    fn own(&self, index: usize) -> bool {
        self.piece(index).1
    }

    fn keep(&mut self, index: usize, skip: usize) -> Bytes {
        let piece = self.piece(index).0.clone();
        self.source.keep(&piece, skip)
    }

    fn refused(&mut self, index: usize, reason: DropReason) {
        if self.own(index) {
            return;
        }
        let target = self.target;
        let routes = server_payloads(self.slice(index)).filter_map(|frame| Route::of(frame).into_forward());
        let refused: Vec<_> = routes.map(|route| Refused { target, route, reason }).collect();
        self.refused.extend(refused);
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{RelayServerConfig, Switchboard, SwitchboardConfig};

    #[tokio::test]
    async fn many_frames_for_many_targets_keep_their_order() {
        let config = RelayServerConfig::new(([127, 0, 0, 1], 0).into());
        let hub = Hub::new(&config, [0; 32]);
        let limits = config.limits.clone();
        let settings = SwitchboardConfig { limits, require_proof: false, unix_start: 0.0, seed: [0; 32] };
        let mut switchboard = Switchboard::new(settings);
        let listener = TcpListener::bind(config.listen).await.unwrap();
        let (mut conns, mut readers) = (Vec::new(), Vec::new());
        for _ in 0..16 {
            readers.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let (_, write) = listener.accept().await.unwrap().0.into_split();
            write.writable().await.unwrap();
            conns.push(Conn::new(switchboard.open(Duration::ZERO, None).unwrap(), write));
        }
        let mut batch = Batch::default();
        for round in 0..500u16 {
            for conn in &conns {
                batch.send(conn, Bytes::copy_from_slice(&round.to_be_bytes()));
            }
        }
        batch.flush(&hub, Duration::ZERO, None, &mut Inbox::new(0));
        for reader in &mut readers {
            let mut got = [0; 1000];
            reader.read_exact(&mut got).await.unwrap();
            assert!(got.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).eq(0..500));
        }
    }

    #[test]
    fn what_is_kept_shares_a_buffer_only_when_it_is_a_fair_part_of_it() {
        for (part, shared) in [(2, true), (8, false)] {
            let size = SHARED * 16;
            let mut inbox = Inbox::new(size);
            // A binary message in the long form, masked with zeros.
            inbox.buffer().extend_from_slice(&[0x82, 0xff]);
            inbox.buffer().extend_from_slice(&(size as u64).to_be_bytes());
            inbox.buffer().resize(14 + size, 0);
            let memory = inbox.buffer().as_ptr_range();
            assert!(inbox.next().unwrap().is_some());
            let mut source = Source { inbox: &mut inbox, taken: None };
            let kept = source.keep(&Piece::Here(14..14 + size / part), 0);
            assert_eq!(memory.contains(&kept.as_ptr()), shared, "{part}");
        }
    }
}
