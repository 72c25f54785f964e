//! Requests and responses of one session: packets with a tid, joined in the order of their seqs until `done`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use serde_json::value::RawValue;
use teale_wire::telehash::{Packet, Req, Res};

use super::{
    bounds,
    inbound::Inbound,
    ports::{RequestFailure, RequestId},
};

/// How a thread begins.
#[derive(Debug)]
enum Head {
    Req(Req),
    Res(Res),
}

/// One message on its way in.
#[derive(Debug)]
struct Joining {
    /// The seq of the packet with the head, and that.
    head: Option<(u32, Head, Option<Box<RawValue>>)>,
    parts: BTreeMap<u32, Bytes>,
    bytes: usize,
    /// The seq of the packet that says `done`.
    done: Option<u32>,
    touched: Duration,
}

impl Joining {
    fn new(now: Duration) -> Self {
        Self { head: None, parts: BTreeMap::new(), bytes: 0, done: None, touched: now }
    }

    /// What it costs to keep.
    fn cost(&self) -> usize {
        self.bytes + self.parts.len() * bounds::PART
    }

    fn add(&mut self, now: Duration, seq: u32, packet: Packet) {
        self.touched = now;
        let head = packet.req.map(Head::Req).or(packet.res.map(Head::Res));
        if let (Some(head), None) = (head, &self.head) {
            self.head = Some((seq, head, packet.bind));
        }
        if packet.done {
            self.done = Some(self.done.map_or(seq, |done| done.min(seq)));
        }
        self.bytes += packet.body.len();
        self.parts.insert(seq, packet.body);
    }

    fn is_whole(&self, inbound: &Inbound) -> bool {
        let (Some((first, ..)), Some(last)) = (&self.head, self.done) else { return false };
        inbound.is_whole(*first, last)
    }

    /// The parts from the head to `done`, one after the other.
    fn join(self) -> Option<(Head, Option<Box<RawValue>>, Bytes)> {
        let (first, head, bind) = self.head?;
        let mut parts = self.parts.range(first..=self.done?).map(|(_, part)| part);
        let body = match (parts.next(), self.parts.len()) {
            (Some(only), 1) => only.clone(),
            (one, _) => one.into_iter().chain(parts).flatten().copied().collect(),
        };
        Some((head, bind, body))
    }
}

/// A request of ours.
#[derive(Debug)]
struct Asked {
    id: RequestId,
    answer: Joining,
}

/// What a session's threads came to.
#[derive(Debug)]
pub(super) enum Whole {
    /// The peer asks.
    Request { tid: String, req: Req, bind: Option<Box<RawValue>>, body: Bytes },
    /// The peer answered.
    Response { id: RequestId, res: Res, bind: Option<Box<RawValue>>, body: Bytes },
    /// The peer will not answer.
    Failed { id: RequestId, tid: String, reason: RequestFailure },
    /// A thread of the peer's was given up.
    Dropped,
}

/// What bounds threads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Of one body.
    pub(super) body: usize,
    /// Left for all bodies together.
    pub(super) left: usize,
}

/// All threads of a session.
#[derive(Debug, Default)]
pub(super) struct Threads {
    /// Ours, by tid.
    asked: BTreeMap<String, Asked>,
    /// The peer's, on their way.
    asking: BTreeMap<String, Joining>,
    /// The peer's, handed to the program.
    answering: BTreeMap<String, Duration>,
    /// The peer's, given up: what else comes of them is nothing.
    refused: BTreeMap<String, Duration>,
    /// What bodies on their way in take.
    cost: usize,
}

