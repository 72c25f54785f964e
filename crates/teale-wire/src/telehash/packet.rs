//! Packets of TeleHash v2 (the draft of 2012-08-03): a length, a JSON object, and a body to the end of the datagram.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::value::RawValue;

use super::{
    End, Ipp, Receipt, Req, Res, Sid,
    lenient::{Any, List, Number, Parsed, Take, Text, Whole},
    telex::Key,
};
use crate::{Fault, WireError, limits};

/// Bytes of the length in front: it counts the JSON only, and is big-endian.
const LENGTH: usize = 2;

/// One packet: the keys of the draft as types, and the body.
///
/// What a stranger wrote wrongly is either an error ([`parse`](Self::parse) says which) or is as if it were not there.
#[derive(Debug, Clone, Default)]
pub struct Packet {
    /// `start`: the sender's part of a new session; 1 to [`limits::PACKET_START`] bytes.
    pub start: Option<String>,
    /// `sid`: the session it belongs to.
    pub sid: Option<Sid>,
    /// `seq`: its number in the session.
    pub seq: Option<u32>,
    /// `range` and `miss`: what the sender has received in the session.
    pub receipt: Option<Receipt>,
    /// `to`: the recipient, as the sender knows him.
    pub to: Option<Ipp>,
    /// `from`: the sender, as he knows himself.
    pub from: Option<Ipp>,
    /// `tid`: the sender's name for what this is part of, at most [`limits::PACKET_TID`] bytes. It comes back in answers.
    pub tid: Option<String>,
    /// `pop`: a switch that should send something to the `source`.
    pub pop: Option<Ipp>,
    /// `popped`: the sender did that.
    pub popped: bool,
    /// `source`: whom a relayed packet came from.
    pub source: Option<Ipp>,
    /// `send`: a hash that is looked for, or told something.
    pub send: Option<End>,
    /// `recv`: a hash whose `send`s the sender wants.
    pub recv: Option<End>,
    /// `stop`: a hash whose `send`s he wants no more.
    pub stop: Option<End>,
    /// `see`: switches closer to the hash, the best first.
    pub see: Option<Vec<Ipp>>,
    /// `bind`: who the sender claims to be, an object as he wrote it.
    pub bind: Option<Box<RawValue>>,
    /// `req`: a request.
    pub req: Option<Req>,
    /// `res`: the answer to one.
    pub res: Option<Res>,
    /// `done`: the last packet of its request or response.
    pub done: bool,
    /// What follows the JSON.
    pub body: Bytes,
}

