//! A line: the product of two rings, by which two switches know that the other one can hear them.

use std::time::Duration;

use teale_wire::telehash::{RING_MAX, Telex};

use super::bounds::LINE_GRACE;

/// Where the handshake with a peer stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handshake {
    /// The ring we gave the peer.
    ring: u16,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nothing heard that opens a line.
    Alone,
    /// The peer's ring is known. What it sends may still be made up by somebody at another address.
    Open { line: u32, since: Duration },
    /// The peer has sent the line, so it hears what we send to its address.
    Confirmed { line: u32, since: Duration },
    /// Too many wrong lines came in its name: somebody tries them all.
    Shut,
}

/// Why a telex is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    WrongLine,
    WrongRing,
}

impl Handshake {
    pub(super) fn new(ring: u16) -> Self {
        Self { ring, state: State::Alone }
    }

    /// What to send: the line once it is known.
    pub(super) fn line(&self) -> Option<u32> {
        match self.state {
            State::Alone | State::Shut => None,
            State::Open { line, .. } | State::Confirmed { line, .. } => Some(line),
        }
    }

    /// Whether a line now would come out of nothing: the peer has not shown a ring.
    pub(super) fn alone(&self) -> bool {
        matches!(self.state, State::Alone)
    }

    /// Whether it shall never have a line.
    pub(super) fn is_shut(&self) -> bool {
        matches!(self.state, State::Shut)
    }

    /// The same, but not trusted with a line.
    pub(super) fn unconfirmed(self) -> Self {
        match self.state {
            State::Confirmed { line, since } => Self { state: State::Open { line, since }, ..self },
            _ => self,
        }
    }

    /// The same, and never to have a line.
    pub(super) fn shut(self) -> Self {
        Self { state: State::Shut, ..self }
    }

    /// What to send until then.
    pub(super) fn ring(&self) -> u16 {
        self.ring
    }

    pub(super) fn confirmed(&self) -> bool {
        matches!(self.state, State::Confirmed { .. })
    }

    /// The state after a telex, or why it is dropped; nothing changes then.
    ///
    /// The order is that of the deployed switches: first the rule about age, then `_line`, then `_ring`.
    pub(super) fn after(self, now: Duration, telex: &Telex) -> Result<Self, Refused> {
        let open = match self.state {
            State::Alone => None,
            State::Open { line, since } | State::Confirmed { line, since } => Some((line, since)),
            State::Shut if telex.line.is_some() => return Err(Refused::WrongLine),
            State::Shut => return Ok(self),
        };
        if let Some((line, since)) = open
            && now.saturating_sub(since) > LINE_GRACE
            && telex.line != Some(line)
        {
            return Err(Refused::WrongLine);
        }
        let mut after = self;
        if let Some(line) = telex.line {
            if open.is_some_and(|(open, _)| open != line) || self.other_ring(line).is_none() {
                return Err(Refused::WrongLine);
            }
            after.state = State::Confirmed { line, since: open.map_or(now, |(_, since)| since) };
        }
        if let Some(ring) = telex.ring {
            let line = u32::from(self.ring) * u32::from(ring);
            match after.line() {
                Some(known) if known != line => return Err(Refused::WrongRing),
                Some(_) => {}
                None => after.state = State::Open { line, since: now },
            }
        }
        Ok(after)
    }

    /// The peer's ring in a line with ours; `None` if there is none in range.
    fn other_ring(&self, line: u32) -> Option<u16> {
        let ours = u32::from(self.ring);
        let other = u16::try_from(line.checked_div(ours)?).ok()?;
        let fits = u32::from(other) * ours == line && (1..=RING_MAX).contains(&other);
        fits.then_some(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn line(line: u32) -> Telex {
        Telex { line: Some(line), ..Telex::default() }
    }

    fn ring(ring: u16) -> Telex {
        Telex { ring: Some(ring), ..Telex::default() }
    }

    /// Products from the sheet (§1.1): those of 2011's network, and of a run on loopback.
    #[test]
    fn products_seen() {
        let seen = [
            (13_316, 18_986, 252_817_576),
            (23_856, 32_053, 764_656_368),
            (25_607, 9_920, 254_021_440),
            (5_240, 30_808, 161_433_920),
            (321, 22_336, 7_169_856),
            (32_768, 32_768, 1_073_741_824),
        ];
        for (one, other, product) in seen {
            let one_side = Handshake::new(one).after(SECOND, &ring(other)).unwrap();
            let other_side = Handshake::new(other).after(SECOND, &line(product)).unwrap();
            assert_eq!((one_side.line(), one_side.confirmed()), (Some(product), false));
            assert_eq!((other_side.line(), other_side.confirmed()), (Some(product), true));
        }
    }

    #[test]
    fn a_line_must_be_ours_and_have_a_ring_in_it() {
        let handshake = Handshake::new(7);
        for wrong in [1, 6, 8, 7 * 32_769, 1 << 30] {
            assert_eq!(handshake.after(SECOND, &line(wrong)).unwrap_err(), Refused::WrongLine, "{wrong}");
        }
        assert_eq!(handshake.after(SECOND, &line(7 * 32_768)).unwrap().line(), Some(7 * 32_768));
    }

    #[test]
    fn another_ring_is_refused() {
        let open = Handshake::new(7).after(SECOND, &ring(5)).unwrap();
        assert_eq!(open.after(SECOND, &ring(6)).unwrap_err(), Refused::WrongRing);
        assert!(open.after(SECOND, &ring(5)).is_ok());
        let both = Telex { ring: Some(6), ..line(35) };
        assert_eq!(Handshake::new(7).after(SECOND, &both).unwrap_err(), Refused::WrongRing);
        let both = Telex { ring: Some(5), ..line(35) };
        assert!(Handshake::new(7).after(SECOND, &both).unwrap().confirmed());
    }

    #[test]
    fn after_the_grace_only_the_line_counts() {
        let open = Handshake::new(7).after(SECOND, &ring(5)).unwrap();
        let late = SECOND + LINE_GRACE;
        assert!(open.after(late, &Telex::default()).is_ok());
        let later = late + Duration::from_millis(1);
        assert_eq!(open.after(later, &Telex::default()).unwrap_err(), Refused::WrongLine);
        assert_eq!(open.after(later, &ring(5)).unwrap_err(), Refused::WrongLine);
        assert!(open.after(later, &line(35)).unwrap().confirmed());
    }
}
