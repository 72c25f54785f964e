//! The other direction of a session: what was sent and not yet confirmed, how much more may follow, what goes again.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use teale_wire::telehash::Receipt;

use super::{bounds, ports::CloseReason};

/// A packet that may have to go again, byte for byte.
#[derive(Debug)]
struct Sent {
    bytes: Bytes,
    /// Whether the peer owes an acknowledgement for it.
    elicits: bool,
    resent: Option<Duration>,
    missed: u8,
}

/// What a receipt came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reaction {
    /// To send again.
    pub(super) again: Vec<Bytes>,
    /// The peer claims to have what was never sent, or nothing sensible.
    pub(super) nonsense: bool,
}

/// The seqs sent, from 0, and those not confirmed: at most [`bounds::WINDOW`], and one acknowledgement more.
#[derive(Debug)]
pub(super) struct Outbound {
    next: u32,
    unconfirmed: BTreeMap<u32, Sent>,
    window: usize,
    /// The seq of the newest packet whose receipt was read: older ones say nothing new of losses.
    newest_receipt: Option<u32>,
    probe_at: Option<Duration>,
    probe_pause: Duration,
}

impl Outbound {
    pub(super) fn new() -> Self {
        Self {
            next: 0,
            unconfirmed: BTreeMap::new(),
            window: bounds::WINDOW,
            newest_receipt: None,
            probe_at: None,
            probe_pause: bounds::PROBE,
        }
    }

    /// The seq of the next packet; `None` after the last one.
    pub(super) fn next_seq(&self) -> Option<u32> {
        (self.next <= bounds::SEQ_LAST).then_some(self.next)
    }

    /// Packets sent and not confirmed.
    pub(super) fn unconfirmed(&self) -> usize {
        self.unconfirmed.len()
    }

    /// Whether a packet with content may go.
    pub(super) fn has_room(&self) -> bool {
        self.unconfirmed.len() < self.window
    }

    /// Whether an acknowledgement may go. One may exceed the full window: without it, two sides whose windows are full
    /// would wait for each other.
    pub(super) fn has_room_to_acknowledge(&self) -> bool {
        self.unconfirmed.len() <= bounds::WINDOW
    }

    /// The packet with the next seq was sent.
    pub(super) fn sent(&mut self, now: Duration, bytes: Bytes, elicits: bool) {
        self.unconfirmed.insert(self.next, Sent { bytes, elicits, resent: None, missed: 0 });
        self.next = self.next.saturating_add(1);
        if elicits || self.unconfirmed.len() > bounds::WINDOW {
            self.probe_at.get_or_insert(now + self.probe_pause);
        }
    }

    /// A receipt came, in the packet with this seq.
    ///
    /// # Errors
    /// A packet was missed too often, or too many are: the session is invalid.
    pub(super) fn receipt(
        &mut self,
        now: Duration,
        seq: Option<u32>,
        receipt: &Receipt,
    ) -> Result<Reaction, CloseReason> {
        if receipt.last() >= self.next {
            return Ok(Reaction { nonsense: true, ..Reaction::default() });
        }
        if receipt.miss().len() > bounds::MISSING {
            return Err(CloseReason::TooManyMissing);
        }
        let before = self.unconfirmed.len();
        self.unconfirmed.retain(|seq, _| !receipt.confirms(*seq));
        if self.unconfirmed.len() < before {
            self.probe_pause = bounds::PROBE;
            self.probe_at = self.owed().then_some(now + self.probe_pause);
        }
        // A packet sent again carries the receipt of its first sending, which is no new report of a loss.
        if seq.is_some() && seq <= self.newest_receipt {
            return Ok(Reaction::default());
        }
        self.newest_receipt = seq.or(self.newest_receipt);
        Ok(Reaction { again: self.missed(now, receipt)?, nonsense: false })
    }

    /// Whether the peer owes an acknowledgement, or is owed one that went beyond the window.
    fn owed(&self) -> bool {
        self.unconfirmed.len() > bounds::WINDOW || self.unconfirmed.values().any(|sent| sent.elicits)
    }

    /// Those that the receipt misses, and those before its first one, go again.
    fn missed(&mut self, now: Duration, receipt: &Receipt) -> Result<Vec<Bytes>, CloseReason> {
        let mut again = Vec::new();
        let mut news = false;
        // What is still unconfirmed up to the last one is missed, or lies before the first.
        for sent in self.unconfirmed.range_mut(..=receipt.last()).map(|(_, sent)| sent) {
            let since = sent.resent.map(|at| now.saturating_sub(at));
            if since.is_none_or(|since| since > bounds::MISS_COUNTS_AFTER) {
                news |= sent.missed == 0;
                sent.missed += 1;
            }
            if sent.missed >= bounds::MISSED {
                return Err(CloseReason::MissedTooOften);
            }
            if since.is_none_or(|since| since >= bounds::RESEND_GAP) {
                sent.resent = Some(now);
                again.push(sent.bytes.clone());
            }
        }
        if news {
            self.window = (self.window / 2).max(bounds::WINDOW_LEAST);
        } else if receipt.miss().is_empty() {
            self.window = (self.window + 1).min(bounds::WINDOW);
        }
        Ok(again)
    }

