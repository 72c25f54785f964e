//! The v1 switch in a world.

use std::{net::SocketAddr, time::Duration};

use teale_telehash::{
    Ipp, end_of_switch,
    v1::{Config, DialId, Event, Input, Output, Switch},
};

use super::Act;

pub struct Core {
    switch: Switch,
    dials: Vec<(DialId, u64)>,
    online: bool,
}

impl super::Core for Core {
    fn start(own: Option<Ipp>, seeds: &[Ipp], now: Duration, seed: [u8; 32]) -> Self {
        let config = Config { own, seeds: seeds.to_vec(), ..Config::default() };
        Self { switch: Switch::new(config, now, seed), dials: Vec::new(), online: false }
    }

    fn tick(&mut self, now: Duration) {
        self.switch.handle(now, Input::Tick);
    }

    fn datagram(&mut self, now: Duration, from: SocketAddr, bytes: &[u8]) {
        self.switch.handle(now, Input::Datagram { from, bytes });
    }

    fn poll(&mut self) -> Act {
        loop {
            match self.switch.poll() {
                Output::Send { to, bytes } => return Act::Send { to, bytes },
                Output::Wait(at) => return Act::Wait(at),
                Output::Event(Event::Online { .. }) => self.online = true,
                Output::Event(Event::Offline) => self.online = false,
                Output::Event(Event::Dialed { id, closest, asked }) => {
                    if let Some(at) = self.dials.iter().position(|(dial, _)| *dial == id) {
                        let (_, lookup) = self.dials.swap_remove(at);
                        return Act::Found { lookup, closest, asked };
                    }
                }
                Output::Event(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn look_up(&mut self, now: Duration, lookup: u64, target: Ipp) {
        self.dials.push((self.switch.dial(now, end_of_switch(target)), lookup));
    }

    fn online(&self) -> bool {
        self.online
    }

    fn peers(&self) -> usize {
        self.switch.lines().count()
    }
}
