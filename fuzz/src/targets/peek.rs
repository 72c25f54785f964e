//! `peek` finds the route that the full parser finds, and fails where it fails.

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use teale_wire::{Extra, NodeId, Peek, PeekedKind, RelayMessage, SessionId, WireError, peek};

type Route = (NodeId, NodeId, SessionId);

/// What `peek` promises to check, in serde's words.
#[derive(Deserialize)]
struct Model {
    #[serde(rename = "fromNodeID")]
    from: NodeId,
    #[serde(rename = "toNodeID")]
    to: NodeId,
    #[serde(rename = "sessionID")]
    session: SessionId,
    #[serde(flatten)]
    _extra: Extra,
}

#[derive(Deserialize)]
struct DataModel {
    #[serde(rename = "fromNodeID")]
    from: NodeId,
    #[serde(rename = "toNodeID")]
    to: NodeId,
    #[serde(rename = "sessionID")]
    session: SessionId,
    #[serde(rename = "data")]
    _data: TextOrBytes,
    #[serde(flatten)]
    _extra: Extra,
}

struct TextOrBytes;

impl<'de> de::Visitor<'de> for TextOrBytes {
    type Value = Self;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("text or byte values")
    }
    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<u8>()?.is_some() {}
        Ok(self)
    }
}

impl<'de> Deserialize<'de> for TextOrBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

/// Envelopes of the forwarded types; serde refuses any other type and any second key. The payloads are read on their
/// own, so that they may nest as deeply as in a message.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Envelope {
    RelayData(Box<RawValue>),
    Offer(Box<RawValue>),
    Answer(Box<RawValue>),
    IceCandidate(Box<RawValue>),
    RelayOpen(Box<RawValue>),
    RelayReady(Box<RawValue>),
    RelayClose(Box<RawValue>),
}

fn model(frame: &[u8]) -> Option<Route> {
    match serde_json::from_slice(frame).ok()? {
        Envelope::RelayData(raw) => {
            let data: DataModel = serde_json::from_str(raw.get()).ok()?;
            Some((data.from, data.to, data.session))
        }
        Envelope::Offer(raw)
        | Envelope::Answer(raw)
        | Envelope::IceCandidate(raw)
        | Envelope::RelayOpen(raw)
        | Envelope::RelayReady(raw)
        | Envelope::RelayClose(raw) => {
            let model: Model = serde_json::from_str(raw.get()).ok()?;
            Some((model.from, model.to, model.session))
        }
    }
}

/// The route by the full parser.
fn full_route(message: RelayMessage) -> Option<(PeekedKind, Route)> {
    Some(match message {
        RelayMessage::Offer(m) => (PeekedKind::Offer, (m.from, m.to, m.session)),
        RelayMessage::Answer(m) => (PeekedKind::Answer, (m.from, m.to, m.session)),
        RelayMessage::IceCandidate(m) => (PeekedKind::IceCandidate, (m.from, m.to, m.session)),
        RelayMessage::RelayOpen(m) => (PeekedKind::RelayOpen, (m.from, m.to, m.session)),
        RelayMessage::RelayReady(m) => (PeekedKind::RelayReady, (m.from, m.to, m.session)),
        RelayMessage::RelayClose(m) => (PeekedKind::RelayClose, (m.from, m.to, m.session)),
        RelayMessage::RelayData(m) => (PeekedKind::RelayData, (m.from, m.to, m.session)),
        _ => return None,
    })
}

/// Whether an error of the full parser lies in what `peek` does not look at.
fn beyond_peek(error: &WireError) -> bool {
    let WireError::WrongShape { field, reason, .. } = error else { return false };
    let first = field.split(['.', '[']).next().unwrap_or_default();
    ["connectionInfo", "candidate", "signature", "data"].contains(&first)
        || (field == "."
            && ["connectionInfo", "candidate", "signature"].iter().any(|name| reason.contains(name)))
}

/// Compares the three.
pub fn run(data: &[u8]) {
    let full = RelayMessage::parse(data);
    match peek(data) {
        Ok(Peek::Forward { kind, from, to, session }) => {
            let route = (from, to, session);
            assert_eq!(model(data).as_ref(), Some(&route));
            match full {
                Ok(message) => assert_eq!(full_route(message), Some((kind, route))),
                Err(error) => assert!(beyond_peek(&error), "{error:?}"),
            }
        }
        Ok(Peek::Other) => assert_eq!(full.ok().and_then(full_route), None),
        Err(error) => {
            assert!(model(data).is_none() || matches!(error, WireError::TooBig { .. }));
            assert_eq!(full, Err(error));
        }
    }
}
