//! Every bound and every period of the v2 switch, in one table.
//!
//! Sources: the draft of 2012-08-03 (seed 004), the sheet's §5 and §6 where the draft says "TBD", and our own choice where
//! neither speaks, which each line then says.

use std::time::Duration;

/// A `start` is sent again after these times, while nobody answers (§6).
pub const START_AGAIN: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// Then the session is given up (§6).
pub const START_WITHIN: Duration = Duration::from_secs(10);
/// A session whose peer says nothing for so long is over (§6). It is also how long a switch counts as heard (39).
pub const IDLE: Duration = Duration::from_secs(60);
/// A session in which we said nothing for so long gets a packet without content (§6).
pub const KEEP_ALIVE: Duration = Duration::from_secs(25);

/// Packets a side may have sent beyond the confirmed ones (seed: "senders cannot send more than that").
pub const WINDOW: usize = 100;
/// However much is lost, so many may be under way (§6).
pub const WINDOW_LEAST: usize = 4;
/// A session with more packets missing is invalid (seed: "more than 100 missed packets").
pub const MISSING: usize = 100;
/// A packet that was missed so often makes its session invalid (seed: "missed three or more times").
pub const MISSED: u8 = 3;
/// A report of a loss counts if it comes so long after the packet was last sent again (§6).
pub const MISS_COUNTS_AFTER: Duration = Duration::from_secs(1);
/// A missed packet is not sent again more often than this (ours: the report may have crossed it).
pub const RESEND_GAP: Duration = Duration::from_millis(200);
/// What was not confirmed for so long is sent again unasked, the newest packet only: it shows the peer what it lacks. Doubles
/// up to [`PROBE_LAST`] (ours: the draft has no way to lose the last packet).
pub const PROBE: Duration = Duration::from_millis(1500);
/// See [`PROBE`].
pub const PROBE_LAST: Duration = Duration::from_secs(12);
/// The last seq of a session; with 1 kB each that is 4 TB (ours).
pub const SEQ_LAST: u32 = u32::MAX - 1;

/// What was received is acknowledged within this time (33) …
pub const ACK_WITHIN: Duration = Duration::from_secs(1);
/// … and by us sooner, since nobody else tells a sender that its window is free (ours).
pub const ACK_AFTER: Duration = Duration::from_millis(200);
/// A gap is reported after so long: what comes late is no loss (ours) …
pub const GAP_AFTER: Duration = Duration::from_millis(100);
/// … and again after so long while it stays open (ours: if several reports in a row are lost, the next one counts as another
/// miss of what was sent again meanwhile) …
pub const GAP_AGAIN: Duration = Duration::from_millis(250);
/// … but so often only while nothing new comes; then each [`ACK_WITHIN`] (ours).
pub const GAP_REPORTS: u32 = 16;
/// Packets after which an acknowledgement does not wait (33).
pub const ACK_PACKETS: u32 = 30;
/// The same for packets that came twice (33).
pub const ACK_DUPLICATES: u32 = 5;

/// Sessions at once, those not counted whose peer has not shown that it got our answer. Beyond it an own one fails.
pub const SESSIONS: usize = 512;
/// Of these, so many are kept for those we open.
pub const SESSIONS_OURS: usize = 128;
/// Sessions at once with one IP:PORT.
pub const SESSIONS_PER_PEER: usize = 8;
/// Sessions at once with one IP address, where it begins them or names itself to be met.
pub const SESSIONS_PER_HOST: usize = 32;
/// When all are taken, an IP address with more than so many loses one to a newcomer.
pub const SESSIONS_FAIR: usize = 4;
/// Sessions whose peer has not shown that it got our answer; one more, and the oldest of them goes.
pub const HALF_OPEN: usize = 128;
/// Of these, so many in the name of one IP address.
pub const HALF_OPEN_PER_HOST: usize = 16;
/// What is still to be said in a session that is being opened: tids and binds of searches that it answers as well.
pub const UNSAID: usize = 8;
/// Answers to `start`s at one IP address at once (ours: one in ten seconds would refuse the retries of §6) …
pub const START_ANSWERS: u32 = 16;
/// … and then so many per second.
pub const START_ANSWERS_EACH: u32 = 2;
/// Answers to `start`s per second, to all targets together.
pub const START_ANSWERS_PER_SECOND: u32 = 400;
/// `see` answers outside sessions at one IP address at once …
pub const SEE_ANSWERS: u32 = 32;
/// … and then so many per second.
pub const SEE_ANSWERS_EACH: u32 = 4;
/// `see` answers outside sessions per second, to all targets together.
pub const SEE_ANSWERS_PER_SECOND: u32 = 400;

/// Packets without a body of a thread that wait for a session's window; more are not taken.
pub const WAITING: usize = 256;
/// Of these, so many may be relayed ones: a listener that does not read cannot make us keep more.
pub const WAITING_RELAYED: usize = 32;
/// Kept free in a packet with a body for `sid`, `seq` and `range` and a short `miss`, in bytes.
pub const TRANSPORT_ROOM: usize = 140;
/// What `sid` and `seq` alone take in a packet, in bytes.
pub const SESSION_KEYS: usize = 66;

