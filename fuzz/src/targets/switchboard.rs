//! Any conversation with a relay: actions concern living sockets only, frames go only from the node that sends to the node
//! that is named, a node is registered once, and every table keeps its bound.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
    time::Duration,
};

use teale_identity::{Identity, signed};
use teale_relay_server::{
    DropReason, Input, Output, RelayLimits, Route, RouteMemo, SocketId, Switchboard, SwitchboardConfig,
};
use teale_wire::RelayMessage;

const SOCKETS: usize = 6;
const NODES: usize = 4;
const SESSIONS: usize = 8;
/// Steps of one run; longer inputs are cut.
const STEPS: usize = 3000;

struct Node {
    identity: Identity,
    id: String,
    signature: String,
}

/// Signatures take time; the same ones serve every run.
fn nodes() -> &'static [Node] {
    static NODE: OnceLock<Vec<Node>> = OnceLock::new();
    NODE.get_or_init(|| {
        (0..NODES)
            .map(|seed| {
                let identity = Identity::from_seed([seed as u8 + 1; 32]);
                let id = identity.node_id().to_string();
                let signature = signed::register_signature(&identity);
                Node { identity, id, signature }
            })
            .collect()
    })
}

struct World {
    board: Switchboard,
    now: Duration,
    sockets: Vec<SocketId>,
    nonces: BTreeMap<SocketId, String>,
    memos: BTreeMap<SocketId, RouteMemo>,
}

/// Two bytes a step: what, and with what.
pub fn run(data: &[u8]) {
    let mut limits = RelayLimits::default();
    limits.sockets = SOCKETS;
    limits.sessions_per_node = SESSIONS / 2;
    limits.sessions = SESSIONS;
    limits.messages_burst = 50;
    limits.messages_per_second = 10;
    let board = Switchboard::new(SwitchboardConfig {
        limits,
        require_proof: false,
        unix_start: 1.7e9,
        seed: [1; 32],
    });
    let mut world = World {
        board,
        now: Duration::ZERO,
        sockets: Vec::new(),
        nonces: BTreeMap::new(),
        memos: BTreeMap::new(),
    };
    let (steps, rest) = data.as_chunks::<2>();
    for [what, with] in steps.iter().take(STEPS) {
        world.step(*what, usize::from(*with), rest);
    }
}

