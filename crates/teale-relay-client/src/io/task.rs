//! The connection task: owns the machine and the socket, and carries between them and the sessions.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use teale_noise::Now;
use teale_wire::PeerRecord;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Sleep, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::{Bytes as MessageBytes, Message, Utf8Bytes};

use super::{
    IncomingSession, RelayConfig, RelayEvent, RelaySession,
    dial::Dialer,
    handle::Command,
    outbox::Item,
    session::Line,
    shared::{Note, SessionReply, Shared},
    socket::Socket,
};
use crate::{Client, Event, Input, Inquiry, Output, RelayError, SessionError, SessionKey, Ticket, bounds};

/// How long the task sleeps at most.
const IDLE: Duration = Duration::from_secs(3600);

type Dial = Pin<Box<dyn Future<Output = Result<Box<Socket>, String>> + Send>>;

/// The way to the relay, as the machine asked for it.
enum Carrier {
    None,
    Dialing(Dial),
    Open(Box<Socket>),
}

/// A session of the machine, seen from the application's side.
#[derive(Default)]
struct Slot {
    /// Who waits for it to be established.
    reply: Option<SessionReply>,
    /// Its halves, once it is.
    line: Option<Arc<Line>>,
    /// Told to an [`IncomingSession`] nobody has accepted yet.
    over: Arc<AtomicBool>,
}

pub(super) struct Task {
    client: Client,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    dialer: Arc<Dialer>,
    carrier: Carrier,
    control: VecDeque<Message>,
    slots: HashMap<SessionKey, Slot>,
    inquiries: HashMap<Ticket, oneshot::Sender<Result<Vec<PeerRecord>, RelayError>>>,
    last_ticket: u64,
    live: usize,
    deadline: Option<Duration>,
}

/// What woke the task.
enum Wake {
    Command(Option<Command>),
    Notes,
    Dialed(Result<Box<Socket>, String>),
    Stepped(Result<(), String>),
    Deadline,
}

impl Task {
    pub(super) fn new(config: RelayConfig, shared: Arc<Shared>, commands: mpsc::Receiver<Command>) -> Self {
        let node = config.identity.node_id();
        let dialer = Dialer::new(config.url.clone(), node, config.extra_ca_pem.clone());
        Self {
            client: Client::new(config.core(), now(&shared), rand::random()),
            shared,
            commands,
            dialer: Arc::new(dialer),
            carrier: Carrier::None,
            control: VecDeque::new(),
            slots: HashMap::new(),
            inquiries: HashMap::new(),
            last_ticket: 0,
            live: 0,
            deadline: None,
        }
    }

    /// Runs until the last handle is gone or asks for a shutdown.
    pub(super) async fn run(mut self) {
        let shared = self.shared.clone();
        let sleep = sleep_until(shared.start + IDLE);
        tokio::pin!(sleep);
        let (mut inputs, mut closing) = (Vec::new(), Vec::new());
        loop {
            self.drain();
            self.set_alarm(sleep.as_mut());
            let room = self.control.len() < bounds::CONTROL_QUEUE;
            let wake = tokio::select! {
                command = self.commands.recv(), if room => Wake::Command(command),
                () = shared.wake.notified() => Wake::Notes,
                wake = advance(&mut self.carrier, room, &mut inputs, || {
                    next_message(&mut self.control, &shared, &self.slots, &mut closing)
                }) => wake,
                () = sleep.as_mut() => Wake::Deadline,
            };
            for input in inputs.drain(..) {
                self.client.handle(now(&shared), input);
            }
            for key in closing.drain(..) {
                self.client.close(now(&shared), key);
            }
            match wake {
                Wake::Command(Some(command)) => self.command(command),
                Wake::Command(None) => break,
                Wake::Notes => {
                    if self.collect() {
                        break;
                    }
                }
                Wake::Dialed(Ok(socket)) => {
                    self.carrier = Carrier::Open(socket);
                    self.client.handle(now(&shared), Input::Connected);
                }
                Wake::Dialed(Err(reason)) | Wake::Stepped(Err(reason)) => {
                    self.hang_up();
                    self.client.handle(now(&shared), Input::Lost { reason });
                }
                Wake::Stepped(Ok(())) => {}
                Wake::Deadline => self.client.handle(now(&shared), Input::Tick),
            }
        }
        self.goodbye().await;
    }

    fn set_alarm(&self, sleep: Pin<&mut Sleep>) {
        let latest = self.shared.start.elapsed() + IDLE;
        match self.deadline.filter(|deadline| *deadline < latest) {
            Some(deadline) => {
                let at = self.shared.start + deadline;
                if sleep.deadline() != at {
                    sleep.reset(at);
                }
            }
            // Nothing before long: whenever the alarm rings next, it is set anew.
            None if sleep.is_elapsed() => sleep.reset(self.shared.start + latest),
            None => {}
        }
    }

