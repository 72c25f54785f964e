//! TeleHash v1, as its pages of 2011 describe it.
//!
//! A [`Switch`] is a machine without socket, clock or randomness of its own: datagrams and calls go in
//! ([`handle`](Switch::handle) and the methods named after what is wanted), and after each of them [`poll`](Switch::poll) is
//! drained until it says when to wake it.
//!
//! What the pages leave open is decided as switches of their time did it; where those differ or can be abused, the
//! comments say what we do and why.
//!
//! ```
//! use std::time::Duration;
//! use teale_telehash::{end_of, v1::{Config, Event, Input, Output, Switch}};
//!
//! // The first switch of a DHT, and one that knows its address.
//! let (one, other) = ("192.0.2.1:42424".parse()?, "192.0.2.2:42424".parse()?);
//! let mut first = Switch::new(Config { own: Some(one), ..Config::default() }, Duration::ZERO, [1; 32]);
//! let mut second = Switch::new(Config { seeds: vec![one], ..Config::default() }, Duration::ZERO, [2; 32]);
//! let id = second.dial(Duration::ZERO, end_of("somewhere"));
//!
//! let mut dialed = None;
//! let mut quiet = 0;
//! while quiet < 2 {
//!     for (me, switch, peer) in [(other, 1, 0), (one, 0, 1)] {
//!         let switches = &mut [&mut first, &mut second];
//!         quiet += 1;
//!         loop {
//!             match switches[switch].poll() {
//!                 Output::Send { bytes, .. } => {
//!                     quiet = 0;
//!                     let from = me.socket_addr();
//!                     switches[peer].handle(Duration::ZERO, Input::Datagram { from, bytes: &bytes });
//!                 }
//!                 Output::Event(Event::Dialed { closest, .. }) => dialed = Some(closest),
//!                 Output::Event(_) => {}
//!                 _ => break,
//!             }
//!         }
//!     }
//! }
//! assert_eq!(dialed, Some(vec![one]));
//! # let _ = id;
//! # Ok::<(), teale_wire::WireError>(())
//! ```

mod asks;
pub mod bounds;
mod dial;
mod dialing;
mod duplicates;
mod keeping;
mod line;
mod own_taps;
mod peers;
mod popular;
mod ports;
mod receiving;
mod relaying;
mod rings;
mod seeding;
mod seeing;
mod sending;
mod tapping;
mod taps;
mod window;

use std::{collections::VecDeque, time::Duration};

use rand::{SeedableRng, rngs::StdRng};
use teale_wire::telehash::{End, Ipp, Signals, TapRule};

use crate::{
    buckets::Buckets,
    end_of_switch,
    rate::{Rate, Rates},
    reflection::Reflection,
};
use asks::Asks;
use dialing::{Dials, Why};
use duplicates::Duplicates;
use own_taps::OwnTaps;
use peers::Peers;
use popular::Popular;
pub use ports::{AnnounceId, Config, Counters, DialId, Event, Input, Level, Line, Output, SendError, TapId};
use rings::Rings;
use seeding::Seeding;
use taps::Taps;

/// Where a switch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Own {
    ipp: Ipp,
    end: End,
}

impl Own {
    fn at(ipp: Ipp) -> Self {
        Self { ipp, end: end_of_switch(ipp) }
    }
}

/// One switch of TeleHash v1.
///
/// Tell it what happens ([`handle`](Self::handle)) and what is wanted (the other methods); after each call, drain
/// [`poll`](Self::poll) until it answers [`Output::Wait`]. Time is monotonic, since whatever start.
pub struct Switch {
    config: Config,
    rng: StdRng,
    own: Option<Own>,
    peers: Peers,
    buckets: Buckets,
    asks: Asks,
    dials: Dials,
    /// What others tap with us.
    taps: Taps,
    /// What we tap with others.
    own_taps: OwnTaps,
    duplicates: Duplicates,
    popular: Popular,
    /// Telexes sent because a `+pop` named somebody.
    pops: Reflection,
    /// Telexes sent because a `.see` named somebody.
    contacts: Reflection,
    /// Answers to those who have no line.
    see_answers: Rates,
    /// Our ring to those who get no answer.
    rings_told: Rate,
    /// Copies for those who tap: by senders with a line, by all others, and of our own.
    copies: Rates,
    strangers_copies: Rates,
    own_copies: Rate,
    seeding: Seeding,
    next_sweep: Duration,
    next_refresh: Duration,
    /// Refreshes since the switch took its place.
    refreshes: u32,
    /// Somebody has said another address of ours than before.
    doubt: bool,
    next_id: u64,
    counters: Counters,
    out: VecDeque<Output>,
}

