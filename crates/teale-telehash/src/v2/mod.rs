//! TeleHash v2, as the draft of 2012-08-03 describes it.
//!
//! [`Switch`] is the machine. No socket, no clock, no randomness of its own: [`Input`]s and calls go in, [`Output`]s come
//! out, and after each call [`Switch::poll`] is drained until it says [`Output::Wait`].
//!
//! What it does: sessions that two starts make, with every packet numbered, acknowledged and sent again byte for byte
//! where it was missed; requests and responses in them, with bodies of many packets; holes through NATs (`pop`); and the
//! DHT, in which a hash is listened to at the three closest switches (`recv`) and found by walking there (`send`).
//!
//! What it does not: keep secrets or prove identities. A session proves that the peer receives what is sent to its
//! address, nothing else; whoever can read the path can forge all of it. A `bind` is handed up as it came.
//!
//! ```
//! use std::time::Duration;
//! use teale_telehash::v2::{Config, Event, Input, Output, Switch};
//!
//! // Two switches, and a network that is a loop.
//! let ipps: [teale_telehash::Ipp; 2] = ["10.0.0.1:5000".parse()?, "10.0.0.2:5000".parse()?];
//! let now = Duration::ZERO;
//! let mut switches = [1, 2].map(|n| Switch::new(Config::default(), now, [n; 32]));
//! switches[0].open(now, ipps[1], None);
//! let mut opened = 0;
//! for side in [0, 1, 0, 1] {
//!     loop {
//!         match switches[side].poll() {
//!             Output::Send { bytes, .. } => {
//!                 switches[1 - side].handle(now, Input::Datagram { from: ipps[side].socket_addr(), bytes: &bytes });
//!             }
//!             Output::Event(Event::Opened { .. }) => opened += 1,
//!             Output::Event(_) => {}
//!             Output::Wait(_) => break,
//!             other => panic!("an output this example does not know: {other:?}"),
//!         }
//!     }
//! }
//! assert_eq!(opened, 2);
//! # Ok::<(), teale_wire::WireError>(())
//! ```

mod acquaintances;
mod arrival;
mod backlog;
mod binds;
pub mod bounds;
mod channel;
mod contacts;
mod exchange;
mod handshake;
mod inbound;
mod listens;
mod memo;
mod neighbours;
mod outbound;
mod pop;
mod ports;
mod relay;
mod seeks;
mod session;
mod sessions;
mod starts;
mod threads;
mod upkeep;
mod walk;
mod walks;

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use rand::{SeedableRng, rngs::StdRng};
use teale_wire::telehash::{Ipp, Packet};

use crate::{
    rate::{Rate, Rates},
    reflection::Reflection,
};

pub use teale_wire::telehash::{HeaderValue, Headers, Req, Res};

pub use ports::{
    BindValidator, CloseReason, Config, Counters, Event, Input, Output, RecvId, RequestFailure, RequestId,
    RespondError, SeekId, SessionId, SessionInfo,
};

/// A switch of the draft: one address, all its sessions, its place in the DHT.
#[derive(Debug)]
pub struct Switch {
    config: Config,
    rng: StdRng,
    own: Option<Ipp>,
    online: bool,
    out: VecDeque<Output>,
    counters: Counters,
    sessions: sessions::Sessions,
    /// What bodies that are not whole yet take, in bytes.
    bodies: usize,
    requests: u64,
    acquaintances: acquaintances::Acquaintances,
    contacts: contacts::Contacts,
    /// Packets sent because a `pop` named somebody.
    reflection: Reflection,
    /// Sessions opened because a `send` named somebody.
    accepts: Reflection,
    start_answers: Rates,
    start_replies: Rates,
    see_answers: Rates,
    /// Copies for those who listen: of senders in sessions, and of all others.
    relays: Rates,
    strangers_relays: Rates,
    relayed: memo::Memo,
    heard_rate: Rate,
    walks: walks::Walks,
    listens: listens::Listens,
    seeks: seeks::Seeks,
    neighbours: neighbours::Neighbours,
    binds: binds::Binds,
}