    /// Does what the machine asks for, until it waits.
    fn drain(&mut self) {
        loop {
            match self.client.poll() {
                Output::Connect => {
                    self.control.clear();
                    self.carrier = Carrier::Dialing(Box::pin(self.dialer.clone().dial()));
                }
                Output::Disconnect => self.hang_up(),
                Output::Send(frame) => match Utf8Bytes::try_from(frame) {
                    Ok(text) => self.control.push_back(Message::Text(text)),
                    Err(_) => tracing::error!("a frame that is not UTF-8 was not sent"),
                },
                Output::Ping => self.control.push_back(Message::Ping(MessageBytes::new())),
                Output::Event(event) => self.event(event),
                Output::Wait(deadline) => {
                    self.deadline = deadline;
                    break;
                }
            }
        }
        self.publish();
    }

    fn hang_up(&mut self) {
        self.carrier = Carrier::None;
        self.control.clear();
        // Their sessions are over: whoever still holds a half has pushed for nobody.
        while self.shared.outbox.pop().is_some() {}
    }

    fn event(&mut self, event: Event) {
        let shared = &self.shared;
        match event {
            Event::Registered => shared.events.push(RelayEvent::Registered),
            Event::Disconnected { reason, retry_in } => {
                tracing::info!(%reason, ?retry_in, "no connection to the relay");
                shared.status.send_modify(|status| status.last_error = Some(reason.clone()));
                shared.events.push(RelayEvent::Disconnected { reason, retry_in });
            }
            Event::Peers(peers) => shared.events.push(RelayEvent::Peers(peers)),
            Event::Discovered { ticket, result } => {
                if let Some(reply) = self.inquiries.remove(&ticket) {
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(result);
                }
            }
            Event::Incoming { key, peer } => {
                let slot = Slot::default();
                let session = IncomingSession::new(shared.clone(), key, peer, slot.over.clone());
                self.slots.insert(key, slot);
                shared.events.push(RelayEvent::Incoming(session));
            }
            Event::Established { key, channel } => {
                let (session, line) = RelaySession::new(shared.clone(), key, *channel);
                self.live += 1;
                if let Some(slot) = self.slots.get_mut(&key) {
                    slot.line = Some(line);
                    // A caller that stopped waiting drops the session, and that closes it.
                    if let Some(reply) = slot.reply.take() {
                        drop(reply.send(Ok(session)));
                    }
                }
            }
            Event::Frame { key, frame } => {
                let line = self.slots.get(&key).and_then(|slot| slot.line.as_ref());
                if line.is_some_and(|line| line.inbox.push(frame).is_err()) {
                    self.client.fail(now(&self.shared), key, SessionError::TooSlow);
                }
            }
            Event::Ended { key, error } => self.ended(key, error),
            Event::Rejected { peer, error } => shared.events.push(RelayEvent::Rejected { peer, error }),
        }
    }

    fn ended(&mut self, key: SessionKey, error: SessionError) {
        let Some(slot) = self.slots.remove(&key) else {
            return;
        };
        slot.over.store(true, Ordering::Relaxed);
        if let Some(reply) = slot.reply {
            // Whoever opened it may have stopped waiting.
            let _ = reply.send(Err(error.clone()));
        }
        if let Some(line) = slot.line {
            self.live -= 1;
            line.end(error);
        }
    }

