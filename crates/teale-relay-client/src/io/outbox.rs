//! Frames of all sessions on their way to the socket, a fair turn each.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{SessionKey, bounds};

/// Room in the queues: taken before a message is sealed, given back when its frame goes to the socket.
pub(super) struct Room {
    _session: OwnedSemaphorePermit,
    _total: OwnedSemaphorePermit,
}

/// What a session sends.
pub(super) enum Item {
    Frame(Bytes, Room),
    /// Everything before this was sent: close the session.
    Close,
}

impl Item {
    fn cost(&self) -> usize {
        match self {
            Self::Frame(frame, _) => frame.len(),
            Self::Close => 0,
        }
    }
}

/// Queues by session, served in turns of [`bounds::SEND_TURN`] bytes (deficit round robin): many small messages of
/// one session do not wait for the large ones of another.
pub(super) struct Outbox {
    queues: Mutex<Queues>,
    total: Arc<Semaphore>,
}

#[derive(Default)]
struct Queues {
    by_session: HashMap<SessionKey, Queue>,
    round: VecDeque<SessionKey>,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    credit: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { queues: Mutex::default(), total: Arc::new(Semaphore::new(bounds::SEND_QUEUE)) }
    }
}

impl Outbox {
    /// The room of one session.
    pub(super) fn session_room() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(bounds::SEND_QUEUE_SESSION))
    }

    /// Waits for room for a frame of about `bytes`. `None` once the session has ended (its semaphore is closed).
    pub(super) async fn room(&self, session: &Arc<Semaphore>, bytes: usize) -> Option<Room> {
        let share = u32::try_from(bytes.min(bounds::SEND_QUEUE_SESSION)).ok()?;
        let whole = u32::try_from(bytes.min(bounds::SEND_QUEUE)).ok()?;
        let _session = session.clone().acquire_many_owned(share).await.ok()?;
        let _total = self.total.clone().acquire_many_owned(whole).await.ok()?;
        Some(Room { _session, _total })
    }

    pub(super) fn push(&self, key: SessionKey, item: Item) {
        let mut queues = self.lock();
        let queues = &mut *queues;
        let queue = queues.by_session.entry(key).or_insert_with(|| {
            queues.round.push_back(key);
            Queue::default()
        });
        queue.items.push_back(item);
    }

    /// The next item by turns.
    pub(super) fn pop(&self) -> Option<(SessionKey, Item)> {
        let mut queues = self.lock();
        let Queues { by_session, round } = &mut *queues;
        loop {
            let key = *round.front()?;
            let Some(queue) = by_session.get_mut(&key) else {
                round.pop_front();
                continue;
            };
            let alone = round.len() == 1;
            match queue.items.pop_front() {
                None => {
                    by_session.remove(&key);
                    round.pop_front();
                }
                Some(item) if alone || item.cost() <= queue.credit => {
                    queue.credit = queue.credit.saturating_sub(item.cost());
                    if queue.items.is_empty() {
                        by_session.remove(&key);
                        round.pop_front();
                    }
                    return Some((key, item));
                }
                Some(item) => {
                    queue.items.push_front(item);
                    queue.credit += bounds::SEND_TURN;
                    round.rotate_left(1);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Every change is complete before the lock is given back.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn frame(outbox: &Outbox, size: usize) -> Item {
        let room = outbox.room(&Outbox::session_room(), size).await.unwrap();
        Item::Frame(Bytes::from(vec![0; size]), room)
    }

    #[tokio::test]
    async fn small_messages_do_not_wait_for_anothers_large_ones() {
        let outbox = Outbox::default();
        let (bulk, chat) = (SessionKey(1), SessionKey(2));
        for _ in 0..4 {
            outbox.push(bulk, frame(&outbox, 1 << 20).await);
        }
        for _ in 0..100 {
            outbox.push(chat, frame(&outbox, 100).await);
        }
        let order: Vec<_> = std::iter::from_fn(|| outbox.pop()).map(|(key, _)| key).collect();
        assert_eq!(order.len(), 104);
        assert!(order[..100].iter().all(|key| *key == chat), "the chat's 10 kB fit its first turn");
    }

    #[tokio::test]
    async fn two_bulk_sessions_share_by_bytes() {
        let outbox = Outbox::default();
        for key in [SessionKey(1), SessionKey(2)] {
            for _ in 0..8 {
                outbox.push(key, frame(&outbox, if key.0 == 1 { 100_000 } else { 50_000 }).await);
            }
        }
        let mut sent = [0, 0];
        while sent[1] < 400_000 {
            let (key, item) = outbox.pop().unwrap();
            sent[usize::try_from(key.0).unwrap() - 1] += item.cost();
        }
        assert!((200_000..=500_000).contains(&sent[0]), "{sent:?}");
    }

    #[tokio::test]
    async fn frames_of_many_sessions_count_with_their_whole_size() {
        let outbox = Outbox::default();
        let frames = bounds::SEND_QUEUE / teale_wire::limits::RELAY_FRAME;
        let mut held = Vec::new();
        for _ in 0..frames {
            held.push(outbox.room(&Outbox::session_room(), teale_wire::limits::RELAY_FRAME).await.unwrap());
        }
        let session = Outbox::session_room();
        let mut next = Box::pin(outbox.room(&session, 1));
        assert!(futures_util::poll!(&mut next).is_pending());
        held.pop();
        assert!(next.await.is_some());
    }

    #[tokio::test]
    async fn a_full_queue_makes_its_sender_wait_and_no_other() {
        let outbox = Outbox::default();
        let full = Outbox::session_room();
        let first = outbox.room(&full, teale_wire::limits::RELAY_FRAME).await.unwrap();
        let mut second = Box::pin(outbox.room(&full, 1));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(outbox.room(&Outbox::session_room(), 1).await.is_some());
        drop(first);
        assert!(second.await.is_some());
        full.close();
        assert!(outbox.room(&full, 1).await.is_none());
    }
}
