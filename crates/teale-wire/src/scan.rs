//! Passing over JSON text without building anything from it.
//!
//! The scanner takes exactly what serde_json takes when it reads a `Value`: the grammar, surrogate pairs in escapes,
//! numbers within the range of f64, nesting up to a limit. Besides, it counts values, so that a small text cannot
//! become a large tree. Long strings go by at memory speed.

use crate::limits;

/// Why a scan stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not JSON, or nested too deeply.
    Grammar,
    /// JSON, but not of the wanted shape.
    Shape,
    /// More values than [`limits::JSON_VALUES`].
    TooMany,
}

/// A string's text between its quotes, escapes still in it.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The bytes that are meant; borrowed unless there are escapes.
    #[inline]
    pub(crate) fn bytes<'b>(&self, unescaped: &'b mut String) -> Result<&'b [u8], Refused>
    where
        'a: 'b,
    {
        if self.escaped { self.unescape(unescaped) } else { Ok(self.raw) }
    }

    #[cold]
    fn unescape<'b>(&self, out: &'b mut String) -> Result<&'b [u8], Refused> {
        let quoted = [b"\"", self.raw, b"\""].concat();
        *out = serde_json::from_slice(&quoted).map_err(|_| Refused::Grammar)?;
        Ok(out.as_bytes())
    }
}

/// A place in a JSON text of valid UTF-8.
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    /// Values that may still come.
    left: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), at: 0, left: limits::JSON_VALUES }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    pub(crate) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes this byte, if it is the next one.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Refused> {
        if self.take(byte) { Ok(()) } else { Err(Refused::Grammar) }
    }

    /// Nothing but space is left.
    pub(crate) fn end(&mut self) -> Result<(), Refused> {
        self.space();
        if self.peek().is_none() { Ok(()) } else { Err(Refused::Grammar) }
    }

    /// Counts one value.
    #[inline]
    pub(crate) fn count(&mut self) -> Result<(), Refused> {
        self.left = self.left.checked_sub(1).ok_or(Refused::TooMany)?;
        Ok(())
    }

    /// Passes a key with its colon and the space around it.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<Text<'a>, Refused> {
        self.space();
        let key = self.string()?;
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(key)
    }

    /// Passes a string.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Text<'a>, Refused> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_prefix(self.text.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    let raw = self.text.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    self.escape()?;
                }
                _ => return Err(Refused::Grammar),
            }
        }
    }

    /// Passes a string that is known to end, whatever its escapes mean.
    fn skip_string(&mut self) {
        self.at += 1;
        loop {
            self.at += plain_prefix(self.text.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'\\') => self.at += 2,
                _ => break,
            }
        }
        self.at += 1;
    }

    /// Passes what follows a backslash.
    fn escape(&mut self) -> Result<(), Refused> {
        let byte = self.peek();
        self.at += 1;
        match byte {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') => match self.hex4()? {
                0xd800..=0xdbff => {
                    self.expect(b'\\')?;
                    self.expect(b'u')?;
                    if matches!(self.hex4()?, 0xdc00..=0xdfff) { Ok(()) } else { Err(Refused::Grammar) }
                }
                0xdc00..=0xdfff => Err(Refused::Grammar),
                _ => Ok(()),
            },
            _ => Err(Refused::Grammar),
        }
    }

    fn hex4(&mut self) -> Result<u32, Refused> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16)).ok_or(Refused::Grammar)?;
            value = value << 4 | digit;
            self.at += 1;
        }
        Ok(value)
    }

    fn digits(&mut self) -> Result<(), Refused> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Refused::Grammar) }
    }

    fn number(&mut self) -> Result<(), Refused> {
        /// With fewer digits before the point and no exponent, a number is well below the largest f64.
        const SURELY_FINITE: usize = 300;
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        let mut doubtful = self.at - start > SURELY_FINITE;
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            doubtful = true;
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        if !doubtful {
            return Ok(());
        }
        let text = self.text.get(start..self.at).and_then(|text| std::str::from_utf8(text).ok());
        let finite = text.and_then(|text| text.parse::<f64>().ok()).is_some_and(f64::is_finite);
        if finite { Ok(()) } else { Err(Refused::Grammar) }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Refused> {
        if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(Refused::Grammar);
        }
        self.at += word.len();
        Ok(())
    }

    /// Passes an integer of 0 to 255.
    pub(crate) fn byte(&mut self) -> Result<(), Refused> {
        let start = self.at;
        self.number()?;
        match self.text.get(start..self.at).unwrap_or_default() {
            [_] | [b'1'..=b'9', b'0'..=b'9'] => Ok(()),
            [b'1', b'0'..=b'9', b'0'..=b'9'] | [b'2', b'0'..=b'4', b'0'..=b'9'] => Ok(()),
            [b'2', b'5', b'0'..=b'5'] => Ok(()),
            _ => Err(Refused::Shape),
        }
    }

    /// Passes one value of any kind, which may nest `depth` deep.
    pub(crate) fn value(&mut self, depth: usize) -> Result<(), Refused> {
        let mut open = Nesting::default();
        loop {
            self.count()?;
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    open.push(true, depth)?;
                    self.space();
                    if self.peek() != Some(b'}') {
                        self.key()?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    open.push(false, depth)?;
                    self.space();
                    if self.peek() != Some(b']') {
                        continue;
                    }
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                _ => self.number()?,
            }
            if self.close(&mut open)? {
                return Ok(());
            }
        }
    }

    /// After a value: passes closing brackets up to the next value; true when the outermost one is whole.
    fn close(&mut self, open: &mut Nesting) -> Result<bool, Refused> {
        while let Some(in_object) = open.top() {
            self.space();
            if self.take(b',') {
                if in_object {
                    self.key()?;
                } else {
                    self.space();
                }
                return Ok(false);
            }
            self.expect(if in_object { b'}' } else { b']' })?;
            open.pop();
        }
        Ok(true)
    }
}

