//! Sealing and opening against the raw AEAD on the same bytes: `cargo bench -p teale-noise --bench seal`.
//!
//! Prints GB/s of CPU time (best of many short rounds, the ways taken in turn within each, so that a busy machine
//! disturbs all of them alike) and each way's ratio to the raw one. Raw is ring's ChaCha20-Poly1305 in place. Ours
//! adds counter, window and lifetime; `seal`, `seal_into` and `open` also copy the message, `seal` and `open` into
//! memory of its own.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::{hint::black_box, io::Write, time::Duration};

use bytes::{Bytes, BytesMut};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use teale_identity::Identity;
use teale_noise::{Draft, IdentityProof, Now, ReplayGuard, Session, TimestampSource, initiate, respond};

const SIZES: [(usize, &str); 4] =
    [(1 << 10, "1 KiB"), (16 << 10, "16 KiB"), (256 << 10, "256 KiB"), (1 << 20, "1 MiB")];
const ROUNDS: usize = 60;
/// Bytes per round and way, prepared before the clock starts.
const BATCH: usize = 4 << 20;
const NOW: Duration = Duration::ZERO;
const WAYS: [&str; 7] = ["raw seal", "seal", "seal_into", "seal_draft", "raw open", "open", "open_in_place"];

fn main() {
    // `cargo test --all-targets` starts benches too, unoptimised and without this word.
    if !std::env::args().any(|argument| argument == "--bench") {
        return println!("nothing measured: run `cargo bench -p teale-noise --bench seal`");
    }
    print!("{:>8}", "GB/s");
    WAYS.iter().for_each(|way| print!(" {way:>15}"));
    println!();
    for (size, name) in SIZES {
        let speed = measure(size).map(|time| BATCH as f64 / time.as_secs_f64() / 1e9);
        print!("{name:>8}");
        for (way, speed_of_it) in speed.iter().enumerate() {
            match way {
                0 | 4 => print!(" {speed_of_it:>15.2}"),
                _ => print!(" {speed_of_it:>7.2} ({:.3})", speed_of_it / speed[way / 4 * 4]),
            }
        }
        println!();
    }
}

fn measure(size: usize) -> [Duration; 7] {
    let count = BATCH / size;
    let plaintext = vec![0x5a; size];
    let (mut alice, mut bob) = sessions();
    let mut out = BytesMut::with_capacity(size + 64);
    let mut best = [Duration::MAX; 7];
    for _ in 0..ROUNDS {
        let times = [
            raw_seal(&plaintext, count),
            time(0..count, |_| black_box(alice.seal(black_box(&plaintext), NOW).unwrap())),
            time(0..count, |_| {
                out.clear();
                alice.seal_into(black_box(&plaintext), &mut out, NOW).unwrap();
            }),
            time(batch(count, || draft(&plaintext)), |draft| {
                black_box(alice.seal_draft(draft, NOW).unwrap())
            }),
            raw_open(&plaintext, count),
            time(batch(count, || alice.seal(&plaintext, NOW).unwrap()), |packet: Bytes| {
                black_box(bob.open(black_box(&packet), NOW).unwrap())
            }),
            time(batch(count, || BytesMut::from(alice.seal(&plaintext, NOW).unwrap())), |packet| {
                black_box(bob.open_in_place(packet, NOW).unwrap())
            }),
        ];
        for (best, time) in best.iter_mut().zip(times) {
            *best = time.min(*best);
        }
    }
    best
}

fn batch<T>(count: usize, make: impl FnMut() -> T) -> Vec<T> {
    std::iter::repeat_with(make).take(count).collect()
}

fn time<T, U>(work: impl IntoIterator<Item = T>, mut step: impl FnMut(T) -> U) -> Duration {
    let work = work.into_iter();
    let start = cpu_time();
    for item in work {
        black_box(step(item));
    }
    cpu_time() - start
}

#[cfg(unix)]
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

#[cfg(not(unix))]
fn cpu_time() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

fn draft(plaintext: &[u8]) -> Draft {
    let mut draft = Draft::with_capacity(plaintext.len());
    draft.write_all(plaintext).unwrap();
    draft
}

fn raw_key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).unwrap())
}

fn raw_nonce() -> Nonce {
    Nonce::assume_unique_for_key(black_box([0; 12]))
}

fn raw_seal(plaintext: &[u8], count: usize) -> Duration {
    let (key, mut buffer) = (raw_key(), plaintext.to_vec());
    time(0..count, |_| {
        key.seal_in_place_separate_tag(raw_nonce(), Aad::empty(), black_box(&mut buffer)).unwrap()
    })
}

fn raw_open(plaintext: &[u8], count: usize) -> Duration {
    let key = raw_key();
    let mut sealed = plaintext.to_vec();
    key.seal_in_place_append_tag(raw_nonce(), Aad::empty(), &mut sealed).unwrap();
    time(batch(count, || sealed.clone()), |mut packet| {
        black_box(key.open_in_place(raw_nonce(), Aad::empty(), black_box(&mut packet)).unwrap());
        packet
    })
}

fn sessions() -> (Session, Session) {
    let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    let now = Now { unix: Duration::from_secs(1), monotonic: NOW };
    let (required, stamps) = (IdentityProof::Required, TimestampSource::new());
    let (waiting, packet) =
        initiate(&alice, bob.node_id(), bob.x25519_public(), required, &stamps, now).unwrap();
    let incoming = respond(&bob, alice.node_id(), &packet, required).unwrap();
    let (bobs, packet) = incoming.accept(&mut ReplayGuard::default(), now).unwrap();
    (waiting.finish(&packet, now).unwrap(), bobs)
}