impl Switch {
    /// A switch that begins at this moment (monotonic time), with randomness of its own made of the seed.
    pub fn new(config: Config, now: Duration, seed: [u8; 32]) -> Self {
        let mut switch = Self {
            rng: StdRng::from_seed(seed),
            own: config.own,
            online: false,
            out: VecDeque::new(),
            counters: Counters::default(),
            sessions: sessions::Sessions::default(),
            bodies: 0,
            requests: 0,
            acquaintances: acquaintances::Acquaintances::default(),
            contacts: contacts::Contacts::default(),
            reflection: Reflection::new(now),
            accepts: Reflection::new(now),
            start_answers: Rates::new(
                now,
                bounds::START_ANSWERS,
                bounds::START_ANSWERS_EACH,
                bounds::START_ANSWERS_PER_SECOND,
            ),
            start_replies: Rates::new(
                now,
                bounds::START_ANSWERS,
                bounds::START_ANSWERS_EACH,
                bounds::START_ANSWERS_PER_SECOND,
            ),
            see_answers: Rates::new(
                now,
                bounds::SEE_ANSWERS,
                bounds::SEE_ANSWERS_EACH,
                bounds::SEE_ANSWERS_PER_SECOND,
            ),
            relays: Rates::new(now, bounds::RELAYS_BURST, bounds::RELAYS_EACH, bounds::RELAYS_PER_SECOND),
            strangers_relays: Rates::new(
                now,
                bounds::RELAYS_BURST,
                bounds::RELAYS_EACH,
                bounds::RELAYS_PER_SECOND,
            ),
            relayed: memo::Memo::default(),
            heard_rate: Rate::new(now, bounds::HEARD_PER_SECOND),
            walks: walks::Walks::default(),
            listens: listens::Listens::default(),
            seeks: seeks::Seeks::default(),
            neighbours: neighbours::Neighbours::new(now, &config.seeds),
            binds: binds::Binds::default(),
            config,
        };
        switch.work(now);
        switch
    }

    /// Something happened outside.
    pub fn handle(&mut self, now: Duration, input: Input<'_>) {
        if let Input::Datagram { from, bytes } = input {
            self.datagram(now, from, bytes);
        }
        self.work(now);
    }

    /// What to do next.
    pub fn poll(&mut self) -> Output {
        self.out.pop_front().unwrap_or_else(|| Output::Wait(self.deadline()))
    }

    /// The own public address, as far as it is known.
    pub fn own(&self) -> Option<Ipp> {
        self.own
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// All sessions, for a status page.
    pub fn sessions(&self) -> impl Iterator<Item = SessionInfo> {
        self.sessions.iter().map(|(id, session)| SessionInfo {
            id,
            peer: session.peer,
            open: session.is_open(),
            incoming: !session.ours,
            behind_nat: session.behind_nat,
            heard: session.heard,
            unconfirmed: session.channel().map_or(0, |channel| channel.outbound.unconfirmed()),
            recvs: session.recvs.len(),
        })
    }

    /// What requests and responses that are not whole yet take, in bytes: at most [`bounds::BODIES`].
    pub fn buffered(&self) -> usize {
        self.bodies
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn send(&mut self, to: Ipp, bytes: Bytes) {
        // A walk may have been told of this switch before it knew its own address.
        if Some(to) == self.own {
            return;
        }
        self.out.push_back(Output::Send { to, bytes });
    }

    /// Sends a packet that belongs to no session. It says who the recipient is, and who we are.
    fn send_packet(&mut self, to: Ipp, packet: Packet) -> Option<Bytes> {
        let packet = Packet { to: Some(to), from: self.own, ..packet };
        match packet.encode() {
            Ok(bytes) => {
                self.send(to, bytes.clone());
                Some(bytes)
            }
            Err(error) => {
                tracing::debug!(%error, "a packet was not sent");
                self.counters.unsent += 1;
                None
            }
        }
    }
}
