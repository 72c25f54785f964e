//! Server-sent events (WHATWG HTML, section 9.2), as bytes in and events out.

use thiserror::Error;

/// Bytes of one line.
const LONGEST_LINE: usize = 1 << 20;
/// Bytes of one event's data.
const LONGEST_EVENT: usize = 4 << 20;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The `event` field; empty where there was none.
    pub name: String,
    /// The `data` fields, joined with newlines.
    pub data: String,
}

/// The server's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SseError {
    /// A line or an event is longer than any chunk of an answer.
    #[error("a line or an event of the stream is too long")]
    TooLong,
}

/// Cuts a stream into events. What [`SseParser::push`] gives does not depend on how the bytes were cut.
#[derive(Debug, Clone, Default)]
pub struct SseParser {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    after_cr: bool,
    begun: bool,
}

impl SseParser {
    /// A parser at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes, gives the events they complete.
    ///
    /// # Errors
    /// [`SseError::TooLong`]; the parser is of no use afterwards.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>, SseError> {
        let mut events = Vec::new();
        if self.after_cr && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            self.after_cr = false;
        }
        while let Some(end) = memchr::memchr2(b'\r', b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            self.append(line)?;
            events.extend(self.end_of_line()?);
            let is_cr = rest.first() == Some(&b'\r');
            bytes = rest.get(1..).unwrap_or_default();
            if is_cr {
                self.after_cr = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.append(bytes)?;
        Ok(events)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), SseError> {
        if self.line.len() + bytes.len() > LONGEST_LINE {
            return Err(SseError::TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_of_line(&mut self) -> Result<Option<Event>, SseError> {
        let line = std::mem::take(&mut self.line);
        let mut line = String::from_utf8_lossy(&line);
        if !std::mem::replace(&mut self.begun, true)
            && let Some(rest) = line.strip_prefix('\u{FEFF}')
        {
            line = rest.to_owned().into();
        }
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return Ok(std::mem::take(&mut self.has_data).then_some(event));
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.event.data.len() + value.len() + 1 > LONGEST_EVENT {
                    return Err(SseError::TooLong);
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event.name),
            _ => {} // comments (an empty field name), ids, retry times, unknown fields
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Vec<Event> {
        SseParser::new().push(bytes).unwrap()
    }

    fn data(text: &str) -> Event {
        Event { data: text.to_owned(), ..Event::default() }
    }

    #[test]
    fn the_standards_examples() {
        assert_eq!(all(b"data: YHOO\ndata: +2\ndata: 10\n\n"), [data("YHOO\n+2\n10")]);
        assert_eq!(
            all(b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event"),
            [data("first event"), data("second event")]
        );
        assert_eq!(all(b"data\n\ndata\ndata\n\ndata:"), [data(""), data("\n")]);
        assert_eq!(all(b"data:test\n\ndata: test\n\n"), [data("test"), data("test")]);
    }

    #[test]
    fn any_line_end_and_a_byte_order_mark() {
        assert_eq!(
            all(b"\xEF\xBB\xBFdata: a\r\n\r\ndata: b\r\rdata: c\n\n"),
            [data("a"), data("b"), data("c")]
        );
        let named = Event { name: "error".to_owned(), data: "x".to_owned() };
        assert_eq!(all(b"event: error\ndata: x\n\n"), [named]);
    }

    #[test]
    fn endless_lines_and_events_are_refused() {
        let mut parser = SseParser::new();
        assert_eq!(parser.push(&vec![b'x'; LONGEST_LINE + 1]), Err(SseError::TooLong));
        let line = [b"data: ".as_slice(), &vec![b'x'; LONGEST_LINE - 100], b"\n"].concat();
        let mut parser = SseParser::new();
        assert!((0..5).any(|_| parser.push(&line).is_err()));
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(text in "(data: ?[aé🦆]{0,3}|event: x|: c|\r|\n|\r\n){0,20}", cut in 1_usize..7) {
            let whole = all(text.as_bytes());
            let mut parser = SseParser::new();
            let pieces = text.as_bytes().chunks(cut).flat_map(|piece| parser.push(piece).unwrap());
            prop_assert_eq!(pieces.collect::<Vec<_>>(), whole);
        }
    }
}
