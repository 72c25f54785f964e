//! A client's bytes on their way to being a server's frames.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::{
    CloseCode, Form, Opcode, Violation,
    arriving::Arriving,
    header::{Header, MAX_SERVER_HEADER, server_header},
};

/// The longest payload of a control frame, in bytes (RFC 6455 §5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// Frames are moved together so that a burst to one target is one slice. One that is there as a whole is while it is
/// unmasked; one that came in parts only up to this size, in bytes: a longer one stays where it lies.
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
        /// The form that was guessed ([`Inbox::expect`]), if the payload has it. `None` may mean that nobody looked.
        form: Option<Form>,
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

/// A whole frame, unmasked.
struct Arrived {
    header: Header,
    /// The form its payload has.
    form: Option<Form>,
    /// Where that lies.
    payload: Range<usize>,
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
    /// The frame that begins at `cursor`.
    current: Option<Arriving>,
    assembly: Option<Assembly>,
    /// What the next messages may look like.
    expected: Option<Form>,
    /// How long the last whole message's frame was, in bytes.
    last_frame: usize,
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
            expected: None,
            last_frame: 0,
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

    /// Has the messages to come checked for this form while they are unmasked.
    pub fn expect(&mut self, form: Option<Form>) {
        self.expected = form;
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
        let there = self.buffer.len() - self.cursor;
        Some(self.missing()?.min(TRUSTED.max(there)))
    }

    /// How many bytes the frame that has begun still lacks.
    fn missing(&self) -> Option<usize> {
        let header = &self.current.as_ref()?.header;
        let whole = header.len + usize::try_from(header.payload).unwrap_or(usize::MAX).min(self.limit);
        Some(whole.saturating_sub(self.buffer.len() - self.cursor))
    }

    /// How many bytes to read next, 1 to `most`: such that what is read ends with a frame, if it is of long frames and
    /// the next are as long as the last. What lies behind a whole frame would have to be moved before more is read.
    pub fn wanted(&self, most: usize) -> usize {
        let length = self.last_frame;
        let missing = self.missing().unwrap_or(0);
        let wanted = if missing > most {
            missing.div_ceil(missing.div_ceil(most))
        } else if length <= PACKED {
            most
        } else if missing == 0 && length > most {
            length.div_ceil(length.div_ceil(most))
        } else {
            missing + (most - missing) / length * length
        };
        wanted.clamp(1, most.max(1))
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
            let Some(Arrived { header, form, payload }) = self.frame_arrived()? else { return Ok(None) };
            if header.opcode.is_control() {
                return self.control(header.opcode, payload).map(Some);
            }
            if let Some(event) = self.data(header, form, payload)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Unmasks what there is of the frame at the cursor, and passes it when all of it is there.
    fn frame_arrived(&mut self) -> Result<Option<Arrived>, Violation> {
        let current = match &mut self.current {
            Some(current) => current,
            None => {
                let raw = self.buffer.get(self.cursor..).unwrap_or_default();
                let Some(header) = Header::read(raw)? else { return Ok(None) };
                if !header.opcode.is_control() {
                    check_data(&header, self.assembly.as_ref(), self.limit)?;
                }
                self.current.insert(Arriving::new(header, self.expected))
            }
        };
        let header = current.header;
        let start = self.cursor + header.len;
        let Some(there) = self.buffer.len().checked_sub(start) else { return Ok(None) };
        let arrived = there.min(usize::try_from(header.payload).unwrap_or(usize::MAX));
        let whole = arrived as u64 == header.payload;
        let mut place = start;
        if whole && current.untouched() && self.packed > 0 && header.is_message() {
            // Right behind the last one, which ends no later than this one begins, and a server's header is shorter.
            place = self.packed + server_header(header.opcode, arrived).1;
        }
        current.unmask(&mut self.buffer, start, arrived, place);
        if !whole {
            return Ok(None);
        }
        let form = current.form();
        self.current = None;
        self.cursor = start + arrived;
        Ok(Some(Arrived { header, form, payload: place..place + arrived }))
    }

    fn data(
        &mut self,
        header: Header,
        form: Option<Form>,
        payload: Range<usize>,
    ) -> Result<Option<Event>, Violation> {
        if header.is_message() {
            self.last_frame = header.len + payload.len();
            return Ok(Some(self.whole(header.opcode, form, payload)));
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
            form: None,
        }))
    }

    /// Makes the server frame of an unfragmented message, in place.
    fn whole(&mut self, opcode: Opcode, form: Option<Form>, payload: Range<usize>) -> Event {
        let (header, len) = server_header(opcode, payload.len());
        let mut frame = payload.start - len..payload.end;
        self.buffer[frame.start..payload.start].copy_from_slice(&header[..len]);
        if self.packed > 0 && frame.start > self.packed && frame.len() <= PACKED {
            let moved = self.packed..self.packed + frame.len();
            self.buffer.copy_within(frame, moved.start);
            frame = moved;
        }
        self.packed = frame.end;
        Event::Message { text: opcode == Opcode::Text, frame: Piece::Here(frame), payload_at: len, form }
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
