//! One session: from the first `start` to its end, and everything that belongs to it.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use serde_json::value::RawValue;
use teale_wire::telehash::{End, Ipp, Packet, Sid};

use super::{backlog::Backlog, bounds, channel::Channel, ports::CloseReason, starts, threads::Threads};
use crate::hash::end_of_switch;

/// Our `start` is out; nobody answered yet.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) start: String,
    /// The packet, which goes again byte for byte.
    pub(super) packet: Bytes,
    /// What it says beside the start.
    pub(super) offer: Offer,
    pub(super) began: Duration,
    /// How often it went again.
    again: usize,
}

/// What the peer's `start` brought, for the day the session opens.
#[derive(Debug, Default)]
pub(super) struct Offer {
    pub(super) tid: Option<String>,
    pub(super) bind: Option<Box<RawValue>>,
}

/// How far a session has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// We wait for the answer to our `start`.
    Opening(Opening),
    /// Both starts are known to us.
    Met(Box<Channel>, Standing),
}

/// Whether the peer knows both starts too.
#[derive(Debug)]
pub(super) enum Standing {
    /// We answered its `start`; it has not shown that it got the answer.
    Answered {
        offer: Offer,
        since: Duration,
        /// How often the answer went again unasked: only where we wanted the session too.
        again: usize,
    },
    /// Both have shown that they receive what is sent to their addresses.
    Open,
}

/// A session with one peer.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: Ipp,
    /// Where the peer is in the DHT.
    pub(super) end: End,
    /// Whether we began.
    pub(super) ours: bool,
    /// Whether it is for the DHT only, and nobody asked for it.
    pub(super) neighbour: bool,
    pub(super) phase: Phase,
    pub(super) backlog: Backlog,
    pub(super) threads: Threads,
    /// What the peer listens to here.
    pub(super) recvs: BTreeSet<End>,
    /// What we listen to there.
    pub(super) listens: BTreeSet<End>,
    /// Our own address as the peer sees it.
    pub(super) claimed: Option<Ipp>,
    pub(super) behind_nat: bool,
    /// What our `start` did not say, or said where it may not have been heard.
    unsaid: Vec<Offer>,
    /// When it began.
    pub(super) met: Duration,
    /// When it opened.
    pub(super) opened: Option<Duration>,
    pub(super) heard: Duration,
    pub(super) spoke: Duration,
}

impl Session {
    /// A session whose first packet, with our `start`, goes out now.
    pub(super) fn opening(now: Duration, peer: Ipp, start: String, packet: Bytes, offer: Offer) -> Self {
        let opening = Opening { start, packet, offer, began: now, again: 0 };
        Self::new(now, peer, true, Phase::Opening(opening))
    }

    /// A session the peer began.
    pub(super) fn answered(now: Duration, peer: Ipp, channel: Channel, offer: Offer) -> Self {
        let standing = Standing::Answered { offer, since: now, again: 0 };
        Self::new(now, peer, false, Phase::Met(Box::new(channel), standing))
    }

    /// Whether the peer began it, and neither side uses it for anything.
    pub(super) fn is_spare(&self) -> bool {
        let used = !self.threads.is_idle() || !self.recvs.is_empty() || !self.listens.is_empty();
        !self.ours && self.is_open() && !used
    }

    fn new(now: Duration, peer: Ipp, ours: bool, phase: Phase) -> Self {
        Self {
            peer,
            end: end_of_switch(peer),
            ours,
            neighbour: false,
            phase,
            backlog: Backlog::default(),
            threads: Threads::default(),
            recvs: BTreeSet::new(),
            listens: BTreeSet::new(),
            claimed: None,
            behind_nat: false,
            unsaid: Vec::new(),
            met: now,
            opened: None,
            heard: now,
            spoke: now,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Met(_, Standing::Open))
    }