impl Switch {
    /// A switch that wants to contact its seeds at once. `seed` is fresh randomness.
    pub fn new(config: Config, now: Duration, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let own = config.own.map(Own::at);
        let mut switch = Self {
            peers: Peers::new(now, Rings::new(&mut rng), config.lines_per_host),
            rng,
            own,
            buckets: own.map_or_else(Buckets::default, |own| Buckets::new(own.end)),
            asks: Asks::default(),
            dials: Dials::default(),
            taps: Taps::default(),
            own_taps: OwnTaps::default(),
            duplicates: Duplicates::default(),
            popular: Popular::default(),
            pops: Reflection::new(now),
            contacts: Reflection::new(now),
            see_answers: Rates::new(
                now,
                bounds::SEE_ANSWERS,
                bounds::SEE_ANSWERS_EACH,
                bounds::SEE_ANSWERS_PER_SECOND,
            ),
            rings_told: Rate::new(now, bounds::RINGS_PER_SECOND),
            copies: Rates::new(now, bounds::COPIES_BURST, bounds::COPIES_EACH, bounds::COPIES_PER_SECOND),
            strangers_copies: Rates::new(
                now,
                bounds::COPIES_BURST,
                bounds::COPIES_EACH,
                bounds::COPIES_PER_SECOND,
            ),
            own_copies: Rate::new(now, bounds::COPIES_PER_SECOND),
            seeding: Seeding::new(now, &config),
            next_sweep: now,
            next_refresh: Duration::MAX,
            refreshes: 0,
            doubt: false,
            next_id: 0,
            counters: Counters::default(),
            out: VecDeque::new(),
            config,
        };
        if let Some(own) = own
            && switch.seeding.is_root()
        {
            switch.go_online(now, own.ipp);
        }
        switch.tick(now);
        switch
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, now: Duration, input: Input<'_>) {
        match input {
            Input::Datagram { from, bytes } => self.datagram(now, from, bytes),
            Input::Tick => {}
        }
        self.tick(now);
    }

    /// What to do next.
    pub fn poll(&mut self) -> Output {
        self.out.pop_front().unwrap_or_else(|| Output::Wait(self.deadline()))
    }

    /// Looks for the switches nearest to an end; [`Event::Dialed`] tells of them.
    pub fn dial(&mut self, now: Duration, end: End) -> DialId {
        let id = DialId(self.fresh_id());
        self.start_dial(now, end, Why::Asked(id));
        id
    }

    /// Announces signals at an end: dials it and sends them to the three nearest switches, for those who tap them there.
    /// [`Event::Announced`] tells who got them. Signals that are too long for a telex go to nobody.
    pub fn announce(&mut self, now: Duration, end: End, mut signals: Signals) -> AnnounceId {
        let id = AnnounceId(self.fresh_id());
        signals.insert("+end".to_owned(), end.to_string());
        self.start_dial(now, end, Why::Announce(id, signals));
        id
    }

    /// Asks the three switches nearest to an end to pass on what is announced there and one of the rules matches, and
    /// keeps it so. Without rules everything aimed at the end is wanted. [`Event::Tapped`] tells who agreed,
    /// [`Event::Signal`] what came. One more than [`bounds::OWN_TAPS`] is never placed, and none by an announcer.
    pub fn tap(&mut self, now: Duration, end: End, rules: Vec<TapRule>) -> TapId {
        let id = TapId(self.fresh_id());
        if self.config.level != Level::Announcer {
            self.own_taps.insert(now, id, end, rules);
            self.tick(now);
        }
        id
    }

    /// Who keeps a tap of ours now: what the last [`Event::Tapped`] said. Nobody for one that is not ours, or no longer.
    pub fn tapped(&self, id: TapId) -> &[Ipp] {
        self.own_taps.at(id)
    }

    /// Wants a tap no longer.
    pub fn untap(&mut self, now: Duration, id: TapId) {
        for peer in self.own_taps.remove(id) {
            self.send_taps(now, peer);
        }
    }

    /// The own address, while it is known.
    pub fn own(&self) -> Option<Ipp> {
        self.own.map(|own| own.ipp)
    }

    /// Whether the switch has a place in the DHT.
    pub fn online(&self) -> bool {
        self.seeding.online()
    }

    /// Who has a line with us, by address.
    pub fn lines(&self) -> impl Iterator<Item = Line> {
        let confirmed = self.peers.iter().filter(|(_, peer)| peer.handshake.confirmed());
        confirmed.map(|(ipp, peer)| Line {
            peer: ipp,
            bucket: self.own.and_then(|own| own.end.bucket(end_of_switch(ipp))),
            kept: self.buckets.contains(ipp),
            visible: peer.visible,
            heard: peer.heard,
            unconfirmed: peer.window.unconfirmed(),
        })
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    /// Does what the time has come for.
    fn tick(&mut self, now: Duration) {
        if now >= self.next_sweep {
            self.next_sweep = now + bounds::SWEEP_EVERY;
            self.sweep(now);
        }
        self.contact_seeds(now);
        self.place_due_taps(now);
        self.refresh(now);
        self.run_due_dials(now);
    }

    fn deadline(&self) -> Option<Duration> {
        let sweep = (!self.peers.is_empty() || !self.asks.is_empty()).then_some(self.next_sweep);
        let refresh = self.seeding.online().then_some(self.next_refresh);
        [sweep, refresh, self.seeding.due(), self.own_taps.due(), self.dials.due()]
            .into_iter()
            .flatten()
            .filter(|due| *due < Duration::MAX)
            .min()
    }
}