/// The brackets that are open: one bit each, set for an object.
#[derive(Default)]
struct Nesting {
    kinds: u128,
    depth: usize,
}

impl Nesting {
    fn push(&mut self, object: bool, limit: usize) -> Result<(), Refused> {
        if self.depth >= limit.min(limits::JSON_DEPTH) {
            return Err(Refused::Grammar);
        }
        self.kinds = self.kinds << 1 | u128::from(object);
        self.depth += 1;
        Ok(())
    }

    fn top(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.kinds & 1 == 1)
    }

    fn pop(&mut self) {
        self.kinds >>= 1;
        self.depth = self.depth.saturating_sub(1);
    }
}

/// Whether a JSON text surely holds no more values than [`limits::JSON_VALUES`]. Each value but the first follows a
/// bracket or a comma, those inside strings being counted too.
pub(crate) fn surely_few_values(text: &str) -> bool {
    text.len() < limits::JSON_VALUES
        || text
            .as_bytes()
            .chunks(128)
            .try_fold(1, |sum: usize, chunk| {
                let here: u8 = chunk.iter().map(|byte| u8::from(matches!(byte, b',' | b'[' | b'{'))).sum();
                Some(sum + usize::from(here)).filter(|sum| *sum <= limits::JSON_VALUES)
            })
            .is_some()
}

/// How many values a JSON text holds, which is known to have JSON's grammar (to any depth).
pub(crate) fn values(text: &str) -> usize {
    let mut scanner = Scanner::new(text);
    let mut values = 1;
    while let Some(byte) = scanner.peek() {
        match byte {
            b'"' => {
                scanner.skip_string();
                continue;
            }
            b',' => values += 1,
            b'[' | b'{' => {
                scanner.at += 1;
                scanner.space();
                values += usize::from(!matches!(scanner.peek(), Some(b']' | b'}')));
                continue;
            }
            _ => {}
        }
        scanner.at += 1;
    }
    values
}

/// How many bytes come before the first quote, backslash or control character.
fn plain_prefix(bytes: &[u8]) -> usize {
    let (chunks, tail) = bytes.as_chunks::<64>();
    for (index, chunk) in chunks.iter().enumerate() {
        // No early way out of this loop: it becomes a handful of vector instructions.
        let hit = chunk.iter().fold(0, |hit, byte| hit | u8::from(special(*byte)));
        if hit != 0 {
            return index * 64 + first_special(chunk);
        }
    }
    chunks.len() * 64 + first_special(tail)
}

fn special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// The same for a few bytes, eight at a time.
fn first_special(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    // In each mask the lowest bit set is right; borrows only spoil bits above it.
    let zero = |x: u64| x.wrapping_sub(ONES) & !x & HIGHS;
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let low = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let hits = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | low;
        if hits != 0 {
            return index * 8 + (hits.trailing_zeros() / 8) as usize;
        }
    }
    words.len() * 8 + tail.iter().position(|byte| special(*byte)).unwrap_or(tail.len())
}
