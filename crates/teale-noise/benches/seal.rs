//! Sealing and opening against the raw AEAD on the same bytes: `cargo bench -p teale-noise --bench seal`.
//!
//! Prints GB/s (best of several rounds, the ways taken in turn within each) and each way's ratio to the raw one. Raw
//! is ring's ChaCha20-Poly1305 in place on a buffer that is used again and again; ours adds the counter, the window,
//! the copy into a packet and the packet's memory.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use teale_identity::Identity;
use teale_noise::{IdentityProof, Now, ReplayGuard, Session, TimestampSource, initiate, respond};

const SIZES: [(usize, &str); 4] =
    [(1 << 10, "1 KiB"), (16 << 10, "16 KiB"), (256 << 10, "256 KiB"), (1 << 20, "1 MiB")];
/// Bytes per round and way.
const VOLUME: usize = 32 << 20;
const ROUNDS: usize = 15;
const NOW: Duration = Duration::ZERO;

fn main() {
    println!(
        "{:>8} {:>9} {:>16} {:>16} {:>9} {:>16} {:>16}",
        "size", "raw seal", "seal", "seal_into", "raw open", "open", "open_in_place"
    );
    for (size, name) in SIZES {
        let best = measure(size);
        let [raw_seal, seal, seal_into, raw_open, open, open_in_place] =
            best.map(|time| VOLUME as f64 / time.as_secs_f64() / 1e9);
        println!(
            "{name:>8} {raw_seal:>9.2} {seal:>8.2} ({:.3}) {seal_into:>8.2} ({:.3}) {raw_open:>9.2} {open:>8.2} ({:.3}) {open_in_place:>8.2} ({:.3})",
            seal / raw_seal,
            seal_into / raw_seal,
            open / raw_open,
            open_in_place / raw_open,
        );
    }
}

fn measure(size: usize) -> [Duration; 6] {
    let count = VOLUME / size;
    let mut best = [Duration::MAX; 6];
    let plaintext = vec![0x5a; size];
    for _ in 0..ROUNDS {
        let (mut alice, mut bob) = sessions();
        let (mut carol, mut dave) = sessions();
        let times = [
            raw_seal(&plaintext, count),
            time(|| {
                for _ in 0..count {
                    black_box(alice.seal(black_box(&plaintext), NOW).unwrap());
                }
            }),
            seal_into(&mut carol, &plaintext, count),
            raw_open(&plaintext, count),
            open(&mut alice, &mut bob, &plaintext, count),
            open_in_place(&mut carol, &mut dave, &plaintext, count),
        ];
        for (best, time) in best.iter_mut().zip(times) {
            *best = time.min(*best);
        }
    }
    best
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn raw_key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).unwrap())
}

fn raw_nonce(counter: usize) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&(counter as u64).to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn raw_seal(plaintext: &[u8], count: usize) -> Duration {
    let (key, mut buffer) = (raw_key(), plaintext.to_vec());
    time(|| {
        for counter in 0..count {
            black_box(
                key.seal_in_place_separate_tag(raw_nonce(counter), Aad::empty(), black_box(&mut buffer))
                    .unwrap(),
            );
        }
    })
}

/// The packets lie ready, as many as fit into a few MiB, so that only opening is timed.
fn raw_open(plaintext: &[u8], count: usize) -> Duration {
    let key = raw_key();
    let mut sealed = plaintext.to_vec();
    key.seal_in_place_append_tag(raw_nonce(0), Aad::empty(), &mut sealed).unwrap();
    let mut total = Duration::ZERO;
    let mut buffer = sealed.clone();
    for _ in 0..count {
        buffer.copy_from_slice(&sealed);
        total += time(|| {
            black_box(key.open_in_place(raw_nonce(0), Aad::empty(), black_box(&mut buffer)).unwrap());
        });
    }
    total
}

fn seal_into(session: &mut Session, plaintext: &[u8], count: usize) -> Duration {
    let mut out = BytesMut::new();
    time(|| {
        for _ in 0..count {
            out.clear();
            session.seal_into(black_box(plaintext), &mut out, NOW).unwrap();
            black_box(&out);
        }
    })
}

fn open(from: &mut Session, to: &mut Session, plaintext: &[u8], count: usize) -> Duration {
    let mut total = Duration::ZERO;
    // The seal timing used these counters without delivering the packets: the window just moves on.
    for _ in 0..count {
        let packet = from.seal(plaintext, NOW).unwrap();
        total += time(|| {
            black_box(to.open(black_box(&packet), NOW).unwrap());
        });
    }
    total
}

fn open_in_place(from: &mut Session, to: &mut Session, plaintext: &[u8], count: usize) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..count {
        let mut packet = BytesMut::new();
        from.seal_into(plaintext, &mut packet, NOW).unwrap();
        total += time(|| {
            black_box(to.open_in_place(black_box(packet), NOW).unwrap());
        });
    }
    total
}

fn sessions() -> (Session, Session) {
    let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    let now = Now { unix: Duration::from_secs(1), monotonic: NOW };
    let required = IdentityProof::Required;
    let (waiting, packet) =
        initiate(&alice, bob.node_id(), bob.x25519_public(), required, &TimestampSource::new(), now).unwrap();
    let incoming = respond(&bob, alice.node_id(), &packet, required).unwrap();
    let (bobs, packet) = incoming.accept(&mut ReplayGuard::default(), now).unwrap();
    (waiting.finish(&packet, now).unwrap(), bobs)
}
