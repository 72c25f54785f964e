//! One WebSocket's task: reads, passes on, sends what waits, keeps the socket's timers.

use std::{
    future::{Future, poll_fn},
    ops::Range,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut, Bytes};
use teale_wire::{NodeId, WireError};
use tokio::{
    net::{TcpStream, tcp::OwnedReadHalf},
    time::{Instant, Sleep},
};
use tokio_util::io::poll_read_buf;

use super::{
    batch::Batch,
    conn::{Conn, Health},
    hub::{Hub, Seat, Verdict},
};
use crate::{
    DropReason, Input, Route, RouteMemo,
    websocket::{CloseCode, Event, Form, Inbox, Piece, Violation, close_frame, pong_frame},
};

/// What is read at once at most, in bytes: 64 KiB of payloads and some headers.
const READ: usize = 68 << 10;
/// What is read from one socket before the others have their turn, in bytes.
const TURN: usize = 256 << 10;
/// How long a closing socket has for taking what waits and for its own close frame.
const LINGER: Duration = Duration::from_secs(2);

/// Serves one WebSocket until it is gone. `first` is what came right behind the upgrade request.
pub(super) async fn serve(
    hub: Arc<Hub>,
    stream: TcpStream,
    claimed: Option<NodeId>,
    first: Bytes,
    seat: Arc<Seat>,
) {
    let (read, write) = stream.into_split();
    let Some(conn) = hub.open(claimed, write) else { return };
    let mut inbox = Inbox::new(hub.limits.unregistered_frame_bytes);
    inbox.buffer().extend_from_slice(&first);
    let unread = !first.is_empty();
    let mut socket = Socket {
        hub,
        conn,
        read,
        inbox,
        batch: Batch::default(),
        memo: RouteMemo::default(),
        run: None,
        held: 0,
        unread,
        paused: None,
        ended: false,
        alarm: None,
        _seat: seat,
    };
    poll_fn(|cx| socket.poll(cx)).await;
}

/// Frames of one route that lie together.
struct Run {
    frames: u32,
    /// Bytes of their payloads.
    bytes: usize,
    /// Where they lie, headers included.
    range: Range<usize>,
}

struct Socket {
    hub: Arc<Hub>,
    conn: Arc<Conn>,
    read: OwnedReadHalf,
    inbox: Inbox,
    batch: Batch,
    memo: RouteMemo,
    /// Frames of the remembered route, one after the other, not yet handed on.
    run: Option<Run>,
    /// What the hub counts for this inbox, in bytes.
    held: usize,
    /// The inbox may hold whole frames that were not looked at.
    unread: bool,
    paused: Option<Duration>,
    /// The conversation is over; what still comes is thrown away.
    ended: bool,
    alarm: Option<Pin<Box<Sleep>>>,
    _seat: Arc<Seat>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.hub.tell(Input::Closed(self.conn.id));
        self.conn.end(&self.hub);
        self.hub.release(self.held);
    }
}