    /// A stranger began it, in its own name or another's, and has not shown that it got our answer.
    pub(super) fn is_half_open(&self) -> bool {
        !self.ours && matches!(self.phase, Phase::Met(_, Standing::Answered { .. }))
    }

    pub(super) fn is_opening(&self) -> bool {
        matches!(self.phase, Phase::Opening(_))
    }

    pub(super) fn channel(&self) -> Option<&Channel> {
        match &self.phase {
            Phase::Opening(_) => None,
            Phase::Met(channel, _) => Some(channel),
        }
    }

    pub(super) fn channel_mut(&mut self) -> Option<&mut Channel> {
        match &mut self.phase {
            Phase::Opening(_) => None,
            Phase::Met(channel, _) => Some(channel),
        }
    }

    /// Our own start of this session.
    pub(super) fn own_start(&self) -> Option<&str> {
        match &self.phase {
            Phase::Opening(opening) => Some(&opening.start),
            Phase::Met(channel, _) => Some(channel.own_start()),
        }
    }

    /// The peer answered our `start` with its own and with this sid: if the sid is right, the session is open. Gives its
    /// names, and those it had before if another `start` seemed to cross ours: anybody can write a `start` in the peer's
    /// name, but only who got ours knows it.
    pub(super) fn answer(&mut self, theirs: &str, sid: Sid) -> Option<([Sid; 2], Option<[Sid; 2]>)> {
        let (ours, before) = match &self.phase {
            Phase::Opening(opening) => (opening.start.clone(), None),
            Phase::Met(channel, Standing::Answered { .. }) if self.ours => {
                (channel.own_start().to_owned(), Some(channel.sids()))
            }
            Phase::Met(..) => return None,
        };
        let sids = starts::sids(&ours, theirs);
        if theirs == ours || !sids.contains(&sid) {
            return None;
        }
        let channel = Channel::new(ours, theirs.to_owned(), sids);
        self.phase = Phase::Met(Box::new(channel), Standing::Open);
        self.say_now();
        Some((sids, before))
    }

    /// The peer's `start` crossed ours: they are two halves of one session.
    pub(super) fn cross(&mut self, now: Duration, theirs: &str, offer: Offer) -> Option<[Sid; 2]> {
        let Phase::Opening(opening) = &mut self.phase else { return None };
        let sids = starts::sids(theirs, &opening.start);
        let channel = Channel::new(std::mem::take(&mut opening.start), theirs.to_owned(), sids);
        // Ours may have been lost, and our answer has the peer's tid.
        let ours = std::mem::take(&mut opening.offer);
        let standing = Standing::Answered { offer, since: now, again: 0 };
        self.phase = Phase::Met(Box::new(channel), standing);
        self.say_later(ours);
        Some(sids)
    }

    /// Something that our `start` should have said is said once the session is open.
    pub(super) fn say_later(&mut self, offer: Offer) {
        let says = offer.tid.is_some() || offer.bind.is_some();
        if says
            && self.unsaid.len() < bounds::UNSAID
            && self.unsaid.iter().all(|other| other.tid != offer.tid)
        {
            self.unsaid.push(offer);
        }
    }

    fn say_now(&mut self) {
        for Offer { tid, bind } in std::mem::take(&mut self.unsaid) {
            self.backlog.push(Packet { tid, bind, ..Packet::default() });
        }
    }

    /// A packet of the session came: the peer has our answer. Returns what its `start` brought, the first time.
    pub(super) fn confirm(&mut self) -> Option<Offer> {
        let Phase::Met(_, standing) = &mut self.phase else { return None };
        match std::mem::replace(standing, Standing::Open) {
            Standing::Answered { offer, .. } => {
                self.say_now();
                Some(offer)
            }
            Standing::Open => None,
        }
    }