    /// When the newest packet goes again unasked.
    pub(super) fn probe_at(&self) -> Option<Duration> {
        self.probe_at
    }

    /// The packets that go again unasked now: the newest one that must be acknowledged, and an acknowledgement beyond the
    /// window.
    pub(super) fn probe(&mut self, now: Duration) -> Vec<Bytes> {
        if self.probe_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.probe_pause = (self.probe_pause * 2).min(bounds::PROBE_LAST);
        self.probe_at = Some(now + self.probe_pause);
        let newest = self.unconfirmed.iter().rev().find(|(_, sent)| sent.elicits).map(|(seq, _)| *seq);
        let beyond = (self.unconfirmed.len() > bounds::WINDOW)
            .then(|| self.unconfirmed.last_key_value().map(|(seq, _)| *seq))
            .flatten();
        let seqs = newest.into_iter().chain(beyond.filter(|seq| Some(*seq) != newest));
        seqs.filter_map(|seq| self.unconfirmed.get(&seq)).map(|sent| sent.bytes.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    fn with(count: u32) -> Outbound {
        let mut outbound = Outbound::new();
        for n in 0..count {
            assert_eq!(outbound.next_seq(), Some(n));
            outbound.sent(NOW, Bytes::from(n.to_string()), true);
        }
        outbound
    }

    fn receipt(first: u32, last: u32, miss: &[u32]) -> Receipt {
        Receipt::new(first, last, miss.iter().copied()).unwrap()
    }

    #[test]
    fn s26_confirmed_packets_leave_the_buffer() {
        let mut outbound = with(5);
        let reaction = outbound.receipt(NOW, Some(0), &receipt(0, 3, &[1])).unwrap();
        assert_eq!(reaction.again, [Bytes::from("1")]);
        assert_eq!(outbound.unconfirmed.keys().copied().collect::<Vec<_>>(), [1, 4]);
    }

    #[test]
    fn s27_a_packet_before_the_first_received_is_missed() {
        let reaction = with(3).receipt(NOW, Some(0), &receipt(1, 2, &[])).unwrap();
        assert_eq!(reaction.again, [Bytes::from("0")]);
    }

    #[test]
    fn s28_the_third_report_ends_it_and_quick_repeats_do_not_count() {
        let mut outbound = with(3);
        let report = receipt(0, 2, &[1]);
        for (seq, millis) in [(0, 0), (1, 300), (2, 600), (3, 1700)] {
            let now = NOW + Duration::from_millis(millis);
            assert_eq!(outbound.receipt(now, Some(seq), &report).unwrap().again.len(), 1, "{millis}");
        }
        let late = NOW + Duration::from_millis(2800);
        assert_eq!(outbound.receipt(late, Some(4), &report), Err(CloseReason::MissedTooOften));
    }

    #[test]
    fn an_old_receipt_confirms_but_reports_no_loss() {
        let mut outbound = with(3);
        outbound.receipt(NOW, Some(7), &receipt(0, 0, &[])).unwrap();
        let reaction = outbound.receipt(NOW, Some(3), &receipt(0, 2, &[1])).unwrap();
        assert_eq!(reaction, Reaction::default());
        assert_eq!(outbound.unconfirmed(), 1);
    }

    #[test]
    fn s31_what_was_never_sent_is_not_confirmed() {
        let mut outbound = with(3);
        assert!(outbound.receipt(NOW, Some(0), &receipt(0, 3, &[])).unwrap().nonsense);
        assert_eq!(outbound.unconfirmed(), 3);
    }

    #[test]
    fn the_window_halves_with_losses_and_grows_without() {
        let mut outbound = with(20);
        outbound.receipt(NOW, Some(0), &receipt(0, 9, &[3])).unwrap();
        assert_eq!(outbound.window, 50);
        for seq in 1..20 {
            outbound.receipt(NOW, Some(seq), &receipt(0, 9, &[3])).unwrap();
        }
        assert_eq!(outbound.window, 50, "one loss halves once");
        outbound.receipt(NOW, Some(20), &receipt(0, 9, &[])).unwrap();
        assert_eq!(outbound.window, 51);
        for lost in 10..18 {
            outbound.receipt(NOW, Some(lost + 20), &receipt(0, lost, &[lost])).unwrap();
        }
        assert_eq!(outbound.window, bounds::WINDOW_LEAST);
    }

    #[test]
    fn the_newest_packet_goes_again_unasked_ever_more_slowly() {
        let mut outbound = with(3);
        let mut now = NOW;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let at = outbound.probe_at().unwrap();
            pauses.push((at - now).as_millis());
            now = at;
            assert_eq!(outbound.probe(now), [Bytes::from("2")]);
        }
        assert_eq!(pauses, [1500, 3000, 6000, 12_000, 12_000, 12_000]);
        outbound.receipt(now, Some(0), &receipt(0, 2, &[])).unwrap();
        assert_eq!(outbound.probe_at(), None);
    }
}
