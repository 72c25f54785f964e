//! A machine that keeps what it hears and does what the test says.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use teale_sim::{Context, Event, Link, Machine, NetId, NodeId, StreamEnd, StreamEvent, StreamId, World};

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The port everybody listens on.
pub(crate) const PORT: u16 = 7;

#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) log: Vec<(Duration, Event)>,
    /// Sends each datagram back.
    pub(crate) echo: bool,
    /// Takes no streams.
    pub(crate) deaf: bool,
}

impl Machine for Host {
    fn handle(&mut self, event: Event, context: &mut Context<'_>) {
        if event == Event::Start && !self.deaf {
            context.listen(PORT);
        }
        if let Event::Datagram { from, to, payload } = &event
            && self.echo
        {
            context.send_from(*to, *from, payload.clone());
        }
        self.log.push((context.now(), event));
    }
}

impl Host {
    pub(crate) fn echo() -> Self {
        Self { echo: true, ..Self::default() }
    }

    /// Datagrams: when, from whom, what.
    pub(crate) fn datagrams(&self) -> Vec<(Duration, SocketAddr, &[u8])> {
        let mut datagrams = Vec::new();
        for (time, event) in &self.log {
            if let Event::Datagram { from, payload, .. } = event {
                datagrams.push((*time, *from, &**payload));
            }
        }
        datagrams
    }

    pub(crate) fn heard(&self) -> usize {
        self.datagrams().len()
    }

    pub(crate) fn stream_events(&self, stream: StreamId) -> Vec<&StreamEvent> {
        let mut events = Vec::new();
        for (_, event) in &self.log {
            match event {
                Event::Stream(of, event) if *of == stream => events.push(event),
                _ => {}
            }
        }
        events
    }

    /// All that was read.
    pub(crate) fn read(&self, stream: StreamId) -> Vec<u8> {
        let mut read = Vec::new();
        for event in self.stream_events(stream) {
            if let StreamEvent::Data(data) = event {
                read.extend_from_slice(data);
            }
        }
        read
    }

    /// How and when a stream ended here.
    pub(crate) fn end(&self, stream: StreamId) -> Option<(Duration, StreamEnd)> {
        self.log.iter().find_map(|(time, event)| match event {
            Event::Stream(of, StreamEvent::Closed(why)) if *of == stream => Some((*time, *why)),
            _ => None,
        })
    }

    pub(crate) fn wakes(&self) -> Vec<Duration> {
        self.log.iter().filter(|(_, event)| *event == Event::Wake).map(|(time, _)| *time).collect()
    }
}

/// Nodes 192.0.2.1, 192.0.2.2 … in one network, which has started.
pub(crate) fn flat(seed: u64, link: Link, nodes: u8) -> (World<Host>, NetId, Vec<NodeId>) {
    let mut world = World::new(seed);
    let net = world.add_net(link);
    let nodes =
        (1..=nodes).map(|n| world.add_node(Host::default(), net, IpAddr::from([192, 0, 2, n]))).collect();
    world.run_for(Duration::ZERO);
    (world, net, nodes)
}

pub(crate) fn socket(world: &World<Host>, node: NodeId) -> SocketAddr {
    SocketAddr::new(world.address(node).unwrap(), PORT)
}

/// Sends from one node's port to another's.
pub(crate) fn send(world: &mut World<Host>, from: NodeId, to: NodeId, payload: impl Into<Bytes>) {
    let to = socket(world, to);
    world.with(from, |_, context| context.send(PORT, to, payload));
}

pub(crate) fn connect(world: &mut World<Host>, from: NodeId, to: NodeId) -> StreamId {
    let to = socket(world, to);
    world.with(from, |_, context| context.connect(40_000, to))
}

pub(crate) fn write(world: &mut World<Host>, node: NodeId, stream: StreamId, data: &'static str) {
    world.with(node, |_, context| context.write(stream, data)).unwrap();
}
