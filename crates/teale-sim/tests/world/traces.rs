//! The trace of a small world, as people read it.

use teale_sim::{Crash, Link, NatConfig, World};

use crate::host::{Host, at, connect, ip, ms, secs, send, socket};

fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload).into_owned()
}

#[test]
fn a_trace_reads_like_this() {
    let mut world = World::new(3);
    let internet = world.add_net(Link::PERFECT.delay(ms(20)).largest(20));
    let home = world.add_net(Link::PERFECT.delay(ms(1)));
    world.add_nat(home, internet, ip("203.0.113.1"), NatConfig::PORT_RESTRICTED);
    let server = world.add_node(Host::echo(), internet, ip("198.51.100.1"));
    let laptop = world.add_node(Host::default(), home, ip("192.168.0.2"));
    world.set_name(server, "server");
    world.set_name(laptop, "laptop");
    world.trace(Some(text));
    world.run_for(ms(5));
    send(&mut world, laptop, server, "hello");
    world.run_for(ms(100));
    let to = socket(&world, server);
    world.with(laptop, |_, context| {
        context.note("sends what does not fit");
        context.send(7, to, "too much ".repeat(3));
    });
    world.with(server, |_, context| context.send(9, at("203.0.113.1:1024"), "a stranger"));
    world.run_for(ms(100));
    let stream = connect(&mut world, laptop, server);
    world.run_for(ms(100));
    world.with(laptop, |_, context| context.write(stream, "in order")).unwrap();
    world.run_for(ms(100));
    world.freeze(server);
    world.run_for(ms(100));
    world.thaw(server);
    world.crash(server, Crash::Process);
    world.run_for(secs(1));
    insta::assert_snapshot!(world.take_trace());
    assert_eq!(world.take_trace(), "");
}
