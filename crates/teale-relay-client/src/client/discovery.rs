//! Who asks for peers, when the relay may be asked, and whose answer an answer is.

use std::time::Duration;

use teale_wire::{DiscoverFilter, PeerRecord, limits};

use super::ports::{Inquiry, Ticket};
use crate::{RelayError, bounds};

type Answer = (Ticket, Result<Vec<PeerRecord>, RelayError>);

/// One request is on its way at a time, and one leaves in [`bounds::DISCOVER_GAP`]. Everybody who waits when it
/// leaves shares it: with one filter if all want the same, else unfiltered, and each filter is applied here. Who
/// comes while one is on its way joins it if it asks for no less; where the relay may then have left out what the
/// late caller wanted, the caller waits for the next.
#[derive(Debug)]
pub(crate) struct Discovery {
    waiting: Vec<Inquiry>,
    asked: Option<Asked>,
    next_poll: Duration,
    allowed_at: Duration,
    refused: bool,
}

#[derive(Debug)]
struct Asked {
    filter: Option<DiscoverFilter>,
    inquiries: Vec<Inquiry>,
    at: Duration,
}

impl Discovery {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Vec::new(),
            asked: None,
            next_poll: Duration::ZERO,
            allowed_at: Duration::ZERO,
            refused: false,
        }
    }

    /// A registration was acknowledged: ask at once.
    pub(crate) fn registered(&mut self, now: Duration) {
        self.next_poll = now;
        self.allowed_at = now;
        self.refused = false;
    }

    /// The connection is gone: who was answered by nobody waits on.
    pub(crate) fn lost(&mut self) {
        self.take_back();
        self.refused = false;
    }

    fn take_back(&mut self) {
        if let Some(asked) = self.asked.take() {
            self.waiting.extend(asked.inquiries);
        }
    }

    /// Takes one more in, if there is room.
    pub(crate) fn add(&mut self, inquiry: Inquiry) -> bool {
        let asked = self.asked.as_ref().map_or(0, |asked| asked.inquiries.len());
        if self.waiting.len() + asked >= bounds::DISCOVER_WAITERS {
            return false;
        }
        match &mut self.asked {
            Some(asked) if asked.filter.is_none() || asked.filter == inquiry.filter => {
                asked.inquiries.push(inquiry);
            }
            _ => self.waiting.push(inquiry),
        }
        true
    }

    /// Its caller does not wait any more.
    pub(crate) fn withdraw(&mut self, ticket: Ticket) {
        self.waiting.retain(|inquiry| inquiry.ticket != ticket);
        if let Some(asked) = &mut self.asked {
            asked.inquiries.retain(|inquiry| inquiry.ticket != ticket);
        }
    }

    /// The request that has to leave now, if any.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Option<DiscoverFilter>> {
        if self.asked.as_ref().is_some_and(|asked| now >= asked.at + bounds::DISCOVER_WITHIN) {
            self.take_back();
        }
        let poll = now >= self.next_poll;
        let wanted = poll || !self.waiting.is_empty();
        if self.asked.is_some() || now < self.allowed_at || !wanted {
            return None;
        }
        let filter = self.common_filter(poll);
        if filter.as_ref().is_none_or(|filter| filter.model_id.is_none()) {
            self.next_poll = now + bounds::DISCOVER_EVERY;
        }
        self.allowed_at = now + bounds::DISCOVER_GAP;
        let inquiries = std::mem::take(&mut self.waiting);
        self.asked = Some(Asked { filter: filter.clone(), inquiries, at: now });
        Some(filter)
    }

    fn common_filter(&self, poll: bool) -> Option<DiscoverFilter> {
        let (first, rest) = self.waiting.split_first()?;
        if rest.iter().all(|inquiry| inquiry.filter == first.filter) && !(poll && first.filter.is_some()) {
            return first.filter.clone();
        }
        let everybody = u32::try_from(limits::DISCOVER_PEERS).unwrap_or(u32::MAX);
        Some(DiscoverFilter { max_peers: Some(everybody), ..DiscoverFilter::default() })
    }

    /// The relay answered. `None` when nothing had been asked.
    pub(crate) fn answered(&mut self, peers: &[PeerRecord]) -> Option<Vec<Answer>> {
        let asked = self.asked.take()?;
        self.refused = false;
        let sampled = asked.filter.is_none() && peers.len() >= limits::DISCOVER_PEERS_DEFAULT;
        let (partial, served): (Vec<_>, Vec<_>) =
            asked.inquiries.into_iter().partition(|inquiry| sampled && inquiry.filter.is_some());
        self.waiting.extend(partial);
        Some(served.into_iter().map(|inquiry| (inquiry.ticket, Ok(select(&inquiry, peers)))).collect())
    }

    /// The relay said `rate_limited`. Whether that was about a discover: then it leaves again later.
    pub(crate) fn rate_limited(&mut self, now: Duration, retry_after: Duration) -> bool {
        if self.asked.is_none() {
            return false;
        }
        self.take_back();
        self.allowed_at = now + retry_after;
        self.next_poll = self.next_poll.min(self.allowed_at);
        self.refused = true;
        true
    }

    /// Whose patience has come to its end.
    pub(crate) fn expired(&mut self, now: Duration) -> Vec<Inquiry> {
        let late = |inquiry: &mut Inquiry| now >= inquiry.deadline;
        let mut expired: Vec<_> = self.waiting.extract_if(.., late).collect();
        if let Some(asked) = &mut self.asked {
            expired.extend(asked.inquiries.extract_if(.., late));
        }
        expired
    }

    /// The error of an expired inquiry on a registered connection.
    pub(crate) fn verdict(&self, now: Duration, inquiry: &Inquiry) -> RelayError {
        if self.refused {
            let retry_after = Some(self.allowed_at.saturating_sub(now));
            return RelayError::Refused { code: "rate_limited".into(), retry_after };
        }
        RelayError::Timeout(inquiry.patience)
    }

    pub(crate) fn drain(&mut self) -> Vec<Inquiry> {
        self.take_back();
        std::mem::take(&mut self.waiting)
    }

    pub(crate) fn deadline(&self, registered: bool) -> Option<Duration> {
        let asked = self.asked.as_ref();
        let inquiries = self.waiting.iter().chain(asked.into_iter().flat_map(|asked| &asked.inquiries));
        let patience = inquiries.map(|inquiry| inquiry.deadline).min();
        let action = registered.then(|| match asked {
            Some(asked) => asked.at + bounds::DISCOVER_WITHIN,
            None if self.waiting.is_empty() => self.next_poll.max(self.allowed_at),
            None => self.allowed_at,
        });
        patience.into_iter().chain(action).min()
    }
}

/// The part of an answer that an inquiry wanted.
fn select(inquiry: &Inquiry, peers: &[PeerRecord]) -> Vec<PeerRecord> {
    let Some(filter) = &inquiry.filter else {
        return peers.to_vec();
    };
    let wanted = |record: &&PeerRecord| {
        let hardware = &record.capabilities.hardware;
        filter.model_id.as_ref().is_none_or(|model| record.capabilities.loaded_models.contains(model))
            && filter.min_ram_gb.is_none_or(|gigabytes| hardware.total_ram_gb >= gigabytes)
            && filter.min_tier.is_none_or(|tier| hardware.tier <= tier)
    };
    let most = filter.max_peers.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    peers.iter().filter(wanted).take(most).cloned().collect()
}
