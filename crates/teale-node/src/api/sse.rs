//! Server-sent events: the text of each event, and the body that writes them.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use teale_cluster::{Answer, AskError};
use tokio::time::{Instant, Sleep};

use super::{chunks::Shaper, errors::ApiError, telemetry::RequestRecord};

/// Silence after which a comment is sent, so that nobody on the way takes the connection for dead.
pub(super) const PING_EVERY: Duration = Duration::from_secs(15);

const PING: &[u8] = b": ping\n\n";
const DONE: &[u8] = b"data: [DONE]\n\n";

/// One event.
pub(super) fn event(payload: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"data: ");
    // JSON text has no raw line breaks, so it is one line of the event.
    serde_json::to_writer(&mut out, payload)?;
    out.extend_from_slice(b"\n\n");
    Ok(out.into())
}

/// An answer that is here, or still to come.
pub(super) enum Pending {
    /// The provider has not sent its first chunk yet.
    Asked(BoxFuture<'static, Result<Answer, AskError>>),
    /// It flows.
    Flowing(Box<Answer>),
}

enum State {
    Pending(Pending),
    Done,
}

/// The body of a streamed answer. Dropping it (the client went away) drops the answer, which cancels it.
pub(super) struct SseBody {
    state: State,
    shaper: Shaper,
    record: RequestRecord,
    model: String,
    last_text: Instant,
    silence: Pin<Box<Sleep>>,
}

impl SseBody {
    pub(super) fn new(pending: Pending, shaper: Shaper, record: RequestRecord, model: String) -> Self {
        let silence = Box::pin(tokio::time::sleep(PING_EVERY));
        Self { state: State::Pending(pending), shaper, record, model, last_text: Instant::now(), silence }
    }

    /// The response around it.
    pub(super) fn into_response(self, extra: HeaderMap) -> Response {
        let mut response = Response::new(Body::from_stream(self));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        headers.extend(extra);
        response
    }

    /// What ends the stream: missing chunks and `[DONE]`, in one piece.
    fn finish(&mut self) -> Bytes {
        self.state = State::Done;
        self.record.finish(200, self.shaper.usage());
        let mut out = Vec::new();
        for chunk in self.shaper.end() {
            if let Ok(event) = event(&chunk) {
                out.extend_from_slice(&event);
            }
        }
        out.extend_from_slice(DONE);
        out.into()
    }

    /// An error after the start: one event, and the end.
    fn fail(&mut self, error: &AskError) -> Bytes {
        self.state = State::Done;
        let error = ApiError::from_ask(error, &self.model);
        self.record.finish(error.status.as_u16(), self.shaper.usage());
        format!("data: {}\n\n", error.to_json()).into()
    }

    /// The next piece of text, as far as the answer has one.
    fn poll_text(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let answer = match &mut self.state {
                State::Done => return Poll::Ready(None),
                State::Pending(Pending::Asked(asked)) => match asked.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(answer)) => {
                        self.state = State::Pending(Pending::Flowing(Box::new(answer)));
                        continue;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(self.fail(&error))),
                },
                State::Pending(Pending::Flowing(answer)) => answer,
            };
            match answer.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Some(self.finish())),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(self.fail(&error))),
                Poll::Ready(Some(Ok(chunk))) => {
                    self.record.chunk(&chunk);
                    let Some(chunk) = self.shaper.chunk(chunk) else { continue };
                    match event(&chunk) {
                        Ok(text) => return Poll::Ready(Some(text)),
                        Err(error) => {
                            tracing::error!(%error, "a chunk could not be written");
                            return Poll::Ready(Some(
                                self.fail(&AskError::LinkLost("unwritable chunk".into())),
                            ));
                        }
                    }
                }
            }
        }
    }
}

impl Stream for SseBody {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(text) = self.poll_text(cx) {
            self.last_text = Instant::now();
            return Poll::Ready(text.map(Ok));
        }
        // The timer is set anew when it fires, not with every chunk.
        while self.silence.as_mut().poll(cx).is_ready() {
            let due = self.last_text + PING_EVERY;
            let now = Instant::now();
            if due <= now {
                self.last_text = now;
                self.silence.as_mut().reset(now + PING_EVERY);
                return Poll::Ready(Some(Ok(Bytes::from_static(PING))));
            }
            self.silence.as_mut().reset(due);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::telemetry::Telemetry;

    fn body(asked: impl Future<Output = Result<Answer, AskError>> + Send + 'static) -> SseBody {
        let record = RequestRecord::start(&Arc::new(Telemetry::new()), "m".into());
        SseBody::new(Pending::Asked(Box::pin(asked)), Shaper::new(false), record, "m".into())
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_every_fifteen_seconds() {
        let started = Instant::now();
        let mut body = body(std::future::pending());
        for pings in 1..4 {
            assert_eq!(body.next().await.unwrap().unwrap(), PING);
            assert_eq!(started.elapsed().as_secs(), 15 * pings);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_after_the_head_is_one_event_and_the_end() {
        let mut body = body(async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Err(AskError::Timeout)
        });
        assert_eq!(body.next().await.unwrap().unwrap(), PING);
        let event = body.next().await.unwrap().unwrap();
        assert!(event.starts_with(b"data: {\"error\":{") && event.ends_with(b"}}\n\n"), "{event:?}");
        assert!(body.next().await.is_none());
    }
}
