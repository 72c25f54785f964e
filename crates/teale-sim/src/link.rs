//! What a link does to what is sent over it.

use std::time::Duration;

use crate::{counters::Lost, queue::Nanos, random::Random};

/// How one direction of a link behaves. Fields not named in a builder call keep the value of the link it began with.
///
/// Jitter makes later datagrams overtake earlier ones, as it does with netem. Streams keep their order: on them
/// jitter, loss and reordering only cost time.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Link {
    /// Time every datagram takes.
    pub delay: Duration,
    /// Up to so much more, evenly spread.
    pub jitter: Duration,
    /// Share of datagrams that never arrive, 0 to 1.
    pub loss: f64,
    /// Share of datagrams that arrive twice, 0 to 1.
    pub duplicate: f64,
    /// Share of datagrams that are held back by [`Link::held_back`], 0 to 1.
    pub reorder: f64,
    /// How much longer a datagram chosen by [`Link::reorder`] takes.
    pub held_back: Duration,
    /// Bytes per second; without it sending takes no time.
    pub bandwidth: Option<u64>,
    /// Bytes that may wait for the line; a datagram that finds more is dropped. Only counts with a bandwidth.
    pub queue: usize,
    /// Largest datagram in bytes, headers not counted; larger ones are dropped.
    pub largest: usize,
}

impl Link {
    /// No delay, no loss, no limit.
    pub const PERFECT: Self = Self {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        duplicate: 0.0,
        reorder: 0.0,
        held_back: Duration::ZERO,
        bandwidth: None,
        queue: 256 << 10,
        largest: 65_507,
    };
    /// A switch at home: 0.2 ms and up to 0.1 ms more, 1 Gbit/s.
    pub const LAN: Self = Self {
        delay: Duration::from_micros(200),
        jitter: Duration::from_micros(100),
        bandwidth: Some(125_000_000),
        ..Self::PERFECT
    };
    /// Across a continent: 30 ms and up to 10 ms more.
    pub const WAN: Self =
        Self { delay: Duration::from_millis(30), jitter: Duration::from_millis(10), ..Self::PERFECT };

    /// With this delay.
    #[must_use]
    pub const fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// With up to so much more delay.
    #[must_use]
    pub const fn jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// Losing this share, 0 to 1.
    #[must_use]
    pub const fn loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// Doubling this share, 0 to 1.
    #[must_use]
    pub const fn duplicate(self, duplicate: f64) -> Self {
        Self { duplicate, ..self }
    }

    /// Holding back this share (0 to 1) by so much.
    #[must_use]
    pub const fn reorder(self, reorder: f64, held_back: Duration) -> Self {
        Self { reorder, held_back, ..self }
    }

    /// With so many bytes per second, and so many bytes that may wait.
    #[must_use]
    pub const fn bandwidth(self, bytes_per_second: u64, queue: usize) -> Self {
        Self { bandwidth: Some(bytes_per_second), queue, ..self }
    }

    /// With datagrams of at most so many bytes.
    #[must_use]
    pub const fn largest(self, largest: usize) -> Self {
        Self { largest, ..self }
    }

    /// The time a datagram is under way once it is on the line.
    fn travel(&self, random: &mut Random) -> Nanos {
        let mut time = nanos(self.delay);
        if !self.jitter.is_zero() {
            time += random.below(nanos(self.jitter) + 1);
        }
        if random.chance(self.reorder) {
            time += nanos(self.held_back);
        }
        time
    }

    /// When a datagram sent now arrives: twice, once, or why not. `line` is when the line is free.
    pub(crate) fn carry(
        &self,
        now: Nanos,
        size: usize,
        line: &mut Nanos,
        random: &mut Random,
    ) -> Result<(Nanos, Option<Nanos>), Lost> {
        if size > self.largest {
            return Err(Lost::TooLarge);
        }
        let leaves = self.leave(now, size, line, true).ok_or(Lost::QueueFull)?;
        if random.chance(self.loss) {
            return Err(Lost::OnTheWay);
        }
        let first = leaves + self.travel(random);
        let second = random.chance(self.duplicate).then(|| leaves + self.travel(random));
        Ok((first, second))
    }

