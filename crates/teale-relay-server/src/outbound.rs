//! Frames waiting for one socket, bounded by bytes, and the watch on how fast it takes them.

use std::{collections::VecDeque, io::IoSlice, time::Duration};

use bytes::{Buf, Bytes};

/// The queue holds as much as it may; nothing was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// What one socket has not taken yet. Empty most of the time: frames go straight to the socket while it takes them.
#[derive(Debug, Default)]
pub struct Outbound {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// The first frame is the rest of one that was sent in part.
    begun: bool,
    window_start: Duration,
    window_taken: usize,
}

impl Outbound {
    /// Puts in the rest of a frame that was sent in part: it has to follow, whatever the bound. Only while nothing
    /// waits.
    pub fn push_rest(&mut self, now: Duration, rest: Bytes) {
        debug_assert!(self.queue.is_empty());
        self.begun = self.push(now, rest, usize::MAX).is_ok();
    }

    /// Appends a whole frame, or several. `limit` is in bytes.
    ///
    /// # Errors
    /// [`QueueFull`] when something waits already and it would be more than `limit` bytes with this.
    pub fn push(&mut self, now: Duration, frame: Bytes, limit: usize) -> Result<(), QueueFull> {
        if self.queue.is_empty() {
            (self.window_start, self.window_taken) = (now, 0);
        } else if self.bytes.saturating_add(frame.len()) > limit {
            return Err(QueueFull);
        }
        self.bytes += frame.len();
        if !frame.is_empty() {
            self.queue.push_back(frame);
        }
        Ok(())
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The first frames that wait, for one vectored write. Returns how many slices were set.
    pub fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slot, frame) in into.iter_mut().zip(&self.queue) {
            *slot = IoSlice::new(frame);
            count += 1;
        }
        count
    }

    /// The socket took `taken` bytes.
    pub fn advance(&mut self, mut taken: usize) {
        self.window_taken = self.window_taken.saturating_add(taken);
        self.bytes = self.bytes.saturating_sub(taken);
        while let Some(frame) = self.queue.front_mut() {
            if taken < frame.len() {
                frame.advance(taken);
                self.begun |= taken > 0;
                return;
            }
            taken -= frame.len();
            self.begun = false;
            self.queue.pop_front();
        }
        // What a burst needed is not kept for ever.
        self.queue.shrink_to(16);
    }

    /// When the socket has to have taken `least` bytes since the last such moment, or everything; `None` while nothing
    /// waits.
    pub fn deadline(&self, time: Duration) -> Option<Duration> {
        (!self.queue.is_empty()).then(|| self.window_start + time)
    }

    /// Whether the socket did not do that. A socket that did gets another `time`.
    pub fn stalled(&mut self, now: Duration, time: Duration, least: usize) -> bool {
        if self.deadline(time).is_none_or(|deadline| now < deadline) {
            return false;
        }
        if self.window_taken < least {
            return true;
        }
        (self.window_start, self.window_taken) = (now, 0);
        false
    }

    /// Drops whatever need not be sent, which is all but the rest of a frame that has begun; returns how many bytes
    /// that were.
    pub fn abandon(&mut self) -> usize {
        let before = self.bytes;
        self.queue.truncate(usize::from(self.begun));
        self.bytes = self.queue.front().map_or(0, Bytes::len);
        before - self.bytes
    }

    /// Drops everything that waits; returns how many bytes that were.
    pub fn clear(&mut self) -> usize {
        self.queue = VecDeque::new();
        self.begun = false;
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(5);

    #[test]
    fn takes_frames_up_to_the_bound_and_gives_them_back_in_order() {
        let mut queue = Outbound::default();
        queue.push(Duration::ZERO, Bytes::from_static(b"hello"), 8).unwrap();
        assert_eq!(queue.push(Duration::ZERO, Bytes::from_static(b"world"), 8), Err(QueueFull));
        queue.push(Duration::ZERO, Bytes::from_static(b"you"), 8).unwrap();
        queue.advance(6);
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(queue.slices(&mut slices), 1);
        assert_eq!(&*slices[0], b"ou");
        queue.advance(2);
        assert!(queue.is_empty());
        assert_eq!(queue.bytes(), 0);
        assert_eq!(queue.deadline(TIME), None);
    }

    #[test]
    fn abandoning_keeps_the_rest_of_a_frame_that_has_begun() {
        let mut queue = Outbound::default();
        queue.push_rest(Duration::ZERO, Bytes::from_static(b"rest"));
        queue.push(Duration::ZERO, Bytes::from_static(b"whole"), 100).unwrap();
        assert_eq!((queue.abandon(), queue.bytes()), (5, 4));
        queue.advance(4);
        queue.push(Duration::ZERO, Bytes::from_static(b"one"), 100).unwrap();
        queue.push(Duration::ZERO, Bytes::from_static(b"two"), 100).unwrap();
        queue.advance(3);
        assert_eq!((queue.abandon(), queue.bytes()), (3, 0));
        queue.push(Duration::ZERO, Bytes::from_static(b"three"), 100).unwrap();
        queue.advance(1);
        assert_eq!((queue.abandon(), queue.bytes()), (0, 4));
        assert_eq!(queue.clear(), 4);
    }

    #[test]
    fn a_reader_that_takes_too_little_is_stalled_and_one_that_takes_enough_is_not() {
        let second = Duration::from_secs;
        let mut queue = Outbound::default();
        queue.push(second(1), Bytes::from(vec![0; 100]), 1000).unwrap();
        assert_eq!(queue.deadline(TIME), Some(second(6)));
        queue.advance(10);
        assert!(!queue.stalled(second(5), TIME, 10));
        assert!(!queue.stalled(second(6), TIME, 10));
        assert_eq!(queue.deadline(TIME), Some(second(11)));
        queue.advance(9);
        assert!(queue.stalled(second(11), TIME, 10));
    }
}
