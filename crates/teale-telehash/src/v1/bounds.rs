//! Every bound and every period of v1, in one table.
//!
//! Figures without a source in the page of 2011 are those of its deployed switches, or lie between them.

use std::time::Duration;

/// A line with nothing valid heard for so long is over, and so is everything known of the peer (the page).
pub const LINE_IDLE: Duration = Duration::from_secs(60);
/// What is known of a peer without a confirmed line, and with next to nothing exchanged, is kept for so long.
pub const STRANGER_IDLE: Duration = Duration::from_secs(20);
/// Next to nothing, in bytes, both ways.
pub const STRANGER_BYTES: u64 = 2_000;
/// For so long after it opened, a line's telexes may come without `_line`: crossing ones do.
pub const LINE_GRACE: Duration = Duration::from_secs(10);
/// How often what is over is looked for.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// The ring for an address changes after so long, if nothing is remembered of it by then.
pub const RING_EPOCH: Duration = Duration::from_secs(600);

/// Bytes sent beyond the last `_br` heard, after which nothing more is sent (the page).
pub const SEND_WINDOW: u64 = 10_000;
/// Bytes received beyond the last `_br` sent, after which telexes are dropped: the page's 10,000 and what may cross.
pub const RECEIVE_WINDOW: u64 = 12_000;
/// A peer that sends us what we asked for hears a `_br` after so many bytes, however little we have to say.
pub const ACKNOWLEDGE_AFTER: u64 = 5_000;
/// But not more often than this.
pub const ACKNOWLEDGE_GAP: Duration = Duration::from_secs(1);

/// Peers with a confirmed line. One more takes the place of one that is in no bucket and keeps no tap of ours; where there
/// is none it has no line, and its dials are answered like a stranger's.
pub const LINES: usize = 4096;
/// Of these, so many at one IP address, unless the configuration says otherwise.
pub const LINES_PER_HOST: usize = 64;
/// So many lines are looked at to find one that can go.
pub const LINES_LOOKED_AT: usize = 512;
/// Lines that are named out of nothing and are wrong, per second: a line is but a number that can be guessed. Beyond it none is
/// believed of those whom we did not ask and who did not show a ring.
pub const LINE_GUESSES_PER_SECOND: u32 = 4;
/// After so many wrong lines in the name of a peer that showed no ring, none of its lines is believed until it is forgotten.
/// About one guess in a hundred is right: a number may be the product of many rings.
pub const WRONG_LINES: u16 = 16;
/// The same of a peer that showed a ring. One guess in 32,768 is right.
pub const WRONG_LINES_WITH_RING: u16 = 1024;
/// Peers without a confirmed line; one more, and the one known longest is forgotten.
pub const STRANGERS: usize = 4096;

/// Switches in one `.see` answer.
pub const SEE: usize = 5;
/// Answers to dials without a line, to one IP address at once; eight more are allowed each second. An answer is longer than
/// the question, and who asks may be made up.
pub const SEE_ANSWERS: u32 = 64;
/// See [`SEE_ANSWERS`].
pub const SEE_ANSWERS_EACH: u32 = 8;
/// Answers to dials without a line per second, to all together.
pub const SEE_ANSWERS_PER_SECOND: u32 = 1000;
/// Telexes with nothing but our ring per second, to those whose dials are not answered.
pub const RINGS_PER_SECOND: u32 = 1000;
/// Such a telex is at most so long, in bytes: an address of IPv6 twice as long as one of IPv4, and three numbers.
pub const RING_TELEX: usize = 96;
/// Entries of one `.see` that are looked at.
pub const SEE_TAKEN: usize = 20;
/// How often a switch tells a peer of itself, to be listed, before it takes silence for an answer.
pub const TELL_SELF: u8 = 3;
/// Dials to one end within [`POPULAR_WINDOW`] that make it popular, if dampening is on.
pub const POPULAR_DIALS: u32 = 100;
/// See [`POPULAR_DIALS`].
pub const POPULAR_WINDOW: Duration = Duration::from_secs(10);
/// Ends whose dials are counted within one window; others are not popular.
pub const POPULAR_ENDS: usize = 1024;

/// A peer that is kept hears from us this often, give or take [`PING_JITTER`].
pub const PING_EVERY: Duration = Duration::from_secs(25);
/// See [`PING_EVERY`].
pub const PING_JITTER: Duration = Duration::from_millis(2_500);

/// Peers asked at once by one dial.
pub const DIAL_ALPHA: usize = 3;
/// The nearest of those that answered: once none of so many knows a nearer one, a dial is done.
pub const DIAL_NEAREST: usize = 3;
/// The same for the own neighbourhood: so many are to know a newcomer, or it would not be found where one of them is not asked.
pub const JOIN_NEAREST: usize = 10;
/// A peer asked has so long to answer.
pub const DIAL_ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// And is asked so often before it counts as silent: at 5 % loss one question in ten goes unanswered.
pub const DIAL_TRIES: u8 = 3;
/// A dial takes so long at most.
pub const DIAL_WITHIN: Duration = Duration::from_secs(10);
/// Switches one dial may have in view; beyond it the farthest is forgotten.
pub const DIAL_CANDIDATES: usize = 64;
/// Dials at once; one more ends at once with nobody asked.
pub const DIALS: usize = 256;
/// Questions remembered until they are answered; the answer to one more is a `.see` that nobody asked for.
pub const ASKS: usize = 2048;
/// How long an answer is still recognised.
pub const ASK_KEPT: Duration = Duration::from_secs(5);
/// A dial anywhere after so long: buckets that nobody fills.
pub const REFRESH_EVERY: Duration = Duration::from_secs(600);
/// A newcomer dials so many places, each half as far from it as the one before …
pub const JOIN_REFRESHES: u32 = 8;
/// … one after so long.
pub const JOIN_REFRESH_EVERY: Duration = Duration::from_secs(3);

/// Peers whose taps are kept; one more is refused. Each peer that keeps a line with us taps its own end for `+pop`.
pub const TAPPERS: usize = 1024;
/// Of these, so many may have rules that name no end: those are compared with every telex.
pub const TAPPERS_OF_ANY: usize = 128;
/// Copies of one telex; if more want it, chance says who gets one.
pub const COPIES: usize = 64;
/// Copies of telexes per second: so many for senders with a line, and so many for all others.
pub const COPIES_PER_SECOND: u32 = 1000;
/// Of these, so many of the telexes of one IP address at once …
pub const COPIES_BURST: u32 = 512;
/// … and so many per second.
pub const COPIES_EACH: u32 = 128;
/// A telex that was passed on so often is not passed on again (the page: "less than 4").
pub const HOPS: u8 = 4;
/// Taps of our own; one more is never placed.
pub const OWN_TAPS: usize = 64;
/// A tap is placed anew this often.
pub const TAP_EVERY: Duration = Duration::from_secs(50);
/// After one of its switches was lost, a tap is placed anew this soon.
pub const TAP_LOST: Duration = Duration::from_secs(1);
/// A set of signals is processed once in this time (the page).
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(10);
/// Sets of signals remembered; beyond it the oldest is forgotten.
pub const DUPLICATES: usize = 16_384;

/// Seeds that are used; those beyond are ignored.
pub const SEEDS: usize = 64;
/// Seeds contacted at once.
pub const SEEDS_AT_ONCE: usize = 3;
/// The first pause before the next seeds are contacted; it doubles.
pub const SEED_RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest pause between seeds.
pub const SEED_RETRY_LAST: Duration = Duration::from_secs(10);
/// Peers that must agree before a switch believes that its address has changed.
pub const ADDRESS_VOTES: usize = 2;
