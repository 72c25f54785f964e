//! Where a relay frame goes, found without parsing or copying what it carries.

use crate::{
    Fault, NodeId, RelayMessage, SessionId, WireError, limits,
    scan::{Refused, Scanner, Text},
};

/// The types a relay passes from node to node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeekedKind {
    /// `offer`.
    Offer,
    /// `answer`.
    Answer,
    /// `iceCandidate`.
    IceCandidate,
    /// `relayOpen`.
    RelayOpen,
    /// `relayReady`.
    RelayReady,
    /// `relayData`.
    RelayData,
    /// `relayClose`.
    RelayClose,
}

impl PeekedKind {
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"relayData" => Self::RelayData,
            b"relayOpen" => Self::RelayOpen,
            b"relayReady" => Self::RelayReady,
            b"relayClose" => Self::RelayClose,
            b"offer" => Self::Offer,
            b"answer" => Self::Answer,
            b"iceCandidate" => Self::IceCandidate,
            _ => return None,
        })
    }
}

/// What [`peek`] finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peek {
    /// A message from node to node.
    Forward {
        /// Its type.
        kind: PeekedKind,
        /// The sender it names.
        from: NodeId,
        /// The target it names.
        to: NodeId,
        /// The session it names. Ready as a map key: both spellings of a UUID are equal, and none allocates.
        session: SessionId,
    },
    /// A message of any other type, for the relay itself or unknown. Nothing behind the type was looked at:
    /// [`RelayMessage::parse`] has the last word.
    Other,
}

/// Looks into a relay frame as far as its route. The bytes need not be known to be UTF-8; that is checked.
///
/// One pass over the frame, no allocation (unless a name is spelled with escapes or a session id is no UUID), no
/// look at the base64 of `relayData`.
///
/// How it agrees with [`RelayMessage::parse`], for every frame:
/// - it answers `Forward` if and only if the frame is a whole JSON text of the envelope's form, the type is one of
///   [`PeekedKind`], the three routing fields are there once each and valid, and in `relayData` so is `data`: a string
///   (valid base64 or not) or an array of byte values;
/// - so where the parser takes a message of those types, `peek` finds the same type and the same three fields; and
///   where `peek` says `Forward` and the parser objects, it objects to another field (`connectionInfo`, `candidate`,
///   `signature`, or the base64);
/// - it answers `Other` if the type is any other, whatever follows;
/// - where it fails, the parser fails, with the same error.
///
/// # Errors
/// Those of [`RelayMessage::parse`].
pub fn peek(frame: &[u8]) -> Result<Peek, WireError> {
    if frame.len() > limits::RELAY_FRAME {
        return Err(WireError::TooBig {
            what: "a relay frame",
            limit: limits::RELAY_FRAME,
            got: Some(frame.len()),
            fault: Fault::Peer,
        });
    }
    let text = simdutf8::basic::from_utf8(frame).map_err(|_| WireError::NotJson { line: 0, column: 0 })?;
    peek_text(text)
}

/// [`peek`] for a frame that is known to be UTF-8, such as a WebSocket text message.
///
/// # Errors
/// Those of [`RelayMessage::parse`].
pub fn peek_text(frame: &str) -> Result<Peek, WireError> {
    if frame.len() > limits::RELAY_FRAME {
        return peek(frame.as_bytes());
    }
    route(frame).map_err(|_| refusal(frame))
}

/// The error of the full parser, which knows the reason and the place.
#[cold]
fn refusal(frame: &str) -> WireError {
    // Where `route` fails the parser fails; the envelope's error stands in for a proof of that.
    RelayMessage::parse(frame.as_bytes()).err().unwrap_or(WireError::NotAnEnvelope)
}

fn route(frame: &str) -> Result<Peek, Refused> {
    let mut scanner = Scanner::new(frame);
    scanner.space();
    scanner.expect(b'{')?;
    let name = scanner.key()?;
    let Some(kind) = PeekedKind::of(name.bytes(&mut String::new())?) else {
        return Ok(Peek::Other);
    };
    let found = payload(&mut scanner, kind)?;
    scanner.space();
    scanner.expect(b'}')?;
    scanner.end()?;
    Ok(found)
}

/// Whether the payload of a `relayData` holds too many values, its `data` counting as one.
pub(crate) fn too_many_values_in_relay_data(raw: &str) -> bool {
    payload(&mut Scanner::new(raw), PeekedKind::RelayData) == Err(Refused::TooMany)
}

fn payload(scanner: &mut Scanner<'_>, kind: PeekedKind) -> Result<Peek, Refused> {
    let (mut from, mut to, mut session, mut data) = (None, None, None, None);
    scanner.count()?;
    scanner.expect(b'{')?;
    scanner.space();
    if scanner.peek() == Some(b'}') {
        return Err(Refused::Shape);
    }
    loop {
        let name = scanner.key()?;
        match name.bytes(&mut String::new())? {
            b"fromNodeID" => once(&mut from, node_id(scanner)?)?,
            b"toNodeID" => once(&mut to, node_id(scanner)?)?,
            b"sessionID" => once(&mut session, session_id(scanner)?)?,
            b"data" if kind == PeekedKind::RelayData => once(&mut data, carried(scanner)?)?,
            _ => scanner.value(limits::JSON_DEPTH - 1)?,
        }
        scanner.space();
        if !scanner.take(b',') {
            break;
        }
    }
    scanner.expect(b'}')?;
    let (Some(from), Some(to), Some(session)) = (from, to, session) else {
        return Err(Refused::Shape);
    };
    if kind == PeekedKind::RelayData && data.is_none() {
        return Err(Refused::Shape);
    }
    Ok(Peek::Forward { kind, from, to, session })
}

/// A field that is there twice has no meaning.
fn once<T>(field: &mut Option<T>, value: T) -> Result<(), Refused> {
    if field.replace(value).is_some() { Err(Refused::Shape) } else { Ok(()) }
}

fn text<'a>(scanner: &mut Scanner<'a>) -> Result<Text<'a>, Refused> {
    scanner.count()?;
    if scanner.peek() == Some(b'"') { scanner.string() } else { Err(Refused::Shape) }
}

fn node_id(scanner: &mut Scanner<'_>) -> Result<NodeId, Refused> {
    NodeId::parse(text(scanner)?.bytes(&mut String::new())?).map_err(|_| Refused::Shape)
}

fn session_id(scanner: &mut Scanner<'_>) -> Result<SessionId, Refused> {
    SessionId::parse_bytes(text(scanner)?.bytes(&mut String::new())?).ok_or(Refused::Shape)
}

/// Passes the payload's bytes: text, or numbers that are bytes.
fn carried(scanner: &mut Scanner<'_>) -> Result<(), Refused> {
    scanner.count()?;
    if scanner.peek() == Some(b'"') {
        return scanner.string().map(|_| ());
    }
    if !scanner.take(b'[') {
        return Err(Refused::Shape);
    }
    scanner.space();
    if scanner.take(b']') {
        return Ok(());
    }
    loop {
        scanner.byte()?;
        scanner.space();
        if !scanner.take(b',') {
            return scanner.expect(b']');
        }
        scanner.space();
    }
}