/// Hashes one session may `recv` (§6); the next one is not heard.
pub const RECVS_PER_SESSION: usize = 1000;
/// Hashes all sessions together may `recv`.
pub const RECVS: usize = 50_000;
/// Sessions one `send` is relayed to, the first ones that asked.
pub const RELAY_FANOUT: usize = 64;
/// Packets relayed per second: so many of senders in sessions, and so many of all others.
pub const RELAYS_PER_SECOND: u32 = 1000;
/// Of these, so many of one IP address at once …
pub const RELAYS_BURST: u32 = 512;
/// … and so many per second.
pub const RELAYS_EACH: u32 = 128;

/// Switches in one `see` (45).
pub const SEE: usize = 5;
/// Of a `see`, so many are asked (seed: "the top three closest").
pub const ASKED: usize = 3;
/// A switch that was asked and says nothing is asked again after this time, outside sessions …
pub const ASK_AGAIN: Duration = Duration::from_secs(1);
/// … and is silent after this.
pub const ASK_WITHIN: Duration = Duration::from_millis(2500);
/// A walk ends after so long, whoever may still answer.
pub const WALK_WITHIN: Duration = Duration::from_secs(15);
/// Switches a walk keeps in mind, the closest ones.
pub const WALK_CANDIDATES: usize = 64;
/// Switches a walk asks.
pub const WALK_ASKS: usize = 48;
/// Walks at once, all purposes together; the next one waits or fails.
pub const WALKS: usize = 64;
/// After nobody is closer, the one looked for has so long to come back.
pub const SEEK_WAITS: Duration = Duration::from_secs(8);
/// Seeks at once; the next one fails. Those that ended are forgotten sooner if there are too many.
pub const SEEKS: usize = 256;
/// A seek's tid is known so long, so that others who answer can be told apart from strangers.
pub const SEEK_KNOWN: Duration = Duration::from_secs(60);

/// Hashes the program itself may `recv`.
pub const LISTENS: usize = 256;
/// A hash is kept at so many switches, the closest (§5, 10).
pub const LISTEN_AT: usize = 3;
/// And looked for again after so long (v1: taps each 50 s).
pub const LISTEN_AGAIN: Duration = Duration::from_secs(50);
/// The same send is told to the program once within this time (v1: duplicates).
pub const HEARD_ONCE: Duration = Duration::from_secs(10);
/// Sends told to the program per second; more are as if they had been lost.
pub const HEARD_PER_SECOND: u32 = 200;
/// Sends remembered for that.
pub const HEARD: usize = 1024;

/// First contacts that a `popped` may still revive.
pub const CONTACTS: usize = 256;
/// How long.
pub const CONTACT_FOR: Duration = START_WITHIN;
/// Switches remembered as heard.
pub const ACQUAINTANCES: usize = 4096;

/// Requests at once in one session, each way.
pub const THREADS: usize = 64;
/// A thread in which nothing happens for so long is over (§6).
pub const THREAD_IDLE: Duration = Duration::from_secs(60);
/// A body, in bytes, unless the program says otherwise.
pub const BODY: usize = 4 << 20;
/// Bodies of all threads that are not whole yet, in bytes, [`PART`] for each packet included.
pub const BODIES: usize = 64 << 20;
/// Of these, so many for the peers at one IP address.
pub const BODIES_PER_HOST: usize = 16 << 20;
/// Bodies of responses that wait for a peer to take them, in bytes: of all peers …
pub const ANSWERS: usize = 64 << 20;
/// … and of those at one IP address.
pub const ANSWERS_PER_HOST: usize = 16 << 20;
/// What keeping a packet of a body costs beside its bytes.
pub const PART: usize = 96;

/// Base URIs that were proven by a `bind`; the oldest goes first.
pub const BINDS: usize = 1024;

/// Without any session, seeds are tried again after so long.
pub const SEED_AGAIN: Duration = Duration::from_secs(10);
/// Seeds that are tried at once.
pub const SEEDS_AT_ONCE: usize = 3;
/// Switches the program told of that are kept to be tried.
pub const LEARNED: usize = 256;
/// At the beginning, and after a change of the own address, so many walks follow one another …
pub const JOIN_WALKS: u32 = 8;
/// … by this time …
pub const JOIN_SOON: Duration = Duration::from_secs(4);
/// … and then the neighbourhood, or one far away, is looked at again after so long.
pub const JOIN_AGAIN: Duration = Duration::from_secs(60);
/// Of the buckets, so many of the farthest are looked at in turn.
pub const JOIN_BUCKETS: u32 = 8;
/// Of those around the own place, so many are asked: who is farther than a neighbour does not hear of it from that one
/// (44), only from others.
pub const JOIN_ASKED: usize = 10;
/// Sessions opened for the DHT; those that others open come on top.
pub const NEIGHBOURS: usize = 64;
/// Such sessions being opened at once.
pub const NEIGHBOURS_AT_ONCE: usize = 8;
/// Switches that wait for that.
pub const NEIGHBOURS_WAITING: usize = 64;
/// Another own address is believed if so many votes say it: two of each host with which we opened a session, one of every
/// other. Whoever comes to us may want to tell us something; whom we asked was our own choice.
pub const OWN_AGREED: usize = 2;
