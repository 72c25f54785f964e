//! A relay that reads, keeps, changes and repeats everything, between two honest nodes.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use proptest::prelude::*;
use teale_relay_client::{Event, FrameReader, FrameWriter, Security, SessionError, SessionKey};
use teale_wire::{PeerRecord, RelayMessage};

use crate::support::{Node, PATIENCE, record, secs};

/// What the relay does with a frame on its way.
#[derive(Debug, Clone)]
enum Trick {
    Pass,
    Drop,
    /// Twice, one after the other.
    Double,
    /// Behind the next frame.
    Delay,
    /// The frame's text ends early.
    CutFrame(usize),
    /// The bytes inside `relayData` end early.
    CutData(usize),
    /// One bit of the bytes inside `relayData`.
    FlipData(usize),
    /// One bit of the frame's text.
    FlipFrame(usize),
    /// Something sent before, by the same node, comes instead.
    Replay(usize),
    /// The bytes inside `relayData` become those of a frame sent before, by either node.
    Transplant(usize),
    /// Plaintext of the relay's own in place of the data.
    Forge,
}

/// What the relay says of the peer's key.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Claim {
    Honest,
    Swapped,
    /// Nothing, though the peer was seen with a key.
    Stripped,
    Garbage,
}

const SECRET: &str = "{\"secret\":\"the-words-nobody-in-between-may-read\"";

struct Relay {
    log: Vec<(usize, Bytes)>,
    delayed: [Option<Bytes>; 2],
    tricked: bool,
}

impl Relay {
    /// The frames that arrive for one that was sent by `side`.
    fn carry(&mut self, side: usize, frame: Bytes, trick: &Trick) -> Vec<Bytes> {
        self.log.push((side, frame.clone()));
        let mut out: Vec<Bytes> = match trick {
            Trick::Pass => vec![frame],
            Trick::Drop => vec![],
            Trick::Double => vec![frame.clone(), frame],
            Trick::Delay => {
                let earlier = self.delayed[side].replace(frame);
                self.tricked = true;
                return earlier.into_iter().collect();
            }
            Trick::CutFrame(at) => vec![frame.slice(..at % frame.len())],
            Trick::FlipFrame(bit) => vec![flipped(&frame, *bit)],
            Trick::CutData(at) => vec![changed(&frame, |data| data.slice(..at % data.len().max(1)))],
            Trick::FlipData(bit) => vec![changed(&frame, |data| flipped(&data, *bit))],
            Trick::Forge => vec![changed(&frame, |_| Bytes::from_static(b"{\"forged\":1}"))],
            Trick::Replay(index) => {
                let own: Vec<_> = self.log.iter().filter(|(from, _)| *from == side).collect();
                vec![own[index % own.len()].1.clone()]
            }
            Trick::Transplant(index) => {
                let data = payload(&self.log[index % self.log.len()].1);
                vec![changed(&frame, |own| data.unwrap_or(own))]
            }
        };
        self.tricked |= !matches!(trick, Trick::Pass);
        out.extend(self.delayed[side].take());
        out
    }
}

fn flipped(bytes: &[u8], bit: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    let bits = bytes.len() * 8;
    if bits > 0 {
        bytes[bit % bits / 8] ^= 1 << (bit % 8);
    }
    bytes.into()
}

fn payload(frame: &[u8]) -> Option<Bytes> {
    match RelayMessage::parse(frame) {
        Ok(RelayMessage::RelayData(data)) => Some(data.data),
        _ => None,
    }
}

fn changed(frame: &Bytes, change: impl FnOnce(Bytes) -> Bytes) -> Bytes {
    match RelayMessage::parse(frame) {
        Ok(RelayMessage::RelayData(mut data)) => {
            data.data = change(data.data);
            RelayMessage::RelayData(data).encode().unwrap().into()
        }
        _ => frame.clone(),
    }
}

/// A node and the application on it: says what it has to say once the session is up, and writes down what it hears.
struct Side {
    node: Node,
    to_say: Vec<String>,
    heard: Vec<Bytes>,
    session: Option<(SessionKey, FrameWriter, FrameReader)>,
    errors: Vec<SessionError>,
    plaintext: bool,
}

impl Side {
    fn new(node: Node, to_say: Vec<String>) -> Self {
        Self { node, to_say, heard: Vec::new(), session: None, errors: Vec::new(), plaintext: false }
    }

    fn work(&mut self) {
        while let Some(event) = self.node.events.pop_front() {
            match event {
                Event::Incoming { key, .. } => self.node.act(|client, now| client.accept(now, key)),
                Event::Established { key, channel } => {
                    self.plaintext |= channel.security() == Security::Plaintext;
                    let (mut writer, reader) = channel.split();
                    for message in &self.to_say {
                        self.node.frames.push_back(writer.write(message.as_bytes(), self.node.now).unwrap());
                    }
                    self.session = Some((key, writer, reader));
                }
                Event::Frame { key, frame } => {
                    let Some((own, _, reader)) = &mut self.session else { continue };
                    assert_eq!(*own, key);
                    match reader.read(&frame, self.node.now) {
                        Ok(message) => self.heard.push(message),
                        Err(error) => self.node.act(|client, now| client.fail(now, key, error)),
                    }
                }
                Event::Ended { error, .. } => self.errors.push(error),
                _ => {}
            }
        }
    }
}

