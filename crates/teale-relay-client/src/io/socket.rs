//! The open WebSocket: reads and writes in one step, so that neither waits for the other.

use std::{future::poll_fn, pin::Pin, task::Poll};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message},
};
use tokio_util::either::Either;

use crate::Input;

/// Plain or TLS.
pub(super) type Carrier = Either<TcpStream, TlsStream<TcpStream>>;

/// Bytes read before the step ends and what was read is looked at.
const READ_BATCH_BYTES: usize = 1 << 20;
/// Frames read before the step ends.
const READ_BATCH: usize = 64;
/// Frames written before the step ends and the socket is flushed.
const WRITE_BATCH: usize = 256;
/// Frames up to this size are copied out of the read buffer, so that a small one kept in a queue does not keep the
/// whole buffer.
const COPY_BELOW: usize = 64 << 10;

/// A WebSocket connection to the relay.
pub(super) struct Socket {
    stream: WebSocketStream<Carrier>,
    dirty: bool,
}

impl Socket {
    pub(super) fn new(stream: WebSocketStream<Carrier>) -> Self {
        Self { stream, dirty: false }
    }

    /// Waits until something could be read or written. What was read is added to `inputs` (only while `reading`);
    /// what to write comes from `next`, as long as it has something. Cancelling it loses nothing.
    pub(super) async fn step(
        &mut self,
        reading: bool,
        inputs: &mut Vec<Input>,
        mut next: impl FnMut() -> Option<Message>,
    ) -> Result<(), String> {
        poll_fn(|cx| {
            let mut progress = false;
            let mut bytes = 0;
            while reading && inputs.len() < READ_BATCH && bytes < READ_BATCH_BYTES {
                match Pin::new(&mut self.stream).poll_next(cx) {
                    Poll::Pending => break,
                    Poll::Ready(None) => return Poll::Ready(Err("the relay closed the connection".into())),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(describe(&error))),
                    Poll::Ready(Some(Ok(message))) => {
                        progress = true;
                        bytes += message.len();
                        match message {
                            Message::Text(text) => inputs.push(frame(text.into())),
                            Message::Binary(data) => inputs.push(frame(data)),
                            Message::Pong(_) => inputs.push(Input::Pong),
                            Message::Close(close) => {
                                let code = close.map(|close| u16::from(close.code));
                                return Poll::Ready(Err(farewell(code)));
                            }
                            Message::Ping(_) | Message::Frame(_) => {}
                        }
                    }
                }
            }
            for _ in 0..WRITE_BATCH {
                match Pin::new(&mut self.stream).poll_ready(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(describe(&error))),
                    Poll::Ready(Ok(())) => {}
                }
                let Some(message) = next() else {
                    break;
                };
                progress = true;
                self.dirty = true;
                if let Err(error) = Pin::new(&mut self.stream).start_send(message) {
                    return Poll::Ready(Err(describe(&error)));
                }
            }
            if self.dirty {
                match Pin::new(&mut self.stream).poll_flush(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => self.dirty = false,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(describe(&error))),
                }
            }
            if progress { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Writes all that `next` has, and flushes.
    pub(super) async fn finish(&mut self, mut next: impl FnMut() -> Option<Message>) -> Result<(), String> {
        poll_fn(|cx| {
            loop {
                match Pin::new(&mut self.stream).poll_ready(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(describe(&error))),
                    Poll::Ready(Ok(())) => {}
                }
                let Some(message) = next() else {
                    return Pin::new(&mut self.stream).poll_flush(cx).map_err(|error| describe(&error));
                };
                if let Err(error) = Pin::new(&mut self.stream).start_send(message) {
                    return Poll::Ready(Err(describe(&error)));
                }
            }
        })
        .await
    }
}

fn frame(bytes: Bytes) -> Input {
    Input::Frame(if bytes.len() < COPY_BELOW { Bytes::copy_from_slice(&bytes) } else { bytes })
}

/// Why the relay closed, without its own words.
fn farewell(code: Option<u16>) -> String {
    match code {
        Some(1012) => "the relay closed the connection: this node registered on another one (1012)".into(),
        Some(1013) => "the relay closed the connection: frames were not read fast enough (1013)".into(),
        Some(code) => format!("the relay closed the connection ({code})"),
        None => "the relay closed the connection".into(),
    }
}

/// An error in our own words: some of tungstenite's repeat what the relay sent.
pub(super) fn describe(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Io(error) => format!("the connection failed: {}", error.kind()),
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            "the relay closed the connection".into()
        }
        tungstenite::Error::Http(response) => {
            format!("the relay refused the WebSocket with HTTP {}", response.status().as_u16())
        }
        tungstenite::Error::Capacity(_) => "the relay sent a frame beyond the limit".into(),
        tungstenite::Error::Utf8(_) => "the relay sent text that is not UTF-8".into(),
        tungstenite::Error::Protocol(error) => format!("the relay broke the WebSocket protocol: {error}"),
        _ => "the WebSocket failed".into(),
    }
}
