//! Frames of one session that wait for its reader.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{SessionError, bounds};

/// Bytes that wait in all inboxes of a client.
#[derive(Debug, Default)]
pub(super) struct Budget(AtomicUsize);

/// The queue does not hold another frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// One session's inbox.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    readable: Notify,
    budget: Arc<Budget>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Nobody reads any more: what comes is thrown away.
    deaf: bool,
    end: Option<SessionError>,
}

impl Inbox {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { state: Mutex::default(), readable: Notify::new(), budget }
    }

    pub(super) fn push(&self, frame: Bytes) -> Result<(), Full> {
        let mut state = self.lock();
        if state.deaf || state.end.is_some() {
            return Ok(());
        }
        let size = frame.len();
        let total = self.budget.0.load(Ordering::Relaxed);
        if state.frames.len() >= bounds::RECEIVE_QUEUE_FRAMES
            || state.bytes + size > bounds::RECEIVE_QUEUE_SESSION
            || (total + size > bounds::RECEIVE_QUEUE && state.bytes + size > bounds::RECEIVE_QUEUE_SHARE)
        {
            return Err(Full);
        }
        self.budget.0.fetch_add(size, Ordering::Relaxed);
        state.bytes += size;
        state.frames.push_back(frame);
        drop(state);
        self.readable.notify_one();
        Ok(())
    }

    /// The next frame; once all are read, the error that ended the session. For one reader.
    pub(super) async fn next(&self) -> Result<Bytes, SessionError> {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.readable.notified().await;
        }
    }

    fn try_next(&self) -> Option<Result<Bytes, SessionError>> {
        let mut state = self.lock();
        let Some(frame) = state.frames.pop_front() else {
            return state.end.clone().map(Err);
        };
        state.bytes -= frame.len();
        self.budget.0.fetch_sub(frame.len(), Ordering::Relaxed);
        Some(Ok(frame))
    }

    pub(super) fn end(&self, error: SessionError) {
        self.lock().end.get_or_insert(error);
        self.readable.notify_one();
    }

    /// Why the session ended, if it has.
    pub(super) fn ended(&self) -> Option<SessionError> {
        self.lock().end.clone()
    }

    /// The reader is gone.
    pub(super) fn deafen(&self) {
        let mut state = self.lock();
        state.deaf = true;
        self.clear(&mut state);
    }

    fn clear(&self, state: &mut State) {
        self.budget.0.fetch_sub(state.bytes, Ordering::Relaxed);
        state.bytes = 0;
        state.frames = VecDeque::new();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before the lock is given back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let state = std::mem::take(&mut *self.lock());
        self.budget.0.fetch_sub(state.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_came_before_the_end_is_read_before_the_end() {
        let inbox = Inbox::new(Arc::default());
        inbox.push(Bytes::from_static(b"one")).unwrap();
        inbox.end(SessionError::RelayLost);
        inbox.push(Bytes::from_static(b"late")).unwrap();
        assert_eq!(inbox.next().await, Ok(Bytes::from_static(b"one")));
        assert_eq!(inbox.next().await, Err(SessionError::RelayLost));
        assert_eq!(inbox.next().await, Err(SessionError::RelayLost));
    }

    #[test]
    fn when_all_queues_together_are_full_only_the_long_ones_pay() {
        let budget = Arc::<Budget>::default();
        budget.0.store(bounds::RECEIVE_QUEUE, Ordering::Relaxed);
        let (long, short) = (Inbox::new(budget.clone()), Inbox::new(budget.clone()));
        assert_eq!(short.push(Bytes::from(vec![0; 1000])), Ok(()));
        assert_eq!(long.push(Bytes::from(vec![0; bounds::RECEIVE_QUEUE_SHARE])), Ok(()));
        assert_eq!(long.push(Bytes::from_static(b"x")), Err(Full));
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_bytes_and_frames_and_gives_its_budget_back() {
        let budget = Arc::<Budget>::default();
        let inbox = Inbox::new(budget.clone());
        let half = Bytes::from(vec![0; bounds::RECEIVE_QUEUE_SESSION / 2]);
        assert_eq!(inbox.push(half.clone()), Ok(()));
        assert_eq!(inbox.push(half.clone()), Ok(()));
        assert_eq!(inbox.push(Bytes::from_static(b"x")), Err(Full));
        inbox.next().await.unwrap();
        assert_eq!(inbox.push(Bytes::from_static(b"x")), Ok(()));
        drop(inbox);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
        let inbox = Inbox::new(budget.clone());
        for _ in 0..bounds::RECEIVE_QUEUE_FRAMES {
            inbox.push(Bytes::new()).unwrap();
        }
        assert_eq!(inbox.push(Bytes::new()), Err(Full));
        inbox.deafen();
        assert_eq!(inbox.push(half), Ok(()), "thrown away");
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
