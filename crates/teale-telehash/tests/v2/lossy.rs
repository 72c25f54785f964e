//! Bad networks: whatever is lost, doubled or late, every byte arrives once and in order.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use teale_telehash::v2::{Event, Req, RequestId, Res};

use crate::{
    support::secs,
    world::{Weather, World, address},
};

/// Bytes that tell where they belong.
fn body(thread: usize, len: usize) -> Bytes {
    (0..len).map(|n| (n.wrapping_mul(31) ^ n >> 8 ^ thread) as u8).collect()
}

/// Opens a session from 0 to 1 that both know of, however long that takes.
fn meet(world: &mut World) -> teale_telehash::v2::SessionId {
    for _ in 0..10 {
        let id = world.act(0, |switch, now| switch.open(now, address(1), None));
        world.run(secs(11.0));
        let open = |world: &World, n: usize| world.switches[n].sessions().any(|session| session.open);
        if open(world, 0) && open(world, 1) {
            return id;
        }
    }
    panic!("no session");
}

/// Sends bodies both ways at once and checks what arrives. Returns how long it took.
fn exchange(seed: u8, weather: Weather, threads: usize, len: usize) -> Duration {
    let mut world = World::new(2, seed, false);
    world.weather = weather;
    let session = meet(&mut world);
    let began = world.now;
    let mut asked: BTreeMap<RequestId, usize> = BTreeMap::new();
    for thread in 0..threads {
        let req = Req::new("PUT", format!("x:{thread}"));
        asked
            .insert(world.act(0, |switch, now| switch.request(now, session, req, body(thread, len))), thread);
    }
    let mut requests = 0;
    while !asked.is_empty() {
        assert!(world.now < began + secs(36_000.0), "it takes for ever");
        assert!(world.step(began + secs(40_000.0)), "nothing happens any more");
        for event in world.take_events(1) {
            if let Event::Request { session, tid, req, body: got, .. } = event {
                let thread: usize = req.uri[2..].parse().unwrap();
                assert!(got == body(thread, len), "thread {thread} is spoilt");
                requests += 1;
                // The answer is as long, and other bytes.
                let answer = body(thread + 100, len);
                world
                    .act(1, |switch, now| switch.respond(now, session, &tid, Res::new(200), answer))
                    .unwrap();
            }
        }
        for event in world.take_events(0) {
            match event {
                Event::Response { id, body: got, .. } => {
                    let thread = asked.remove(&id).expect("answered twice");
                    assert!(got == body(thread + 100, len), "the answer to {thread} is spoilt");
                }
                Event::RequestFailed { reason, .. } => panic!("seed {seed}: {reason}"),
                _ => {}
            }
        }
    }
    assert_eq!(requests, threads);
    world.now - began
}

const BAD: Weather = Weather { loss: 0.2, twice: 0.1, jitter: Duration::from_millis(100) };

#[test]
fn ten_thousand_packets_at_a_fifth_lost() {
    // Eight threads there and back, each of 770 kB: more than 10,000 packets with a body.
    let took = exchange(1, BAD, 8, 770_000);
    println!("{took:?}");
}

#[test]
fn many_small_threads_in_bad_weather() {
    for seed in 0..20 {
        exchange(seed, BAD, 20, 3000);
    }
}

#[test]
fn fair_weather_is_quick() {
    let fair = crate::world::FAIR;
    let took = exchange(1, fair, 1, 1_000_000);
    assert!(took < secs(5.0), "{took:?}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 24, ..Default::default() })]

    #[test]
    fn every_byte_arrives_once_and_in_order(
        seed: u8,
        loss in 0.0..0.2_f64,
        twice in 0.0..0.5_f64,
        jitter in 0..300_u64,
        threads in 1..10_usize,
        len in 0..20_000_usize,
    ) {
        exchange(seed, Weather { loss, twice, jitter: Duration::from_millis(jitter) }, threads, len);
    }
}
