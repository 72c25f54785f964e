//! A client's bytes on their way to being a server's frames.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::{
    CloseCode, Opcode, Violation,
    header::{Header, MAX_SERVER_HEADER, server_header},
    unmask,
};

/// The longest payload of a control frame, in bytes (RFC 6455 §5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// Frames up to this size are moved together so that a burst to one target is one slice, in bytes; the longer ones stay
/// where they lie.
const PACKED: usize = 4 << 10;
/// A buffer grows to what a frame announces up to this size at once, in bytes; beyond it, only as the bytes arrive.
const TRUSTED: usize = 1 << 20;
/// Memory held for a waiting byte, at most, in bytes.
pub(crate) const WASTE: usize = 4;

/// A server frame: header and payload in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// In the inbox, until [`Inbox::end_batch`].
    Here(Range<usize>),
    /// Elsewhere: put together of fragments, or the relay's own.
    Apart(Bytes),
}

/// What a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole message, as the server frame that passes it on.
    Message {
        /// Sent as text: its payload has to be UTF-8, which is for the reader of the payload to check
        /// ([`Inbox::check_text`]).
        text: bool,
        /// Header and payload.
        frame: Piece,
        /// Where in the frame the payload begins.
        payload_at: usize,
    },
    /// Part of a message, not the last: nothing to do but to count it.
    Fragment,
    /// To be answered with a pong of the same payload.
    Ping(Bytes),
    /// A sign of life.
    Pong,
    /// To be answered with a close frame; nothing after it counts.
    Close(Option<CloseCode>),
}

/// A message that arrives in fragments.
#[derive(Debug)]
struct Assembly {
    opcode: Opcode,
    /// [`MAX_SERVER_HEADER`] bytes of room, then the payload so far.
    bytes: BytesMut,
}

/// Receives a client's bytes and yields what they say.
///
/// Bytes are read into [`buffer`](Self::buffer); [`next`](Self::next) yields events until it says `None`; when the
/// frames have been passed on, [`end_batch`](Self::end_batch) lets go of them.
#[derive(Debug)]
pub struct Inbox {
    buffer: BytesMut,
    /// Everything before it was yielded.
    cursor: usize,
    /// Where the last yielded frame ends.
    packed: usize,
    /// The frame that begins at `cursor`, and how much of its payload is unmasked.
    current: Option<(Header, usize)>,
    assembly: Option<Assembly>,
    limit: usize,
    closed: bool,
    /// What the buffer's memory measures at most, parts handed over included, in bytes.
    allocated: usize,
    /// Frames lay in that memory before those that are there now.
    reused: bool,
    /// Part of that memory was handed over: it is no use to another inbox.
    shared: bool,
}

