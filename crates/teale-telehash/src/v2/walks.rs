//! All walks under way: sending what they ask, and ending them.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde_json::value::RawValue;
use teale_wire::telehash::{End, Ipp, Packet};

use super::{
    Switch, bounds,
    ports::{RecvId, SeekId},
    starts,
    walk::{Ask, Walk},
};
use crate::scope::plausible;

/// What a walk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To know the own neighbourhood.
    Join,
    /// To listen to a hash.
    Listen(RecvId),
    /// To find who listens to one.
    Seek(SeekId),
}

/// What a walk says to everybody it asks.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) end: End,
    pub(super) tid: String,
    pub(super) bind: Option<Box<RawValue>>,
    pub(super) body: Bytes,
}

impl Question {
    fn packet(&self) -> Packet {
        Packet {
            send: Some(self.end),
            tid: Some(self.tid.clone()),
            bind: self.bind.clone(),
            body: self.body.clone(),
            ..Packet::default()
        }
    }
}

#[derive(Debug)]
struct UnderWay {
    purpose: Purpose,
    question: Question,
    walk: Walk,
}

/// Walks by the tid that their questions have.
#[derive(Debug, Default)]
pub(super) struct Walks {
    all: BTreeMap<String, UnderWay>,
}

impl Walks {
    pub(super) fn has_room(&self) -> bool {
        self.all.len() < bounds::WALKS
    }

    /// Whether one with this purpose is under way.
    pub(super) fn any(&self, purpose: Purpose) -> bool {
        self.all.values().any(|walk| walk.purpose == purpose)
    }

    /// Ends one without a result.
    pub(super) fn cancel(&mut self, purpose: Purpose) {
        self.all.retain(|_, walk| walk.purpose != purpose);
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.all.values().map(|under_way| under_way.walk.deadline()).min()
    }
}

/// What a walk found: everybody it met, nearest first, with who told of them.
pub(super) type Found = Vec<(Ipp, Option<Ipp>)>;

impl Switch {
    /// A question nobody takes for an announcement: it asks for the hash beside the one that is meant, which has the same
    /// neighbours.
    pub(super) fn quiet_question(&mut self, end: End) -> Question {
        let mut bytes = *end.as_bytes();
        bytes[19] ^= 1;
        let tid = starts::fresh_tid(&mut self.rng);
        Question { end: End::from_bytes(bytes), tid, bind: None, body: Bytes::new() }
    }

    /// Begins at the closest switches known.
    pub(super) fn walk(&mut self, now: Duration, purpose: Purpose, question: Question) {
        let width = if purpose == Purpose::Join { bounds::JOIN_ASKED } else { bounds::ASKED };
        let mut walk = Walk::new(now, question.end, width);
        let known = self.sessions.nearest(question.end, width, |_| true);
        let strangers = if known.is_empty() { self.neighbours.strangers() } else { Vec::new() };
        for ipp in known.into_iter().chain(strangers).filter(|ipp| Some(*ipp) != self.own) {
            walk.tell(ipp, None);
        }
        self.walks.all.insert(question.tid.clone(), UnderWay { purpose, question, walk });
    }

    /// Switches closer to a hash that a walk asked for.
    pub(super) fn saw(&mut self, from: Ipp, tid: Option<&str>, see: &[Ipp]) {
        let own = self.own;
        let wanted = |ipp: &Ipp| {
            Some(*ipp) != own && *ipp != from && ipp.is_v4() == from.is_v4() && plausible(*ipp, own)
        };
        let see: Vec<Ipp> = see.iter().copied().filter(wanted).collect();
        let under_way = tid.and_then(|tid| self.walks.all.get_mut(tid));
        let joins = under_way.as_ref().is_some_and(|under_way| under_way.purpose == Purpose::Join);
        if !under_way.is_some_and(|under_way| under_way.walk.saw(from, see.iter().copied())) {
            self.counters.ignored += 1;
        } else if joins {
            self.meet(see.into_iter().take(bounds::SEE).map(|ipp| (ipp, Some(from))));
        }
    }

    /// Asks whom it is time to ask, and ends the walks that have found everybody.
    pub(super) fn walk_on(&mut self, now: Duration) {
        let mut asks: Vec<(Ask, Packet)> = Vec::new();
        for under_way in self.walks.all.values_mut() {
            let question = &under_way.question;
            asks.extend(under_way.walk.step(now).into_iter().map(|ask| (ask, question.packet())));
        }
        for (ask, packet) in asks {
            self.ask_switch(now, ask, packet);
        }
        let over: Vec<UnderWay> = self
            .walks
            .all
            .extract_if(.., |_, under_way| under_way.walk.is_over(now))
            .map(|(_, under_way)| under_way)
            .collect();
        for UnderWay { purpose, walk, .. } in over {
            let found: Found = walk.closest().collect();
            match purpose {
                Purpose::Join => self.meet(found),
                Purpose::Listen(id) => self.listen_at(now, id, found),
                Purpose::Seek(id) => self.nobody_closer(now, id),
            }
        }
    }

    /// In a session the question cannot be lost; outside it is asked twice.
    fn ask_switch(&mut self, now: Duration, ask: Ask, packet: Packet) {
        match self.sessions.open_with(ask.to) {
            Some(_) if ask.again => {}
            Some(id) => self.queue(id, packet),
            None => {
                if let Some(bytes) = self.send_packet(ask.to, packet)
                    && !ask.again
                {
                    self.contact(now, ask.to, ask.via, bytes);
                }
            }
        }
    }
}
