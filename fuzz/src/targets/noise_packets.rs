//! Two joined sessions and a carrier that drops, repeats, reorders, cuts and changes packets. A model knows for each
//! packet whether it opens, and with which error it is refused otherwise.
//!
//! Input: one byte of settings, then steps of three bytes: what to do, and two bytes that say to which packet.

use std::{collections::BTreeSet, sync::LazyLock, time::Duration};

use bytes::BytesMut;
use teale_identity::Identity;
use teale_noise::{
    IdentityProof, LIFETIME, NoiseError, Now, Opener, PACKET_OVERHEAD, ReplayGuard, Sealer, TimestampSource,
    initiate, respond,
};

/// How many of the latest counters the receiver tells apart.
const WINDOW: u64 = 2048;
/// Packets of one input, at most.
const PACKETS: usize = 5000;

static ALICE: LazyLock<Identity> = LazyLock::new(|| Identity::from_seed([1; 32]));
static BOB: LazyLock<Identity> = LazyLock::new(|| Identity::from_seed([2; 32]));

/// Plays the steps against the model.
pub fn run(data: &[u8]) {
    let Some((settings, steps)) = data.split_first() else {
        return;
    };
    let mut play = Play::new(settings & 1 == 1);
    for step in steps.chunks_exact(3) {
        if let [action, high, low] = step {
            play.step(*action, u16::from_be_bytes([*high, *low]));
        }
    }
}

struct Play {
    sealer: Sealer,
    opener: Opener,
    sent: Vec<Vec<u8>>,
    now: Duration,
    model: Model,
}

/// The rules of the receiver, said plainly.
struct Model {
    ordered: bool,
    opened: BTreeSet<u64>,
}

impl Play {
    fn new(ordered: bool) -> Self {
        let now = Now { unix: Duration::from_secs(1), monotonic: Duration::ZERO };
        let sessions = || {
            let (required, stamps) = (IdentityProof::Required, TimestampSource::new());
            let (waiting, first) =
                initiate(&ALICE, BOB.node_id(), BOB.x25519_public(), required, &stamps, now)?;
            let incoming = respond(&BOB, ALICE.node_id(), &first, required)?;
            let (bobs, second) = incoming.accept(&mut ReplayGuard::default(), now)?;
            Ok::<_, NoiseError>((waiting.finish(&second, now)?, bobs))
        };
        let (alices, bobs) = match sessions() {
            Ok(joined) => joined,
            Err(error) => panic!("a genuine handshake succeeds: {error}"),
        };
        let ((sealer, _), (_, opener)) = (alices.split(), bobs.split());
        Self {
            sealer,
            opener: if ordered { opener.in_order() } else { opener },
            sent: Vec::new(),
            now: Duration::ZERO,
            model: Model { ordered, opened: BTreeSet::new() },
        }
    }

    fn step(&mut self, action: u8, value: u16) {
        match action % 8 {
            0 => self.seal(1),
            1 => self.seal(usize::from(value)),
            2 => {
                self.now =
                    (self.now + Duration::from_secs(u64::from(value))).min(LIFETIME + Duration::from_secs(1))
            }
            3 => self.refused(value, |packet| packet.truncate(packet.len() - 1)),
            4 => self.refused(value, |packet| packet.push(action)),
            5 => self.refused(value, |packet| {
                let bit = usize::from(action) * 7 % (packet.len() * 8);
                if let Some(byte) = packet.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }),
            6 => self.deliver(usize::from(value)),
            _ => self.deliver(self.sent.len().saturating_sub(1 + usize::from(value) % 8)),
        }
    }

    fn seal(&mut self, count: usize) {
        for _ in 0..count.min(PACKETS - self.sent.len()) {
            let counter = self.sent.len() as u64;
            match self.sealer.seal(&plaintext(counter), self.now) {
                Ok(packet) => {
                    assert!(self.now < LIFETIME);
                    assert_eq!(packet.first_chunk(), Some(&counter.to_le_bytes()));
                    self.sent.push(packet.to_vec());
                }
                Err(error) => {
                    assert_eq!((error, self.now >= LIFETIME), (NoiseError::SessionExpired, true));
                    return;
                }
            }
        }
    }

    /// Delivers a packet as it was sealed, now or again.
    fn deliver(&mut self, index: usize) {
        let Some(packet) = self.sent.get(index % self.sent.len().max(1)) else { return };
        let counter = (index % self.sent.len()) as u64;
        let opened = if index.is_multiple_of(2) {
            self.opener.open(packet, self.now)
        } else {
            self.opener.open_in_place(BytesMut::from(packet.as_slice()), self.now)
        };
        let verdict = self.model.verdict(counter, self.now);
        assert_eq!(opened.map(|text| text.to_vec()), verdict.map(|()| plaintext(counter)));
        assert_eq!(self.opener.next_counter(), self.model.opened.last().map_or(0, |highest| highest + 1));
    }

    /// Delivers a packet that was changed on the way; whatever the change, it must not open.
    fn refused(&mut self, value: u16, change: impl FnOnce(&mut Vec<u8>)) {
        let Some(packet) = self.sent.get(usize::from(value) % self.sent.len().max(1)) else { return };
        let mut packet = packet.clone();
        change(&mut packet);
        let refused = self.opener.open(&packet, self.now);
        assert!(refused.is_err());
        if packet.len() < PACKET_OVERHEAD {
            assert_eq!(refused, Err(NoiseError::InvalidMessage));
        }
    }
}

impl Model {
    /// Whether the packet with this counter opens, if it is intact.
    fn verdict(&mut self, counter: u64, now: Duration) -> Result<(), NoiseError> {
        let end = self.opened.last().map_or(0, |highest| highest + 1);
        if now >= LIFETIME {
            return Err(NoiseError::SessionExpired);
        }
        if counter + WINDOW < end || self.opened.contains(&counter) {
            return Err(NoiseError::ReplayDetected);
        }
        if self.ordered && counter > end {
            return Err(NoiseError::OutOfOrder);
        }
        self.opened.insert(counter);
        Ok(())
    }
}

/// The message of a counter: of every length from nothing to a few blocks.
fn plaintext(counter: u64) -> Vec<u8> {
    let length = usize::try_from(counter * 37 % 131).unwrap_or_default();
    vec![counter as u8; length]
}