    /// When a piece of a stream sent now arrives: each loss costs a retransmission time-out, twice as long each time.
    pub(crate) fn carry_surely(
        &self,
        now: Nanos,
        size: usize,
        line: &mut Nanos,
        random: &mut Random,
    ) -> Nanos {
        let leaves = self.leave(now, size, line, false).unwrap_or(now);
        let mut timeout = RETRANSMIT_FIRST.max(2 * nanos(self.delay));
        let mut arrives = leaves + self.travel(random);
        for _ in 0..RETRANSMISSIONS {
            if !random.chance(self.loss) {
                break;
            }
            arrives += timeout;
            timeout = (2 * timeout).min(RETRANSMIT_LONGEST);
        }
        arrives
    }

    /// When the last byte leaves; none if too much waits before it.
    fn leave(&self, now: Nanos, size: usize, line: &mut Nanos, bounded: bool) -> Option<Nanos> {
        let Some(rate) = self.bandwidth else {
            return Some(now);
        };
        let rate = u128::from(rate.max(1));
        let free = now.max(*line);
        let waiting = u128::from(free - now) * rate / 1_000_000_000;
        if bounded && waiting > self.queue as u128 {
            return None;
        }
        let time = size as u128 * 1_000_000_000 / rate;
        *line = free.saturating_add(u64::try_from(time).unwrap_or(Nanos::MAX));
        Some(*line)
    }
}

/// First wait of a stream before it sends something again (RFC 6298 says 1 s, systems take 200 ms).
const RETRANSMIT_FIRST: Nanos = 200_000_000;
/// Longest such wait.
const RETRANSMIT_LONGEST: Nanos = 60_000_000_000;
/// Times a stream sends something again before the link counts as carrying it.
const RETRANSMISSIONS: u32 = 15;

pub(crate) fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Nanos {
        ms * 1_000_000
    }

    #[test]
    fn a_line_sends_one_thing_after_the_other_and_drops_what_does_not_fit_its_queue() {
        let link = Link::PERFECT.delay(Duration::from_millis(5)).bandwidth(100_000, 2_000);
        let (mut line, mut random) = (0, Random::new(1));
        let arrivals: Vec<_> = (0..5)
            .map(|_| link.carry(0, 1000, &mut line, &mut random).map(|(at, _)| at / 1_000_000))
            .collect();
        assert_eq!(arrivals, [Ok(15), Ok(25), Ok(35), Err(Lost::QueueFull), Err(Lost::QueueFull)]);
        assert_eq!(link.carry(ms(100), 1000, &mut line, &mut random), Ok((ms(115), None)));
    }

    #[test]
    fn loss_jitter_and_doubles_are_as_frequent_as_said() {
        let link = Link::PERFECT.loss(0.2).duplicate(0.1).jitter(Duration::from_millis(10));
        let (mut line, mut random) = (0, Random::new(1));
        let fates: Vec<_> = (0..10_000).map(|_| link.carry(0, 1, &mut line, &mut random)).collect();
        let lost = fates.iter().filter(|fate| fate.is_err()).count();
        let doubled = fates.iter().filter(|fate| matches!(fate, Ok((_, Some(_))))).count();
        assert!((1800..2200).contains(&lost), "{lost}");
        assert!((700..900).contains(&doubled), "{doubled}");
        assert!(fates.iter().flatten().all(|(at, _)| *at <= ms(10)));
        assert!(fates.iter().flatten().any(|(at, _)| *at < ms(1)));
        assert!(fates.iter().flatten().any(|(at, _)| *at > ms(9)));
    }

    #[test]
    fn what_is_too_large_is_dropped() {
        let link = Link::PERFECT.largest(1400);
        let (mut line, mut random) = (0, Random::new(1));
        assert_eq!(link.carry(0, 1400, &mut line, &mut random), Ok((0, None)));
        assert_eq!(link.carry(0, 1401, &mut line, &mut random), Err(Lost::TooLarge));
    }

    #[test]
    fn a_stream_pays_for_loss_with_time() {
        let link = Link::PERFECT.delay(Duration::from_millis(10)).loss(1.0);
        let (mut line, mut random) = (0, Random::new(1));
        let clean = link.loss(0.0).carry_surely(0, 1, &mut line, &mut random);
        assert_eq!(clean, ms(10));
        let hopeless = link.carry_surely(0, 1, &mut line, &mut random);
        assert!(hopeless > ms(60_000));
    }
}
