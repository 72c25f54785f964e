//! The inbox between two clients of a foreign WebSocket library: what one says, the other hears.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says what it measured"
)]

use std::{
    io::{self, Read, Write},
    ops::Range,
};

use proptest::prelude::*;
use teale_relay_server::websocket::{
    CloseCode, Event, Inbox, Piece, Violation, close_frame, pong_frame, text_frame,
};
use tokio_tungstenite::tungstenite::{
    Bytes, Message, WebSocket,
    protocol::{Role, WebSocketConfig, frame::coding::CloseCode as ForeignCode},
};

/// A wire in memory: what is written is kept, what is read was put there.
#[derive(Default)]
struct Wire {
    written: Vec<u8>,
    to_read: io::Cursor<Vec<u8>>,
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.to_read.read(into)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn client(to_read: Vec<u8>) -> WebSocket<Wire> {
    let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
    let wire = Wire { to_read: io::Cursor::new(to_read), ..Wire::default() };
    WebSocket::from_raw_socket(wire, Role::Client, Some(config))
}

/// What a client's library puts on the wire for these messages.
fn said(messages: &[Message]) -> Vec<u8> {
    let mut client = client(Vec::new());
    for message in messages {
        client.send(message.clone()).unwrap();
    }
    std::mem::take(&mut client.get_mut().written)
}

/// What a client's library makes of these bytes.
fn heard(bytes: Vec<u8>) -> Vec<Message> {
    let mut client = client(bytes);
    std::iter::from_fn(|| client.read().ok()).collect()
}

/// Feeds bytes in pieces of these sizes, a batch per piece; gives what a relay would send on. `take` hands batches over
/// instead of looking at them in place.
fn relayed(bytes: &[u8], cuts: &[usize], limit: usize, take: bool) -> Result<Vec<u8>, Violation> {
    let mut inbox = Inbox::new(limit);
    let (mut out, mut rest, mut cuts) = (Vec::new(), bytes, cuts.iter().cycle());
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(cuts.next().copied().unwrap_or(1).clamp(1, rest.len()));
        inbox.buffer().extend_from_slice(piece);
        rest = later;
        let mut frames: Vec<Piece> = Vec::new();
        while let Some(event) = inbox.next()? {
            match event {
                Event::Message { frame, payload_at, .. } => {
                    assert!(payload_at <= inbox.bytes(&frame).len());
                    frames.push(frame);
                }
                Event::Ping(payload) => frames.push(Piece::Apart(pong_frame(&payload))),
                Event::Pong | Event::Fragment => {}
                Event::Close(code) => frames.push(Piece::Apart(close_frame(code, ""))),
            }
        }
        if take {
            let batch = inbox.take_batch();
            for frame in frames {
                match frame {
                    Piece::Here(range) => out.extend_from_slice(&batch[range]),
                    Piece::Apart(frame) => out.extend_from_slice(&frame),
                }
            }
        } else {
            frames.iter().for_each(|frame| out.extend_from_slice(inbox.bytes(frame)));
            inbox.end_batch();
        }
        _ = inbox.fit();
    }
    assert!(inbox.is_empty());
    Ok(out)
}