impl Packet {
    /// Reads a datagram.
    ///
    /// A key of the draft whose value is of another kind or out of bounds is as if it were not there, and so are unknown
    /// keys, elements of `see` that are not IP:PORT, and a `range` whose `miss` cannot be read. Of two equal keys the last
    /// one counts.
    ///
    /// # Errors
    /// [`WireError::TooBig`] above [`limits::PACKET`]; [`WireError::NotJson`]; [`WireError::WrongShape`] for a length that
    /// does not fit the datagram (field `length`), for JSON that is no object (field `.`), and for a `sid` that is none.
    pub fn parse(datagram: &[u8]) -> Result<Self, WireError> {
        if datagram.len() > limits::PACKET {
            return Err(too_big(datagram.len(), Fault::Peer));
        }
        let Some((length, rest)) = datagram.split_first_chunk::<LENGTH>() else {
            return Err(wrong("length", "a packet begins with two bytes of length"));
        };
        let (json, body) = rest
            .split_at_checked(u16::from_be_bytes(*length).into())
            .ok_or_else(|| wrong("length", "more JSON is announced than the datagram has"))?;
        let json = simdutf8::basic::from_utf8(json).map_err(|_| WireError::NotJson { line: 0, column: 0 })?;
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let read = Reader::default().deserialize(&mut deserializer);
        match read.and_then(|read| deserializer.end().map(|()| read)) {
            Ok(reader) => reader.packet(Bytes::copy_from_slice(body)),
            Err(error) if error.is_data() => Err(wrong(".", "a packet's JSON is one object")),
            Err(error) => Err(WireError::NotJson { line: error.line(), column: error.column() }),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`WireError::TooBig`] (the caller's fault) beyond [`limits::PACKET`]; [`WireError::NotWritable`] for a `start` or
    /// `tid` out of bounds and for a `bind` that is no object: they would be read as absent.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        self.check()?;
        let mut out = Vec::with_capacity(256 + self.body.len());
        out.extend_from_slice(&[0; LENGTH]);
        serde_json::to_writer(&mut out, &Json(self))
            .map_err(|error| WireError::NotWritable { kind: "packet", reason: error.to_string() })?;
        let json = out.len() - LENGTH;
        if json + LENGTH + self.body.len() > limits::PACKET {
            return Err(too_big(json + LENGTH + self.body.len(), Fault::Caller));
        }
        // A packet is far below what two bytes can say.
        out[..LENGTH].copy_from_slice(&u16::try_from(json).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(&self.body);
        Ok(out.into())
    }

    /// How many bytes more would fit into the packet as it is.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn room(&self) -> Result<usize, WireError> {
        self.encode().map(|bytes| limits::PACKET - bytes.len())
    }

    fn check(&self) -> Result<(), WireError> {
        let unwritable = |reason: &str| WireError::NotWritable { kind: "packet", reason: reason.into() };
        if self.start.as_deref().is_some_and(|start| !is_start(start)) {
            return Err(unwritable("a start is 1 to 128 bytes"));
        }
        if self.tid.as_deref().is_some_and(|tid| !is_tid(tid)) {
            return Err(unwritable("a tid is at most 256 bytes"));
        }
        if self.bind.as_deref().is_some_and(|bind| !is_object(bind)) {
            return Err(unwritable("a bind is a JSON object"));
        }
        Ok(())
    }

    /// Whether it holds nothing but its session's bookkeeping: such a packet alone is never acknowledged.
    pub fn is_bookkeeping(&self) -> bool {
        let Self { start, sid: _, seq: _, receipt: _, to, from, tid, pop, popped, source, .. } = self;
        let Self { send, recv, stop, see, bind, req, res, done, body, .. } = self;
        let addressed = to.is_some() || from.is_some() || pop.is_some() || source.is_some() || see.is_some();
        let aimed = send.is_some() || recv.is_some() || stop.is_some();
        let content = tid.is_some() || bind.is_some() || req.is_some() || res.is_some() || !body.is_empty();
        !(start.is_some() || addressed || aimed || content || *popped || *done)
    }
}

fn is_start(text: &str) -> bool {
    (1..=limits::PACKET_START).contains(&text.len())
}

fn is_tid(text: &str) -> bool {
    text.len() <= limits::PACKET_TID
}

fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

fn too_big(got: usize, fault: Fault) -> WireError {
    WireError::TooBig { what: "a packet", limit: limits::PACKET, got: Some(got), fault }
}

fn wrong(field: &str, reason: &str) -> WireError {
    WireError::WrongShape { kind: "packet", field: field.into(), reason: reason.into() }
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    packet: Packet,
    range: Option<Vec<u32>>,
    miss: Miss,
    bad_sid: bool,
}

#[derive(Default)]
enum Miss {
    #[default]
    Absent,
    Unreadable,
    These(Vec<u32>),
}

impl Reader {
    fn packet(self, body: Bytes) -> Result<Packet, WireError> {
        if self.bad_sid {
            return Err(wrong("sid", "a sid is 40 hex digits"));
        }
        // Without its `miss`, a range would confirm what never came.
        let receipt = match (self.range.as_deref(), self.miss) {
            (Some([first, last]), Miss::Absent) => Receipt::new(*first, *last, []),
            (Some([first, last]), Miss::These(miss)) => Receipt::new(*first, *last, miss),
            _ => None,
        };
        Ok(Packet { receipt, body, ..self.packet })
    }