    fn command(&mut self, command: Command) {
        let now = now(&self.shared);
        match command {
            // Nobody waits any more.
            Command::Discover { reply, .. } if reply.is_closed() => {}
            Command::Open { reply, .. } if reply.is_closed() => {}
            Command::Discover { filter, patience, deadline, reply } => {
                self.last_ticket += 1;
                let ticket = Ticket(self.last_ticket);
                self.inquiries.insert(ticket, reply);
                self.client.discover(now, Inquiry { ticket, filter, deadline, patience });
            }
            Command::Open { peer, advertised, deadline, reply } => {
                let patience = deadline.saturating_sub(now.monotonic);
                match self.client.open(now, peer, advertised.as_deref(), patience) {
                    Ok(key) => {
                        self.slots.insert(key, Slot { reply: Some(reply), ..Slot::default() });
                    }
                    // Whoever opened it may have stopped waiting.
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
        }
    }

    /// Reads the mailbox; whether the client has to shut down.
    fn collect(&mut self) -> bool {
        let mailbox = self.shared.collect();
        let now = now(&self.shared);
        if let Some(capabilities) = mailbox.capabilities {
            self.client.set_capabilities(now, capabilities);
        }
        for note in mailbox.notes {
            match note {
                Note::Accept(key, reply) => match self.slots.get_mut(&key) {
                    Some(slot) => {
                        slot.reply = Some(reply);
                        self.client.accept(now, key);
                    }
                    // Whoever accepted may have stopped waiting.
                    None => drop(reply.send(Err(SessionError::Closed))),
                },
                Note::Decline(key) => self.client.close(now, key),
                Note::Fail(key, error) => self.client.fail(now, key, error),
            }
        }
        if mailbox.abandoned {
            self.withdraw_abandoned();
        }
        if !matches!(self.carrier, Carrier::Open(_)) {
            while self.shared.outbox.pop().is_some() {}
        }
        mailbox.shutdown
    }

    /// Ends what nobody waits for any more.
    fn withdraw_abandoned(&mut self) {
        let now = now(&self.shared);
        for (ticket, _) in self.inquiries.extract_if(|_, reply| reply.is_closed()) {
            self.client.withdraw(now, ticket);
        }
        let abandoned = |slot: &Slot| slot.reply.as_ref().is_some_and(oneshot::Sender::is_closed);
        for (key, _) in self.slots.iter().filter(|(_, slot)| abandoned(slot)) {
            self.client.close(now, *key);
        }
    }

    fn publish(&self) {
        let (registered, sessions) = (self.client.registered(), self.live);
        let (ping, counters) = (self.client.round_trip(), self.client.counters());
        self.shared.status.send_if_modified(|status| {
            let changed = status.registered != registered
                || status.sessions != sessions
                || status.ping != ping
                || status.counters != counters;
            if changed {
                status.registered = registered;
                status.sessions = sessions;
                status.ping = ping;
                status.counters = counters;
            }
            if registered {
                status.last_error = None;
            }
            changed
        });
    }

    /// Sends what is queued, says goodbye to everybody, and closes the connection.
    async fn goodbye(&mut self) {
        let shared = self.shared.clone();
        let mut closing = Vec::new();
        if let Carrier::Open(socket) = &mut self.carrier {
            let rest = socket.finish(|| next_message(&mut self.control, &shared, &self.slots, &mut closing));
            let _ = timeout(bounds::FLUSH_WITHIN, rest).await;
        }
        let mut carrier = std::mem::replace(&mut self.carrier, Carrier::None);
        self.client.shutdown(now(&shared));
        let mut control = VecDeque::new();
        loop {
            match self.client.poll() {
                Output::Send(frame) => control.extend(Utf8Bytes::try_from(frame).ok().map(Message::Text)),
                Output::Event(event) => self.event(event),
                Output::Wait(_) => break,
                Output::Connect | Output::Disconnect | Output::Ping => {}
            }
        }
        if let Carrier::Open(socket) = &mut carrier {
            control.push_back(Message::Close(None));
            // A relay that does not take our goodbye will notice by itself.
            let _ = timeout(bounds::GOODBYE_WITHIN, socket.finish(|| control.pop_front())).await;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let keys: Vec<_> = self.slots.keys().copied().collect();
        for key in keys {
            self.ended(key, SessionError::Closed);
        }
        self.shared.status.send_modify(|status| {
            status.registered = false;
            status.sessions = 0;
        });
        self.shared.events.finish();
        self.shared.done.cancel();
        drop(self.shared.collect());
        while self.shared.outbox.pop().is_some() {}
    }
}

/// Both clocks. `Duration::ZERO` for a wall clock before 1970: peers then refuse our handshakes, and say so.
fn now(shared: &Shared) -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { unix, monotonic: shared.start.elapsed() }
}

/// Waits for the carrier: the attempt to end, or the socket to read or write something.
async fn advance(
    carrier: &mut Carrier,
    reading: bool,
    inputs: &mut Vec<Input>,
    next: impl FnMut() -> Option<Message>,
) -> Wake {
    match carrier {
        Carrier::None => std::future::pending().await,
        Carrier::Dialing(dial) => Wake::Dialed(dial.as_mut().await),
        Carrier::Open(socket) => Wake::Stepped(socket.step(reading, inputs, next).await),
    }
}

/// The next message to write: the machine's own first, then the sessions' by turns. Sessions found to have sent all
/// they had before their close are added to `closing`.
fn next_message(
    control: &mut VecDeque<Message>,
    shared: &Shared,
    slots: &HashMap<SessionKey, Slot>,
    closing: &mut Vec<SessionKey>,
) -> Option<Message> {
    if let Some(message) = control.pop_front() {
        return Some(message);
    }
    while let Some((key, item)) = shared.outbox.pop() {
        if !slots.contains_key(&key) {
            continue;
        }
        match item {
            Item::Close => {
                closing.push(key);
                // Nothing may be left to write: the task has to look at `closing` all the same.
                shared.wake.notify_one();
            }
            Item::Frame(frame, _room) => {
                if let Ok(text) = Utf8Bytes::try_from(frame) {
                    return Some(Message::Text(text));
                }
            }
        }
    }
    None
}