impl Socket {
    /// Ready when the socket is gone.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.hub.now();
            let health = self.conn.drive(&self.hub, now, cx);
            let deadline = match health {
                Health::Dead => return Poll::Ready(()),
                Health::Stalled => {
                    self.hub.count_drop(DropReason::SlowReader);
                    self.conn.abandon(&self.hub);
                    self.end(now, CloseCode::TRY_LATER, "reads too slowly");
                    continue;
                }
                Health::Open { deadline } => deadline,
                Health::Closing { since } | Health::Closed { since } => {
                    self.ended = true;
                    if now >= since + LINGER {
                        return Poll::Ready(());
                    }
                    Some(since + LINGER)
                }
            };
            if matches!(health, Health::Closed { .. }) {
                // The client sees the end after the close frame; its own close frame is read, so that no reset
                // overtakes ours.
                let _ = rustix::net::shutdown(self.conn.stream(), rustix::net::Shutdown::Write);
            }
            if self.ended {
                self.paused = None;
            }
            if self.paused.is_some_and(|until| until <= now) {
                self.paused = None;
            }
            if self.paused.is_none() && self.receive(cx, now).is_ready() {
                return Poll::Ready(());
            }
            let deadline = [deadline, self.paused].into_iter().flatten().min();
            if self.wait(cx, deadline).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Pending until the deadline, as far as there is one.
    fn wait(&mut self, cx: &mut Context<'_>, deadline: Option<Duration>) -> Poll<()> {
        let Some(deadline) = deadline else {
            self.alarm = None;
            return Poll::Pending;
        };
        let at = Instant::now() + deadline.saturating_sub(self.hub.now());
        let alarm = match &mut self.alarm {
            Some(alarm) => {
                alarm.as_mut().reset(at);
                alarm
            }
            None => self.alarm.insert(Box::pin(tokio::time::sleep_until(at))),
        };
        alarm.as_mut().poll(cx)
    }

    /// Reads and serves what there is, for a turn. Ready when nothing will come any more.
    fn receive(&mut self, cx: &mut Context<'_>, now: Duration) -> Poll<()> {
        let mut turn = 0;
        if self.inbox.is_empty() {
            self.inbox.swap_buffer(&mut self.hub.take_buffer());
        }
        let gone = loop {
            if std::mem::take(&mut self.unread) && !self.ended {
                self.serve_inbox(now);
                if self.paused.is_some() {
                    self.unread = true;
                    break false;
                }
            }
            if turn >= TURN {
                // Not a plain wake-up: that would come before the others' readiness is even asked for, many times over.
                _ = pin!(tokio::task::yield_now()).poll(cx);
                break false;
            }
            if self.ended {
                self.inbox = Inbox::new(0);
            }
            let wanted = self.inbox.wanted(READ);
            let lacking = self.inbox.lacking().unwrap_or(wanted);
            let buffer = self.inbox.buffer();
            if buffer.capacity() - buffer.len() < wanted {
                buffer.reserve(lacking.max(READ));
            }
            match poll_read_buf(Pin::new(&mut self.read), cx, &mut buffer.limit(wanted)) {
                Poll::Pending => break false,
                Poll::Ready(Ok(0) | Err(_)) => break true,
                Poll::Ready(Ok(count)) => {
                    turn += count;
                    self.unread = true;
                }
            }
        };
        self.settle();
        if gone { Poll::Ready(()) } else { Poll::Pending }
    }

    /// An inbox without an unfinished frame gives its buffer back; what others hold is counted.
    fn settle(&mut self) {
        if self.inbox.is_empty() {
            let mut buffer = bytes::BytesMut::new();
            self.inbox.swap_buffer(&mut buffer);
            self.hub.give_buffer(buffer);
            self.batch.shrink();
        } else if let Some(large) = self.inbox.fit() {
            self.hub.give_buffer(large);
        }
        let held = self.inbox.held();
        if held > self.held && !self.hub.may_hold(held - self.held) {
            self.hub.count_drop(DropReason::MemoryFull);
            self.end(self.hub.now(), CloseCode::TRY_LATER, "the relay has no memory left");
            self.inbox = Inbox::new(0);
        }
        let held = self.inbox.held();
        if held >= self.held {
            self.hub.hold(held - self.held);
        } else {
            self.hub.release(self.held - held);
        }
        self.held = held;
    }