    /// Everything the window allows, to be sent now.
    ///
    /// # Errors
    /// The session has no numbers left.
    pub(super) fn flush(&mut self, now: Duration) -> Result<Flushed, CloseReason> {
        let mut flushed = Flushed::default();
        let Phase::Met(channel, Standing::Open) = &mut self.phase else { return Ok(flushed) };
        while channel.outbound.has_room()
            && let Some(packet) = self.backlog.next()
        {
            if let Some(tid) = &packet.tid {
                self.threads.touch(now, tid);
            }
            match channel.transmit(now, packet)? {
                Some(bytes) => flushed.packets.push(bytes),
                None => flushed.unsent += 1,
            }
        }
        let acknowledge = channel.inbound.due().is_some_and(|due| due <= now);
        let keep_alive = self.spoke + bounds::KEEP_ALIVE <= now && flushed.packets.is_empty();
        if (acknowledge || keep_alive) && channel.outbound.has_room_to_acknowledge() {
            flushed.packets.extend(channel.transmit(now, Packet::default())?);
        }
        let probes = channel.outbound.probe(now);
        flushed.resent += probes.len() as u64;
        flushed.packets.extend(probes);
        if !flushed.packets.is_empty() || keep_alive {
            self.spoke = now;
        }
        Ok(flushed)
    }

    /// The `start` again, if it is time.
    pub(super) fn start_again(&mut self, now: Duration) -> Option<Bytes> {
        let at = self.next_start()?;
        if now < at {
            return None;
        }
        self.spoke = now;
        match &mut self.phase {
            Phase::Opening(opening) => {
                opening.again += 1;
                Some(opening.packet.clone())
            }
            Phase::Met(channel, Standing::Answered { again, .. }) => {
                *again += 1;
                channel.reply().cloned()
            }
            Phase::Met(_, Standing::Open) => None,
        }
    }

    /// When the `start` goes again. Where two have crossed, our answer says it too: both may have been lost.
    fn next_start(&self) -> Option<Duration> {
        let (began, again) = match &self.phase {
            Phase::Opening(opening) => (opening.began, opening.again),
            Phase::Met(_, Standing::Answered { since, again, .. }) if self.ours => (*since, *again),
            Phase::Met(..) => return None,
        };
        let waits = bounds::START_AGAIN.get(..=again)?;
        Some(began + waits.iter().sum::<Duration>())
    }

    /// Whether its time is over.
    pub(super) fn over(&self, now: Duration) -> Option<CloseReason> {
        let (end, reason) = self.last_moment();
        (end <= now).then_some(reason)
    }

    fn last_moment(&self) -> (Duration, CloseReason) {
        match &self.phase {
            Phase::Opening(opening) => (opening.began + bounds::START_WITHIN, CloseReason::Unanswered),
            Phase::Met(_, Standing::Answered { since, .. }) => {
                let patience = if self.ours { bounds::START_WITHIN } else { bounds::IDLE };
                (*since + patience, CloseReason::Unanswered)
            }
            Phase::Met(_, Standing::Open) => (self.heard + bounds::IDLE, CloseReason::Idle),
        }
    }

    /// When something is to be done.
    pub(super) fn deadline(&self, patience: Duration) -> Duration {
        let (end, _) = self.last_moment();
        let next = match &self.phase {
            Phase::Opening(_) | Phase::Met(_, Standing::Answered { .. }) => self.next_start(),
            Phase::Met(channel, Standing::Open) => {
                let ack = channel.inbound.due().filter(|_| channel.outbound.has_room_to_acknowledge());
                let keep_alive = Some(self.spoke + bounds::KEEP_ALIVE);
                [ack, keep_alive, channel.outbound.probe_at()].into_iter().flatten().min()
            }
        };
        [next, self.threads.deadline(patience)].into_iter().flatten().fold(end, Duration::min)
    }
}

/// What a flush came to.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    pub(super) packets: Vec<Bytes>,
    /// Of these, so many go again.
    pub(super) resent: u64,
    /// Packets that fit no datagram.
    pub(super) unsent: u64,
}
