//! The switchboard, told by scripts.
//!
//! A script is a conversation. Lines that begin with `>` are what happens; the others are, word for word, everything
//! the switchboard answers before the next of them. Names stand for node ids, capital letters for sockets.
//!
//! ```text
//! > at 1.5                        the clock; timers ring on the way
//! > A opens [as alice]            with the `node` query parameter
//! > A registers alice [with proof|bad-proof|bad-signature|other-key|long-name|models a,b|tier n|ram n]…
//! > A sends {"kind": …}           $alice becomes her node id
//! > A opens-session alice bob S1  relayOpen; also readies, data, closes-session
//! > A discovers alice {filter}
//! > A pings
//! > A cannot reach B alice bob S1 a frame did not fit B's queue
//! > A leaves
//! > count peers 1 sessions 0 sockets 2
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says what it measured"
)]

use std::{collections::HashMap, fmt::Write, fs, path::Path, time::Duration};

use serde_json::{Value, json};
use teale_identity::{Identity, signed};
use teale_relay_server::{
    DropReason, Input, Output, RelayLimits, Route, SocketId, Switchboard, SwitchboardConfig,
};
use teale_wire::{NodeId, RelayMessage};

struct Script {
    board: Switchboard,
    now: Duration,
    deadline: Option<Duration>,
    sockets: HashMap<String, SocketId>,
    nonces: HashMap<SocketId, String>,
    heard: Vec<String>,
}

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];

fn identity(name: &str) -> Identity {
    let seed = NAMES.iter().position(|known| *known == name).unwrap_or_else(|| panic!("who is {name}?"));
    Identity::from_seed([seed as u8 + 1; 32])
}

fn name_of(id: NodeId) -> String {
    NAMES.iter().find(|name| identity(name).node_id() == id).map_or(id.to_string(), |name| (*name).to_owned())
}

fn with_names(mut text: String) -> String {
    for name in NAMES {
        text = text.replace(&identity(name).node_id().to_string(), name);
    }
    text
}

impl Script {
    fn new(settings: &str) -> Self {
        let mut limits = RelayLimits::default();
        let mut require_proof = false;
        for setting in settings.split_whitespace() {
            let (name, value) = setting.split_once('=').unwrap_or((setting, "1"));
            let number: u32 = value.parse().unwrap();
            match name {
                "require_proof" => require_proof = true,
                "messages" => (limits.messages_per_second, limits.messages_burst) = (number, number),
                "bytes" => (limits.bytes_per_second, limits.bytes_burst) = (number.into(), number.into()),
                "sockets" => limits.sockets = number as usize,
                "sessions_per_node" => limits.sessions_per_node = number as usize,
                "sessions" => limits.sessions = number as usize,
                other => panic!("no setting {other}"),
            }
        }
        let board =
            Switchboard::new(SwitchboardConfig { limits, require_proof, unix_start: 1.7e9, seed: [7; 32] });
        let (sockets, nonces) = (HashMap::new(), HashMap::new());
        Self { board, now: Duration::ZERO, deadline: None, sockets, nonces, heard: Vec::new() }
    }

    fn letter(&self, id: SocketId) -> String {
        self.sockets.iter().find(|(_, known)| **known == id).map_or("?".into(), |(letter, _)| letter.clone())
    }

    fn listen(&mut self) {
        loop {
            let line = match self.board.poll() {
                Output::Wait(deadline) => {
                    self.deadline = deadline;
                    return;
                }
                Output::Forward(to) => format!("{} << the frame", self.letter(to)),
                Output::Admitted(id) => format!("{} admitted", self.letter(id)),
                Output::Pause { socket, until } => {
                    format!("{} paused until {:.3}", self.letter(socket), until.as_secs_f64())
                }
                Output::Close { socket, code, reason } => {
                    format!("{} closed {} {reason}", self.letter(socket), code.0)
                }
                Output::Send { socket, text } => {
                    let text = self.told(socket, &RelayMessage::parse(&text).unwrap());
                    format!("{} < {}", self.letter(socket), with_names(text))
                }
            };
            self.heard.push(line);
        }
    }

