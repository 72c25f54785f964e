//! Telexes of TeleHash v1: one JSON object per datagram (the page of 2011; what it leaves open as switches of its time do).

use std::{borrow::Cow, collections::BTreeMap, fmt, io::Write};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, MapAccess, Visitor},
};
use serde_json::Value;

use super::{
    End, Ipp, TapRule,
    lenient::{Any, List, Parsed, Text, Whole, WholeOrDigits},
    tap_rule,
};
use crate::{Extra, Fault, WireError, limits};

/// What is told to everybody: keys that begin with `+`, and text.
pub type Signals = BTreeMap<String, String>;

/// The largest `_ring`; the smallest is 1.
pub const RING_MAX: u16 = 32_768;

/// The largest `_line`: a product of two rings.
pub const LINE_MAX: u32 = 1 << 30;

/// One telex: the headers and commands of the protocol as types, signals as text, everything else as it came.
///
/// What a stranger wrote wrongly is either an error ([`parse`](Self::parse) says which) or is as if it were not there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Telex {
    /// `_to`: the recipient, as the sender knows him.
    pub to: Option<Ipp>,
    /// `_br`: bytes the sender has received from the recipient.
    pub received: Option<u64>,
    /// `_ring`: the number the sender gave the recipient, 1 to [`RING_MAX`].
    pub ring: Option<u16>,
    /// `_line`: the product of both rings, 1 to [`LINE_MAX`].
    pub line: Option<u32>,
    /// `_hop`: how often the signals were passed on. More than 255 is 255; 0 is not written.
    pub hop: u8,
    /// `.see`: switches, the best first. When written, as many as fit.
    pub see: Option<Vec<Ipp>>,
    /// `.tap`: which signals the sender wants to be passed. An empty one ends that.
    pub tap: Option<Vec<TapRule>>,
    /// The signals, `+end` and `+pop` included.
    pub signals: Signals,
    /// Headers this version does not know.
    pub headers: Extra,
    /// Commands this version does not know.
    pub commands: Extra,
    /// Everything else: it is the application's.
    pub data: Extra,
}

impl Telex {
    /// Reads a datagram.
    ///
    /// A `_to`, `_br`, `.see` or `.tap` that is none is as if it were not there, and so are elements of `.see` that are not
    /// IP:PORT, rules of `.tap` that can never match, and signals that are not text. The numbers `_ring`, `_line` and
    /// `_hop` are also read from their digits as text, as deployed switches do.
    ///
    /// # Errors
    /// [`WireError::TooBig`] above [`limits::TELEX`]; [`WireError::NotJson`]; [`WireError::WrongShape`] for JSON that is no
    /// object, and for a `_ring`, `_line` or `_hop` that is no such number: its `field` is the header's name.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > limits::TELEX {
            let (what, limit) = ("a telex", limits::TELEX);
            return Err(WireError::TooBig { what, limit, got: Some(bytes.len()), fault: Fault::Peer });
        }
        let text =
            simdutf8::basic::from_utf8(bytes).map_err(|_| WireError::NotJson { line: 0, column: 0 })?;
        let mut json = serde_json::Deserializer::from_str(text);
        let read = Reader::default().deserialize(&mut json).and_then(|read| json.end().map(|()| read));
        match read {
            Ok(Reader { telex, bad: None }) => Ok(telex),
            Ok(Reader { bad: Some(header), .. }) => Err(wrong(header, "out of range, or not a whole number")),
            Err(error) if error.is_data() => Err(wrong(".", "a telex is one JSON object")),
            Err(error) => Err(WireError::NotJson { line: error.line(), column: error.column() }),
        }
    }

    /// Writes it; `.see` is cut so that all of it fits.
    ///
    /// # Errors
    /// [`WireError::TooBig`] (the caller's fault) beyond [`limits::TELEX_SENT`] even without `.see`;
    /// [`WireError::NotWritable`] for a ring or line out of range, and for keys that would be read as something else.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        self.check()?;
        let mut out = Writer(Vec::with_capacity(256));
        out.0.push(b'{');
        if let Some(to) = self.to {
            out.display("_to", to);
        }
        out.number("_br", self.received);
        out.number("_ring", self.ring);
        out.number("_line", self.line);
        out.number("_hop", (self.hop > 0).then_some(self.hop));
        for (key, value) in &self.signals {
            out.key(key);
            write_text(&mut out.0, value);
        }
        if let Some(tap) = &self.tap {
            out.tap(tap);
        }
        for (key, value) in self.headers.iter().chain(&self.commands).chain(&self.data) {
            out.value(key, value)?;
        }
        if let Some(see) = &self.see {
            out.see(see);
        }
        out.0.push(b'}');
        if out.0.len() > limits::TELEX_SENT {
            let (what, limit) = ("a telex", limits::TELEX_SENT);
            return Err(WireError::TooBig { what, limit, got: Some(out.0.len()), fault: Fault::Caller });
        }
        Ok(out.0)
    }

    fn check(&self) -> Result<(), WireError> {
        let unwritable = |reason: &str| WireError::NotWritable { kind: "telex", reason: reason.into() };
        if self.ring.is_some_and(|ring| !(1..=RING_MAX).contains(&ring)) {
            return Err(unwritable("a ring is 1 to 32768"));
        }
        if self.line.is_some_and(|line| !(1..=LINE_MAX).contains(&line)) {
            return Err(unwritable("a line is 1 to 1073741824"));
        }
        let known = |key: &str| matches!(key, "_to" | "_br" | "_ring" | "_line" | "_hop" | ".see" | ".tap");
        let fits = self.signals.keys().all(|key| key.starts_with('+'))
            && self.headers.keys().all(|key| key.starts_with('_') && !known(key))
            && self.commands.keys().all(|key| key.starts_with('.') && !known(key))
            && self.data.keys().all(|key| !key.starts_with(['+', '_', '.']));
        if fits { Ok(()) } else { Err(unwritable("a key's first character does not say what it is")) }
    }

    /// `+end`, if it is one.
    pub fn end(&self) -> Option<End> {
        self.signals.get("+end").and_then(|text| End::parse(text).ok())
    }

    /// The switch that `+pop` asks to be sent to, if it is of the form `th:IP:PORT`.
    pub fn pop(&self) -> Option<Ipp> {
        self.signals.get("+pop").and_then(|text| Ipp::parse(text.strip_prefix("th:")?).ok())
    }

    /// Whether it asks for switches near its end: it has an end and was not passed on.
    pub fn is_dial(&self) -> bool {
        self.hop == 0 && self.end().is_some()
    }

    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn wrong(field: &str, reason: &str) -> WireError {
    WireError::WrongShape { kind: "telex", field: field.into(), reason: reason.into() }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
pub(super) struct Key<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// What was read so far, and the first header that cannot be read.
#[derive(Default)]
struct Reader {
    telex: Telex,
    bad: Option<&'static str>,
}

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Self;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Self;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a telex")
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            self.entry(key, &mut map)?;
        }
        Ok(self)
    }
}

