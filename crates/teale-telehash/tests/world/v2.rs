//! The v2 switch in a world: each listens to a name of its own, and a lookup is a search for whoever listens to it.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use teale_telehash::{
    End, Ipp, end_of,
    v2::{Config, Event, Input, Output, SeekId, Switch},
};

use super::Act;

pub struct Core {
    switch: Switch,
    now: Duration,
    seeks: Vec<(SeekId, u64)>,
    online: bool,
    listens: bool,
}

impl Core {
    fn told(&mut self, event: Event) -> Option<Act> {
        match event {
            Event::Online { own } => {
                self.online = true;
                if !std::mem::replace(&mut self.listens, true) {
                    self.switch.recv(self.now, name(own));
                }
            }
            Event::Offline => self.online = false,
            Event::Heard { source, via, tid, .. } => {
                self.switch.accept(self.now, source, via, tid, None);
            }
            Event::Sought { id, found } => {
                let at = self.seeks.iter().position(|(seek, _)| *seek == id)?;
                let (_, lookup) = self.seeks.swap_remove(at);
                let peer = self.switch.sessions().find(|session| Some(session.id) == found);
                let closest = peer.map(|session| session.peer).into_iter().collect();
                return Some(Act::Found { lookup, closest, asked: 0 });
            }
            _ => {}
        }
        None
    }
}

/// What a switch listens to: its address does not say where that is.
fn name(ipp: Ipp) -> End {
    end_of(format!("whoever is at {ipp}"))
}

impl super::Core for Core {
    fn start(own: Option<Ipp>, seeds: &[Ipp], now: Duration, seed: [u8; 32]) -> Self {
        let mut config = Config::default();
        config.own = own;
        config.seeds = seeds.to_vec();
        let switch = Switch::new(config, now, seed);
        Self { switch, now, seeks: Vec::new(), online: false, listens: false }
    }

    fn tick(&mut self, now: Duration) {
        self.now = now;
        self.switch.handle(now, Input::Tick);
    }

    fn datagram(&mut self, now: Duration, from: SocketAddr, bytes: &[u8]) {
        self.now = now;
        self.switch.handle(now, Input::Datagram { from, bytes });
    }

    fn poll(&mut self) -> Act {
        loop {
            match self.switch.poll() {
                Output::Send { to, bytes } => return Act::Send { to, bytes },
                Output::Wait(at) => return Act::Wait(at),
                Output::Event(event) => {
                    if let Some(act) = self.told(event) {
                        return act;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn look_up(&mut self, now: Duration, lookup: u64, target: Ipp) {
        self.now = now;
        self.seeks.push((self.switch.seek(now, name(target), None, Bytes::new()), lookup));
    }

    fn online(&self) -> bool {
        self.online
    }

    fn peers(&self) -> usize {
        self.switch.sessions().filter(|session| session.open).count()
    }
}
