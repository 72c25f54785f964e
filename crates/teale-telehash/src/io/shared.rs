//! What the task and the handles share: both switches, and the way out of them.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use teale_wire::telehash::Ipp;
use tokio::{
    net::UdpSocket,
    sync::{Notify, broadcast},
    time::Instant,
};

use crate::{v1, v2};

/// Events a reader may lag behind before it loses the oldest.
const EVENTS: usize = 1024;

/// The switches, and when they want to be called again.
pub(super) struct Switches {
    pub(super) v1: Option<v1::Switch>,
    pub(super) v2: Option<v2::Switch>,
    wake_v1: Option<Duration>,
    wake_v2: Option<Duration>,
}

pub(super) struct Shared {
    pub(super) socket: UdpSocket,
    pub(super) address: SocketAddr,
    pub(super) events_v1: broadcast::Sender<v1::Event>,
    pub(super) events_v2: broadcast::Sender<Arc<v2::Event>>,
    /// The deadline is another one.
    pub(super) changed: Notify,
    start: Instant,
    switches: Mutex<Switches>,
    unsent: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        socket: UdpSocket,
        address: SocketAddr,
        make: impl FnOnce(Duration) -> (Option<v1::Switch>, Option<v2::Switch>),
    ) -> Self {
        let (v1, v2) = make(Duration::ZERO);
        let shared = Self {
            socket,
            address,
            events_v1: broadcast::Sender::new(EVENTS),
            events_v2: broadcast::Sender::new(EVENTS),
            changed: Notify::new(),
            start: Instant::now(),
            switches: Mutex::new(Switches { v1, v2, wake_v1: None, wake_v2: None }),
            unsent: AtomicU64::new(0),
        };
        shared.with(|_, _| ());
        shared
    }

    fn lock(&self) -> MutexGuard<'_, Switches> {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets somebody at the switches, then does what they want done.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Switches, Duration) -> R) -> R {
        let mut switches = self.lock();
        let result = work(&mut switches, self.start.elapsed());
        let before = switches.wake();
        self.drain(&mut switches);
        if switches.wake() != before {
            self.changed.notify_one();
        }
        result
    }

    /// A datagram came. JSON, and so v1, begins with a brace or white space; v2 with the length of its JSON, of which
    /// the first byte is 5 at most.
    pub(super) fn datagram(&self, from: SocketAddr, bytes: &[u8]) {
        // A socket of IPv6 shows no addresses of IPv4; where one did, they would be another network's.
        self.with(|switches, now| match bytes.first() {
            Some(0..=5) => {
                if let Some(v2) = &mut switches.v2 {
                    v2.handle(now, v2::Input::Datagram { from, bytes });
                }
            }
            _ => {
                if let Some(v1) = &mut switches.v1 {
                    v1.handle(now, v1::Input::Datagram { from, bytes });
                }
            }
        });
    }

    /// Does what the time has come for.
    pub(super) fn tick(&self) {
        self.with(|switches, now| {
            if switches.wake_v1.is_some_and(|at| at <= now)
                && let Some(v1) = &mut switches.v1
            {
                v1.handle(now, v1::Input::Tick);
            }
            if switches.wake_v2.is_some_and(|at| at <= now)
                && let Some(v2) = &mut switches.v2
            {
                v2.handle(now, v2::Input::Tick);
            }
        });
    }

    /// When the switches want to be called again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.lock().wake().map(|at| self.start + at)
    }

    /// Datagrams that the system did not take.
    pub(super) fn unsent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }

    fn drain(&self, switches: &mut Switches) {
        if let Some(v1) = &mut switches.v1 {
            switches.wake_v1 = loop {
                match v1.poll() {
                    v1::Output::Send { to, bytes } => self.send(to, &bytes),
                    // Nobody listening is fine.
                    v1::Output::Event(event) => drop(self.events_v1.send(event)),
                    v1::Output::Wait(until) => break until,
                }
            };
        }
        if let Some(v2) = &mut switches.v2 {
            switches.wake_v2 = loop {
                match v2.poll() {
                    v2::Output::Send { to, bytes } => self.send(to, &bytes),
                    v2::Output::Event(event) => drop(self.events_v2.send(Arc::new(event))),
                    v2::Output::Wait(until) => break until,
                }
            };
        }
    }

    /// Sends, or counts: a datagram may be lost at any time, and what the system has no room for is lost at once.
    fn send(&self, to: Ipp, bytes: &Bytes) {
        if to.is_v4() != self.address.is_ipv4() {
            self.unsent.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let to = to.socket_addr();
        let sent = match self.socket.try_send_to(bytes, to) {
            // The task may not have seen yet that there is room again.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket2::SockRef::from(&self.socket).send_to(bytes, &to.into())
            }
            sent => sent,
        };
        if let Err(error) = sent {
            self.unsent.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(kind = %error.kind(), "a datagram was not sent");
        }
    }
}

impl Switches {
    fn wake(&self) -> Option<Duration> {
        [self.wake_v1, self.wake_v2].into_iter().flatten().min()
    }
}