impl World {
    fn step(&mut self, what: u8, with: usize, raw: &[u8]) {
        let node = &nodes()[with % NODES];
        let other = &nodes()[with / NODES % NODES];
        let session = format!("S{}", with / 16 % 8);
        let between = |kind: &str, more: &str| {
            format!(
                r#"{{"{kind}":{{"fromNodeID":"{}","toNodeID":"{}","sessionID":"{session}"{more}}}}}"#,
                node.id, other.id
            )
        };
        let which = usize::from(what / 16);
        match what % 16 {
            0 => {
                let opened =
                    self.board.open(self.now, with.is_multiple_of(3).then(|| node.identity.node_id()));
                assert_eq!(opened.is_some(), self.sockets.len() < SOCKETS);
                if let Some(id) = opened {
                    assert!(!self.sockets.contains(&id));
                    self.sockets.push(id);
                }
                self.listen(None, None);
            }
            1 | 2 => {
                let Some(id) = self.socket(which) else { return };
                let nonce = self.nonces.get(&id).cloned().unwrap_or_default();
                let proof = match with / NODES % 3 {
                    0 => String::new(),
                    1 => format!(r#","proof":"{}""#, signed::register_proof(&node.identity, &nonce, None)),
                    _ => format!(r#","proof":"{}""#, "00".repeat(64)),
                };
                let text = format!(
                    r#"{{"register":{{"nodeID":"{0}","publicKey":"{0}","displayName":"x","signature":"{1}","capabilities":{{"hardware":{{"chipFamily":"x","chipName":"x","totalRAMGB":8,"gpuCoreCount":0,"memoryBandwidthGBs":1,"tier":{2}}},"loadedModels":[],"maxModelSizeGB":1,"isAvailable":true}}{proof}}}}}"#,
                    node.id,
                    node.signature,
                    with % 5
                );
                self.say(which, &text);
            }
            3 => {
                let filter = [r#"{"minTier":2}"#, "null", r#"{"maxPeers":1}"#][with / NODES % 3];
                self.say(
                    which,
                    &format!(r#"{{"discover":{{"requestingNodeID":"{}","filter":{filter}}}}}"#, node.id),
                );
            }
            4 | 5 => self.say(which, &between("relayOpen", "")),
            6 => self.say(which, &between("relayClose", "")),
            7 | 8 => self.say(which, &between("relayData", r#","data":"QUJD""#)),
            9 => self.say(which, &between("iceCandidate", r#","data":"A\"""#)),
            10 => {
                if let Some(id) = self.socket(which) {
                    self.sockets.retain(|known| *known != id);
                    self.handle(Input::Closed(id), None, None);
                }
            }
            11 => {
                if let Some(id) = self.socket(which) {
                    self.handle(Input::Control { socket: id, len: with }, Some(id), None);
                }
            }
            12 => {
                let (Some(id), Some(target)) = (self.socket(which), self.socket(with)) else { return };
                let text = between("relayData", r#","data":"QUJD""#);
                let route = Route::of(text.as_bytes());
                let input = Input::Undelivered { socket: id, target, route, reason: DropReason::QueueFull };
                self.handle(input, Some(id), None);
            }
            13 => self.say(which, &String::from_utf8_lossy(raw)),
            _ => self.pass(Duration::from_millis(1 << (with % 18))),
        }
        self.check();
    }

    fn socket(&self, which: usize) -> Option<SocketId> {
        self.sockets.get(which % SOCKETS).copied()
    }

    fn say(&mut self, which: usize, text: &str) {
        let Some(id) = self.socket(which) else { return };
        let route = Route::of(text.as_bytes());
        let memo = self.memos.entry(id).or_default();
        if memo.matches(text.as_bytes(), memo.form()) {
            assert_eq!(memo.route(1, text.len()).as_ref(), Some(&route));
        }
        memo.learn(text.as_bytes(), &route);
        let named = match &route {
            Route::Forward { from, to, .. } => Some((*from, *to)),
            _ => None,
        };
        self.handle(Input::Message { socket: id, route }, Some(id), named);
    }

    /// Time passes; timers ring at their moments.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.handle(Input::Tick, None, None);
            assert!(self.deadline().is_none_or(|next| next > deadline), "a tick that settles nothing");
        }
        self.now = end;
    }

    fn deadline(&mut self) -> Option<Duration> {
        match self.board.poll() {
            Output::Wait(deadline) => deadline,
            other => panic!("{other:?} was left"),
        }
    }

    fn handle(
        &mut self,
        input: Input<'_>,
        from: Option<SocketId>,
        named: Option<(teale_wire::NodeId, teale_wire::NodeId)>,
    ) {
        self.board.handle(self.now, input);
        self.listen(from, named);
    }

    fn listen(&mut self, from: Option<SocketId>, named: Option<(teale_wire::NodeId, teale_wire::NodeId)>) {
        loop {
            match self.board.poll() {
                Output::Wait(_) => return,
                Output::Forward(target) => {
                    let (sender, receiver) = named.unwrap_or_else(|| panic!("nothing was to be forwarded"));
                    assert_eq!(from.and_then(|from| self.board.node_of(from)), Some(sender));
                    assert_eq!(self.board.node_of(target), Some(receiver));
                    assert!(self.sockets.contains(&target));
                }
                Output::Send { socket, text } => {
                    assert!(self.sockets.contains(&socket), "a word to the dead");
                    match RelayMessage::parse(&text) {
                        Ok(RelayMessage::Challenge(challenge)) => {
                            _ = self.nonces.insert(socket, challenge.nonce)
                        }
                        Ok(RelayMessage::PeerJoined(_) | RelayMessage::PeerLeft(_)) => panic!("deprecated"),
                        Ok(_) => {}
                        Err(error) => panic!("the relay cannot be read: {error}"),
                    }
                }
                Output::Admitted(socket) => assert!(self.sockets.contains(&socket)),
                Output::Pause { socket, until } => {
                    assert_eq!(Some(socket), from);
                    assert!(until > self.now);
                }
                Output::Close { socket, .. } => {
                    let before = self.sockets.len();
                    self.sockets.retain(|known| *known != socket);
                    assert_eq!(self.sockets.len() + 1, before, "the dead was closed");
                }
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.board.socket_count(), self.sockets.len());
        assert!(self.board.session_count() <= SESSIONS);
        let registered: Vec<_> = self.sockets.iter().filter_map(|id| self.board.node_of(*id)).collect();
        let unique: BTreeSet<_> = registered.iter().collect();
        assert_eq!(unique.len(), registered.len(), "a node on two sockets");
        assert_eq!(self.board.peer_count(), registered.len());
        assert_eq!(self.board.peers().count(), registered.len());
        if registered.is_empty() {
            assert_eq!(self.board.session_count(), 0);
        }
    }
}