impl Threads {
    /// Whether nobody asks anything.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.asking.is_empty() && self.answering.is_empty()
    }

    /// Opens a request; false if there are too many.
    pub(super) fn ask(&mut self, now: Duration, tid: String, id: RequestId) -> bool {
        let room = self.asked.len() < bounds::THREADS;
        if room {
            self.asked.insert(tid, Asked { id, answer: Joining::new(now) });
        }
        room
    }

    /// The program answers a request; false if none waits for it.
    pub(super) fn answer(&mut self, tid: &str) -> bool {
        self.answering.remove(tid).is_some()
    }

    /// Whether a request waits for the program's answer.
    pub(super) fn is_answering(&self, tid: &str) -> bool {
        self.answering.contains_key(tid)
    }

    /// A packet of one of our own threads went out.
    pub(super) fn touch(&mut self, now: Duration, tid: &str) {
        if let Some(asked) = self.asked.get_mut(tid) {
            asked.answer.touched = now;
        }
    }

    /// What incoming bodies take.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// A packet with a tid that belongs to a thread. Returns what ended because of it, other than by being whole.
    pub(super) fn add(&mut self, now: Duration, seq: u32, packet: Packet, room: Room) -> Option<Whole> {
        let tid = packet.tid.clone()?;
        let ours = packet.req.is_none() && self.asked.contains_key(&tid);
        let over = self.answering.contains_key(&tid) || self.refused.contains_key(&tid);
        if !ours && (packet.res.is_some() || over) {
            return Some(Whole::Dropped);
        }
        let full = self.asking.len() + self.answering.len() >= bounds::THREADS;
        let joining = if ours {
            &mut self.asked.get_mut(&tid)?.answer
        } else if full && !self.asking.contains_key(&tid) {
            return Some(Whole::Dropped);
        } else {
            self.asking.entry(tid.clone()).or_insert_with(|| Joining::new(now))
        };
        let more = packet.body.len();
        if joining.bytes + more > room.body || more + bounds::PART > room.left {
            return Some(self.give_up(now, tid, ours));
        }
        joining.add(now, seq, packet);
        self.cost += more + bounds::PART;
        None
    }

    fn give_up(&mut self, now: Duration, tid: String, ours: bool) -> Whole {
        if !ours {
            self.cost -= self.asking.remove(&tid).map_or(0, |joining| joining.cost());
            if self.refused.len() < bounds::THREADS {
                self.refused.insert(tid, now);
            }
            return Whole::Dropped;
        }
        match self.asked.remove(&tid) {
            Some(Asked { id, answer }) => {
                self.cost -= answer.cost();
                Whole::Failed { id, tid, reason: RequestFailure::AnswerTooBig }
            }
            None => Whole::Dropped,
        }
    }

    /// Whatever is whole now. A gap that closes may complete any thread.
    pub(super) fn whole(&mut self, now: Duration, inbound: &Inbound) -> Vec<Whole> {
        let mut whole = Vec::new();
        let asking = self.asking.extract_if(.., |_, joining| joining.is_whole(inbound));
        for (tid, joining) in asking {
            self.cost -= joining.cost();
            match joining.join() {
                Some((Head::Req(req), bind, body)) => {
                    self.answering.insert(tid.clone(), now);
                    whole.push(Whole::Request { tid, req, bind, body });
                }
                _ => whole.push(Whole::Dropped),
            }
        }
        let asked = self.asked.extract_if(.., |_, asked| asked.answer.is_whole(inbound));
        for (_, Asked { id, answer }) in asked {
            self.cost -= answer.cost();
            match answer.join() {
                Some((Head::Res(res), bind, body)) => whole.push(Whole::Response { id, res, bind, body }),
                _ => whole.push(Whole::Dropped),
            }
        }
        whole
    }

    /// When the first thread has waited too long.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Duration> {
        let asked = self.asked.values().map(|asked| asked.answer.touched);
        let asking = self.asking.values().map(|joining| joining.touched);
        let answering = self.answering.values().copied();
        let refused = self.refused.values().copied();
        asked.chain(asking).chain(answering).chain(refused).min().map(|touched| touched + patience)
    }

    /// Those that have waited too long.
    pub(super) fn expired(&mut self, now: Duration, patience: Duration) -> Vec<Whole> {
        let late = |touched: Duration| touched + patience <= now;
        let mut ended = Vec::new();
        for (tid, Asked { id, answer }) in self.asked.extract_if(.., |_, asked| late(asked.answer.touched)) {
            self.cost -= answer.cost();
            ended.push(Whole::Failed { id, tid, reason: RequestFailure::TimedOut });
        }
        for (_, joining) in self.asking.extract_if(.., |_, joining| late(joining.touched)) {
            self.cost -= joining.cost();
            ended.push(Whole::Dropped);
        }
        let unanswered = self.answering.extract_if(.., |_, touched| late(*touched));
        ended.extend(unanswered.map(|_| Whole::Dropped));
        self.refused.retain(|_, since| !late(*since));
        ended
    }

    /// Our requests that will not be answered because the session is over.
    pub(super) fn abandoned(&mut self) -> BTreeSet<RequestId> {
        std::mem::take(&mut self.asked).into_values().map(|asked| asked.id).collect()
    }
}
