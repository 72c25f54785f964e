//! Bytes sent and received between two switches, and when there are too many of them (`_br`).

use super::bounds::{RECEIVE_WINDOW, SEND_WINDOW};

/// The counts of one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// Bytes received from it.
    received: u64,
    /// What our last telex said of that.
    told: u64,
    /// Bytes sent to it.
    sent: u64,
    /// What its last telex said of that.
    heard: u64,
}

impl Window {
    /// Whether something may be sent.
    pub(super) fn open(&self) -> bool {
        self.unconfirmed() <= SEND_WINDOW
    }

    /// Bytes sent beyond the last `_br`. A `_br` larger than what was sent widens the window.
    pub(super) fn unconfirmed(&self) -> u64 {
        self.sent.saturating_sub(self.heard)
    }

    /// Bytes both ways.
    pub(super) fn total(&self) -> u64 {
        self.sent.saturating_add(self.received)
    }

    /// Bytes received that our last `_br` did not tell of.
    pub(super) fn untold(&self) -> u64 {
        self.received.saturating_sub(self.told)
    }

    /// The `_br` for the next telex.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// A telex was sent, with the present `_br`.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
        self.told = self.received;
    }

    /// A valid telex came; false if it is one too many. Its bytes count all the same: the next telex we send tells of
    /// them, and the window is open again.
    pub(super) fn take(&mut self, bytes: usize, heard: Option<u64>) -> bool {
        self.received = self.received.saturating_add(bytes as u64);
        // Even if the telex is dropped, or two switches that both have too much to confirm would never speak again.
        self.heard = heard.unwrap_or(self.heard);
        self.untold() <= RECEIVE_WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_beyond_the_window() {
        let mut window = Window::default();
        window.sent(10_000);
        assert!(window.open());
        window.sent(1);
        assert!(!window.open());
        assert!(window.take(50, None) && !window.open(), "silence about it changes nothing");
        assert!(window.take(50, Some(1)) && window.open());
        assert!(window.take(50, Some(1_000_000)));
        window.sent(999_000);
        assert!(window.open(), "a large `_br` widens the window");
    }

    #[test]
    fn nothing_is_taken_beyond_the_window_until_we_send() {
        let mut window = Window::default();
        assert!(window.take(11_990, None), "as was seen on the wire");
        assert!(!window.take(77, None));
        assert_eq!(window.received(), 12_067);
        window.sent(80);
        assert!(window.take(77, None));
    }
}
