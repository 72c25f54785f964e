//! The heartbeat of one link: when the next one is due, how many went unanswered.

use std::time::Duration;

use super::bounds;

#[derive(Debug)]
pub(super) struct Pulse {
    born: Duration,
    next: Duration,
    calm_since: Duration,
    sent_at: Option<Duration>,
    heard: bool,
    missed: u32,
    latency: Option<Duration>,
    /// When the peer's last heartbeat came, and how many did.
    peer_beat: Option<Duration>,
    peer_beats: u64,
    longest_gap: Option<Duration>,
}

impl Pulse {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            born: now,
            next: now + bounds::BEAT_FIRST,
            calm_since: now,
            sent_at: None,
            heard: true,
            missed: 0,
            latency: None,
            peer_beat: None,
            peer_beats: 0,
            longest_gap: None,
        }
    }

    /// When [`Pulse::beat`] is due.
    pub(super) fn next(&self) -> Duration {
        self.next
    }

    pub(super) fn missed(&self) -> u32 {
        self.missed
    }

    /// Round trip of the last answered heartbeat.
    pub(super) fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// Heartbeats of the peer so far.
    pub(super) fn peer_beats(&self) -> u64 {
        self.peer_beats
    }

    /// The longest time between two heartbeats of the peer.
    pub(super) fn longest_gap(&self) -> Option<Duration> {
        self.longest_gap
    }

    /// The peer sent a heartbeat.
    pub(super) fn peer_beat(&mut self, now: Duration) {
        self.peer_beats += 1;
        if let Some(before) = self.peer_beat.replace(now) {
            self.longest_gap = self.longest_gap.max(Some(now.saturating_sub(before)));
        }
    }

    /// The peer said something; true when it had been missed.
    pub(super) fn hear(&mut self) -> bool {
        self.heard = true;
        std::mem::take(&mut self.missed) > 0
    }

    /// The peer answered a heartbeat.
    pub(super) fn acked(&mut self, now: Duration) {
        if let Some(sent) = self.sent_at.take() {
            self.latency = Some(now.saturating_sub(sent));
        }
    }

    /// A heartbeat is sent now; the silence since the last one counts as a miss.
    pub(super) fn beat(&mut self, now: Duration) {
        if !self.heard {
            self.missed += 1;
            self.calm_since = now;
        }
        self.heard = false;
        self.sent_at = Some(now);
        self.next = now + self.interval(now);
    }

    fn interval(&self, now: Duration) -> Duration {
        if self.missed > 0 || now.saturating_sub(self.born) < bounds::NEW_LINK {
            bounds::BEAT_FAST
        } else if now.saturating_sub(self.calm_since) < bounds::CALM_AFTER {
            bounds::BEAT
        } else {
            bounds::BEAT_CALM
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_fast_when_new_then_normal_then_calm() {
        let mut pulse = Pulse::new(Duration::ZERO);
        let mut gaps = Vec::new();
        while pulse.next() < Duration::from_secs(700) {
            let now = pulse.next();
            pulse.hear();
            pulse.beat(now);
            gaps.push((pulse.next() - now).as_secs());
        }
        gaps.dedup();
        assert_eq!(gaps, [5, 15, 30]);
    }

    #[test]
    fn the_longest_gap_between_the_peers_heartbeats_is_kept() {
        let mut pulse = Pulse::new(Duration::ZERO);
        for (second, longest) in [(5, None), (10, Some(5)), (17, Some(7)), (22, Some(7))] {
            pulse.peer_beat(Duration::from_secs(second));
            assert_eq!(pulse.longest_gap(), longest.map(Duration::from_secs));
        }
        assert_eq!(pulse.peer_beats(), 4);
    }

    #[test]
    fn a_miss_makes_it_fast_again_and_an_answer_forgives() {
        let mut pulse = Pulse::new(Duration::ZERO);
        let late = Duration::from_secs(1000);
        pulse.beat(late);
        pulse.beat(late + bounds::BEAT_CALM);
        assert_eq!(pulse.missed(), 1);
        assert_eq!(pulse.next(), late + bounds::BEAT_CALM + bounds::BEAT_FAST);
        assert!(pulse.hear());
        assert_eq!(pulse.missed(), 0);
    }
}