    fn told(&mut self, socket: SocketId, message: &RelayMessage) -> String {
        match message {
            RelayMessage::Challenge(challenge) => {
                assert_eq!(challenge.nonce.len(), 32);
                self.nonces.insert(socket, challenge.nonce.clone());
                "challenge".into()
            }
            RelayMessage::RegisterAck(ack) => format!(
                "registerAck {} at {:.1} for {}",
                name_of(ack.node_id),
                ack.registered_at.unix_seconds() - 1.7e9,
                ack.ttl_seconds
            ),
            RelayMessage::DiscoverResponse(response) => {
                let mut peers: Vec<_> = response.peers.iter().map(|peer| name_of(peer.node_id)).collect();
                peers.sort();
                format!("discoverResponse {}", peers.join(" ")).trim_end().to_owned()
            }
            RelayMessage::RelayClose(close) => {
                format!("relayClose {} {} {}", name_of(close.from), name_of(close.to), close.session)
            }
            RelayMessage::Error(error) => {
                let code = serde_json::to_value(&error.code).unwrap();
                let mut text = format!("{}: {}", code.as_str().unwrap(), error.message);
                if let Some(seconds) = error.retry_after_seconds {
                    write!(text, " ({seconds:.1})").unwrap();
                }
                text
            }
            other => panic!("the relay sent {other:?}"),
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.board.handle(self.now, input);
        self.listen();
    }

    fn send(&mut self, letter: &str, text: &str) {
        let mut text = text.to_owned();
        for name in NAMES {
            text = text.replace(&format!("${name}"), &identity(name).node_id().to_string());
        }
        let socket = self.sockets[letter];
        self.handle(Input::Message { socket, route: Route::of(text.as_bytes()) });
    }

    fn run_to(&mut self, then: Duration) {
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline <= then) {
            assert!(deadline >= self.now, "a deadline in the past");
            self.now = deadline;
            let before = self.heard.len();
            self.handle(Input::Tick);
            for line in &mut self.heard[before..] {
                *line = format!("[{:.1}] {line}", self.now.as_secs_f64());
            }
            assert!(self.deadline.is_none_or(|next| next > deadline), "a tick that settles nothing");
        }
        self.now = then;
    }