    fn entry<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let packet = &mut self.packet;
        let ipp = || Parsed(|text| Ipp::parse(text).ok());
        let end = || Any(Parsed(|text| End::parse(text).ok()));
        match key {
            "start" => packet.start = map.next_value_seed(Any(Text))?.filter(|text| is_start(text)),
            "sid" => {
                packet.sid = map.next_value_seed(Any(Parsed(Sid::parse)))?;
                self.bad_sid = packet.sid.is_none();
            }
            "seq" => packet.seq = map.next_value_seed(Any(Whole))?.and_then(|seq| u32::try_from(seq).ok()),
            "range" => self.range = map.next_value_seed(Any(Numbers))?,
            "miss" => self.miss = map.next_value_seed(Any(Numbers))?.map_or(Miss::Unreadable, Miss::These),
            "to" => packet.to = map.next_value_seed(Any(ipp()))?,
            "from" => packet.from = map.next_value_seed(Any(ipp()))?,
            "tid" => packet.tid = map.next_value_seed(Any(Text))?.filter(|text| is_tid(text)),
            "pop" => packet.pop = map.next_value_seed(Any(ipp()))?,
            "source" => packet.source = map.next_value_seed(Any(ipp()))?,
            "send" => packet.send = map.next_value_seed(end())?,
            "recv" => packet.recv = map.next_value_seed(end())?,
            "stop" => packet.stop = map.next_value_seed(end())?,
            "see" => packet.see = map.next_value_seed(Any(List { most: usize::MAX, element: ipp }))?,
            _ => return self.object_or_flag(key, map),
        }
        Ok(())
    }

    /// Values that are read a second time, by their own kind.
    fn object_or_flag<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let value = map.next_value::<Box<RawValue>>()?;
        let packet = &mut self.packet;
        match key {
            "popped" => packet.popped = value.get() == "true",
            "done" => packet.done = value.get() == "true",
            "bind" => packet.bind = Some(value).filter(|value| is_object(value)),
            // A struct is read from a list too; here only an object is meant.
            "req" => packet.req = serde_json::from_str(value.get()).ok().filter(|_| is_object(&value)),
            "res" => packet.res = serde_json::from_str(value.get()).ok().filter(|_| is_object(&value)),
            _ => {}
        }
        Ok(())
    }
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
        f.write_str("a packet's keys")
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            let key: Cow<'de, str> = key;
            self.entry(&key, &mut map)?;
        }
        Ok(self)
    }
}

/// A list of whole numbers, all of which must be readable.
struct Numbers;

impl<'de> Take<'de> for Numbers {
    type Out = Option<Vec<u32>>;
    fn other(self) -> Self::Out {
        None
    }
    fn number(self, _: Number) -> Self::Out {
        None
    }
    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Out, A::Error> {
        let mut numbers = Some(Vec::new());
        while let Some(number) = list.next_element_seed(Any(Whole))? {
            match number.and_then(|number| u32::try_from(number).ok()) {
                Some(number) => numbers.iter_mut().for_each(|numbers| numbers.push(number)),
                None => numbers = None,
            }
        }
        Ok(numbers)
    }
}

/// The packet's keys, those of the session first.
struct Json<'a>(&'a Packet);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let packet = self.0;
        let mut map = serializer.serialize_map(None)?;
        macro_rules! write {
            ($($key:ident)*) => {$(
                if let Some(value) = &packet.$key {
                    map.serialize_entry(stringify!($key), value)?;
                }
            )*};
        }
        write!(start sid seq);
        if let Some(receipt) = &packet.receipt {
            map.serialize_entry("range", &[receipt.first(), receipt.last()])?;
            if !receipt.miss().is_empty() {
                map.serialize_entry("miss", receipt.miss())?;
            }
        }
        write!(to from tid pop);
        if packet.popped {
            map.serialize_entry("popped", &true)?;
        }
        write!(source send recv stop see bind req res);
        if packet.done {
            map.serialize_entry("done", &true)?;
        }
        map.end()
    }
}