fn sizes() -> impl Strategy<Value = usize> {
    let near = |size: usize| -> Range<usize> { size.saturating_sub(3)..size + 4 };
    prop_oneof![0..300usize, near(126), near(4096), near(1 << 16), Just(200_000)]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        8 => (sizes(), any::<bool>(), any::<u8>()).prop_map(|(size, text, byte)| {
            let text = text.then(|| "xyz\u{e4}".chars().cycle().skip(usize::from(byte)).take(size).collect::<String>());
            text.map_or_else(|| Message::binary(vec![byte; size]), Message::text)
        }),
        1 => proptest::collection::vec(any::<u8>(), 0..=125).prop_map(|bytes| Message::Ping(bytes.into())),
        1 => Just(Message::Pong(Bytes::from_static(b"unasked"))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_one_client_says_another_hears(
        messages in proptest::collection::vec(message(), 1..12),
        cuts in proptest::collection::vec(prop_oneof![1..200usize, Just(65_536), Just(1_000_000)], 1..6),
        take: bool,
    ) {
        let passed = relayed(&said(&messages), &cuts, 1 << 20, take).unwrap();
        let expected: Vec<Message> = messages
            .into_iter()
            .filter_map(|message| match message {
                Message::Ping(payload) => Some(Message::Pong(payload)),
                Message::Pong(_) => None,
                other => Some(other),
            })
            .collect();
        prop_assert!(heard(passed) == expected);
    }

    #[test]
    fn any_bytes_are_taken_or_refused_in_the_same_way_however_they_are_cut(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x81), Just(0x80), Just(0)], 0..200), cut in 1..20usize,
    ) {
        let mut whole = Inbox::new(100);
        let mut parts = Inbox::new(100);
        whole.buffer().extend_from_slice(&bytes);
        let mut left = Vec::new();
        let ended = loop {
            match whole.next() {
                Ok(Some(event)) => left.push(describe(&whole, event)),
                Ok(None) => break Ok(()),
                Err(violation) => break Err(violation),
            }
        };
        let mut right = Vec::new();
        let mut ended_too = Ok(());
        'feeding: for piece in bytes.chunks(cut) {
            parts.buffer().extend_from_slice(piece);
            loop {
                match parts.next() {
                    Ok(Some(event)) => right.push(describe(&parts, event)),
                    Ok(None) => break,
                    Err(violation) => {
                        ended_too = Err(violation);
                        break 'feeding;
                    }
                }
            }
            parts.end_batch();
        }
        prop_assert_eq!((left, ended), (right, ended_too));
    }
}

fn describe(inbox: &Inbox, event: Event) -> String {
    match event {
        Event::Message { text, frame, payload_at, .. } => {
            format!("{text} {:?} {payload_at}", inbox.bytes(&frame))
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn a_limit_is_kept_before_the_bytes_come() {
    let frame = said(&[Message::binary(vec![0; 1001])]);
    assert_eq!(relayed(&frame[..8], &[8], 1000, false).unwrap_err(), Violation::TooBig);
    assert!(relayed(&frame, &[100], 1001, false).is_ok());
}

#[test]
fn the_beginning_of_a_frame_does_not_hold_the_buffer_of_those_before_it() {
    let mut bytes = said(&[Message::binary(vec![0; 1 << 20])]);
    bytes.extend_from_slice(&said(&[Message::binary(vec![7; 100])])[..1]);
    for take in [false, true] {
        let mut inbox = Inbox::new(1 << 21);
        inbox.buffer().extend_from_slice(&bytes);
        assert!(matches!(inbox.next(), Ok(Some(Event::Message { .. }))));
        assert_eq!(inbox.next(), Ok(None));
        assert!(inbox.allocated() > 1 << 20);
        if take {
            drop(inbox.take_batch());
        } else {
            inbox.end_batch();
        }
        assert!(inbox.fit().is_some());
        assert!(inbox.allocated() < 100, "{}", inbox.allocated());
        assert_eq!(inbox.buffer().as_ref(), &bytes[bytes.len() - 1..]);
        // What is announced and not yet there is no waste.
        inbox.buffer().reserve(1 << 20);
        assert_eq!(inbox.next(), Ok(None));
        assert!(inbox.fit().is_none());
    }
}

#[test]
fn our_own_frames_are_understood() {
    let mut bytes = text_frame("{\"error\":\"\u{e4}\"}".as_bytes()).to_vec();
    bytes.extend_from_slice(&close_frame(Some(CloseCode::TRY_LATER), "later"));
    let messages = heard(bytes);
    assert_eq!(messages[0], Message::text("{\"error\":\"\u{e4}\"}"));
    let Message::Close(Some(close)) = &messages[1] else { panic!("{messages:?}") };
    assert_eq!((close.code, close.reason.as_str()), (ForeignCode::Again, "later"));
}