    fn act(&mut self, action: &str) {
        let words: Vec<&str> = action.split_whitespace().collect();
        let rest = |count: usize| action.splitn(count + 1, ' ').nth(count).unwrap_or_default();
        match words[..] {
            ["at", seconds] => self.run_to(Duration::from_secs_f64(seconds.parse().unwrap())),
            [letter, "opens", ref claim @ ..] => {
                let claimed = claim.get(1).map(|name| identity(name).node_id());
                match self.board.open(self.now, claimed) {
                    Some(id) => _ = self.sockets.insert(letter.into(), id),
                    None => self.heard.push(format!("{letter} is one too many")),
                }
                self.listen();
            }
            [letter, "registers", name, ref how @ ..] => {
                let register = self.registration(self.sockets[letter], name, how);
                self.send(letter, &register.to_string());
            }
            [letter, "sends", ..] => self.send(letter, rest(2)),
            [letter, "discovers", name, ..] => {
                let filter = if rest(3).is_empty() { "null" } else { rest(3) };
                self.send(
                    letter,
                    &format!(r#"{{"discover":{{"requestingNodeID":"${name}","filter":{filter}}}}}"#),
                );
            }
            [letter, "pings"] => self.handle(Input::Control { socket: self.sockets[letter], len: 0 }),
            [letter, "leaves"] => self.handle(Input::Closed(self.sockets[letter])),
            [letter, "cannot", "reach", other, from, to, session] => {
                let frame = session_frame("data", from, to, session);
                let (socket, target) = (self.sockets[letter], self.sockets[other]);
                let route = Route::of(frame.as_bytes());
                self.handle(Input::Undelivered { socket, target, route, reason: DropReason::QueueFull });
            }
            ["count", "peers", peers, "sessions", sessions, "sockets", sockets] => {
                let counts = [self.board.peer_count(), self.board.session_count(), self.board.socket_count()];
                assert_eq!(counts.map(|count| count.to_string()), [peers, sessions, sockets], "{action}");
            }
            [letter, kind, from, to, session] => self.send(letter, &session_frame(kind, from, to, session)),
            _ => panic!("no action {action}"),
        }
    }

    fn registration(&self, socket: SocketId, name: &str, how: &[&str]) -> Value {
        let identity = identity(name);
        let node = identity.node_id().to_string();
        let wg = identity.x25519_public().to_hex();
        let mut payload = json!({
            "nodeID": node, "publicKey": node, "wgPublicKey": wg, "displayName": name,
            "signature": signed::register_signature(&identity),
            "capabilities": {
                "hardware": {
                    "chipFamily": "m4Pro", "chipName": "Apple M4 Pro", "totalRAMGB": 48.0, "gpuCoreCount": 20,
                    "memoryBandwidthGBs": 273.0, "tier": 2
                },
                "loadedModels": [], "maxModelSizeGB": 44.0, "isAvailable": true
            },
        });
        let hardware = |payload: &mut Value, field: &str, value: &str| {
            payload["capabilities"]["hardware"][field] = serde_json::from_str(value).unwrap();
        };
        let mut how = how.iter();
        while let Some(word) = how.next() {
            match *word {
                "with" => {}
                "proof" => {
                    payload["proof"] =
                        signed::register_proof(&identity, &self.nonces[&socket], Some(&wg)).into()
                }
                "bad-proof" => {
                    payload["proof"] = signed::register_proof(&identity, &"0".repeat(32), Some(&wg)).into()
                }
                "bad-signature" => payload["signature"] = "00".repeat(64).into(),
                "other-key" => payload["publicKey"] = self::identity("dave").node_id().to_string().into(),
                "long-name" => payload["displayName"] = "x".repeat(300).into(),
                "models" => {
                    payload["capabilities"]["loadedModels"] =
                        how.next().unwrap().split(',').collect::<Vec<_>>().into();
                }
                "tier" => hardware(&mut payload, "tier", how.next().unwrap()),
                "ram" => hardware(&mut payload, "totalRAMGB", how.next().unwrap()),
                other => panic!("register how? {other}"),
            }
        }
        json!({ "register": payload })
    }
}

fn session_frame(kind: &str, from: &str, to: &str, session: &str) -> String {
    let (kind, data) = match kind {
        "opens-session" => ("relayOpen", ""),
        "readies" => ("relayReady", ""),
        "closes-session" => ("relayClose", ""),
        "data" => ("relayData", r#","data":"AAAA""#),
        other => panic!("no session message {other}"),
    };
    let (from, to) = (identity(from).node_id(), identity(to).node_id());
    format!(r#"{{"{kind}":{{"fromNodeID":"{from}","toNodeID":"{to}","sessionID":"{session}"{data}}}}}"#)
}

fn play(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let place = |line: usize| format!("{}:{}", path.display(), line + 1);
    let settings = text.lines().find_map(|line| line.strip_prefix("settings "));
    let mut script = Script::new(settings.unwrap_or_default());
    let mut expected: Vec<String> = Vec::new();
    let mut since = 0;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with("settings ") {
            continue;
        }
        if let Some(action) = line.strip_prefix("> ") {
            assert_eq!(script.heard, expected, "after {}", place(since));
            (script.heard, expected, since) = (Vec::new(), Vec::new(), number);
            script.act(action);
        } else {
            expected.push(line.to_owned());
        }
    }
    assert_eq!(script.heard, expected, "after {}", place(since));
}

#[test]
fn every_script_plays() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        play(&entry.unwrap().path());
        count += 1;
    }
    assert!(count >= 6, "only {count} scripts");
}
