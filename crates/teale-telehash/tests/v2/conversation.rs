//! What a conversation looks like on the wire: three switches of ours, from the first `start` to an answered request.

use teale_telehash::{
    Ipp, end_of,
    v2::{Event, Req, Res},
};

use crate::{support::secs, world::World};

/// Short names for what is random or long, in the order it is met.
fn shortened(trace: &str) -> String {
    let mut out = trace.to_owned();
    for (n, name) in ["alice", "bob", "carol"].iter().enumerate() {
        out = out.replace(&crate::world::address(n).to_string(), name);
    }
    let hex: Vec<&str> = trace
        .split(|c: char| !c.is_ascii_hexdigit())
        .filter(|word| [16, 32, 40].contains(&word.len()))
        .collect();
    let mut seen = Vec::new();
    for word in hex {
        if !seen.contains(&word) {
            seen.push(word);
        }
    }
    for (n, word) in seen.iter().enumerate() {
        let kind = match word.len() {
            16 => "tid",
            32 => "start",
            _ => "sha1",
        };
        out = out.replace(word, &format!("<{kind} {}>", n + 1));
    }
    out
}

#[test]
fn opening_listening_finding_and_asking() {
    let mut world = World::new(3, 1, false);
    world.trace = Some(String::new());
    let addresses: Vec<Ipp> = (0..3).map(crate::world::address).collect();
    let topic = end_of("a meeting place");

    world.note("bob opens a session with alice, and listens there");
    world.act(1, |switch, now| switch.open(now, addresses[0], None));
    world.run(secs(1.0));
    world.act(1, |switch, now| switch.recv(now, topic));
    world.run(secs(5.0));

    world.note("carol knows alice only, and looks for whoever listens");
    world.act(2, |switch, now| switch.learn(now, addresses[0]));
    world.run(secs(1.0));
    let seek = world.act(2, |switch, now| switch.seek(now, topic, None, "anybody?".into()));
    world.run(secs(1.0));

    world.note("bob answers her with a session of their own");
    let heard = world.take_events(1).into_iter().find_map(|event| match event {
        Event::Heard { source, via, tid, .. } => Some((source, via, tid)),
        _ => None,
    });
    let (source, via, tid) = heard.unwrap();
    world.act(1, |switch, now| switch.accept(now, source, via, tid, None));
    world.run(secs(1.0));

    world.note("carol asks in it");
    let found = world.take_events(2).into_iter().find_map(|event| match event {
        Event::Sought { id, found } if id == seek => found,
        _ => None,
    });
    world.act(2, |switch, now| {
        switch.request(now, found.unwrap(), Req::new("GET", "example:time"), "".into())
    });
    world.run(secs(0.1));
    for event in world.take_events(1) {
        if let Event::Request { session, tid, .. } = event {
            world
                .act(1, |switch, now| switch.respond(now, session, &tid, Res::new(200), "noon".into()))
                .unwrap();
        }
    }
    world.run(secs(1.0));
    insta::assert_snapshot!(shortened(&world.trace.take().unwrap()));
}
