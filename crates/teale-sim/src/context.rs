//! What a machine can do while it is called.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;

use crate::{NodeId, Random, StreamId, WriteError, fabric::Fabric, link::nanos};

/// The hands of a machine: everything it does to the world.
#[derive(Debug)]
pub struct Context<'a> {
    fabric: &'a mut Fabric,
    node: NodeId,
}

impl<'a> Context<'a> {
    pub(crate) fn new(fabric: &'a mut Fabric, node: NodeId) -> Self {
        Self { fabric, node }
    }

    /// Time since the world began.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.fabric.now)
    }

    /// Which node this is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The node's addresses, the first one first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.fabric.addresses(self.node)
    }

    /// The node's first address.
    pub fn address(&self) -> IpAddr {
        self.addresses().next().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// Randomness, one stream for all machines of the world.
    pub fn random(&mut self) -> &mut Random {
        &mut self.fabric.machines_random
    }

    /// Asks for [`Event::Wake`](crate::Event::Wake) at this moment, or not at all. There is one such moment: a new one
    /// takes the place of the old one. A moment that has passed is now.
    pub fn wake_at(&mut self, at: Option<Duration>) {
        self.fabric.wake_at(self.node, at.map(nanos));
    }

    /// Sends a datagram from a port; the source address is the one that leads to the target.
    pub fn send(&mut self, port: u16, to: SocketAddr, payload: impl Into<Bytes>) {
        self.send_from(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port), to, payload);
    }

    /// Sends a datagram from one of the node's addresses.
    ///
    /// # Panics
    /// If the address is not the node's.
    pub fn send_from(&mut self, from: SocketAddr, to: SocketAddr, payload: impl Into<Bytes>) {
        self.fabric.send(self.node, from, to, payload.into());
    }

    /// Takes datagrams for a multicast group from now on, in all networks of the node. Broadcasts come to everybody.
    pub fn join(&mut self, group: IpAddr) {
        self.fabric.join(self.node, group);
    }

    /// Takes streams on this port from now on.
    pub fn listen(&mut self, port: u16) {
        self.fabric.listen(self.node, port);
    }

    /// Connects from a port; answered by [`Opened`](crate::StreamEvent::Opened) or [`Closed`](crate::StreamEvent::Closed).
    pub fn connect(&mut self, port: u16, to: SocketAddr) -> StreamId {
        self.fabric.connect(self.node, port, to)
    }

    /// Writes to an open stream: all of it or nothing.
    ///
    /// # Errors
    /// [`WriteError::Full`] when the window is; [`WriteError::NotOpen`] before it is open and after its end.
    pub fn write(&mut self, stream: StreamId, data: impl Into<Bytes>) -> Result<(), WriteError> {
        self.fabric.write(self.node, stream, data.into())
    }

    /// Closes a stream, in both directions: the other end reads what was written and then hears
    /// [`Finished`](crate::StreamEnd::Finished). Nothing more is heard of it here.
    pub fn close(&mut self, stream: StreamId) {
        self.fabric.close(self.node, stream);
    }

    /// Breaks a stream off: the other end loses what it has not read and hears [`Reset`](crate::StreamEnd::Reset).
    pub fn reset(&mut self, stream: StreamId) {
        self.fabric.reset(self.node, stream);
    }

    /// Stops reading a stream, or goes on: what the other end writes meanwhile piles up until its window is full.
    pub fn set_reading(&mut self, stream: StreamId, reads: bool) {
        self.fabric.set_reading(self.node, stream, reads);
    }

    /// Adds a line to the trace.
    pub fn note(&mut self, what: &str) {
        self.fabric.note(self.node, what);
    }
}