impl Inbox {
    /// An inbox for messages of at most `limit` bytes. Holds no memory.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            cursor: 0,
            packed: 0,
            current: None,
            assembly: None,
            limit,
            closed: false,
            allocated: 0,
            reused: false,
            shared: false,
        }
    }

    /// Sets how long a message may be from now on, in bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Where to append the bytes that arrive.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Swaps an empty inbox's buffer for another: empty inboxes need none, and can share a few.
    pub fn swap_buffer(&mut self, other: &mut BytesMut) {
        debug_assert!(self.buffer.is_empty() && other.is_empty());
        if std::mem::take(&mut self.shared) {
            self.buffer = BytesMut::new();
        }
        std::mem::swap(&mut self.buffer, other);
        (self.allocated, self.reused) = (self.buffer.capacity(), false);
    }

    /// Moves the beginning of a frame out of a buffer that is much too large for it, so that a few bytes do not hold
    /// much memory; gives back the large one, empty. Between batches only.
    pub fn fit(&mut self) -> Option<BytesMut> {
        debug_assert!(self.cursor == 0);
        if !self.reused || self.buffer.len().saturating_mul(WASTE) >= self.allocated {
            return None;
        }
        let fitting = BytesMut::from(self.buffer.as_ref());
        (self.allocated, self.reused) = (fitting.capacity(), false);
        let mut large = std::mem::replace(&mut self.buffer, fitting);
        large.clear();
        Some(if std::mem::take(&mut self.shared) { BytesMut::new() } else { large })
    }

    /// What the memory that [`take_batch`](Self::take_batch) hands over measures at most, in bytes.
    pub fn allocated(&self) -> usize {
        self.allocated.max(self.buffer.capacity())
    }

    /// Whether no byte waits for the rest of its frame.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Bytes of unfinished messages held at present.
    pub fn held(&self) -> usize {
        self.buffer.len() + self.assembly.as_ref().map_or(0, |assembly| assembly.bytes.len())
    }

    /// How many bytes the frame that has begun still lacks, in so far as room should be made for them at once; `None`
    /// between frames.
    pub fn lacking(&self) -> Option<usize> {
        let (header, _) = self.current.as_ref()?;
        let whole = header.len + usize::try_from(header.payload).unwrap_or(usize::MAX).min(self.limit);
        let there = self.buffer.len() - self.cursor;
        Some(whole.saturating_sub(there).min(TRUSTED.max(there)))
    }

    /// The bytes of a piece; empty when it is none of this batch.
    pub fn bytes<'a>(&'a self, piece: &'a Piece) -> &'a [u8] {
        match piece {
            Piece::Here(range) => self.buffer.get(range.clone()).unwrap_or_default(),
            Piece::Apart(bytes) => bytes,
        }
    }

    /// A text message's payload has to be UTF-8.
    ///
    /// # Errors
    /// [`Violation::NotUtf8`].
    pub fn check_text(payload: &[u8]) -> Result<(), Violation> {
        simdutf8::basic::from_utf8(payload).map(drop).map_err(|_| Violation::NotUtf8)
    }

    /// What the client said next; `None` until more bytes arrive.
    ///
    /// # Errors
    /// The rule that is broken. Nothing that follows it means anything.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not be fed between items")]
    pub fn next(&mut self) -> Result<Option<Event>, Violation> {
        self.allocated = self.allocated();
        while !self.closed {
            let Some(header) = self.frame_arrived()? else { return Ok(None) };
            self.current = None;
            let start = self.cursor + header.len;
            // What `frame_arrived` found whole fits.
            let end = start + header.payload as usize;
            self.cursor = end;
            if header.opcode.is_control() {
                return self.control(header.opcode, start..end).map(Some);
            }
            if let Some(event) = self.data(header, start..end)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Unmasks what there is of the frame at the cursor; its header, when all of it is there.
    fn frame_arrived(&mut self) -> Result<Option<Header>, Violation> {
        let Some(raw) = self.buffer.get_mut(self.cursor..) else { return Ok(None) };
        let (header, unmasked) = match &mut self.current {
            Some(current) => current,
            None => {
                let Some(header) = Header::read(raw)? else { return Ok(None) };
                if !header.opcode.is_control() {
                    check_data(&header, self.assembly.as_ref(), self.limit)?;
                }
                self.current.insert((header, 0))
            }
        };
        let Some(payload) = raw.get_mut(header.len..) else { return Ok(None) };
        let arrived = payload.len().min(usize::try_from(header.payload).unwrap_or(usize::MAX));
        if let Some(fresh) = payload.get_mut(*unmasked..arrived) {
            unmask(fresh, header.key, *unmasked);
        }
        *unmasked = arrived;
        Ok((arrived as u64 == header.payload).then_some(*header))
    }

    fn data(&mut self, header: Header, payload: Range<usize>) -> Result<Option<Event>, Violation> {
        if header.opcode != Opcode::Continuation && header.fin {
            return Ok(Some(self.whole(header.opcode, payload)));
        }
        let assembly = self.assembly.get_or_insert_with(|| Assembly {
            opcode: header.opcode,
            bytes: BytesMut::zeroed(MAX_SERVER_HEADER),
        });
        assembly.bytes.extend_from_slice(self.buffer.get(payload).unwrap_or_default());
        if !header.fin {
            return Ok(Some(Event::Fragment));
        }
        let Some(Assembly { opcode, mut bytes }) = self.assembly.take() else { return Ok(None) };
        let (header, len) = server_header(opcode, bytes.len() - MAX_SERVER_HEADER);
        bytes.advance(MAX_SERVER_HEADER - len);
        bytes[..len].copy_from_slice(&header[..len]);
        Ok(Some(Event::Message {
            text: opcode == Opcode::Text,
            frame: Piece::Apart(bytes.freeze()),
            payload_at: len,
        }))
    }

    /// Makes the server frame of an unfragmented message, in place.
    fn whole(&mut self, opcode: Opcode, payload: Range<usize>) -> Event {
        let (header, len) = server_header(opcode, payload.len());
        let mut frame = payload.start - len..payload.end;
        self.buffer[frame.start..payload.start].copy_from_slice(&header[..len]);
        if self.packed > 0 && frame.len() <= PACKED {
            let moved = self.packed..self.packed + frame.len();
            self.buffer.copy_within(frame, moved.start);
            frame = moved;
        }
        self.packed = frame.end;
        Event::Message { text: opcode == Opcode::Text, frame: Piece::Here(frame), payload_at: len }
    }

    fn control(&mut self, opcode: Opcode, payload: Range<usize>) -> Result<Event, Violation> {
        let payload = self.buffer.get(payload).unwrap_or_default();
        match opcode {
            Opcode::Ping => Ok(Event::Ping(Bytes::copy_from_slice(payload))),
            Opcode::Close => {
                self.closed = true;
                let Some((code, reason)) = payload.split_first_chunk() else {
                    return if payload.is_empty() { Ok(Event::Close(None)) } else { Err(Violation::Close) };
                };
                let code = CloseCode(u16::from_be_bytes(*code));
                if !code.may_be_sent() {
                    return Err(Violation::Close);
                }
                Self::check_text(reason)?;
                Ok(Event::Close(Some(code)))
            }
            _ => Ok(Event::Pong),
        }
    }

    /// Ends a batch: all that was yielded is let go. Pieces that are [`Piece::Here`] mean nothing any more.
    pub fn end_batch(&mut self) {
        self.reused |= self.cursor > 0;
        if self.cursor == self.buffer.len() {
            self.buffer.clear();
        } else {
            self.buffer.advance(self.cursor);
        }
        (self.cursor, self.packed) = (0, 0);
    }

    /// Ends a batch like [`end_batch`](Self::end_batch), but hands over the bytes of what was yielded: `Here` pieces are
    /// ranges of them. No byte is copied.
    pub fn take_batch(&mut self) -> Bytes {
        self.reused |= self.cursor > 0;
        self.shared = true;
        let batch = self.buffer.split_to(self.cursor).freeze();
        (self.cursor, self.packed) = (0, 0);
        batch
    }
}

fn check_data(header: &Header, assembly: Option<&Assembly>, limit: usize) -> Result<(), Violation> {
    if (header.opcode == Opcode::Continuation) != assembly.is_some() {
        return Err(Violation::Fragment);
    }
    let before = assembly.map_or(0, |assembly| assembly.bytes.len() - MAX_SERVER_HEADER);
    if header.payload > limit.saturating_sub(before) as u64 {
        return Err(Violation::TooBig);
    }
    Ok(())
}