fn tricks() -> impl Strategy<Value = Vec<Trick>> {
    let trick = prop_oneof![
        12 => Just(Trick::Pass),
        1 => Just(Trick::Drop),
        1 => Just(Trick::Double),
        1 => Just(Trick::Delay),
        1 => any::<usize>().prop_map(Trick::CutFrame),
        1 => any::<usize>().prop_map(Trick::CutData),
        2 => any::<usize>().prop_map(Trick::FlipData),
        1 => any::<usize>().prop_map(Trick::FlipFrame),
        1 => any::<usize>().prop_map(Trick::Replay),
        1 => any::<usize>().prop_map(Trick::Transplant),
        1 => Just(Trick::Forge),
    ];
    proptest::collection::vec(trick, 0..40)
}

fn claim() -> impl Strategy<Value = Claim> {
    prop_oneof![4 => Just(Claim::Honest), 1 => Just(Claim::Swapped), 1 => Just(Claim::Stripped), 1 => Just(Claim::Garbage)]
}

fn claimed(claim: Claim, peer: &Node) -> PeerRecord {
    let mallory = Node::new(66).identity.x25519_public().to_hex();
    match claim {
        Claim::Honest => peer.record(),
        Claim::Swapped => record(peer.id(), Some(&mallory), &[]),
        Claim::Stripped => record(peer.id(), None, &[]),
        Claim::Garbage => record(peer.id(), Some("not a key"), &[]),
    }
}

fn words(who: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{SECRET},\"from\":\"{who}\",\"n\":{n}}}")).collect()
}

/// Whether the relay could read the secret in anything it saw.
fn readable(log: &[(usize, Bytes)]) -> bool {
    let secret = b"nobody-in-between";
    let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    let coded = STANDARD.encode(secret);
    log.iter().any(|(_, frame)| {
        holds(frame)
            || payload(frame).is_some_and(|data| holds(&data))
            || frame.windows(coded.len()).any(|window| window == coded.as_bytes())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_hostile_relay_reads_nothing_and_forges_nothing(
        tricks in tricks(), claim in claim(), said in (1..12_usize, 1..12_usize),
    ) {
        let mut a = Side::new(Node::registered(1), words("a", said.0));
        let mut b = Side::new(Node::registered(2), words("b", said.1));
        // Both have seen each other's keys before.
        a.node.pass(secs(30.0));
        let honest = b.node.record();
        a.node.peers(&[honest]);
        b.node.pass(secs(30.0));
        let honest = a.node.record();
        b.node.peers(&[honest]);
        a.node.frames.clear();
        b.node.frames.clear();

        let record = claimed(claim, &b.node);
        let opened = a.node.open(&record);
        prop_assert_eq!(opened.is_err(), claim == Claim::Garbage);
        let mut relay = Relay { log: Vec::new(), delayed: [None, None], tricked: false };
        let mut schedule = tricks.iter();
        let mut idle = 0;
        while idle < 3 {
            let mut moved = false;
            for side in [0, 1] {
                let (from, to) = if side == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
                from.work();
                while let Some(frame) = from.node.frames.pop_front() {
                    moved = true;
                    for frame in relay.carry(side, frame, schedule.next().unwrap_or(&Trick::Pass)) {
                        to.node.frame(frame);
                        to.work();
                    }
                }
            }
            idle = if moved { 0 } else { idle + 1 };
        }
        a.node.pass(PATIENCE);
        b.node.pass(secs(25.0));
        a.work();
        b.work();

        prop_assert!(!readable(&relay.log), "the relay could read the secret");
        prop_assert!(!a.plaintext && !b.plaintext, "a session in plaintext");
        for (hearer, speaker) in [(&a, &b), (&b, &a)] {
            prop_assert!(hearer.heard.len() <= speaker.to_say.len());
            for (heard, said) in hearer.heard.iter().zip(&speaker.to_say) {
                prop_assert_eq!(heard, said.as_bytes());
            }
        }
        let complete = a.heard.len() == b.to_say.len() && b.heard.len() == a.to_say.len();
        match claim {
            Claim::Honest | Claim::Stripped if !relay.tricked => prop_assert!(complete, "an honest relay hinders nobody"),
            Claim::Swapped => {
                prop_assert!(a.heard.is_empty() && b.heard.is_empty());
                prop_assert!(!a.errors.is_empty(), "the opener gets a named error");
            }
            Claim::Honest | Claim::Stripped if a.session.is_none() => prop_assert!(!a.errors.is_empty()),
            _ => {}
        }
    }
}
