//! One direction of a session: what was received, and when to say so.

use std::{collections::BTreeSet, time::Duration};

use teale_wire::telehash::Receipt;

use super::{bounds, ports::CloseReason};

/// What a seq says about the packet that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It comes for the first time: its content is to be acted on.
    New,
    /// It was here before.
    Duplicate,
}

/// The seqs received, those missing between them, and the acknowledgement that is owed.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// The first and the last seq received.
    span: Option<(u32, u32)>,
    /// Those absent between them, at most [`bounds::MISSING`].
    missing: BTreeSet<u32>,
    /// New packets since the last receipt was sent.
    unreported: u32,
    /// Duplicates since then.
    duplicates: u32,
    due: Option<Duration>,
    /// Reports since the last new packet.
    gap_reports: u32,
}

impl Inbound {
    /// A packet with this seq came. `elicits` says whether it holds anything to acknowledge.
    ///
    /// # Errors
    /// More than [`bounds::MISSING`] packets are missing now: the session is invalid.
    pub(super) fn arrived(&mut self, now: Duration, seq: u32, elicits: bool) -> Result<Arrival, CloseReason> {
        let new = self.note(seq)?;
        if new {
            self.unreported += 1;
            self.gap_reports = 0;
        } else {
            self.duplicates += 1;
        }
        if elicits {
            self.owe(now + bounds::ACK_AFTER);
        }
        if !self.missing.is_empty() {
            self.owe(now + bounds::GAP_AFTER);
        }
        if self.unreported >= bounds::ACK_PACKETS || self.duplicates >= bounds::ACK_DUPLICATES {
            self.owe(now);
        }
        Ok(if new { Arrival::New } else { Arrival::Duplicate })
    }

    fn note(&mut self, seq: u32) -> Result<bool, CloseReason> {
        let Some((first, last)) = self.span else {
            self.span = Some((seq, seq));
            return Ok(true);
        };
        if (first..=last).contains(&seq) {
            return Ok(self.missing.remove(&seq));
        }
        let (gap, span) =
            if seq < first { (seq + 1..first, (seq, last)) } else { (last + 1..seq, (first, seq)) };
        if gap.len() + self.missing.len() > bounds::MISSING {
            return Err(CloseReason::TooManyMissing);
        }
        self.missing.extend(gap);
        self.span = Some(span);
        Ok(true)
    }

    fn owe(&mut self, at: Duration) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// What to say of it; nothing before the first packet.
    pub(super) fn receipt(&self) -> Option<Receipt> {
        let (first, last) = self.span?;
        Receipt::new(first, last, self.missing.iter().copied())
    }

    /// The receipt is on its way.
    pub(super) fn reported(&mut self, now: Duration) {
        self.unreported = 0;
        self.duplicates = 0;
        self.due = None;
        if !self.missing.is_empty() {
            let quick = self.gap_reports < bounds::GAP_REPORTS;
            self.due = Some(now + if quick { bounds::GAP_AGAIN } else { bounds::ACK_WITHIN });
            self.gap_reports = self.gap_reports.saturating_add(1);
        }
    }

    /// When an acknowledgement has to go out, if one has to.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Whether every packet from one seq to another has come.
    pub(super) fn is_whole(&self, from: u32, to: u32) -> bool {
        let inside = self.span.is_some_and(|(first, last)| first <= from && to <= last);
        inside && from <= to && self.missing.range(from..=to).next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    fn with(seqs: impl IntoIterator<Item = u32>) -> Inbound {
        let mut inbound = Inbound::default();
        for seq in seqs {
            inbound.arrived(NOW, seq, true).unwrap();
        }
        inbound
    }

    #[test]
    fn s23_a_gap_is_missed() {
        assert_eq!(with([0, 1, 3]).receipt(), Receipt::new(0, 3, [2]));
    }

    #[test]
    fn s24_full_reception_misses_nothing() {
        assert_eq!(with([0, 1, 3, 2]).receipt(), Receipt::new(0, 3, []));
        assert_eq!(Inbound::default().receipt(), None);
    }

    #[test]
    fn what_comes_before_the_first_one_moves_it() {
        assert_eq!(with([5, 2]).receipt(), Receipt::new(2, 5, [3, 4]));
    }

    #[test]
    fn s29_a_hundred_missing_live_and_one_more_does_not() {
        let mut inbound = with([0, 101]);
        assert_eq!(inbound.receipt().unwrap().miss().len(), 100);
        assert_eq!(inbound.arrived(NOW, 103, true), Err(CloseReason::TooManyMissing));
        assert_eq!(with([0]).arrived(NOW, 102, true), Err(CloseReason::TooManyMissing));
        assert_eq!(with([0]).arrived(NOW, u32::MAX, true), Err(CloseReason::TooManyMissing));
        assert_eq!(with([u32::MAX]).arrived(NOW, 0, true), Err(CloseReason::TooManyMissing));
    }

    #[test]
    fn a_whole_stretch_has_no_gap() {
        let inbound = with([2, 3, 5]);
        assert!(inbound.is_whole(2, 3) && inbound.is_whole(5, 5));
        assert!(!inbound.is_whole(2, 5) && !inbound.is_whole(1, 2) && !inbound.is_whole(5, 6));
    }

    #[test]
    fn a_packet_of_bookkeeping_owes_nothing_by_itself() {
        let mut inbound = Inbound::default();
        inbound.arrived(NOW, 0, false).unwrap();
        assert_eq!(inbound.due(), None);
        inbound.arrived(NOW, 1, true).unwrap();
        assert_eq!(inbound.due(), Some(NOW + bounds::ACK_AFTER));
    }
}