    /// Serves the frames that are there.
    fn serve_inbox(&mut self, now: Duration) {
        loop {
            let event = match self.inbox.next() {
                Ok(Some(event)) => event,
                Ok(None) => {
                    let verdict = self.end_run(now);
                    self.note(verdict);
                    break;
                }
                Err(violation) => {
                    self.end_run(now);
                    self.violated(violation);
                    break;
                }
            };
            let verdict = match event {
                Event::Message { text, frame, payload_at, form } => {
                    match self.message(now, text, &frame, payload_at, form) {
                        Ok(verdict) => verdict,
                        Err(violation) => {
                            self.violated(violation);
                            break;
                        }
                    }
                }
                Event::Ping(payload) => {
                    self.batch.send(&self.conn, pong_frame(&payload));
                    self.control(now, payload.len())
                }
                Event::Pong | Event::Fragment => self.control(now, 0),
                Event::Close(code) => {
                    self.end_run(now);
                    self.farewell(code, "");
                    break;
                }
            };
            self.note(verdict);
            if self.ended || self.paused.is_some() {
                let verdict = self.end_run(now);
                self.note(verdict);
                break;
            }
        }
        self.batch.flush(&self.hub, now, Some(self.conn.id), &mut self.inbox);
    }

    fn note(&mut self, verdict: Verdict) {
        if verdict.admitted {
            self.inbox.set_limit(self.hub.limits.frame_bytes);
        }
        self.ended |= verdict.closed;
        self.paused = self.paused.max(verdict.pause);
    }

    fn message(
        &mut self,
        now: Duration,
        text: bool,
        frame: &Piece,
        payload_at: usize,
        form: Option<Form>,
    ) -> Result<Verdict, Violation> {
        let payload = self.inbox.bytes(frame).get(payload_at..).unwrap_or_default();
        if let Piece::Here(range) = frame
            && self.memo.matches(payload, form)
        {
            let bytes = payload.len();
            if let Some(run) = &mut self.run
                && run.range.end == range.start
            {
                run.range.end = range.end;
                run.frames += 1;
                run.bytes += bytes;
                return Ok(Verdict::default());
            }
            let verdict = self.end_run(now);
            self.run = Some(Run { frames: 1, bytes, range: range.clone() });
            return Ok(verdict);
        }
        let before = self.end_run(now);
        let payload = self.inbox.bytes(frame).get(payload_at..).unwrap_or_default();
        let route = Route::of(payload);
        // What is JSON is UTF-8; only for what is not does it matter why.
        if text && matches!(route, Route::Malformed { error: WireError::NotJson { .. }, .. }) {
            Inbox::check_text(payload)?;
        }
        self.memo.learn(payload, &route);
        let input = Input::Message { socket: self.conn.id, route };
        let verdict = self.hub.handle(now, input, Some(frame), &mut self.batch);
        self.inbox.expect(self.memo.form());
        Ok(verdict.after(before))
    }

    /// Hands on the run of frames, if there is one.
    fn end_run(&mut self, now: Duration) -> Verdict {
        let Some(Run { frames, bytes, range }) = self.run.take() else { return Verdict::default() };
        let Some(route) = self.memo.route(frames, bytes) else { return Verdict::default() };
        let input = Input::Message { socket: self.conn.id, route };
        self.hub.handle(now, input, Some(&Piece::Here(range)), &mut self.batch)
    }

    fn control(&mut self, now: Duration, len: usize) -> Verdict {
        self.hub.handle(now, Input::Control { socket: self.conn.id, len }, None, &mut self.batch)
    }

    fn violated(&mut self, violation: Violation) {
        tracing::debug!(%violation, "a client broke a rule of WebSocket");
        self.farewell(Some(violation.code()), "");
    }

    /// A close frame with the batch, and the end.
    fn farewell(&mut self, code: Option<CloseCode>, reason: &'static str) {
        self.ended = true;
        self.batch.send(&self.conn, close_frame(code, reason));
        self.batch.close(self.conn.clone());
        self.hub.handle(self.hub.now(), Input::Closed(self.conn.id), None, &mut self.batch);
    }

    /// A close frame at once, and the end.
    fn end(&mut self, now: Duration, code: CloseCode, reason: &'static str) {
        self.farewell(Some(code), reason);
        self.batch.flush(&self.hub, now, None, &mut Inbox::new(0));
    }
}
