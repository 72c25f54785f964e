//! What goes into a switch and what comes out of it.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use teale_wire::{
    Extra, WireError,
    telehash::{End, Ipp, Signals},
};
use thiserror::Error;

use super::bounds;

/// How much of the protocol a switch takes part in (the page's "levels").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Level {
    /// Dials and announces. It opens no line, answers nobody, and is not part of the DHT.
    Announcer,
    /// Also opens lines and taps what others announce. It is not listed by others, and keeps no taps for them.
    Listener,
    /// All of it: answers dials, keeps taps for others and passes signals on.
    #[default]
    Full,
}

/// What a [`Switch`](super::Switch) is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// How much it takes part.
    pub level: Level,
    /// Whom to contact first. At most [`bounds::SEEDS`] are used.
    pub seeds: Vec<Ipp>,
    /// The own public address, where it is known for sure; nobody can change it then. A switch with an address and
    /// without seeds is the first one of a DHT: it is online at once, and for good.
    pub own: Option<Ipp>,
    /// Add the own address to the first answer each peer gets, as some switches do to become visible.
    pub hint_self: bool,
    /// Answer dials of the most popular ends with the own address only (the page's second way of dampening).
    pub dampen_popular: bool,
    /// Lines that one IP address may have.
    pub lines_per_host: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            level: Level::default(),
            seeds: Vec::new(),
            own: None,
            hint_self: false,
            dampen_popular: false,
            lines_per_host: bounds::LINES_PER_HOST,
        }
    }
}

/// What happened outside.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Input<'a> {
    /// A datagram came.
    Datagram {
        /// From where.
        from: SocketAddr,
        /// What.
        bytes: &'a [u8],
    },
    /// The moment named by [`Output::Wait`] has come.
    Tick,
}

/// What the caller has to do next. Drain until [`Output::Wait`] after each call.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Output {
    /// Send a datagram.
    Send {
        /// To where.
        to: Ipp,
        /// What.
        bytes: Bytes,
    },
    /// Tell the application.
    Event(Event),
    /// Nothing more to do until this moment, or until something happens if there is none.
    Wait(Option<Duration>),
}

/// Names a dial between the switch and its caller. Never used twice by one switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub(super) u64);

/// Names an announcement between the switch and its caller. Never used twice by one switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnnounceId(pub(super) u64);

/// Names a tap between the switch and its caller. Never used twice by one switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TapId(pub(super) u64);

/// News for the application.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The switch has an address and a place in the DHT; told again when they change.
    Online {
        /// The address.
        own: Ipp,
    },
    /// Nobody is left; the seeds are contacted anew.
    Offline,
    /// A dial ended.
    Dialed {
        /// Which.
        id: DialId,
        /// The nearest switches that answered, the nearest first, at most [`bounds::SEE`].
        closest: Vec<Ipp>,
        /// How many were asked.
        asked: usize,
    },
    /// Signals were sent to the switches nearest to their end.
    Announced {
        /// Which announcement.
        id: AnnounceId,
        /// To whom, the nearest first, at most [`bounds::DIAL_NEAREST`]; empty when nobody was found.
        told: Vec<Ipp>,
    },
    /// The switches that keep a tap for us have changed.
    Tapped {
        /// Which tap.
        id: TapId,
        /// Who keeps it, the nearest first; empty when nobody does.
        at: Vec<Ipp>,
    },
    /// Signals that one of our taps matches; an end alone (somebody dials it) is none. Anyone can make them up.
    Signal {
        /// Who passed them to us.
        from: Ipp,
        /// Their `+end`, if it is one.
        end: Option<End>,
        /// All of them, `+end` included.
        signals: Signals,
        /// How often they were passed on.
        hop: u8,
    },
    /// Application data on an open line.
    Data {
        /// From whom.
        from: Ipp,
        /// What: everything that is neither signal, command nor header.
        data: Extra,
    },
}

/// Why application data was not sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no line with this peer: dial it first.
    #[error("there is no open line with this switch")]
    NoLine,
    /// The peer has not said yet that it received what was sent before.
    #[error("the peer has more than {} bytes to confirm", bounds::SEND_WINDOW)]
    Muted,
    /// It cannot be written as one telex.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// A peer with a line, as [`Switch::lines`](super::Switch::lines) tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Who.
    pub peer: Ipp,
    /// Its bucket, where the own address is known.
    pub bucket: Option<u8>,
    /// Whether it is kept in that bucket.
    pub kept: bool,
    /// Whether it is listed in answers to dials.
    pub visible: bool,
    /// When something valid came from it last.
    pub heard: Duration,
    /// Bytes sent that it has not said to have received.
    pub unconfirmed: u64,
}

/// What a switch counts, from its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Telexes received and accepted.
    pub received: u64,
    /// Telexes sent.
    pub sent: u64,
    /// Datagrams that are no telex: too big, not JSON, not an object, or nothing in it.
    pub not_telexes: u64,
    /// Telexes with a `_ring`, `_line` or `_hop` that is none.
    pub bad_headers: u64,
    /// Datagrams from addresses that are no switch's: port 0, multicast, the other family, this switch itself.
    pub bad_sources: u64,
    /// Telexes with another `_line` than the line, or without one when it is due.
    pub wrong_lines: u64,
    /// Telexes with another `_ring` than the one before.
    pub wrong_rings: u64,
    /// Telexes beyond the receive window.
    pub flooded: u64,
    /// Telexes with a line that there was no room for, in all or with one host: they counted as telexes without one.
    pub lines_refused: u64,
    /// Lines that nobody needed any more and that made room for another one.
    pub lines_replaced: u64,
    /// Telexes not sent because the peer has too much to confirm.
    pub muted: u64,
    /// Telexes whose `_to` is another address than ours.
    pub wrong_to: u64,
    /// Dials of others that were answered.
    pub dials_answered: u64,
    /// Dials of others without a line that were not, because there were too many, or because nobody is known yet.
    pub dials_unanswered: u64,
    /// `.see` without a valid line, or that nobody asked an announcer for.
    pub see_refused: u64,
    /// Entries of `.see` that cannot be switches of this DHT.
    pub see_skipped: u64,
    /// Switches not contacted on a stranger's word because there were too many such words.
    pub contacts_refused: u64,
    /// `.tap` refused: no valid line, or too many tappers.
    pub taps_refused: u64,
    /// Telexes passed on to tappers, each copy counted.
    pub relayed: u64,
    /// Copies not made because there were too many.
    pub relays_dropped: u64,
    /// Sets of signals met again within [`bounds::DUPLICATE_WINDOW`].
    pub duplicates: u64,
    /// Requests to open a port that were answered.
    pub pops_answered: u64,
    /// Requests to open a port that were not: too many, or to an address that is no switch's.
    pub pops_refused: u64,
    /// Signals or rules of the application that do not fit a telex.
    pub unwritable: u64,
}