impl Reader {
    /// A key's value. Of two with the same key the last one counts.
    fn entry<'de, A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
        let telex = &mut self.telex;
        match &*key {
            "_to" => telex.to = map.next_value_seed(Any(Parsed(|text| Ipp::parse(text).ok())))?,
            "_br" => telex.received = map.next_value_seed(Any(Whole))?,
            "_ring" => {
                let ring = self.number("_ring", map, |ring| (1..=RING_MAX.into()).contains(&ring))?;
                self.telex.ring = ring.and_then(|ring| u16::try_from(ring).ok());
            }
            "_line" => {
                let line = self.number("_line", map, |line| (1..=LINE_MAX.into()).contains(&line))?;
                self.telex.line = line.and_then(|line| u32::try_from(line).ok());
            }
            "_hop" => {
                let hop = self.number("_hop", map, |_| true)?;
                self.telex.hop = u8::try_from(hop.unwrap_or_default()).unwrap_or(u8::MAX);
            }
            ".see" => {
                let ipp = || Parsed(|text| Ipp::parse(text).ok());
                telex.see = map.next_value_seed(Any(List { most: usize::MAX, element: ipp }))?;
            }
            ".tap" => telex.tap = map.next_value_seed(Any(tap_rule::rules()))?,
            _ => self.unknown(key, map)?,
        }
        Ok(())
    }

    /// A number that makes the whole telex bad if it is none, or does not `fit`.
    fn number<'de, A: MapAccess<'de>>(
        &mut self,
        header: &'static str,
        map: &mut A,
        fits: fn(u64) -> bool,
    ) -> Result<Option<u64>, A::Error> {
        let number = map.next_value_seed(Any(WholeOrDigits))?.filter(|number| fits(*number));
        if number.is_none() {
            self.bad.get_or_insert(header);
        }
        Ok(number)
    }

    fn unknown<'de, A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
        let telex = &mut self.telex;
        let kept = match key.as_bytes().first() {
            Some(b'+') => {
                match map.next_value_seed(Any(Text))? {
                    Some(text) => _ = telex.signals.insert(key.into_owned(), text),
                    None => _ = telex.signals.remove(&*key),
                }
                return Ok(());
            }
            Some(b'_') => &mut telex.headers,
            Some(b'.') => &mut telex.commands,
            _ => &mut telex.data,
        };
        kept.insert(key.into_owned(), map.next_value::<Value>()?);
        Ok(())
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        write_text(&mut self.0, key);
        self.0.push(b':');
    }

    /// Text that needs no escapes.
    fn display(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        // Writing to memory does not fail.
        _ = write!(self.0, "\"{value}\"");
    }

    fn number(&mut self, key: &str, number: Option<impl fmt::Display>) {
        if let Some(number) = number {
            self.key(key);
            _ = write!(self.0, "{number}");
        }
    }

    fn value(&mut self, key: &str, value: &Value) -> Result<(), WireError> {
        self.key(key);
        value
            .serialize(&mut serde_json::Serializer::new(&mut self.0))
            .map_err(|error| WireError::NotWritable { kind: "telex", reason: error.to_string() })
    }

    fn tap(&mut self, rules: &[TapRule]) {
        self.key(".tap");
        self.0.push(b'[');
        for (n, rule) in rules.iter().enumerate() {
            if n > 0 {
                self.0.push(b',');
            }
            rule.write(&mut self.0);
        }
        self.0.push(b']');
    }

    /// The switches that fit, the list's and the telex's brackets included.
    fn see(&mut self, see: &[Ipp]) {
        let before = self.0.len();
        self.key(".see");
        self.0.push(b'[');
        for (n, ipp) in see.iter().enumerate() {
            let fits = self.0.len();
            _ = write!(self.0, "{}\"{ipp}\"", if n > 0 { "," } else { "" });
            if self.0.len() + 2 > limits::TELEX_SENT {
                self.0.truncate(fits);
                if n == 0 {
                    // None fits: better no list than one that says "nobody".
                    self.0.truncate(before);
                    return;
                }
                break;
            }
        }
        self.0.push(b']');
    }
}

/// Writes JSON text.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    // Text is always JSON, and writing to memory does not fail.
    _ = serde_json::to_writer(out, text);
}
